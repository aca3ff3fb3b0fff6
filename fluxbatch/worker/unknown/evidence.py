"""The judgement by time alone: which execution may be which create, over plain values.

Owns the judgement where no input can be read. An execution is a create's where it was made
while that create was being asked for, and nothing else can explain it; what can be explained
in several ways is nobody's, and forbids buying again for everybody it may belong to. Knows
nothing of HTTP, the ledger or tasks. Source: docs/design/protocol.md 3.4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from fluxbatch.domain.job import PredictionId


@dataclass(frozen=True, slots=True)
class AcceptanceSpan:
    """When, by the provider's clock, a create can have been accepted."""

    create: int
    """Its number; below zero for another dataset's."""
    account: str
    """Empty: of any."""
    model: str
    """Empty: of any."""
    begin: datetime
    near: datetime | None
    """The end of the time in which an answer was waited for, and no other create left; None where
    that is anybody's guess."""
    late: datetime | None
    """The latest moment at which it can still have arrived; None: there is none."""
    is_hidden: bool = False
    """A crash hides whether it left: what is near to it may be its own, and need not be."""

    def is_near(self, one: Candidate) -> bool:
        if one.created is None or self.near is None:
            return False
        return self.begin <= one.created <= self.near and self._is_kin(one)

    def includes(self, one: Candidate) -> bool:
        """Whether it may be that execution at all."""
        if not self._is_kin(one):
            return False
        if one.created is None:
            return True
        return self.begin <= one.created and (self.late is None or one.created <= self.late)

    def _is_kin(self, one: Candidate) -> bool:
        """Whether it is of the same model, and in the listing of the same account."""
        return self.model in {"", one.model} and (
            not self.account or self.account not in one.not_listed_to
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """An execution that nobody is known to have made and whose input cannot be read."""

    provider_id: PredictionId
    model: str
    created: datetime | None
    not_listed_to: frozenset[str] = frozenset()
    """Accounts whose listing was read and does not have it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What time says of one create."""

    match: Candidate | None = None
    """The one execution that is it, if all that is listed are ours."""
    possible: tuple[Candidate, ...] = ()
    """Every execution that it may be, those near to it first; none: it is in no listing so far."""
    is_near: bool = False
    """The match was made while it was asked for."""


def findings(
    spans: Sequence[AcceptanceSpan], candidates: Sequence[Candidate]
) -> dict[int, Finding]:
    """What each create may be.

    An execution within the near time of a create is that create's, or of the few whose near
    times include it; only what is near to none, or one too many, may be a late arrival. That is
    the one create's that can explain it, where all others that could have an execution already.
    """
    groups = list(_groups(spans, candidates))
    sure = [(s, c) for s, c in groups if not all(span.is_hidden for span in s)]
    claimed = [one for s, c in sure if len(c) <= len(s) for one in c]
    loose = [one for one in candidates if one not in claimed]
    settled = {s[0].create: c[0] for s, c in sure if len(s) == len(c) == 1}
    near_ones = frozenset(settled)
    undecided = {span.create for s, c in sure for span in s if c} - near_ones
    _settle_late(spans, loose, settled, undecided)
    found = dict[int, Finding]()
    for span in spans:
        near = [c for s, near in groups if span in s for c in near]
        late = [c for c in loose if c not in near and span.includes(c)]
        possible = (*_nearest_first(span, near), *late)
        found[span.create] = Finding(
            settled.get(span.create), possible, is_near=span.create in near_ones
        )
    return found


def _settle_late(
    spans: Sequence[AcceptanceSpan],
    loose: Sequence[Candidate],
    settled: dict[int, Candidate],
    undecided: Collection[int],
) -> None:
    """Give each late arrival to the one create that can explain it, as long as that is found."""
    left = [one for one in loose if one.created is not None]
    while True:
        alone: dict[int, list[Candidate]] = {}
        for one in left:
            may = [s.create for s in spans if s.create not in settled and s.includes(one)]
            if len(may) == 1 and may[0] not in undecided:
                alone.setdefault(may[0], []).append(one)
        new = {create: found[0] for create, found in alone.items() if len(found) == 1}
        if not new:
            return
        settled |= new
        left = [one for one in left if one not in new.values()]


def _nearest_first(span: AcceptanceSpan, near: Sequence[Candidate]) -> list[Candidate]:
    return sorted(near, key=lambda one: abs((one.created or span.begin) - span.begin))


def _groups(
    spans: Sequence[AcceptanceSpan], candidates: Sequence[Candidate]
) -> Iterable[tuple[list[AcceptanceSpan], list[Candidate]]]:
    """Creates and executions near to each other, each group apart from all others."""
    left = list(spans)
    while left:
        group, near = [left.pop(0)], list[Candidate]()
        grew = True
        while grew:
            more = [c for c in candidates if c not in near and any(s.is_near(c) for s in group)]
            near += more
            joined = [s for s in left if any(s.is_near(c) for c in more)]
            group += joined
            left = [s for s in left if s not in joined]
            grew = bool(joined)
        yield group, near
