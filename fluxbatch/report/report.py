"""The writing of a report: the page put together from ledger, charts and gallery.

Owns the order of reading (the gallery streams through, page by page) and the page's own security:
one script and one style sheet, allowed by their hashes; nothing else runs, nothing is fetched. The
same ledger gives the same bytes: no time of making, no path of this machine.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from fluxbatch._version import __version__
from fluxbatch.dataset.image_store import open_images
from fluxbatch.dataset.node_sight import refuse_blind_nodes
from fluxbatch.domain.formatting import dollars, duration, size
from fluxbatch.domain.job import JobState
from fluxbatch.errors import SinkError
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries import quality_notes, report_gallery, runs_and_failures, totals
from fluxbatch.report import charts, words
from fluxbatch.report.gallery import Gallery
from fluxbatch.report.output_dir import ReportDir
from fluxbatch.report.run_figures import RunFigures, run_figures
from fluxbatch.report.thumbnails import Thumbnails
from fluxbatch.shards.pool import INLINE, ShardPool
from fluxbatch.sink.temp_file import disk_errors

_SCRIPTS = ("data", "filters", "tiles", "grid", "lightbox", "page")
_RUNS = 30
_REASONS = 12
_ROWS_NAMED = 6


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """What a report holds."""

    place: ReportDir
    images: int
    thumbs_made: int
    left_out: int
    """Items of the gallery beyond what was asked for: jobs whose images are not shown."""
    undrawn: int = 0
    """Images that cannot be drawn: they are in the gallery, without a picture."""


def write_report(place: ReportDir, *, most: int, pool: ShardPool = INLINE) -> WrittenReport:
    """Write *place*'s page and thumbnails; at most *most* items in its gallery.

    The thumbnails are made by *pool*. Raises `ConfigError` where no dataset is, `SinkError` when
    the disk fails.
    """
    with place.dataset.reader() as db, Thumbnails(place.thumbs, pool) as thumbs:
        place.make()
        refuse_blind_nodes(pool, db, open_images(place.dataset, db), place.thumbs)
        runs = report_gallery.shown_runs(db)
        shown = Gallery(db, place, thumbs, {run.seq: i for i, run in enumerate(reversed(runs), 1)})
        counted = _Counted(shown.lines(most))
        pieces = _template().generate(**_page(db, place, runs, shown, counted))
        _write(place, pieces)
        thumbs.prune()
        left_out = max(report_gallery.count_shown_jobs(db) - counted.number, 0)
        return WrittenReport(
            place,
            shown.images,
            thumbs.made,
            left_out if counted.number >= most else 0,
            shown.undrawn,
        )


class _Counted:
    """Lines that pass through, counted."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.number = 0

    def __iter__(self) -> Iterator[Markup]:
        for line in self._lines:
            yield Markup((",\n" if self.number else "") + line)  # `script_json` made it
            self.number += 1


def _write(place: ReportDir, pieces: Iterator[str]) -> None:
    part = place.page.with_suffix(".html.part")
    try:
        with disk_errors(place.page):
            with part.open("w", encoding="utf-8", errors="replace", newline="\n") as out:
                out.writelines(pieces)
            part.replace(place.page)
    except SinkError:
        part.unlink(missing_ok=True)
        raise


def _page(
    db: Database,
    place: ReportDir,
    runs: list[report_gallery.ShownRun],
    shown: Gallery,
    lines: _Counted,
) -> dict[str, object]:
    manifest = runs_and_failures.latest_manifest(db)
    seq = manifest.seq if manifest is not None else 0
    counts = totals.JobCounts({}, 0, 0, 0)
    if manifest is not None:
        counts = totals.count_jobs(db, seq)
    style, script = _text("page.css"), _script()
    return {
        "name": place.dataset.short_name,
        "version": __version__,
        "policy": _policy(style, script),
        "style": Markup(style),
        "script": Markup(script),
        "manifest": manifest,
        "manifest_name": ((manifest and manifest.path) or "a sweep alone").rpartition("/")[2],
        "as_of": report_gallery.last_change(db),
        "counts": counts,
        "states": _states(counts),
        "totals": totals.totals(db),
        "found_by_time": totals.count_found_by_time(db),
        "notes": quality_notes.count_notes(db),
        "failures": _failures(db, seq),
        "invalid": runs_and_failures.invalid_rows(db, seq, _REASONS),
        "runs": (_run(run_figures(db, run)) for run in runs[:_RUNS]),
        "run_count": len(runs),
        "items": lines,
        "controls": lambda: Markup(shown.controls()),
    }


