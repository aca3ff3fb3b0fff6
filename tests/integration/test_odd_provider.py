"""A provider that says odd things anywhere: a run always ends, with an exit code of the table, and
can be continued; and a key that it echoes is kept nowhere. `SEEDS=100` tries as many of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from fluxbatch.errors import ExitCode, FluxbatchError
from tests.support.meddler import Passing, meddler
from tests.support.oddities import ODD_TEXTS, as_body, disturbed
from tests.support.pictures import picture
from tests.support.running import KEY, Bench, make_rows, provider

pytestmark = pytest.mark.proof

SEEDS = range(int(os.environ.get("SEEDS", "4")))
JOBS = 4
QUICK: Mapping[str, object] = {
    "provider": {"timeout": 0.5, "deadline": 1.5},
    "reconcile": {"lag": 0.1, "patience": 1.0},
    "sink": {"timeout": 0.5},
}
_HEADERS = ("Date", "Retry-After", "X-Request-Id", "Content-Encoding")


class Odd:
    """Changes a part of what passes: fields, headers, whole answers."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def __call__(self, answer: Passing) -> Passing:
        draw = self.random.random()
        if answer.is_file or draw < 0.5:
            return answer
        if draw < 0.6:
            name = self.random.choice(_HEADERS)
            text = "".join(c for c in self.random.choice(ODD_TEXTS) if " " <= c <= "~")[:8_000]
            return replace(answer, headers={**answer.headers, name: text})
        try:
            told = json.loads(answer.body)
        except ValueError:
            return answer
        for _ in range(self.random.randint(1, 3)):
            told = disturbed(told, self.random)
        return replace(answer, body=as_body(told))


async def exit_of(bench: Bench, base_url: str, manifest: Path) -> ExitCode:
    try:
        return (await bench.run(base_url, manifest)).exit_code
    except FluxbatchError as exc:
        return exc.exit_code


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_run_ends_by_the_table_and_goes_on_when_the_provider_is_itself_again(
    tmp_path: Path, seed: int
) -> None:
    """
    Twice with what it says, then without; nothing that was written stands in the way.
    """
    (tmp_path / "a.png").write_bytes(picture("png"))
    rows = make_rows(JOBS)
    rows[0]["control_image"] = str(tmp_path / "a.png")
    bench = Bench(tmp_path, settings=QUICK)
    manifest = bench.write(rows)
    async with provider(duration_s=1.0) as emulator:
        async with meddler(emulator.base_url, Odd(seed)) as base_url:
            odd = [await exit_of(bench, base_url, manifest) for _ in range(2)]
        last = await exit_of(bench, emulator.base_url, manifest)
    assert {*odd, last} <= set(ExitCode)
    assert last not in {ExitCode.ERROR, ExitCode.USAGE}
    lost = bench.query("SELECT count(*) FROM outputs WHERE state = 'wanted'")
    assert lost == [(0,)]


@pytest.mark.parametrize("value", [1e308, 1.7e15, -1, 10**30, "1e999", True, [1], None])
async def test_an_absurd_duration_or_cost_is_not_there(tmp_path: Path, value: object) -> None:
    """
    In polls and in the listing: the images are stored, and paid for at their price.
    """

    def absurd(answer: Passing) -> Passing:
        if not answer.is_poll:
            return answer
        return answer.with_json(
            {**answer.json(), "metrics": {"predict_time": value, "cost": value}}
        )

    bench = Bench(tmp_path)
    async with provider() as emulator, meddler(emulator.base_url, absurd) as base_url:
        summary = await bench.run(base_url, bench.write(make_rows(2)))
    assert summary.exit_code is ExitCode.DONE
    assert bench.query("SELECT DISTINCT run_time_us, cost FROM predictions") == [(None, 25_000)]


def echoing(answer: Passing) -> Passing:
    """The key wherever the provider can put it, but where its jobs could not go on."""
    if answer.is_file or not answer.key or not answer.body.startswith(b"{"):
        return answer
    told = answer.json()
    told |= {"message": f"done by {answer.key}", "logs": answer.key, "title": answer.key}
    if isinstance(told.get("output"), list):
        told["output"] = [f"{url}?meddled=/{answer.key}/a" for url in told["output"]]
    elif isinstance(told.get("output"), str):
        told["output"] = f"{told['output']}?meddled=/{answer.key}/a"
    return replace(
        answer.with_json(told), headers={**answer.headers, "X-Request-Id": f"r-{answer.key}"}
    )


