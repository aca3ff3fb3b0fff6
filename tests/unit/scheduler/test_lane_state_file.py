"""The state file of a lane: what one dataset's process leaves for the next one's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fluxbatch.infra.runtime import Timestamp
from fluxbatch.scheduler.lane_state_file import KeptCreate, LaneFile, kept_elsewhere

_NOON = Timestamp(datetime(2026, 3, 1, 12, tzinfo=UTC), "a-boot", 1_000.0)


@contextmanager
def _opened(folder: Path, dataset: str) -> Iterator[LaneFile]:
    with closing(LaneFile("account", dataset, f"/data/{dataset}", folder)) as file:
        yield file


def _only(folder: Path) -> KeptCreate:
    (kept,) = kept_elsewhere(folder, "second")
    return kept


def test_a_lost_create_still_explains_an_execution_after_its_slot_was_given_back(
    tmp_path: Path,
) -> None:
    with _opened(tmp_path, "first") as file:
        file.put(1, "left", _NOON)
    assert _only(tmp_path).holds_slot

    with _opened(tmp_path, "second") as file:
        file.free(1, "first")

    assert _only(tmp_path).is_unanswered
    assert not _only(tmp_path).holds_slot


def test_what_ran_and_has_ended_explains_nothing_any_more(tmp_path: Path) -> None:
    with _opened(tmp_path, "first") as file:
        file.put(1, "running", _NOON, provider_id="a-prediction")

    with _opened(tmp_path, "second") as file:
        file.free(1, "first")

    assert not _only(tmp_path).is_unanswered
    assert not _only(tmp_path).holds_slot


def test_its_own_dataset_may_learn_later_what_became_of_it(tmp_path: Path) -> None:
    with _opened(tmp_path, "first") as file:
        file.put(1, "left", _NOON)
    with _opened(tmp_path, "second") as file:
        file.free(1, "first")

    with _opened(tmp_path, "first") as file:
        file.put(1, "running", _NOON, provider_id="a-prediction")

    assert _only(tmp_path).holds_slot
    assert _only(tmp_path).provider_id == "a-prediction"


@pytest.mark.parametrize(("hours", "kept"), [(23, 1), (25, 0)])
def test_a_lost_create_is_remembered_for_a_day(tmp_path: Path, hours: int, kept: int) -> None:
    later = Timestamp(
        _NOON.utc + timedelta(hours=hours), _NOON.boot_id, _NOON.boot_s + 3_600 * hours
    )
    with _opened(tmp_path, "first") as file:
        file.put(1, "left", _NOON)
    with _opened(tmp_path, "second") as file:
        file.free(1, "first")
        file.forget_ended(later)

    assert len(kept_elsewhere(tmp_path, "second")) == kept
