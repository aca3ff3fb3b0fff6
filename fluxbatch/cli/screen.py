"""The live screen: one status and the latest troubles as something calm to look at.

Owns the layout and nothing else: a pure function of what it is given, at most as tall as it
is told. Everything is readable without colour. Texts of other programs come in cleaned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fluxbatch.cli.words import clock, count, dollars, shortened, stopping_words
from fluxbatch.job import JobState
from fluxbatch.money import Balance, Micros
from fluxbatch.status import LaneStatus, RunStatus

_LABEL_COLUMNS = 10
_FIXED_LINES = 12
"""Everything but caps, lanes, troubles and the blank lines before them."""
_WIDEST = 100
_SCOPES = {"run": "this run", "day": "today", "dataset": "this dataset"}


@dataclass(frozen=True, slots=True)
class Marks:
    """The signs of a bar."""

    full: str = "━"
    empty: str = "─"


ASCII_MARKS = Marks("#", "-")


@dataclass(frozen=True, slots=True)
class Frame:
    """What one frame is made of."""

    title: str
    status: RunStatus
    left: str
    """The time left, in words."""
    troubles: Sequence[str] = ()
    """Newest last."""
    marks: Marks = Marks()


def screen(frame: Frame, width: int, height: int) -> RenderableType:
    """The frame, laid out."""
    width = min(width, _WIDEST) - 2
    status = frame.status
    parts: list[RenderableType] = [
        _heading(frame, width),
        Text(),
        _jobs_bar(status, width, frame.marks),
        _counts(status),
        Text(),
        _gauges(frame, width),
    ]
    caps = sum(line.cap is not None for line in status.budgets)
    room = max(0, height - _FIXED_LINES - max(caps, 1))
    if _are_worth_a_line_each(status.lanes) and room >= 3:
        shown = _lanes(status.lanes, room - 1, width)
        parts += [Text(), *shown]
        room -= len(shown) + 1
    if frame.troubles and room >= 2:
        parts += [Text(), *_troubles(frame.troubles, room - 1, width)]
    return Group(*parts)


def _heading(frame: Frame, width: int) -> RenderableType:
    line = Table.grid(expand=False, padding=0)
    line.width = width
    line.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    line.add_column(justify="right", no_wrap=True)
    line.add_row(Text(frame.title, style="bold"), Text(frame.status.run_id, style="dim"))
    return line


def _jobs_bar(status: RunStatus, width: int, marks: Marks) -> Text:
    jobs = status.jobs
    total, done = jobs.total + jobs.invalid, jobs.of(JobState.DONE)
    failed = jobs.of(JobState.FAILED) + jobs.invalid
    ended = done + failed
    percent = 100 if ended == total else min(99, 100 * ended // total)
    words = f"  {ended:,} of {count(total, 'job')}  {percent:3} %"
    line = _bar([(done, "green"), (failed, "red")], total, width - len(words), marks)
    return line.append(words, style="bold")


def _counts(status: RunStatus) -> Text:
    jobs = status.jobs
    at_provider = jobs.of(JobState.ACTIVE) - jobs.unknown
    line = Text()
    counts = (
        ("done", jobs.of(JobState.DONE), "green", True),
        ("failed", jobs.of(JobState.FAILED), "red", True),
        ("running", at_provider, "", True),
        ("fetching", jobs.of(JobState.GENERATED), "", True),
        ("waiting", jobs.of(JobState.PENDING), "", True),
        ("unknown", jobs.unknown, "yellow", False),
        ("invalid", jobs.invalid, "red", False),
    )
    for name, number, style, always in counts:
        if number or always:
            line.append(f"{number:,}", style=f"bold {style}".strip() if number else "dim")
            line.append(f" {name}   ", style="" if number else "dim")
    line.rstrip()
    return line


def _gauges(frame: Frame, width: int) -> RenderableType:
    status = frame.status
    used, creates, held, slots = lane_sums(status.lanes)
    window = f"{status.lanes[0].window_s:g} s" if status.lanes else ""
    bar = min(24, width // 4)
    grid = Table.grid(padding=0)
    grid.add_column(width=_LABEL_COLUMNS, style="dim", no_wrap=True)
    grid.add_column(width=bar + 2, no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row("creates", _bar([(used, "cyan")], creates, bar, frame.marks),
                 f"{used} of {creates} in any {window}")  # fmt: skip
    grid.add_row("slots", _bar([(held, "cyan")], slots, bar, frame.marks),
                 f"{held} of {slots}")  # fmt: skip
    capped = [line for line in status.budgets if line.cap is not None]
    for number, line in enumerate(capped):
        grid.add_row("budget" if number == 0 else "", *_cap(line, bar, frame.marks))
    return Group(grid, _labelled("money", _money(status, with_cap=not capped)),
                 _labelled("time", _time(frame)))  # fmt: skip


def lane_sums(lanes: Sequence[LaneStatus]) -> tuple[int, int, int, int]:
    """Creates in the window and allowed, slots held and there, over the lanes that may create."""
    usable = [lane for lane in lanes if lane.health != "out"] or lanes
    return (
        sum(lane.creates_in_window for lane in usable),
        sum(lane.creates for lane in usable),
        sum(lane.slots_held for lane in usable),
        sum(lane.slots for lane in usable),
    )


def _cap(line: Balance, bar: int, marks: Marks) -> tuple[Text, str]:
    cap = line.cap or Micros(0)
    near = line.committed >= cap * 0.9
    gauge = _bar([(line.committed, "yellow" if near else "cyan")], cap, bar, marks)
    return gauge, f"{dollars(line.committed)} of {dollars(cap)} for {_SCOPES[line.scope]}"


def _money(status: RunStatus, *, with_cap: bool) -> str:
    run = status.run
    of_it = [
        f"{dollars(amount)} {what}"
        for amount, what in ((run.on_failures, "on failures"), (run.estimated, "estimated"))
        if amount
    ]
    spent = f"{dollars(run.spent)} spent" + (f" ({', '.join(of_it)})" if of_it else "")
    parts = [spent, f"{dollars(run.reserved)} reserved"]
    if status.dataset.spent != run.spent:
        parts.append(f"{dollars(status.dataset.spent)} for the dataset")
    if with_cap:
        parts.append("no cap")
    return " · ".join(parts)


def _time(frame: Frame) -> str:
    status = frame.status
    if status.stopping:
        return f"{clock(status.elapsed_s)} · {stopping_words(status.stopping)}"
    return f"{clock(status.elapsed_s)} · {frame.left}"


def _labelled(label: str, text: str) -> Text:
    line = Text(label.ljust(_LABEL_COLUMNS), style="dim", no_wrap=True, overflow="ellipsis")
    return line.append(text, style="not dim")


def _are_worth_a_line_each(lanes: Sequence[LaneStatus]) -> bool:
    return len(lanes) > 1 or any(lane.health != "working" for lane in lanes)


def _lanes(lanes: Sequence[LaneStatus], room: int, width: int) -> list[Text]:
    worst_first = sorted(lanes, key=lambda lane: lane.health == "working")
    room = min(room, 6)
    shown = worst_first if len(lanes) <= room else worst_first[: room - 1]
    lines = []
    for number, lane in enumerate(shown):
        line = Text(("lanes" if number == 0 else "").ljust(_LABEL_COLUMNS), style="dim")
        style = "not dim" if lane.health == "working" else "not dim yellow"
        line.append(shortened(lane.label, 16).ljust(18), style="not dim")
        line.append(lane.health.ljust(18), style=style)
        line.append(f"{lane.slots_held}/{lane.slots} slots".ljust(14), style="not dim")
        line.append(f"{lane.creates_in_window}/{lane.creates} creates", style="not dim")
        line.truncate(width, overflow="ellipsis")
        lines.append(line)
    if more := len(lanes) - len(shown):
        lines.append(Text(f"{'':{_LABEL_COLUMNS}}and {count(more, 'lane')} more", style="dim"))
    return lines


def _troubles(troubles: Sequence[str], room: int, width: int) -> list[Text]:
    lines = []
    for number, trouble in enumerate(troubles[-min(room, 5) :]):
        label = "lately" if number == 0 else ""
        line = Text(label.ljust(_LABEL_COLUMNS), style="dim")
        lines.append(line.append(shortened(trouble, width - _LABEL_COLUMNS), style="not dim"))
    return lines


def _bar(parts: Sequence[tuple[int, str]], total: int, width: int, marks: Marks) -> Text:
    """Each part gets its share, and at least one sign where there is anything of it."""
    line, left = Text(no_wrap=True), width
    for amount, style in parts:
        signs = min(left, max(1, width * amount // total)) if amount > 0 and total else 0
        line.append(marks.full * signs, style=style)
        left -= signs
    return line.append(marks.empty * left, style="dim")