def _script() -> str:
    """The parts as one function: they see each other's names, the page sees none."""
    parts = "\n".join(_text(f"{part}.js") for part in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _policy(style: str, script: str) -> str:
    return (
        "default-src 'none'; img-src 'self' file:; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _text(name: str) -> str:
    return files("fluxbatch.report").joinpath("page", name).read_text(encoding="utf-8")


def _template() -> Template:
    environment = SandboxedEnvironment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        dollars=dollars,
        moment=words.utc_text_short,
        duration=duration,
        file_size=size,
        number=lambda value: f"{value:,}",
    )
    environment.globals["each"] = words.each_words
    return environment.from_string(_text("page.html"))


def _states(counts: totals.JobCounts) -> list[tuple[str, int, float, float]]:
    """Name, jobs, and where its piece of the bar begins and how long it is, of 1,000."""
    active = counts.of(JobState.ACTIVE) - counts.unknown
    kinds = [
        ("done", counts.of(JobState.DONE)),
        ("failed", counts.of(JobState.FAILED)),
        ("invalid", counts.invalid),
        ("running", active + counts.of(JobState.GENERATED)),
        ("unknown", counts.unknown),
        ("pending", counts.of(JobState.PENDING)),
    ]
    total = sum(number for _, number in kinds) or 1
    found, at = [], 0.0
    for name, number in kinds:
        if number:
            length = 1_000 * number / total
            found.append((name, number, round(at, 1), round(length, 1)))
            at += length
    return found


@dataclass(frozen=True, slots=True)
class _Failure:
    failure: str
    reason: str
    jobs: int
    rows: str
    share: float
    """Of the most frequent one, of 100."""


def _failures(db: Database, manifest_seq: int) -> list[_Failure]:
    found = runs_and_failures.failure_reasons(db, manifest_seq)
    most = max((why.jobs for why in found), default=1)
    shown = []
    for why in found[:_REASONS]:
        names = [
            str(row) for row in runs_and_failures.failed_rows(db, manifest_seq, why, _ROWS_NAMED)
        ]
        more = why.jobs - len(names)
        rows = ", ".join(names) + (f" and {more:,} more" if more > 0 else "")
        share = round(100 * why.jobs / most, 1)
        shown.append(_Failure(why.failure, why.reason, why.jobs, rows, share))
    return shown


def _run(figures: RunFigures) -> dict[str, object]:
    took = figures.durations
    middle, slow = (_quantile(took, share) for share in (0.5, 0.9))
    peak = max((value for _, value in figures.rate), default=0.0)
    spent = dollars(figures.totals.spent)
    name = f"limit {figures.limit:,}"
    rate_summary = (
        f"At most {peak:,.0f} creates in {figures.window_s:g} s; the limit is {figures.limit:,}"
    )
    took_summary = "No job has ended yet"
    if took:
        took_summary = f"Half took at most {words.seconds_words(middle)}, nine in ten at most"
        took_summary += f" {words.seconds_words(slow)}"
    limit = (float(figures.limit), name) if figures.limit else None
    cap = (float(figures.cap), f"cap {dollars(figures.cap)}") if figures.cap else None
    money_summary = f"{spent} in {duration(figures.seconds)}"
    return {
        "figures": figures,
        "goes_on": figures.run.ended_at is None,
        "took_summary": took_summary,
        "rate_summary": rate_summary,
        "money_summary": money_summary,
        "rate": charts.line_chart(
            "Creates over time", rate_summary, figures.rate, say=lambda v: f"{v:,.0f}", limit=limit
        ),
        "money": charts.line_chart(
            "Money over time",
            money_summary,
            figures.spent,
            say=lambda v: dollars(round(v)),
            limit=cap,
            steps=True,
        ),
        "took": charts.histogram("Durations", took_summary, took),
    }


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
