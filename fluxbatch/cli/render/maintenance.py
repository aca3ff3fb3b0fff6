"""The output of `reconcile`, `repair` and `cancel`. Pure functions on their reports."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import typer

from fluxbatch.cli.console import Console
from fluxbatch.cli.render.text import count, listed
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.formatting import dollars, duration, size
from fluxbatch.domain.money import Micros
from fluxbatch.errors import ConfigError
from fluxbatch.ledger.operations.uploads import unused_uploads
from fluxbatch.maintenance import CancelReport, PruneReport, ReconcileReport, RepairReport
from fluxbatch.maintenance.recover import RecoverReport

_NAMED = 10


def reconcile_lines(report: ReconcileReport, folder: Folder) -> Iterator[str]:
    """The outcome, what was found and done, and what comes next."""
    code, reason = report.ended()
    yield f"{'mismatch: ' if code == 8 else ''}{reason} ({duration(report.seconds)})"
    if report.found or report.absent or report.unknown:
        yield (
            f"  creates without an answer: {report.found:,} found, {report.absent:,} never"
            f" arrived, {report.unknown:,} still unknown"
        )
    if report.running:
        yield f"  {count(report.running, 'prediction')} still running"
    yield from _money_lines(report)
    yield from _read_again_lines(report)
    yield from _image_lines(report.fetched, report.unfetched)
    yield from _orphan_lines(report)
    yield from _undecided_lines(report)
    if report.missing:
        cost = dollars(report.missing_cost)
        yield f"  {len(report.missing):,} booked here ({cost}) and unknown to the provider:"
        yield f"      {listed(list(report.missing[:_NAMED]), len(report.missing))}"
    if report.strangers:
        yield f"  {count(report.strangers, 'execution')} of others in the listing, none of ours"
    yield from (f"  not audited: {why}" for why in report.unread)
    yield from _next(_after_reconcile(report, folder))


def _money_lines(report: ReconcileReport) -> Iterator[str]:
    if report.settled:
        yield (
            f"  {count(report.settled, 'cost')} settled: {dollars(report.settled_up)} more,"
            f" {dollars(report.settled_down)} less than booked"
        )
    for price, cost, predictions in report.drift:
        each = f"{dollars(cost)} each instead of {dollars(price)}"
        yield f"  price drift: {count(predictions, 'prediction')} cost {each}"
    if report.totals is not None:
        yield f"  the dataset has cost {dollars(report.totals.spent)}"


def _read_again_lines(report: ReconcileReport) -> Iterator[str]:
    if report.recovered:
        yield f"  {count(report.recovered, 'prediction')} had succeeded after all"
    if report.not_alive:
        yield f"  {count(report.not_alive, 'prediction')} read again and not alive"
    if report.still_alive:
        yield f"  {count(report.still_alive, 'prediction')} timed out here and still at work there"


def _orphan_lines(report: ReconcileReport) -> Iterator[str]:
    if not report.orphans:
        return
    left = report.left_orphans
    cost = Micros(sum(orphan.cost for orphan in report.orphans))
    yield (
        f"  {len(report.orphans):,} paid at the provider ({dollars(cost)}) and unknown here,"
        f" {len(report.orphans) - len(left):,} adopted:"
    )
    for orphan in report.orphans[:_NAMED]:
        state = "adopted" if orphan.was_adopted else "not adopted"
        when = orphan.created_at[:19].replace("T", " ")
        yield f"      {orphan.provider_id}  job {orphan.job[:8]}  {when}  {state}"
    if (more := len(report.orphans) - _NAMED) > 0:
        yield f"      and {more:,} more (--json names them)"


def _undecided_lines(report: ReconcileReport) -> Iterator[str]:
    """Each create that stays unknown, and every execution that may be it."""
    shown = [one for one in report.undecided if one.choices]
    if shown:
        yield "  creates that stay unknown, and the executions that each may be:"
    for one in shown[:_NAMED]:
        yield f"      job {one.job[:8]}, sent {_when(one.sent_at)} UTC"
        for choice in one.choices:
            cost = dollars(choice.cost) if choice.cost is not None else "cost unknown"
            told = f"{_when(choice.created_at)}  {choice.status}  {cost}"
            yield f"          {choice.provider_id}  {told}  {choice.image}".rstrip()
    if (more := len(shown) - _NAMED) > 0:
        yield f"      and {more:,} more (--json names them)"


def _when(text: str) -> str:
    return text[:19].replace("T", " ")


def _after_reconcile(report: ReconcileReport, folder: Folder) -> Iterator[str]:
    place = folder.typed
    if report.left_orphans:
        yield (
            f"fluxbatch reconcile {place} --adopt   books and fetches them, unless they are"
            " another dataset's of the same manifest"
        )
    if any(one.choices for one in report.undecided):
        yield f"fluxbatch reconcile {place} --adopt JOB=PREDICTION   says which one it is"
        yield f"fluxbatch reconcile {place} --not-mine PREDICTION   says that it is none of them"
    elif report.unknown:
        yield f"fluxbatch reconcile {place}   looks for them again; their money stays reserved"
    if report.not_alive:
        yield f"fluxbatch retry {place} --kind timed_out --kind lost   lets them be bought again"
    if report.unfetched:
        yield f"fluxbatch repair {place}   fetches {count(report.unfetched, 'image')}, for $0"


def repair_lines(report: RepairReport, folder: Folder) -> Iterator[str]:
    """The outcome, what was broken, what was fetched."""
    _, reason = report.ended()
    place = folder.typed
    yield f"{reason} ({count(report.checked, 'file')} checked, {duration(report.seconds)})"
    yield from _named("found missing", report.missing)
    yield from _named("found corrupt", report.corrupt)
    yield from _named("refused, for the path leads out of the dataset", report.refused)
    if report.lost:
        yield f"  {report.lost:,} that earlier runs could not fetch"
    yield from _image_lines(report.fetched, report.unfetched)
    if report.sidecars:
        yield f"  {count(report.sidecars, 'sidecar')} written anew"
    if report.unwritten:
        yield f"  {count(len(report.unwritten), 'sidecar')} could not be written"
    yield from _named("in images/ and not in the ledger, left alone", report.strays)
    if report.unfetched:
        yield from _next(
            (
                f"fluxbatch repair {place}   tries again, for $0",
                f"fluxbatch retry {place} --kind output_lost   buys again what cannot be had",
            )
        )


def recover_lines(report: RecoverReport, folder: Folder) -> Iterator[str]:
    """What is known again, and what is not."""
    yield report.ended()[1]
    estimated = f", {dollars(report.estimated)} of it estimated" if report.estimated else ""
    yield f"  they have cost {dollars(report.cost)}{estimated}"
    if report.to_fetch:
        yield f"  {count(report.to_fetch, 'image')} bought and not there: to be fetched, for $0"
    if report.by_name:
        yield (
            f"  {count(report.by_name, 'image')} known by the name alone: not bought again, but the"
            " ledger has no prompt and no prediction of theirs"
        )
    yield from _named("not understood, left alone", report.unread)
    yield from (f"  not known: {why}" for why in report.unlisted)
    if report.unborne:
        yield (
            f"  {count(report.unborne, 'execution')} of the same model in the provider's listing"
            " that no file tells of: bought without an image here, or another dataset's"
        )
    yield from _next(
        (
            f"fluxbatch run MANIFEST --out {folder.typed}   buys only what is not there",
            f"fluxbatch repair {folder.typed}   checks every file, and fetches what is missing",
        )
    )


def cancel_lines(report: CancelReport, folder: Folder) -> Iterator[str]:
    """The outcome, and what became of each."""
    _, reason = report.ended()
    yield f"{reason} ({duration(report.seconds)})"
    if report.asked:
        yield f"  {count(report.asked, 'prediction')} asked to stop"
    for number, words in (
        (report.cancelled, "cancelled: failed, and not bought again without `retry`"),
        (report.finished, "finished anyway, and kept"),
        (report.failed, "ended otherwise"),
        (report.running, "still running, money reserved"),
        (report.spared, "not asked: found by input or time alone, perhaps a colleague's"),
    ):
        if number:
            yield f"  {number:,} {words}"
    yield from (f"  not asked: {why}" for why in dict.fromkeys(report.refused))
    yield from _image_lines(report.fetched, report.unfetched)
    if report.totals is not None:
        yield f"  the dataset has cost {dollars(report.totals.spent)}"
    if report.unknown:
        yield from _next(
            (f"fluxbatch reconcile {folder.typed}   looks for creates without an answer",)
        )


def _image_lines(fetched: int, unfetched: int) -> Iterator[str]:
    if fetched or unfetched:
        left = f", {unfetched:,} left" * bool(unfetched)
        yield f"  {count(fetched, 'image')} fetched{left}"


def _named(what: str, paths: list[str]) -> Iterator[str]:
    if paths:
        yield f"  {len(paths):,} {what}: {listed(paths[:_NAMED], len(paths))}"


def _next(steps: Iterable[str]) -> Iterator[str]:
    for number, step in enumerate(steps):
        yield ("next     " if number == 0 else "         ") + step


def confirmed(console: Console, folder: Folder, *, yes: bool) -> bool:
    """Whether they may go: nothing is there to delete, or somebody said yes.

    Raises `ConfigError` where nobody can be asked.
    """
    with folder.reader() as db:
        unused = unused_uploads(db)
    if not unused or yes:
        return True
    words = f"{count(len(unused), 'upload')} ({size(sum(one.bytes for one in unused))})"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(f"{words} would be deleted at the provider; --yes deletes them")
    question = f"{words} will be deleted at the provider; no pending or active job needs them."
    return typer.confirm(console.redact(f"{question} Go on?"), err=True)


def prune_lines(report: PruneReport) -> Iterator[str]:
    """How many went, how many are needed, and which stayed against our will."""
    yield f"deleted   {count(report.deleted, 'upload')}, {size(report.deleted_bytes)}"
    yield f"kept      {report.kept:,} that pending or active jobs need"
    if report.refused:
        yield f"left      {len(report.refused):,}: {report.refused[0]}"
