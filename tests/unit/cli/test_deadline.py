"""`--max-duration` and `--deadline` as one moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fluxbatch.cli.deadline import ends_at
from fluxbatch.errors import ConfigError

_NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)


def test_neither_flag_means_no_end() -> None:
    """
    A run without them takes as long as it takes.
    """
    assert ends_at("", "", _NOW) is None


@pytest.mark.parametrize(("text", "hours"), [("6h", 6.0), ("90m", 1.5), ("1800", 0.5)])
def test_a_duration_counts_from_now(text: str, hours: float) -> None:
    """
    With a unit, or plain seconds.
    """
    assert ends_at(text, "", _NOW) == _NOW + timedelta(hours=hours)


def test_a_time_of_day_is_the_next_one_here() -> None:
    """
    At 12:30 a deadline of five minutes ago is tomorrow's.
    """
    here = _NOW.astimezone()
    soon, gone = here + timedelta(minutes=5), here - timedelta(minutes=5)

    assert ends_at("", f"{soon:%H:%M}", _NOW) == soon.replace(second=0, microsecond=0)
    assert ends_at("", f"{gone:%H:%M}", _NOW) == gone + timedelta(days=1)


def test_the_earlier_of_both_counts() -> None:
    """
    Whichever comes first.
    """
    assert ends_at("10m", "2026-11-23T12:00+00:00", _NOW) == _NOW + timedelta(minutes=10)


@pytest.mark.parametrize("text", ["25:00", "soon", "6"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """
    The message shows how to write one.
    """
    with pytest.raises(ConfigError, match="06:00"):
        ends_at("", text, _NOW)


def test_a_moment_that_has_passed_is_refused() -> None:
    """
    It would buy nothing, which nobody means.
    """
    with pytest.raises(ConfigError, match="has passed"):
        ends_at("", "2026-11-22T12:00+00:00", _NOW)


def test_what_is_no_duration_is_refused() -> None:
    """
    The flag is named.
    """
    with pytest.raises(ConfigError, match="--max-duration"):
        ends_at("soon", "", _NOW)
