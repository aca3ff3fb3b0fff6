"""The reports of the maintenance verbs, for the command line and as JSON.

Owns their fields and each verb's exit code.
Source of the codes: docs/guide/exit-codes.md "Exit codes".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from fluxbatch.domain.job import PredictionId
from fluxbatch.domain.money import ZERO, DollarsOf, DollarsOrNone, Micros, as_usd
from fluxbatch.errors import ExitCode
from fluxbatch.ledger.queries.audit import Drift
from fluxbatch.ledger.queries.totals import Totals

CancelledEnd = tuple[ExitCode, str]
_NAMED = 1_000
"""Ids and paths at most in a report."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """An execution the provider billed that no prediction of the ledger bears."""

    provider_id: PredictionId
    job: str
    """The job's id in hex: its input is equal."""
    cost: Micros
    created_at: str
    was_adopted: bool = False

    cost_usd = DollarsOf("cost")


@dataclass(frozen=True, slots=True)
class Choice:
    """An execution that a create may be."""

    provider_id: PredictionId
    created_at: str
    status: str
    cost: Micros | None
    image: str
    """Where its first image is, without what its address may carry in secrets."""

    cost_usd = DollarsOrNone("cost")


@dataclass(frozen=True, slots=True)
class Undecided:
    """A create that stays unknown."""

    job: str
    sent_at: str
    choices: tuple[Choice, ...]


