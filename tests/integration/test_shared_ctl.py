"""`fluxbatch ctl` on a run that several processes share: by its ledger, on a real PostgreSQL."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from fluxbatch import Dataset
from fluxbatch.dataset.address import dataset_at
from fluxbatch.dataset.control_client import control
from fluxbatch.errors import ConfigError
from tests.kills.sharing import SharedRun, shared_run
from tests.kills.sharing import emulator as emulator
from tests.report.live_server import serving
from tests.report.test_run_buttons import pressed
from tests.support.commands import fluxbatch
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.machines

_MANY = 600
"""More jobs than are made while a run is told something."""


shared = shared_run(accounts=4)


def ctl(run: SharedRun, command: str, value: str = "", **how: Any) -> dict[str, Any]:
    return control(dataset_at(run.address), command, value, **how)


def at_work(run: SharedRun, workers: int, jobs: int, *flags: str) -> None:
    """Each of them listens, and one at least creates."""
    run.flags = flags
    run.write(jobs)
    for worker in range(workers):
        run.start(worker)
    run.until(lambda: created(run) > 0)
    run.until(lambda: listeners(run) == workers)


def listeners(run: SharedRun) -> int:
    """How many of the workers that were started and not killed have told how they stand."""
    told = {pid for (pid,) in run.rows("SELECT pid FROM workers WHERE obeys IS NOT NULL")}
    return len(told & {process.pid for process in run.workers.values()})


def holders(run: SharedRun) -> int:
    """How many workers that live hold a lane."""
    rows = run.rows(
        "SELECT count(DISTINCT holder) FROM fluxbatch.lanes JOIN workers ON id = holder"
        " WHERE dataset = current_schema() AND account NOT LIKE 'import of %'"
        " AND expires_at > clock_timestamp()"
        " AND seen_at > clock_timestamp() - interval '15 s'"
    )
    return int(rows[0][0])


def created(run: SharedRun) -> int:
    return int(run.emulator.stats()["created"])


def intents_since(run: SharedRun, change: str) -> int:
    """Of the run's latest change so called."""
    ((count,),) = run.rows(
        "SELECT count(*) FROM history WHERE event = 'intent committed' AND seq >"
        f" (SELECT max(seq) FROM history WHERE event = 'control: {change}')"
    )
    return int(count)


def test_a_pause_holds_for_all_workers_whoever_dies_or_joins(shared: SharedRun) -> None:
    """
    One of two is killed in the pause and another joins: nothing is intended after the line of the
    pause and nothing leaves, until it is resumed; then every job is made once.
    """
    at_work(shared, 2, 120)
    paused = ctl(shared, "pause", reason="lunch")
    before = created(shared)
    assert (paused["changed"], paused["paused"]) == (True, True)
    assert [worker["obeys"] for worker in paused["workers"]] == [True, True]
    shared.until(lambda: holders(shared) == 2)
    assert not ctl(shared, "pause")["changed"]
    shared.kill(0)
    shared.start(2)
    shared.until(lambda: listeners(shared) == 2)
    shared.until(lambda: len(shared.rows("SELECT 1 FROM workers")) == holders(shared) == 2)
    assert ctl(shared, "show")["paused"]
    assert "has changed this run: paused: lunch" in shared.log(2).read_text()
    assert created(shared) == before < 120
    assert intents_since(shared, "paused") == 0
    assert "paused: lunch" in fluxbatch("status", shared.address).out
    assert ctl(shared, "resume")["changed"]
    assert shared.finish() == [0, 0], shared.logs()
    assert shared.check(120)["billed"] == 120


def test_a_create_that_is_ready_when_the_run_is_paused_does_not_leave(shared: SharedRun) -> None:
    """
    Twelve pauses in the thick of it, with two workers: once a pause is answered, nothing leaves.
    """
    at_work(shared, 2, 150)
    for _ in range(12):
        ctl(shared, "pause")
        before = created(shared)
        ctl(shared, "show")
        assert created(shared) == before
        assert intents_since(shared, "paused") == 0
        ctl(shared, "resume")
    assert shared.finish() == [0, 0], shared.logs()
    assert shared.check(150)["billed"] == 150


def test_a_pause_holds_for_a_worker_that_stands_still(shared: SharedRun) -> None:
    """
    It cannot answer, and is named; once it goes on, what it was about to send is too old to leave.
    """
    at_work(shared, 1, 200)
    shared.signal(0, signal.SIGSTOP)
    paused = ctl(shared, "pause")
    assert not any(worker["obeys"] for worker in paused["workers"])
    before = created(shared)
    shared.signal(0, signal.SIGCONT)
    # The server may have ended its transaction: then it joins anew.
    shared.until(lambda: shared.rows("SELECT obeys FROM workers") == [(1,)])
    assert created(shared) == before < 200
    assert ctl(shared, "resume")["changed"]
    assert shared.finish() == [0], shared.logs()
    assert shared.check(200)["billed"] == 200


