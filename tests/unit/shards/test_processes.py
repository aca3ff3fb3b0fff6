"""Shards over processes: in order, errors as they were, a death borne once, nobody left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fluxbatch.errors import ConfigError
from fluxbatch.shards.pool import INLINE, ShardLost, map_shards
from fluxbatch.shards.processes import ProcessPool, process_count, process_pool
from tests.unit.shards import work

ENDS_S = 60.0
"""A bound for what takes a moment."""

BESIDE = """
import sys
from pathlib import Path
from fluxbatch.shards.pool import map_shards
from fluxbatch.shards.processes import ProcessPool
from tests.unit.shards import work
with ProcessPool(2) as pool:
    list(map_shards(pool, work.wait_for_ever, [Path(sys.argv[1])] * 2))
"""


def test_results_come_in_the_order_of_the_shards() -> None:
    with ProcessPool(2) as pool:
        assert list(map_shards(pool, work.double, range(20))) == [2 * n for n in range(20)]


def test_one_process_is_the_caller_s_own() -> None:
    with process_pool(1) as pool:
        assert pool is INLINE
        assert list(map_shards(pool, lambda number: number + 1, [1, 2])) == [2, 3]


def test_shards_are_worked_on_side_by_side_and_the_first_stays_the_first(tmp_path: Path) -> None:
    """The first ends only once the second is at work."""
    os.mkfifo(pipe := tmp_path / "pipe")
    shards = [work.Pipe(pipe, is_waited_for=True), work.Pipe(pipe, is_waited_for=False)]

    with ProcessPool(2) as pool:
        assert list(map_shards(pool, work.meet, shards)) == [True, False]


def test_an_error_is_raised_as_it_was_in_its_turn() -> None:
    done: list[int] = []

    with ProcessPool(2) as pool, pytest.raises(ConfigError, match="no twos"):
        done.extend(map_shards(pool, work.refuse, [0, 1, 2, 3]))
    assert done == [0, 1]

    with ProcessPool(2) as pool, pytest.raises(RuntimeError, match="OddError: odd"):
        list(map_shards(pool, work.fail_oddly, [1]))


def test_a_process_that_dies_is_replaced_and_its_shard_tried_again(tmp_path: Path) -> None:
    with ProcessPool(2) as pool:
        assert list(map_shards(pool, work.die_once, [tmp_path / "died"])) == ["done"]


def test_a_shard_whose_processes_all_die_is_an_error_that_says_so() -> None:
    with ProcessPool(2) as pool:
        with pytest.raises(ShardLost, match=r"ended by signal 9.*fewer --processes"):
            list(map_shards(pool, work.die, [1]))
        assert list(map_shards(pool, work.double, [4])) == [8]


def test_an_error_ends_what_is_at_work_beside_it(tmp_path: Path) -> None:
    """Whoever waited for it to end by itself would wait for ever."""
    os.mkfifo(pipe := tmp_path / "pipe")

    with ProcessPool(2) as pool, pytest.raises(ConfigError, match="no pipe"):
        list(map_shards(pool, work.refuse_or_wait, [tmp_path, pipe]))


@pytest.mark.skipif(sys.platform != "linux", reason="it is watched by a handle of Linux")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_processes_end_with_the_one_that_began_them(how: signal.Signals, tmp_path: Path) -> None:
    """However that one ends: killed, by Ctrl-C, by whoever stops a service."""
    os.mkfifo(pipe := tmp_path / "pipe")
    command = [sys.executable, "-c", BESIDE, str(pipe)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as beside:
        numbers: list[int] = []
        while len(numbers) < 2:
            numbers += [int(line) for line in pipe.read_text().split()]
        handles = [os.pidfd_open(number) for number in numbers]

        beside.send_signal(how)

        assert beside.wait(ENDS_S) == -how
        for handle in handles:
            assert select.select([handle], [], [], ENDS_S)[0]
            os.close(handle)


@pytest.mark.parametrize(("given", "count"), [(1, 1), ("3", 3), (256, 256)])
def test_a_number_of_processes_is_read(given: int | str, count: int) -> None:
    assert process_count(given) == count
    assert 1 <= process_count("auto") <= 256


@pytest.mark.parametrize("given", [0, -1, 257, "0", "1,5", "many", "1.5", True, 2.0, "٣", " "])
def test_a_number_that_cannot_be_meant_is_refused(given: int | str) -> None:
    with pytest.raises(ConfigError, match="--processes"):
        process_count(given)
