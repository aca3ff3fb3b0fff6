"""The live screen: one status and the latest problems, drawn as text.

Owns the layout and nothing else: a pure function of what it is given, at most as tall as it
is allowed. Everything is readable without colour. Texts of other programs come in cleaned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from fluxbatch.cli.render.text import OVERVIEW_LABEL, count, overview_line, stopping_words
from fluxbatch.dataset.run_standing import LaneStatus
from fluxbatch.domain.formatting import clock, dollars
from fluxbatch.domain.job import JobState
from fluxbatch.engine.run_status import RunStatus
from fluxbatch.ledger.queries.runs_and_failures import FailedJob

_WIDEST = 140
"""Bars wider than that show no more; texts take what there is."""
_NARROW = 60
_ROOMY = 30
"""Lines from which on a single lane at work has a line too."""
_FEW = 5
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
    """Of lanes and the like, newest last."""
    marks: Marks = Marks()


def screen(frame: Frame, width: int, height: int) -> RenderableType:
    """The frame, laid out: lines that never wrap, as many as fit."""
    status, wide = frame.status, max(width - 2, 1)
    narrow = min(wide, _WIDEST)
    lines = [
        _heading(frame, narrow),
        Text(),
        _jobs_bar(status, narrow, frame.marks),
        *_counts(status, narrow),
        Text(),
        *_gauges(frame, narrow),
        _labelled("money", _money(status)),
        *_list("time", _time(frame)),
    ]
    if len(lines) > height:
        lines = [line for line in lines if line.plain]
    lines += _below(frame, height - len(lines), height, wide)
    for line in lines:
        line.no_wrap = True
        line.truncate(wide, overflow="ellipsis")
    return Group(*lines[:height])


def _below(frame: Frame, room: int, height: int, width: int) -> list[Text]:
    """What goes where there is room for it: lanes, failures, troubles."""
    lines: list[Text] = []
    lanes = frame.status.lanes
    if lanes and (height >= _ROOMY or _are_worth_a_line_each(lanes)) and room >= 3:
        lines += [Text(), *_lanes(lanes, min(room - 1, max(6, height // 4)))]
    room -= len(lines)
    failures, troubles = list(frame.status.failures), list(frame.troubles)
    most = max(_FEW, height // 4)  # what moves all the time is not calm
    if (failures or troubles) and room >= 2:
        failing = min(len(failures), room - 1 - bool(troubles) * min(2, room // 3), most)
        troubling = min(len(troubles), room - 1 - failing, most)
        lines.append(Text())
        lines += _list("failed", [_failed(one) for one in failures[len(failures) - failing :]])
        lines += _list("lately", troubles[len(troubles) - troubling :])
    return lines


def _heading(frame: Frame, width: int) -> Text:
    title, run_id = Text(frame.title, style="bold"), frame.status.run_id
    if width < _NARROW:
        title.truncate(width, overflow="ellipsis")
        return title
    title.truncate(width - len(run_id) - 2, overflow="ellipsis", pad=True)
    return Text.assemble(title, "  ", (run_id, "dim"))


def _jobs_bar(status: RunStatus, width: int, marks: Marks) -> Text:
    jobs = status.jobs
    total, done = jobs.total + jobs.invalid, jobs.of(JobState.DONE)
    failed = jobs.of(JobState.FAILED) + jobs.invalid
    ended = done + failed
    percent = 100 if ended == total else min(99, 100 * ended // total)
    words = f"  {ended:>{_digits(total)},} of {count(total, 'job')}  {percent:3} %"
    line = _bar([(done, "green"), (failed, "red")], total, max(width - len(words), 0), marks)
    return line.append(words, style="bold")


def _digits(total: int) -> int:
    """How wide a part of *total* may get: columns that keep their place are calmer."""
    return len(f"{total:,}")


def _counts(status: RunStatus, width: int) -> list[Text]:
    """Every state with its number; where they don't fit, only those that have any."""
    jobs = status.jobs
    counts = [
        ("done", jobs.of(JobState.DONE), "green", True),
        ("failed", jobs.of(JobState.FAILED), "red", True),
        ("running", jobs.of(JobState.ACTIVE) - jobs.in_doubt, "", True),
        ("fetching", jobs.of(JobState.GENERATED), "", True),
        ("waiting", jobs.of(JobState.PENDING), "", True),
        ("unknown", jobs.in_doubt, "yellow", False),
        ("invalid", jobs.invalid, "red", False),
    ]
    shown = [(name, number, style) for name, number, style, always in counts if number or always]
    steady = _side_by_side(shown, _digits(jobs.total + jobs.invalid))
    if steady.cell_len <= width:
        return [steady]
    lines = [Text()]
    for one in [one for one in shown if one[1]] or shown[:1]:
        part = _side_by_side([one], 0)
        if lines[-1].plain and lines[-1].cell_len + 3 + part.cell_len > width:
            lines.append(Text())
        lines[-1].append("   " if lines[-1].plain else "").append_text(part)
    return lines