@dataclass(slots=True)
class MaintenanceReport(ABC):
    """What all verbs report, beside their own findings."""

    interrupted: CancelledEnd | None = None
    """Why the work was cut short; None where it was not."""
    seconds: float = 0.0

    @abstractmethod
    def outcome(self) -> CancelledEnd:
        """How work that was not cut short has ended."""

    @abstractmethod
    def findings(self) -> dict[str, object]:
        """The verb's own part of the JSON."""

    def ended(self) -> CancelledEnd:
        return self.interrupted or self.outcome()

    def as_json(self) -> dict[str, object]:
        code, reason = self.ended()
        return {
            "exit": int(code),
            "reason": reason,
            **self.findings(),
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class ReconcileReport(MaintenanceReport):
    """What `reconcile` found and did."""

    books: str | None = None
    """How the budgets differ from the predictions; None: they agree."""
    found: int = 0
    absent: int = 0
    unknown: int = 0
    running: int = 0
    settled: int = 0
    settled_up: Micros = ZERO
    settled_down: Micros = ZERO
    recovered: int = 0
    """Predictions that had failed for us and succeeded all the same."""
    not_alive: int = 0
    """Timed out or lost, read again: `retry` may have them now."""
    still_alive: int = 0
    """Timed out for us, and still at work at the provider."""
    fetched: int = 0
    unfetched: int = 0
    orphans: list[Orphan] = field(default_factory=list)
    undecided: list[Undecided] = field(default_factory=list)
    """Creates that stay unknown, with what each may be."""
    missing: list[PredictionId] = field(default_factory=list)
    missing_cost: Micros = ZERO
    strangers: int = 0
    drift: Sequence[Drift] = ()
    unread: list[str] = field(default_factory=list)
    """Why a part could not be audited."""
    unaudited: int = 0
    """Predictions that no key of this invocation may ask about."""
    no_key: bool = False
    totals: Totals | None = None

    settled_up_usd = DollarsOf("settled_up")
    settled_down_usd = DollarsOf("settled_down")
    missing_cost_usd = DollarsOf("missing_cost")

    @property
    def left_orphans(self) -> list[Orphan]:
        return [orphan for orphan in self.orphans if not orphan.was_adopted]

    def outcome(self) -> CancelledEnd:
        """What is known to be wrong first, then what could not be learned."""
        left = len(self.left_orphans)
        if self.books is not None:
            return ExitCode.MISMATCH, self.books
        if left or self.missing:
            orphans = f"{left} paid at the provider and unknown here" * bool(left)
            missing = f"{len(self.missing)} known here and unknown there" * bool(self.missing)
            return ExitCode.MISMATCH, ", ".join(filter(None, (orphans, missing)))
        if self.unknown:
            return ExitCode.UNKNOWN_LEFT, f"the outcome of {self.unknown} creates is unknown"
        if self.no_key:
            return ExitCode.NO_KEY, "not everything could be audited: no key may ask about it"
        if self.unread:
            return ExitCode.ERROR, f"not everything could be audited: {self.unread[0]}"
        return ExitCode.DONE, "the ledger and the provider agree"

    def findings(self) -> dict[str, object]:
        return {
            "unknown": {"found": self.found, "absent": self.absent, "left": self.unknown},
            "running": self.running,
            "settled": {
                "predictions": self.settled,
                "up_usd": as_usd(self.settled_up),
                "down_usd": as_usd(self.settled_down),
            },
            "read_again": {
                "recovered": self.recovered,
                "not_alive": self.not_alive,
                "still_alive": self.still_alive,
            },
            "images": {"fetched": self.fetched, "left": self.unfetched},
            "orphans": [
                {
                    "prediction": orphan.provider_id,
                    "job": orphan.job,
                    "cost_usd": as_usd(orphan.cost),
                    "created_at": orphan.created_at,
                    "adopted": orphan.was_adopted,
                }
                for orphan in self.orphans[:_NAMED]
            ],
            "undecided": [_undecided_json(one) for one in self.undecided[:_NAMED]],
            "missing": {
                "predictions": len(self.missing),
                "cost_usd": as_usd(self.missing_cost),
                "ids": self.missing[:_NAMED],
            },
            "strangers": self.strangers,
            "price_drift": [
                {
                    "price_usd": as_usd(drift.price),
                    "cost_usd": as_usd(drift.cost),
                    "predictions": drift.predictions,
                }
                for drift in self.drift
            ],
            "unaudited": {"predictions": self.unaudited, "reasons": self.unread},
            "cost_usd": _costs(self.totals),
        }


def _undecided_json(one: Undecided) -> dict[str, object]:
    return {
        "job": one.job,
        "sent_at": one.sent_at,
        "executions": [
            {
                "prediction": choice.provider_id,
                "created_at": choice.created_at,
                "status": choice.status,
                "cost_usd": as_usd(choice.cost) if choice.cost is not None else None,
                "image": choice.image or None,
            }
            for choice in one.choices
        ],
    }


@dataclass(slots=True)
class RepairReport(MaintenanceReport):
    """What `repair` found and did."""

    checked: int = 0
    missing: list[str] = field(default_factory=list)
    """Paths, relative to the dataset."""
    corrupt: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Paths that are none of an image of the dataset, or lead out of it: not opened."""
    lost: int = 0
    """Outputs that earlier runs could not fetch."""
    fetched: int = 0
    unfetched: int = 0
    no_key: bool = False
    strays: list[str] = field(default_factory=list)
    """Files in `images/` that the ledger does not name; left alone."""
    sidecars: int = 0
    """Written anew."""
    unwritten: list[str] = field(default_factory=list)
    """Why sidecars could not be."""

    @property
    def broken(self) -> int:
        return len(self.missing) + len(self.corrupt) + len(self.refused)

    def outcome(self) -> CancelledEnd:
        if self.no_key:
            return ExitCode.NO_KEY, f"no API key to fetch {_images(self.unfetched)} with"
        if self.unfetched:
            return ExitCode.SOME_FAILED, f"{_images(self.unfetched)} could not be fetched"
        if self.unwritten:
            return ExitCode.ERROR, self.unwritten[0]
        if self.broken or self.lost:
            found = f"{_images(self.broken + self.lost)} found missing or damaged"
            return ExitCode.DONE, f"{found}, {self.fetched:,} fetched: every file is whole now"
        return ExitCode.DONE, "every file is whole"

    def findings(self) -> dict[str, object]:
        return {
            "files": {
                "checked": self.checked,
                "missing": len(self.missing),
                "corrupt": len(self.corrupt),
                "refused": len(self.refused),
                "lost_before": self.lost,
            },
            "images": {"fetched": self.fetched, "left": self.unfetched},
            "sidecars": {"written": self.sidecars, "failed": len(self.unwritten)},
            "strays": {"files": len(self.strays), "paths": self.strays[:_NAMED]},
        }


@dataclass(slots=True)
class CancelReport(MaintenanceReport):
    """What `cancel` asked for and what came of it."""

    asked: int = 0
    refused: list[str] = field(default_factory=list)
    """Why some could not be asked for."""
    spared: int = 0
    """Found by their input or time alone: perhaps a colleague's, so never cancelled."""
    cancelled: int = 0
    finished: int = 0
    """Succeeded anyway; kept."""
    failed: int = 0
    running: int = 0
    unknown: int = 0
    fetched: int = 0
    unfetched: int = 0
    no_key: bool = False
    totals: Totals | None = None

    def outcome(self) -> CancelledEnd:
        if self.no_key:
            return ExitCode.NO_KEY, "predictions run that no key may ask about"
        if self.unknown:
            return ExitCode.UNKNOWN_LEFT, f"the outcome of {self.unknown} creates is unknown"
        if self.running:
            return ExitCode.STOPPED, f"{self.running} predictions still run; cancel again later"
        return ExitCode.DONE, "nothing runs any more"

    def findings(self) -> dict[str, object]:
        return {
            "asked": self.asked,
            "spared": self.spared,
            "not_asked": self.refused,
            "predictions": {
                "cancelled": self.cancelled,
                "finished": self.finished,
                "failed": self.failed,
                "running": self.running,
                "unknown": self.unknown,
            },
            "images": {"fetched": self.fetched, "left": self.unfetched},
            "cost_usd": _costs(self.totals),
        }


@dataclass(slots=True)
class PruneReport(MaintenanceReport):
    """What `uploads prune` deleted."""

    deleted: int = 0
    deleted_bytes: int = 0
    kept: int = 0
    """Uploads that a pending or active job needs."""
    refused: list[str] = field(default_factory=list)
    """Why an upload is still there."""
    no_key: bool = False

    def outcome(self) -> CancelledEnd:
        if self.refused:
            code = ExitCode.NO_KEY if self.no_key else ExitCode.ERROR
            return code, f"{len(self.refused)} uploads could not be deleted: {self.refused[0]}"
        return ExitCode.DONE, "no upload is left that no job needs"

    def findings(self) -> dict[str, object]:
        return {
            "uploads": {
                "deleted": self.deleted,
                "deleted_bytes": self.deleted_bytes,
                "kept": self.kept,
                "left": len(self.refused),
            },
            "reasons": self.refused[:_NAMED],
        }


def _images(number: int) -> str:
    return f"{number:,} image{'s' * (number != 1)}"


def _costs(totals: Totals | None) -> dict[str, str]:
    spent, at_risk = (totals.spent, totals.at_risk) if totals is not None else (ZERO, ZERO)
    return {"dataset": as_usd(spent), "at_risk": as_usd(at_risk)}
