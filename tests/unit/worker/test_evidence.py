"""The judgement by time of creates without an answer, over plain values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fluxbatch.domain.job import PredictionId
from fluxbatch.worker.unknown.evidence import AcceptanceSpan, Candidate, findings

_BEGAN = datetime(2026, 11, 26, 12, tzinfo=UTC)


def _at(seconds: float) -> datetime:
    return _BEGAN + timedelta(seconds=seconds)


def _span(
    create: int, begin: float, near: float | None = None, late: float = 60.0
) -> AcceptanceSpan:
    near_to = _at(begin + near) if near is not None else None
    return AcceptanceSpan(create, "", "flux", _at(begin), near_to, _at(begin + late))


def _made(at: float, name: str = "") -> Candidate:
    return Candidate(PredictionId(name or f"made-{at:g}"), "flux", _at(at))


def test_the_one_execution_made_while_a_create_was_asked_for_is_that_create() -> None:
    """
    Though an earlier one could still have arrived then: that is the rarer story by far.
    """
    found = findings([_span(1, 0, near=0.2), _span(2, 10, near=0.2)], [_made(10.1)])

    assert found[2].match == _made(10.1)
    assert found[1].match is None
    assert found[1].possible == ()


def test_two_executions_in_the_near_time_of_one_create_are_nobodys() -> None:
    """
    Either may be it, and the other an earlier create's.
    """
    made = [_made(10.1), _made(10.15)]

    found = findings([_span(1, 0, near=0.2), _span(2, 10, near=0.2)], made)

    assert found[1].match is found[2].match is None
    assert set(found[1].possible) == set(found[2].possible) == set(made)


def test_creates_that_were_asked_for_at_once_cannot_be_told_apart() -> None:
    """
    As many executions as creates, and still nobody knows which is whose.
    """
    found = findings([_span(1, 0, near=1.0), _span(2, 0.5, near=1.0)], [_made(0.7), _made(0.8)])

    assert found[1].match is found[2].match is None


def test_a_late_arrival_is_the_only_creates_that_can_explain_it() -> None:
    """
    Near to none, and one create alone has no execution and may still arrive.
    """
    alone = findings([_span(1, 0, near=0.2)], [_made(25.0)])
    either = findings([_span(1, 0, near=0.2), _span(2, 10, near=0.2)], [_made(25.0)])

    assert alone[1].match == _made(25.0)
    assert not alone[1].is_near
    assert either[1].match is either[2].match is None
    assert either[1].possible == either[2].possible == (_made(25.0),)


def test_what_has_its_execution_explains_no_other() -> None:
    """
    One by one: the first settles what the second can be.
    """
    spans = [_span(1, 0), _span(2, 10)]  # hidden by two crashes

    found = findings(spans, [_made(0.1), _made(10.1)])

    assert found[1].match == _made(0.1)
    assert found[2].match == _made(10.1)


def test_what_a_crash_hides_claims_nothing_that_may_be_anothers() -> None:
    """
    It may never have left; the late arrival of the one before it would be taken for it.
    """
    found = findings([_span(1, 0, near=0.2), _span(2, 10)], [_made(10.1)])

    assert found[1].match is found[2].match is None
    assert found[1].possible == found[2].possible == (_made(10.1),)


def test_what_a_crash_hides_may_be_near_to_what_another_lane_asked_for() -> None:
    """
    Two lanes at once: one create never arrived, the other was killed before its answer.
    """
    hidden = AcceptanceSpan(2, "", "flux", _at(10), _at(17), _at(70), is_hidden=True)

    found = findings([_span(1, 10, near=0.2), hidden], [_made(10.1)])

    assert found[1].match is found[2].match is None
    assert found[1].possible == found[2].possible == (_made(10.1),)


def test_an_execution_outside_every_span_is_not_ours() -> None:
    """
    Before it left, after it can have arrived, of another model, or listed to others alone.
    """
    span = AcceptanceSpan(1, "team", "flux", _at(0), _at(0.2), _at(60))
    others = [
        _made(-1),
        _made(61),
        Candidate(PredictionId("other"), "another-model", _at(0.1)),
        Candidate(PredictionId("theirs"), "flux", _at(0.1), frozenset({"team"})),
    ]

    assert findings([span], others)[1].possible == ()


def test_an_execution_without_a_date_may_be_anybodys() -> None:
    """
    It forbids buying again, and is never adopted.
    """
    undated = Candidate(PredictionId("undated"), "flux", None)

    found = findings([_span(1, 0, near=0.2)], [undated])

    assert found[1].match is None
    assert found[1].possible == (undated,)
