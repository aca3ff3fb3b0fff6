"""Plans, runs and datasets as a notebook shows them: figures and a strip of small images.

Owns the look. Everything is in the HTML itself (images as data URIs) and nothing in it runs; texts
of people and providers are escaped. A value that cannot be shown says why, and raises nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import IO, NamedTuple

from markupsafe import Markup

from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.image_store import open_images
from fluxbatch.dataset.status import DatasetStatus, dataset_status
from fluxbatch.domain.formatting import dollars, duration, shortened, size
from fluxbatch.domain.job import JobState
from fluxbatch.engine.run_status import RunSummary
from fluxbatch.errors import FluxbatchError
from fluxbatch.infra.regular_file import open_regular
from fluxbatch.ledger.queries.live_images import latest_pictures
from fluxbatch.ledger.queries.totals import JobCounts
from fluxbatch.planning.plan import Plan
from fluxbatch.report.thumbnails import small_copy
from fluxbatch.sink.verify import InvalidImage

Fact = tuple[str, str]

_MOST_PICTURES = 12
_MOST_BAD_ROWS = 3
_MOST_REASONS = 3
_SIDE = 192
_CAPTION_CHARS = 80
_ALT_CHARS = 500
_SHEET = Markup(
    '<div style="font-family: system-ui, sans-serif; line-height: 1.4">'
    "<div><strong>{title}</strong></div>"
    '<table style="margin: 0.4em 0; border-collapse: collapse">{lines}</table>{strip}</div>'
)
_LINE = Markup(
    '<tr><th scope="row" style="text-align: left; font-weight: normal; opacity: 0.7;'
    ' padding: 0 1.2em 0 0; vertical-align: top">{}</th>'
    '<td style="text-align: left; padding: 0">{}</td></tr>'
)
_STRIP = Markup('<div style="display: flex; flex-wrap: wrap; gap: 8px">{}</div>')
_FIGURE = Markup(
    '<figure style="margin: 0; width: 128px">{}<figcaption style="font-size: 11px;'
    ' overflow-wrap: anywhere; opacity: 0.8">{}</figcaption></figure>'
)
_IMAGE = Markup(
    '<img alt="{alt}" title="{alt}" style="width: 128px; height: 128px; object-fit: contain"'
    ' src="data:image/webp;base64,{data}">'
)


class StripImage(NamedTuple):
    """An image of the strip; one without a file is its caption alone."""

    caption: str
    open: Callable[[], IO[bytes]] | None


def plan_html(plan: Plan) -> str:
    """What it would make, cost and take, with what the first rows begin from."""
    return _sheet(f"Plan of {plan.source}", _plan_facts(plan), _first_rows(plan))


def summary_html(folder: Folder, summary: RunSummary) -> str:
    """How a run ended, with its latest images."""
    facts = list(_summary_facts(summary))
    try:
        pictures = _stored_pictures(folder, summary.run_id)
    except FluxbatchError as exc:  # its dataset was taken away meanwhile
        facts, pictures = [*facts, ("images", str(exc))], []
    return _sheet(f"Run {summary.run_id}: {summary.reason}", facts, pictures)


def dataset_html(folder: Folder) -> str:
    """Where it stands, with its latest images."""
    title = f"Dataset {folder.address}"
    try:
        with folder.reader() as db:
            status = dataset_status(db, folder)
        return _sheet(title, _status_facts(status), _stored_pictures(folder))
    except FluxbatchError as exc:
        return _sheet(title, [("", str(exc))], [])


def _plan_facts(plan: Plan) -> Iterator[Fact]:
    jobs = plan.jobs
    yield "model", plan.model
    yield "rows", f"{plan.rows:,}" + _more(plan.duplicates, "equal to an earlier one")
    kinds = [(jobs.new, "new"), (jobs.changed, "changed"), (jobs.done, "done already")]
    kinds += [(jobs.begun, "bought already"), (jobs.failed, "failed earlier")]
    kinds += [(jobs.invalid, "invalid")]
    yield "jobs", _counts(jobs.total, kinds)
    yield "cost", dollars(plan.cost) if plan.cost is not None else "nobody knows the price"
    yield "time", f"about {duration(plan.seconds)}"
    if plan.uploads:
        files = f"{plan.uploads:,} file{'s' * (plan.uploads != 1)}"
        yield "uploads", f"{files}, {size(plan.upload_bytes)}"
    for check in plan.budgets:
        pays = "enough" if check.jobs >= jobs.to_buy else f"pays for {check.jobs:,} jobs"
        yield "budget", f"{dollars(check.cap)} per {check.scope}: {pays}"
    for note in plan.split_notes:
        yield "note", note
    for bad in plan.bad_rows[:_MOST_BAD_ROWS]:
        yield "invalid", str(bad)


def _first_rows(plan: Plan) -> Iterator[StripImage]:
    for row in plan.first_rows:
        opened = partial(open_regular, row.control_path) if row.control_path is not None else None
        yield StripImage(f"{row.name}: {row.input.get('prompt', '')}", opened)


def _summary_facts(summary: RunSummary) -> Iterator[Fact]:
    yield "exit", str(int(summary.exit_code))
    yield "jobs", _job_counts(summary.jobs)
    yield "images", f"{summary.run.images:,} of this run, {summary.dataset.images:,} in all"
    risk = summary.dataset.at_risk
    spent = f"{dollars(summary.run.spent)} by this run, {dollars(summary.dataset.spent)} in all"
    yield "spent", spent + (f", {dollars(risk)} at risk" if risk else "")
    yield "time", duration(summary.seconds)


def _status_facts(status: DatasetStatus) -> Iterator[Fact]:
    if status.manifest is None:
        yield "", "nothing was ever run here"
        return
    money = status.totals
    yield "manifest", status.manifest.path or "the sweep"
    yield "model", status.manifest.model
    yield "jobs", _job_counts(status.jobs)
    yield "images", f"{money.images:,}, {size(money.image_bytes)}"
    risk = f", {dollars(money.at_risk)} at risk" if money.at_risk else ""
    yield "spent", f"{dollars(money.spent)}{risk}"
    for cap in status.balances:
        if cap.cap is not None:
            yield "budget", f"{dollars(cap.cap)} per {cap.scope}, {dollars(cap.committed)} used"
    for failures in status.failures:
        for why in failures.reasons[:_MOST_REASONS]:
            yield "failed", f"{why.jobs:,} {failures.failure.value}: {why.reason}"


def _job_counts(jobs: JobCounts) -> str:
    failed = jobs.of(JobState.FAILED) + jobs.invalid
    total, done = jobs.total + jobs.invalid, jobs.of(JobState.DONE)
    left = total - done - failed - jobs.unknown
    kinds = [(done, "done"), (failed, "failed"), (left, "left"), (jobs.unknown, "unknown")]
    return _counts(total, kinds)


def _counts(total: int, kinds: Iterable[tuple[int, str]]) -> str:
    parts = ", ".join(f"{number:,} {kind}" for number, kind in kinds if number)
    return f"{total:,}" + (f": {parts}" if parts else "")


def _more(number: int, words: str) -> str:
    return f", {number:,} {words}" if number else ""


def _stored_pictures(folder: Folder, run_id: str | None = None) -> list[StripImage]:
    with folder.reader() as db:
        store = open_images(folder, db)
        return [
            StripImage(prompt, partial(store.open, path))
            for path, prompt in latest_pictures(db, _MOST_PICTURES, run_id)
        ]


def _sheet(title: str, facts: Iterable[Fact], pictures: Iterable[StripImage]) -> str:
    lines = Markup().join(_LINE.format(*fact) for fact in facts)
    figures = Markup().join(_figure(one) for one in pictures)
    strip = _STRIP.format(figures) if figures else ""
    shown = _SHEET.format(title=title, lines=lines, strip=strip)
    return shown.encode("utf-8", "replace").decode()  # a file's name may be no text


def _figure(picture: StripImage) -> Markup:
    caption = shortened(picture.caption, _CAPTION_CHARS)
    image = Markup()
    if picture.open is not None:
        # One that is gone or damaged is `repair`'s matter; the store may not answer.
        with suppress(OSError, InvalidImage, FluxbatchError), picture.open() as file:
            data = b64encode(small_copy(file, _SIDE)).decode()
            image = _IMAGE.format(alt=shortened(picture.caption, _ALT_CHARS), data=data)
    return _FIGURE.format(image, caption)
