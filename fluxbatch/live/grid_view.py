"""The view of a live grid: the jobs of a sweep along up to four of its axes.

Owns which cell a job is in and what a cell says: its jobs by state, what they have cost and what
those that are missing would. A cell is added up when it is first looked at, and follows its jobs
from then on. Money is micro-dollars.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fluxbatch.domain.formatting import dollars
from fluxbatch.domain.job import JobState
from fluxbatch.domain.money import Micros
from fluxbatch.ledger.queries.grid_jobs import GridJob
from fluxbatch.live.grid_axes import ABSENT, GridAxes

KINDS = ("done", "failed", "running", "unknown", "waiting", "invalid")
"""What a job of a cell may be, in the order in which they are told."""
_KIND_OF = {
    JobState.PENDING: "waiting",
    JobState.ACTIVE: "running",
    JobState.GENERATED: "running",
    JobState.DONE: "done",
    JobState.FAILED: "failed",
}
_MOST_ADDED_UP = 5_000


@dataclass(frozen=True, slots=True)
class GridChoice:
    """Axes by their names; an empty one is none."""

    across: str = ""
    down: str = ""
    facets_across: str = ""
    """Its values stand side by side, each with every value of `across`."""
    facets_down: str = ""
    fixed: tuple[tuple[str, str], ...] = ()
    """(axis, value): only rows with it."""


@dataclass(slots=True)
class GridTally:
    """Jobs added up."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    spent: int = 0
    reserved: int = 0
    images: int = 0
    newest: int = 0
    """The number of the newest image of all; 0: there is none."""

    def add(self, job: GridJob, times: int = 1) -> None:
        """Add it *times* times; -1 takes it out, but for `newest`."""
        kind = _KIND_OF[job.state]
        if job.is_unknown and kind == "running":
            kind = "unknown"
        self.counts[kind] += times
        if kind == "failed" and job.failure:
            self.failures[job.failure] += times
        self.spent += times * job.spent
        self.reserved += times * job.reserved
        self.images += times * job.images
        self.newest = max(self.newest, job.newest)

    def add_all(self, jobs: Sequence[GridJob]) -> None:
        """Add each once. Of thousands most are alike: those are counted first."""
        for alike, times in Counter(job.alike for job in jobs).items():
            self.add(GridJob(0, *alike), times)
        self.newest = max(self.newest, max((job.newest for job in jobs), default=0))

    @property
    def kind(self) -> str:
        """The one kind of all its jobs; `mixed` where there are several."""
        kinds = [kind for kind in KINDS if self.counts[kind]]
        return kinds[0] if len(kinds) == 1 else "mixed"

    def words(self, price: Micros | None) -> str:
        """States and money in one line; *price* is that of a job which is not bought yet."""
        is_one = sum(self.counts.values()) == 1
        parts = []
        for kind in KINDS:
            if count := self.counts[kind]:
                told = kind if is_one else f"{count:,} {kind}"
                if kind == "failed" and (classes := sorted(+self.failures)):
                    told += f" ({', '.join(classes)})"
                parts.append(told)
        if waiting := self.counts["waiting"]:
            known = f"up to {dollars(price * waiting)}" if price is not None else "price unknown"
            parts.append(f"{known} to pay")
        if self.reserved:
            parts.append(f"{dollars(self.reserved)} reserved")
        if self.spent:
            parts.append(f"{dollars(self.spent)} spent")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class GridCell:
    """A cell that has rows."""

    column: int
    line: int
    tally: GridTally