def _side_by_side(counts: Sequence[tuple[str, int, str]], digits: int) -> Text:
    line = Text()
    for name, number, style in counts:
        line.append("   " if line.plain else "")
        line.append(f"{number:>{digits},}", style=f"bold {style}".strip() if number else "dim")
        line.append(f" {name}", style="" if number else "dim")
    return line


def _gauges(frame: Frame, width: int) -> list[Text]:
    status = frame.status
    used, creates, held, slots = lane_sums(status.lanes)
    window = f"{status.lanes[0].window_s:g} s" if status.lanes else ""
    used_words = f"{used:>{len(str(creates))}} of {creates}"
    held_words = f"{held:>{len(str(slots))}} of {slots}"
    gauges = [
        ("creates", (used, "cyan"), creates, f"{used_words} in any {window}"),
        ("slots", (held, "cyan"), slots, held_words),
    ]
    label = "budget"
    for line in status.budgets:
        if line.cap is not None:
            near = line.committed >= line.cap * 0.9
            words = f"{dollars(line.committed)} of {dollars(line.cap)} for {_SCOPES[line.scope]}"
            style = "yellow" if near else "cyan"
            gauges.append((label, (line.committed, style), line.cap, words))
            label = ""
    room = width - OVERVIEW_LABEL - 2 - max(len(words) for *_, words in gauges)
    bar = max(4, min(room, width // 4))
    return [
        Text(overview_line(name, ""), style="dim")
        .append_text(_bar([part], total, bar, frame.marks))
        .append(f"  {words}", style="not dim")
        for name, part, total, words in gauges
    ]


def lane_sums(lanes: Sequence[LaneStatus]) -> tuple[int, int, int, int]:
    """Creates in the window and allowed, slots held and there, over the lanes that may create."""
    usable = [lane for lane in lanes if lane.health != "out"] or lanes
    return (
        sum(lane.creates_in_window for lane in usable),
        sum(lane.creates for lane in usable),
        sum(lane.slots_held for lane in usable),
        sum(lane.slots for lane in usable),
    )


def _money(status: RunStatus) -> str:
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
    if all(line.cap is None for line in status.budgets):
        parts.append("no cap")
    return " · ".join(parts)


def _time(frame: Frame) -> list[str]:
    status = frame.status
    left = stopping_words(status.stopping) if status.stopping else frame.left
    waits = status.waits if not status.stopping else ""
    first, _, then = (left.removeprefix(waits) if waits else left).partition("; ")
    return [
        f"{clock(status.elapsed_s)} · {first or 'nothing is created'}",
        *filter(None, (then, *waits.split("; "))),
    ]


def _labelled(label: str, text: str) -> Text:
    return Text(overview_line(label, ""), style="dim").append(text, style="not dim")


def _list(label: str, texts: Sequence[str]) -> list[Text]:
    """A line each, the label before the first."""
    return [
        _labelled(label if number == 0 else "", " ".join(text.split()))
        for number, text in enumerate(texts)
    ]


def _failed(job: FailedJob) -> str:
    name = str(job.row) if job.row is not None else f"job {job.job[:8]}"
    return f"{name}  {job.failure}: {job.reason}"


def _are_worth_a_line_each(lanes: Sequence[LaneStatus]) -> bool:
    return len(lanes) > 1 or any(lane.health not in ("working", "") for lane in lanes)


def _lanes(lanes: Sequence[LaneStatus], room: int) -> list[Text]:
    worst_first = sorted(lanes, key=lambda lane: lane.health in ("working", ""))
    shown = worst_first if len(lanes) <= room else worst_first[: room - 1]
    knows = any(lane.health for lane in lanes)
    longest = max(len(lane.health) for lane in lanes) if knows else 0
    lines = []
    for number, lane in enumerate(shown):
        line = _labelled("lanes" if number == 0 else "", "")
        label = Text(lane.label, style="not dim")
        label.truncate(16, overflow="ellipsis", pad=True)
        line.append_text(label).append("  ")
        if knows:
            style = "not dim" if lane.health == "working" else "not dim yellow"
            line.append(lane.health.ljust(max(longest, 7)) + "  ", style=style)
        held = f"{lane.slots_held:>{len(str(lane.slots))}}/{lane.slots} slots"
        made = f"{lane.creates_in_window:>{len(str(lane.creates))}}/{lane.creates} creates"
        why = f"   {lane.why}" if lane.why else ""
        lines.append(line.append(f"{held}   {made}{why}", style="not dim"))
    if more := len(lanes) - len(shown):
        lines.append(_labelled("", f"and {count(more, 'lane')} more"))
    return lines


def _bar(parts: Sequence[tuple[int, str]], total: int, width: int, marks: Marks) -> Text:
    """Each part gets its share, and at least one sign where there is anything of it."""
    line, left = Text(), width
    for amount, style in parts:
        signs = min(left, max(1, width * amount // total)) if amount > 0 and total else 0
        line.append(marks.full * signs, style=style)
        left -= signs
    return line.append(marks.empty * left, style="dim")
