"""The circuit breaker: the failures that stop a run."""

from __future__ import annotations

import pytest

from fluxbatch.domain.failure_cap import FailureCap
from fluxbatch.domain.job import FailureClass
from fluxbatch.errors import ConfigError, ExitCode
from fluxbatch.events import Events
from fluxbatch.worker.circuit_breaker import CircuitBreaker
from fluxbatch.worker.stop import Stop


def _guard(cap: str = "", identical: int = 5) -> tuple[CircuitBreaker, Stop]:
    stop = Stop(Events())
    return CircuitBreaker(stop, FailureCap.parse(cap) if cap else None, identical), stop


def _stopped(stop: Stop) -> bool:
    return stop.code is ExitCode.STOPPED


def test_more_failures_than_allowed_stop_the_run() -> None:
    """
    Two may fail; the third is one too many, and the reason says how many of how many.
    """
    guard, stop = _guard("2")
    for failed in (True, False, True, False):
        guard.job_ended(failed=failed)
    assert not _stopped(stop)

    guard.job_ended(failed=True)
    assert _stopped(stop)
    assert "3 of 5 jobs failed" in stop.reason


def test_a_share_is_judged_only_once_enough_jobs_have_ended() -> None:
    """
    One failure among the first two is no 50 % of anything.
    """
    guard, stop = _guard("10%")
    guard.job_ended(failed=True)
    for _ in range(15):
        guard.job_ended(failed=False)
    assert not _stopped(stop)

    for _ in range(5):
        guard.job_ended(failed=True)
    assert _stopped(stop)


def test_no_failure_at_all_may_be_demanded() -> None:
    """
    `--max-failures 0` stops at the first.
    """
    guard, stop = _guard("0")
    guard.job_ended(failed=True)

    assert _stopped(stop)


@pytest.mark.parametrize("text", ["many", "5.5", "-1", "101%", "%", "٣"])
def test_what_is_neither_a_number_nor_a_share_is_refused(text: str) -> None:
    """
    The message shows both forms.
    """
    with pytest.raises(ConfigError, match="write 50 or 5%"):
        FailureCap.parse(text)


def test_the_same_failure_over_and_over_opens_the_circuit() -> None:
    """
    Ids and numbers in the words make no difference.
    """
    guard, stop = _guard()
    for number in range(5):
        guard.attempt_failed(FailureClass.PROVIDER_ERROR, f"GPU {number} is out of memory")

    assert _stopped(stop)
    assert "5 predictions in a row failed alike (provider_error: GPU 4" in stop.reason


def test_a_success_or_another_failure_closes_it_again() -> None:
    """
    Only an unbroken row of the same says that the next will fail as well.
    """
    guard, stop = _guard()
    for _ in range(4):
        guard.attempt_failed(FailureClass.TIMEOUT, "timed out")
    guard.attempt_succeeded()
    for _ in range(4):
        guard.attempt_failed(FailureClass.TIMEOUT, "timed out")
    guard.attempt_failed(FailureClass.FILTERED, "nsfw")

    assert not _stopped(stop)


def test_the_gravest_reason_to_stop_stays() -> None:
    """
    A full disk is told even where a budget had stopped the run before.
    """
    stop = Stop(Events())
    stop(ExitCode.STOPPED, "budget")
    stop(ExitCode.ERROR, "disk full")
    stop(ExitCode.NO_KEY, "no key")

    assert (stop.code, stop.reason) == (ExitCode.ERROR, "disk full")
