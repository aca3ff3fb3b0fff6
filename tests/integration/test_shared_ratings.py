"""Images of a dataset in PostgreSQL judged and picked: by command, on the page, and made anew."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from fluxbatch import Dataset
from tests.kills.sharing import SharedRun, shared_run
from tests.kills.sharing import emulator as emulator
from tests.report.live_server import serving
from tests.report.test_live_server import ask, of_the_page, rate, seqs
from tests.support.commands import fluxbatch

pytestmark = pytest.mark.machines


shared = shared_run(accounts=2)


def made(run: SharedRun, jobs: int) -> str:
    """The address of a dataset whose jobs are all done."""
    run.write(jobs)
    run.start(0)
    assert run.finish() == [0], run.logs()
    return run.address


def exported(address: str, place: Path, where: str) -> list[int]:
    """The numbers of the rows that fit."""
    ended = fluxbatch("export", address, "-f", "jsonl", "--to", place, "--where", where)
    assert ended.code == 0, ended.err
    lines = place.read_text().splitlines()
    return [json.loads(line)["row"] for line in lines]


def test_images_are_rated_by_name_and_by_filter_and_exports_choose_by_it(
    shared: SharedRun, tmp_path: Path
) -> None:
    address = made(shared, 6)
    told = fluxbatch("rate", address, "#1", "#2", "keep", "--json")
    assert (told.code, told.object["images"], told.object["changed"]) == (0, 2, 2), told.err
    fluxbatch("rate", address, "--where", "number>=5", "reject", "--note", "too dark")
    fluxbatch("rate", address, "#2", "5")
    assert exported(address, tmp_path / "kept.jsonl", "rating=keep") == [1, 2]
    assert exported(address, tmp_path / "best.jsonl", "stars>=4") == [2]
    assert exported(address, tmp_path / "dark.jsonl", "rating_note~dark") == [5, 6]
    assert fluxbatch("ls", address, "--where", "not rating", "--json").object["rows"] == 2
    rows = list(Dataset.open(address).rows("rating=reject"))
    assert [row.images[0].rating.note for row in rows] == ["too dark"] * 2


def test_images_are_judged_while_the_run_goes_on_and_who_may_only_read_cannot(
    shared: SharedRun, tmp_path: Path
) -> None:
    shared.write(120)
    shared.start(0)
    shared.until(lambda: shared.emulator.stats()["created"] > 0)
    shared.until(lambda: shared.rows("SELECT count(*) FROM jobs WHERE state = 'done'") > [(0,)])
    assert fluxbatch("rate", shared.address, "--where", "state=done", "keep").code == 0
    with psycopg.connect(shared.server.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE judge LOGIN")
        connection.execute(f'GRANT USAGE ON SCHEMA "{shared.dataset}" TO judge')
        connection.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA "{shared.dataset}" TO judge')
    reader = shared.address.replace("postgres@", "judge@")
    assert exported(reader, tmp_path / "kept.jsonl", "rating=keep")
    refused = fluxbatch("rate", reader, "#1", "reject")
    assert refused.code == 2
    assert "permission denied" in refused.err
    assert shared.finish() == [0], shared.logs()
    assert shared.check(120)["billed"] == 120


def test_the_page_judges_and_undoes(shared: SharedRun) -> None:
    """
    And shows at once what somebody else has said elsewhere.
    """
    address = made(shared, 4)
    with serving(address, cache=shared.folder) as page:
        rate(page, {"seqs": seqs(page)[:2], "rating": "keep"})
        status, said = rate(page, {"seqs": seqs(page)[:1], "rating": "reject"})
        assert (status, said["judged"]) == (
            200, {"all": 4, "keep": 1, "reject": 1, "unrated": 2},
        )  # fmt: skip
        ask(page, "/api/undo", post={}, **of_the_page(page))
        assert len(seqs(page, "?rating=keep")) == 2
        fluxbatch("rate", address, "--where", "prompt", "reject")
        assert len(seqs(page, "?rating=reject")) == 4


def test_what_was_rejected_is_made_anew(shared: SharedRun, tmp_path: Path) -> None:
    """
    Within the budget, and on with the next one; what was rejected stays, nothing is bought twice.
    """
    address = made(shared, 6)
    fluxbatch("rate", address, "--where", "number>2", "reject")
    words = ("reroll", address, "--where", "rating=reject", "--base-url", shared.emulator.base_url)
    asked = fluxbatch(*words, "--budget", "0.05", "--json", "--yes", env=shared.environment())
    assert (asked.code, asked.object["jobs"]["done"]) == (4, 2), asked.err
    rest = fluxbatch(*words, "--budget", "1.00", "--json", "--yes", env=shared.environment())
    assert rest.code == 0, rest.err
    again = fluxbatch(*words, "--budget", "1.00", "--json", "--yes", env=shared.environment())
    assert again.code == 0, again.err
    assert shared.emulator.stats()["billed"] == 10
    assert exported(address, tmp_path / "new.jsonl", "reroll=1 and not rating") == [3, 4, 5, 6]
    assert exported(address, tmp_path / "old.jsonl", "rating=reject") == [3, 4, 5, 6]
