"""The import of manifests, rows and jobs. Source: docs/design/protocol.md 1."""

from __future__ import annotations

from typing import Any

import pytest

from fluxbatch.domain.job import ControlFile, Job, Row
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.manifest_import import FinishImport, ImportRows, files_of
from fluxbatch.ledger.operations.uploads import RememberFiles, StoredFileHash
from fluxbatch.ledger.queries import local_controls
from fluxbatch.ledger.queries.queue import QUEUE_START, pending_jobs
from fluxbatch.ledger.queries.totals import count_jobs
from tests.ledger.support import Books, all_rows, at, make_job, make_row, make_rows


@pytest.fixture
def books(database: Database) -> Books:
    """An empty ledger."""
    return Books(database)


def prompts(books: Books, manifest_seq: int) -> list[str]:
    """What the manifest's run would be handed, in line."""
    jobs, _ = pending_jobs(books.db, manifest_seq, QUEUE_START, 100)
    return [str(job.input["prompt"]).removeprefix("a lighthouse, ") for job in jobs]


def rows_of(books: Books, manifest_seq: int) -> list[dict[str, Any]]:
    return [row for row in all_rows(books.db, schema.rows) if row["manifest_seq"] == manifest_seq]


def test_rows_and_jobs_come_back_as_they_were_given(books: Books) -> None:
    """
    Ids as bytes, input as canonical JSON, meta and axes as JSON; non-ASCII stays readable.
    """
    job = make_job(1)
    control = ControlFile("/data/photo.png", "cd" * 32, 10, "image/png")
    row = Row(1, 2, "größe", {"split": "trän"}, job, control, priority=5, axes={"seed": 3})
    manifest = books.import_rows("m", [row])

    (stored,) = all_rows(books.db, schema.jobs)
    assert bytes(stored["id"]) == job.job_id
    assert stored["input_json"] == '{"num_outputs":1,"prompt":"a lighthouse, 1"}'
    assert (stored["state"], stored["priority"], stored["position"]) == ("pending", 5, 1)
    assert (stored["control_sha256"], stored["control_path"]) == ("cd" * 32, "/data/photo.png")
    (kept,) = rows_of(books, manifest)
    assert (kept["user_id"], kept["meta_json"]) == ("größe", '{"split": "trän"}')
    assert kept["axes_json"] == '{"seed": 3}'

    (queued,), _ = pending_jobs(books.db, manifest, QUEUE_START, 10)
    assert (queued.job_id, queued.model, queued.input) == (job.job_id, job.model, job.input)
    assert (queued.control_sha256, queued.control_path) == ("cd" * 32, "/data/photo.png")


def test_the_same_manifest_twice_is_imported_once(books: Books) -> None:
    """
    The second time nothing is read again.
    """
    first = books.import_rows("m", [*make_rows(3), make_row(4, None, error="no prompt")])
    known = books.begin_import("m")
    assert (known.seq, known.imported, known.rows, known.invalid_rows) == (first, True, 4, 1)
    assert len(all_rows(books.db, schema.jobs)) == 3


def test_equal_rows_are_one_job_and_each_keeps_its_id(books: Books) -> None:
    """
    The first of them decides the job's place in line.
    """
    job = make_job(1)
    rows = [
        make_row(1, make_job(2)),
        make_row(2, job, user_id="a", priority=1),
        make_row(3, job, user_id="b", priority=9),
    ]
    manifest = books.import_rows("m", rows)
    assert len(all_rows(books.db, schema.jobs)) == 2
    kept = rows_of(books, manifest)
    assert [row["user_id"] for row in kept] == ["row-1", "a", "b"]
    assert kept[1]["job_seq"] == kept[2]["job_seq"]
    place = all_rows(books.db, schema.jobs)[1]
    assert (place["position"], place["priority"]) == (2, 1)


def test_an_invalid_row_is_kept_with_its_reason(books: Books) -> None:
    """
    Every row has an end.
    """
    manifest = books.import_rows("m", [make_row(1, None, error="guidance: 99 is above 20")])
    (row,) = rows_of(books, manifest)
    assert (row["job_seq"], row["error"]) == (None, "guidance: 99 is above 20")
    counts = count_jobs(books.db, manifest)
    assert (counts.total, counts.invalid) == (0, 1)


def test_an_import_that_was_cut_short_starts_over(books: Books) -> None:
    """
    Rows of the first try are forgotten, its jobs are not born twice.
    """
    seq = books.begin_import("m").seq
    books.do(ImportRows(at(1), seq, make_rows(5)))
    before = all_rows(books.db, schema.jobs)

    known = books.begin_import("m")
    assert (known.seq, known.imported) == (seq, False)
    assert rows_of(books, seq) == []
    assert prompts(books, seq) == [], "what is not imported is not handed out"
    books.do(ImportRows(at(2), seq, make_rows(4)))
    books.do(FinishImport(at(3), seq, 4, 0))

    assert len(rows_of(books, seq)) == 4
    assert prompts(books, seq) == ["1", "2", "3", "4"]
    assert [job["seq"] for job in all_rows(books.db, schema.jobs)] == [job["seq"] for job in before]
    assert count_jobs(books.db, seq).unlisted == 1, "the fifth is kept, and never submitted"