class GridView:
    """The cells of one choice of axes."""

    def __init__(
        self, axes: GridAxes, choice: GridChoice, jobs: Mapping[int, GridJob], most_lines: int
    ) -> None:
        """*jobs* may change; who changes it says so. At most *most_lines* columns, and lines."""
        self._jobs = jobs
        self._of_job = axes.of_job
        places, columns, lines = _places(axes, choice)
        self.columns = columns[:most_lines]
        """(place of the value of `facets_across`, of `across`), in their order."""
        self.lines = lines[:most_lines]
        """The same of `facets_down` and `down`."""
        column_of = {key: at for at, key in enumerate(self.columns)}
        line_of = {key: at for at, key in enumerate(self.lines)}
        self._cell_of: dict[int, tuple[int, int]] = {}
        beyond = set()
        for combination, (column, line) in places.items():
            if column in column_of and line in line_of:
                self._cell_of[combination] = column_of[column], line_of[line]
            else:
                beyond.add((column, line))
        self.left_out = len(beyond)
        """Cells beyond the limit."""
        self._members: dict[tuple[int, int], list[int]] = {}
        self._invalid: Counter[tuple[int, int]] = Counter()
        self._tallies: dict[tuple[int, int], GridTally] = {}
        self.total = GridTally()
        """Of all cells; a job that is in several counts once."""
        self._fill(axes)

    def _fill(self, axes: GridAxes) -> None:
        for combination, rows in axes.invalid.items():
            if (cell := self._cell_of.get(combination)) is not None:
                self._invalid[cell] += rows
                self.total.counts["invalid"] += rows
        together: dict[tuple[int, ...], list[int]] = {}
        for job_seq, places in axes.of_job.items():
            together.setdefault(places, []).append(job_seq)
        shown: list[int] = []
        for places, job_seqs in together.items():
            cells = self._cells_at(places)
            for cell in cells:
                self._members.setdefault(cell, []).extend(job_seqs)
            if cells:
                shown += job_seqs
        self.total.add_all(self._known(shown))

    def _known(self, job_seqs: Iterable[int]) -> list[GridJob]:
        return [job for job in map(self._jobs.get, job_seqs) if job is not None]

    def _cells_at(self, places: tuple[int, ...]) -> set[tuple[int, int]]:
        return {self._cell_of[place] for place in places if place in self._cell_of}

    def change(self, before: GridJob | None, job: GridJob) -> None:
        """Take note that *job* stands elsewhere now."""
        cells = self._cells_at(self._of_job.get(job.seq, ()))
        has_lost_image = before is not None and job.newest < before.newest
        for cell in cells:
            if has_lost_image or before is None:
                self._tallies.pop(cell, None)
            elif (tally := self._tallies.get(cell)) is not None:
                tally.add(before, -1)
                tally.add(job)
        if cells:
            if before is not None:
                self.total.add(before, -1)
            self.total.add(job)

    def cells(self, columns: Iterable[int], lines: Iterable[int]) -> Iterator[GridCell]:
        """Those that have rows, line by line."""
        columns = list(columns)
        for line in lines:
            for column in columns:
                cell = column, line
                if cell in self._members or cell in self._invalid:
                    yield GridCell(column, line, self._tally(cell))

    def _tally(self, cell: tuple[int, int]) -> GridTally:
        if (known := self._tallies.get(cell)) is not None:
            return known
        if len(self._tallies) >= _MOST_ADDED_UP:
            self._tallies.clear()
        tally = self._tallies[cell] = GridTally()
        tally.add_all(self._known(self._members.get(cell, ())))
        if rows := self._invalid[cell]:
            tally.counts["invalid"] += rows
        return tally


_Key = tuple[int, int]


def _places(
    axes: GridAxes, choice: GridChoice
) -> tuple[dict[int, tuple[_Key, _Key]], list[_Key], list[_Key]]:
    """The column and line of each combination that is chosen, and all columns and lines."""
    names = (choice.facets_across, choice.across, choice.facets_down, choice.down)
    picked = [axes.place_of(name) for name in names]
    fixed = []
    for name, value in choice.fixed:
        if (at := axes.place_of(name)) is not None:
            known = axes.axes[at].values
            fixed.append((at, known.index(value) if value in known else None))
    found: dict[int, tuple[_Key, _Key]] = {}
    for number, values in enumerate(axes.combinations):
        if all(values[at] == wanted for at, wanted in fixed):
            facet, across, other, down = (ABSENT if at is None else values[at] for at in picked)
            found[number] = (facet, across), (other, down)
    columns = sorted({column for column, _ in found.values()})
    lines = sorted({line for _, line in found.values()})
    return found, columns, lines