def failing(answer: Passing) -> Passing:
    """As `echoing`, and every prediction fails with the key for its reason."""
    if not answer.is_poll:
        return echoing(answer)
    told = {**answer.json(), "status": "error", "output": None, "message": f"no {answer.key}"}
    return answer.with_json(told)


def in_the_path(answer: Passing) -> Passing:
    """Outputs lie in a folder that is called like the key."""
    if answer.is_file:
        return replace(answer, status=500)
    if not answer.is_poll or not answer.json().get("output"):
        return answer
    told = answer.json()
    return answer.with_json({**told, "output": [f"http://127.0.0.1:9/{answer.key}/a.webp"]})


@pytest.mark.parametrize("echo", [echoing, failing, in_the_path])
async def test_an_echoed_key_is_kept_nowhere(tmp_path: Path, echo: object) -> None:
    """
    Not in the ledger, its write-ahead log, a sidecar, an image or any other file of the dataset.
    """
    bench = Bench(tmp_path, settings={**QUICK, "sink": {"timeout": 0.2, "embed": True}})
    assert callable(echo)
    async with provider() as emulator, meddler(emulator.base_url, echo) as base_url:
        await bench.run(base_url, bench.write(make_rows(2)))
    kept = [path for path in bench.out.rglob("*") if path.is_file()]
    assert len(kept) > 1
    assert [path for path in kept if KEY.encode() in path.read_bytes()] == []


async def test_an_id_that_is_the_key_is_no_id(tmp_path: Path) -> None:
    """
    What was bought is not known by it: looked for, never bought again, and the key not kept.
    """

    def named(answer: Passing) -> Passing:
        if not answer.is_create:
            return answer
        return answer.with_json({**answer.json(), "predictionID": answer.key})

    bench = Bench(tmp_path)
    async with provider(dialect="docs") as emulator, meddler(emulator.base_url, named) as base_url:
        summary = await bench.run(base_url, bench.write(make_rows(2)))
        assert emulator.stats["created"] == 2
        assert emulator.stats["double_billed"] == 0
    assert summary.exit_code is ExitCode.DONE
    kept = [path for path in bench.out.rglob("*") if path.is_file()]
    assert [path for path in kept if KEY.encode() in path.read_bytes()] == []


async def test_long_headers_leave_no_create_unknown(tmp_path: Path) -> None:
    """
    A gateway's cookies and policies may be longer than a library's default allows.
    """

    def long(answer: Passing) -> Passing:
        return replace(answer, headers={**answer.headers, "X-Policy": "p" * 60_000})

    bench = Bench(tmp_path)
    async with provider() as emulator, meddler(emulator.base_url, long) as base_url:
        summary = await bench.run(base_url, bench.write(make_rows(2)))
        assert emulator.stats["created"] == 2
    assert summary.exit_code is ExitCode.DONE
    told = bench.query("SELECT count(*) FROM history WHERE became = 'unknown'")
    assert told == [(0,)]


async def test_one_id_for_every_create_stops_the_run_at_the_second(tmp_path: Path) -> None:
    """
    It did answer, so what the second bought is unknown, not absent: it is not bought again.
    """
    first: list[str] = []

    def the_same(answer: Passing) -> Passing:
        if not answer.is_create or answer.status != 200:
            return answer
        told = answer.json()
        name = next(field for field in ("predictionID", "id") if field in told)
        first.append(told[name])
        return answer.with_json({**told, name: first[0]})

    settings = {**QUICK, "limits": {"concurrent": 1}}
    bench = Bench(tmp_path, settings=settings)
    async with provider(duration_s=0.3) as emulator, meddler(emulator.base_url, the_same) as url:
        summary = await bench.run(url, bench.write(make_rows(4)))

    assert summary.exit_code is ExitCode.ERROR
    assert "the same id" in summary.reason
    assert len(first) == 2
    states = bench.query("SELECT state, count(*) FROM predictions GROUP BY state ORDER BY state")
    assert states == [("succeeded", 1), ("unknown", 1)]