def test_the_page_steers_all_workers(shared: SharedRun) -> None:
    """
    By the same buttons as where one process works on a folder.
    """
    at_work(shared, 2, _MANY)
    with serving(shared.address, "--control", cache=shared.folder) as page:
        assert pressed(page, "pause")[1]["paused"]
        before = created(shared)
        assert ctl(shared, "show")["paused"]
        assert pressed(page, "budget", "9.5")[1]["budget_usd"] == "9.50"
        assert pressed(page, "stop")[1]["stopping"]
    assert shared.finish() == [4, 4], shared.logs()
    assert created(shared) == before


def test_a_pause_outlives_every_worker(shared: SharedRun) -> None:
    """
    Whoever starts the same command again goes on where the run was: paused, and says so.
    """
    at_work(shared, 1, 60)
    ctl(shared, "pause", reason="the power is off")
    shared.kill(0)
    before = created(shared)
    shared.rows("DELETE FROM workers RETURNING id")
    with pytest.raises(ConfigError, match="no run is at work"):
        ctl(shared, "resume")
    shared.start(1)
    shared.until(lambda: holders(shared) == 1)
    assert created(shared) == before
    assert "fluxbatch ctl has changed this run: paused: the power is off" in (
        shared.log(1).read_text()
    )
    assert ctl(shared, "resume")["changed"]
    assert shared.finish() == [0], shared.logs()
    assert shared.check(60)["billed"] == 60


def test_who_joins_later_keeps_a_changed_cap(shared: SharedRun) -> None:
    """
    The books have it alone: not the settings, which all of them share.
    """
    at_work(shared, 1, 200, "--budget", "4.00")
    ctl(shared, "pause")
    lowered = ctl(shared, "budget", "1.00", reason="too dear")
    assert (lowered["changed"], lowered["budget_usd"]) == (True, "1.00")
    assert not ctl(shared, "budget", "1.00")["changed"]
    shared.start(1)
    shared.until(lambda: listeners(shared) == 2)
    assert ctl(shared, "show")["budget_usd"] == "1.00"
    assert ctl(shared, "budget", "1.50")["changed"]
    shared.start(2)
    shared.until(lambda: listeners(shared) == 3)
    ctl(shared, "resume")
    assert shared.finish() == [4, 4, 4], shared.logs()
    assert shared.emulator.stats()["billed"] == 60
    told = fluxbatch("status", shared.address).out
    assert "budget $1.00: too dear" in told
    assert "budget $1.50" in told


def test_a_budget_below_what_is_spent_stops_all_also_in_a_pause(shared: SharedRun) -> None:
    at_work(shared, 2, _MANY)
    shared.until(lambda: shared.emulator.stats()["billed"] > 1)
    ctl(shared, "pause")
    lowered = ctl(shared, "budget", "0.01")
    assert "the budget of $0.01 per run has no room" in lowered["stopping"]
    assert shared.finish() == [4, 4], shared.logs()
    assert shared.emulator.stats()["billed"] == created(shared)


def test_a_stop_is_everybodys_with_its_reason(shared: SharedRun) -> None:
    at_work(shared, 2, _MANY)
    dry = ctl(shared, "stop", dry_run=True)
    assert (dry["changed"], dry["stopping"]) == (True, "")
    with Dataset.open(shared.address).sync.running() as run:
        assert run.pause("a look at it")["paused"]
        assert run.limits(slots=7)[0]["changed"]
        assert not run.resume()["paused"]
    ended = fluxbatch("ctl", shared.address, "stop", "--reason", "they are too dark", "--json")
    assert (ended.code, ended.object["changed"]) == (0, True), ended.err
    assert intents_since(shared, "stopped") == 0
    assert shared.finish() == [4, 4], shared.logs()
    assert "they are too dark" in fluxbatch("status", shared.address).out
    with pytest.raises(ConfigError, match="no run is at work"):
        ctl(shared, "show")