def test_a_manifest_that_grew_adds_only_its_new_rows(books: Books) -> None:
    """
    Ten rows more cost ten rows.
    """
    first = books.import_rows("m", make_rows(3))
    second = books.import_rows("m grown", make_rows(5))
    assert len(all_rows(books.db, schema.jobs)) == 5
    assert prompts(books, second) == ["1", "2", "3", "4", "5"]
    assert prompts(books, first) == []


def test_jobs_that_no_row_of_this_run_names_are_not_handed_out(books: Books) -> None:
    """
    They are kept and shown as unlisted.
    """
    books.import_rows("m", make_rows(3))
    second = books.import_rows("other", [make_row(1, make_job(2))])
    assert prompts(books, second) == ["2"]
    counts = count_jobs(books.db, second)
    assert (counts.total, counts.unlisted) == (1, 2)


def test_two_manifests_that_share_jobs_hand_them_out_in_turn(books: Books) -> None:
    """
    Whichever is run has all of its jobs, in its own order.
    """
    one = books.import_rows("one", [make_row(n, make_job(n)) for n in (1, 2, 3)])
    shared = [
        make_row(1, make_job(3)),
        make_row(2, make_job(2), priority=1),
        make_row(3, make_job(4)),
    ]
    two = books.import_rows("two", shared)
    assert prompts(books, two) == ["2", "3", "4"]

    assert books.begin_import("one").imported
    assert prompts(books, one) == ["1", "2", "3"]
    assert prompts(books, two) == ["4"]
    assert books.begin_import("two").imported
    assert prompts(books, two) == ["2", "3", "4"]
    assert prompts(books, one) == ["1"]


def test_an_import_cut_short_takes_no_jobs_from_a_manifest_seen_before(books: Books) -> None:
    """
    It had put its mark on shared jobs; the next run of the old manifest takes them back.
    """
    one = books.import_rows("one", make_rows(3))
    two = books.begin_import("two").seq
    books.do(ImportRows(at(1), two, make_rows(2)))

    assert books.begin_import("one").imported
    assert prompts(books, one) == ["1", "2", "3"]


def test_a_changed_control_image_imports_the_manifest_again(books: Books) -> None:
    """
    The row now names another job; the old one is kept and not submitted.
    """
    control = ControlFile("/data/photo.png", "cd" * 32, 10, "image/png")
    books.do(
        RememberFiles((StoredFileHash("/data/photo.png", 10, 111, 7, "cd" * 32, "image/png"),))
    )
    manifest = books.import_rows("m", [make_row(1, make_job(1), control=control)])
    assert files_of(books.db, manifest) == [("/data/photo.png", 10, 111, 7)]

    changed = ControlFile("/data/photo.png", "ef" * 32, 11, "image/png")
    again = books.import_rows("m", [make_row(1, make_job(2), control=changed)], anew=True)

    assert again == manifest
    assert prompts(books, manifest) == ["2"]
    assert len(rows_of(books, manifest)) == 1
    assert count_jobs(books.db, manifest).unlisted == 1


def test_an_import_anew_that_was_cut_short_is_not_taken_for_finished(books: Books) -> None:
    """
    Killed in the middle, the next one starts over, though it had once been imported.
    """
    manifest = books.import_rows("m", make_rows(3))
    books.begin_import("m", anew=True)
    books.do(ImportRows(at(1), manifest, make_rows(1)))
    assert not books.begin_import("m").imported


def test_an_import_changes_no_job_that_is_there(books: Books) -> None:
    """
    Done stays done, whoever names it.
    """
    first = books.import_rows("m", make_rows(2))
    books.manifest_seq = first
    books.open_run("r")
    books.store(books.generate(1).outputs[0].output_seq)
    second = books.import_rows("again", make_rows(3))
    assert prompts(books, second) == ["2", "3"]
    assert count_jobs(books.db, second).by_state == {"done": 1, "pending": 2}


def test_repeats_are_jobs_of_their_own(books: Books) -> None:
    """
    Raising `repeat` adds jobs.
    """
    base = make_job(1)
    again = Job(type(base.job_id)(b"\1" * 16), base.model, base.input, repeat=1)
    manifest = books.import_rows("m", [make_row(1, base), make_row(2, again)])
    assert [row["repeat"] for row in all_rows(books.db, schema.jobs)] == [0, 1]
    assert prompts(books, manifest) == ["1", "1"]


def test_ids_and_meta_that_no_database_could_keep_are_cleaned(books: Books) -> None:
    """
    A NUL or half a surrogate pair, escaped in JSON, reaches us whole.
    """
    row = Row(1, 1, "a\0b", {"note": "c\ud800"}, make_job(1))
    manifest = books.import_rows("m", [row])
    (kept,) = rows_of(books, manifest)
    assert (kept["user_id"], kept["meta_json"]) == ("a\ufffdb", '{"note": "c?"}')


def test_a_higher_priority_goes_first_and_pages_lose_nobody(books: Books) -> None:
    """
    Pages of any size give the same line, whatever is claimed in between.
    """
    rows = [make_row(n, make_job(n), priority=n % 3) for n in range(1, 21)]
    manifest = books.import_rows("m", rows)
    expected = [str(n) for priority in (2, 1, 0) for n in range(1, 21) if n % 3 == priority]
    assert prompts(books, manifest) == expected

    for size in (1, 3, 7):
        seen, place = list[str](), QUEUE_START
        while True:
            jobs, place = pending_jobs(books.db, manifest, place, size)
            seen += [str(job.input["prompt"]).removeprefix("a lighthouse, ") for job in jobs]
            if len(jobs) < size:
                break
        assert seen == expected


def test_rows_find_their_jobs_whether_all_of_them_are_new_or_some_are_known(books: Books) -> None:
    """
    A batch of new jobs is numbered without a search; known, repeated and missing ones end that.
    """
    manifest = books.import_rows("m", make_rows(2))
    names: dict[int, int | None] = {**{n: n for n in range(1, 12)}, 6: 3, 7: None, 9: 8}
    for batch in ((3, 4), (5, 6, 7), (8, 9, 10), (11,)):
        jobs = {row: names[row] for row in batch}
        rows = [make_row(row, make_job(job) if job else None) for row, job in jobs.items()]
        books.do(ImportRows(at(2), manifest, rows))

    ids = {job["seq"]: bytes(job["id"]) for job in all_rows(books.db, schema.jobs)}
    found = {row["number"]: row["job_seq"] for row in rows_of(books, manifest)}
    assert {row: seq and ids[seq] for row, seq in found.items()} == {
        row: job and make_job(job).job_id for row, job in names.items()
    }


def test_shuffled_jobs_come_in_an_order_of_their_own_within_a_priority(books: Books) -> None:
    """
    The same seed is the same order, another is another; a page ends where the next begins.
    """
    rows = [make_row(n, make_job(n), priority=n % 2) for n in range(1, 101)]
    orders = {}
    for seed in (None, 7, 8, -(2**63)):
        manifest = books.import_rows("m", rows, shuffle=seed)
        orders[seed] = [int(prompt) for prompt in prompts(books, manifest)]
        assert sorted(orders[seed]) == list(range(1, 101))
        assert [n % 2 for n in orders[seed]] == [1] * 50 + [0] * 50

    assert orders[None] == [*range(1, 101, 2), *range(2, 101, 2)]
    assert len({tuple(order) for order in orders.values()}) == len(orders)
    again = books.import_rows("m", rows, shuffle=7)
    assert [int(prompt) for prompt in prompts(books, again)] == orders[7]


def test_a_shuffle_survives_another_manifest_in_between_and_can_be_taken_back(
    books: Books,
) -> None:
    """
    Jobs that two manifests share stand in each where its own first row and order put them.
    """
    rows = make_rows(20)
    one = books.import_rows("one", rows, shuffle=3)
    shuffled = prompts(books, one)
    books.import_rows("two", rows[:5])
    assert prompts(books, books.import_rows("one", rows, shuffle=3)) == shuffled != sorted(shuffled)

    twice = [*rows, make_row(21, make_job(20))]
    three = books.import_rows("three", twice)
    in_line = prompts(books, three)
    books.import_rows("three", twice, shuffle=3)
    assert prompts(books, three) != in_line
    books.import_rows("three", twice)
    assert prompts(books, three) == in_line == [str(n) for n in range(1, 21)]


def test_local_controls_are_named_once_a_range_of_jobs(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Of this manifest's jobs that are pending; a page may be empty before the last one.
    """
    monkeypatch.setattr(local_controls, "_RANGE", 3)
    photo, other = (ControlFile(f"/data/{n}.png", n * 32, 10, "image/png") for n in ("cd", "ef"))
    of_another = Row(1, 1, None, {}, make_job(99), ControlFile("/data/old.png", "ab" * 32, 1, ""))
    books.import_rows("another", [of_another])
    with_photo = [Row(n, n, None, {}, make_job(n), photo) for n in range(1, 5)]
    without = [make_row(n, make_job(n)) for n in range(5, 9)]
    manifest = books.import_rows(
        "m", [*with_photo, *without, Row(9, 9, None, {}, make_job(9), other)]
    )

    pages = list(local_controls.needed_controls(books.db, manifest))
    assert [[one.path for one in page] for page in pages] == [
        ["/data/cd.png"], ["/data/cd.png"], ["/data/ef.png"],
    ]  # fmt: skip
    assert pages[0][0].sha256 == "cd" * 32