def test_limits_and_lanes_are_changed_for_whoever_has_the_lane(shared: SharedRun) -> None:
    """
    The lane is off for a worker that takes it over as well, and on again all jobs are made.
    """
    at_work(shared, 1, 150)
    label = "key-1"
    assert ctl(shared, "limits.slots", "3")["changed"]
    assert not ctl(shared, "limits.slots", "3")["changed"]
    assert ctl(shared, "limits.creates", "90", dry_run=True)["changed"]
    off = ctl(shared, "lane", f"{label} off", reason="too fast")
    assert {lane["health"] for lane in off["lanes"] if lane["label"] == label} == {"off"}
    shared.start(1)
    shared.until(lambda: holders(shared) == 2)
    show = ctl(shared, "show")
    assert [lane["slots"] for lane in show["lanes"]] == [3, 3, 3, 3]
    assert shared.rows(
        "SELECT count(*) FROM history JOIN predictions ON predictions.seq = subject_seq"
        " WHERE event = 'intent committed' AND key_label = 'key-1' AND history.seq >"
        " (SELECT max(seq) FROM history WHERE event = 'control: lane key-1 off')"
    ) == [(0,)]
    assert ctl(shared, "limits.slots", "10")["changed"]
    assert ctl(shared, "lane", f"{label} on")["changed"]
    assert shared.finish() == [0, 0], shared.logs()
    assert shared.check(150)["billed"] == 150


def test_two_who_ask_at_once_follow_each_other(shared: SharedRun) -> None:
    """
    Each change is made on top of the one before, and each is a line of the ledger.
    """
    at_work(shared, 2, _MANY)
    asked = [("pause", ""), *(("limits.slots", str(2 + n)) for n in range(6)), ("budget", "9.00")]
    with ThreadPoolExecutor(len(asked)) as people:
        answers = list(people.map(lambda words: ctl(shared, *words), asked))
    assert all(answer["changed"] for answer in answers)
    ((number,),) = shared.rows("SELECT control_number FROM run_gates")
    lines = shared.rows("SELECT event FROM history WHERE event LIKE 'control: %' ORDER BY seq")
    assert number == len(lines) == len(asked)
    show = ctl(shared, "show")
    last = next(words for (words,) in reversed(lines) if "limits.slots" in words)
    assert (show["paused"], show["budget_usd"]) == (True, "9.00")
    assert {f"control: limits.slots {lane['slots']}" for lane in show["lanes"]} == {last}
    ctl(shared, "stop")
    assert shared.finish() == [4, 4], shared.logs()


def test_who_may_only_read_sees_how_it_stands_and_changes_nothing(
    shared: SharedRun, server: PostgresServer
) -> None:
    at_work(shared, 1, _MANY)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE looker LOGIN")
        connection.execute(f'GRANT USAGE ON SCHEMA "{shared.dataset}" TO looker')
        connection.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA "{shared.dataset}" TO looker')
    address = shared.address.replace("postgres@", "looker@")
    shown = fluxbatch("ctl", address, "show")
    assert (shown.code, "worker on" in shown.out, "lane key-0" in shown.out) == (0, True, True)
    assert fluxbatch("ctl", address, "pause", "--dry-run", "--json").object["changed"]
    refused = fluxbatch("ctl", address, "pause")
    assert refused.code == 2
    assert "permission denied" in refused.err
    assert not ctl(shared, "show")["paused"]


def test_what_cannot_be_done_is_refused(shared: SharedRun) -> None:
    at_work(shared, 1, _MANY)
    for command, value, said in (
        ("budget", "much", "budget 'much'"),
        ("limits.slots", "0", "whole number"),
        ("limits.creates", "9" * 30, "whole number"),
        ("lane", "nobody off", "name a lane"),
        ("lane", "key-0", "on or off"),
    ):
        with pytest.raises(ConfigError, match=said):
            ctl(shared, command, value)
    refused = fluxbatch("ctl", shared.address, "add-key", "night", "env:K", env={"K": "sk-secret"})
    assert (refused.code, "start one more worker" in refused.err) == (2, True)
    assert shared.rows("SELECT control_number FROM run_gates") == [(0,)]


def test_a_detached_run_answers_once_it_is_at_work(shared: SharedRun) -> None:
    """
    Beside another worker of the same run.
    """
    at_work(shared, 1, 150)
    began = fluxbatch(
        "run", shared.folder / f"{shared.dataset}.jsonl", "--out", shared.address, "--run",
        shared.name, "--base-url", shared.emulator.base_url, "--json", "--detach",
        env=shared.environment(1),
    )  # fmt: skip
    assert (began.code, began.object.get("run_id")) == (0, shared.name), (began.out, began.err)
    assert began.object["pid"] in {one["pid"] for one in ctl(shared, "show")["workers"]}
    assert shared.finish() == [0], shared.logs()
    watched = fluxbatch("watch", shared.address)
    assert "150 in all: 150 done" in watched.out
    assert shared.check(150)["billed"] == 150
