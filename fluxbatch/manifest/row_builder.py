"""The builder of rows: one pass over a manifest's records, each into rows with jobs or an error.

Owns the order and the numbers of rows. It works in batches, one step over the whole batch and
then the next, because a million rows wait for it: row by row the steps drive each other out of
the processor's cache (measured: 24 µs a row against 16). At most a batch is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from fluxbatch.domain.job import ControlFile, Input, Job, Row, canonical_json, hash_of
from fluxbatch.errors import BadRow
from fluxbatch.infra.compact_set import CompactMap
from fluxbatch.manifest.columns import RowParts
from fluxbatch.manifest.control_images.resolve import BadControl, ControlImages
from fluxbatch.manifest.expansion import Expansion
from fluxbatch.manifest.sweep.cells import Cell
from fluxbatch.models import BadInput, ModelCard, Problem

OnBad = Callable[[BadRow], None]

_BATCH = 256
_NO_CELL: Cell = {}
_NUL = "has a NUL character; take it out"
_SECOND_FILE = "is a second local file, and a job can have one; give this one as an https URL"


class _Ask(NamedTuple):
    """One record in one cell of the sweep, with one prompt."""

    line: int
    parts: RowParts
    cell: Cell
    inputs: Input
    """What goes over the row's own inputs."""
    problems: Sequence[Problem] = ()
    """Of this cell alone."""


class RowBuilder:
    """Turns records into rows, once; the ids it has seen are those of this pass."""

    def __init__(
        self,
        card: ModelCard,
        *,
        defaults: Input,
        expansion: Expansion | None,
        images: ControlImages,
        on_bad: OnBad | None,
    ) -> None:
        self._card = card
        self._defaults = defaults
        self._expansion = expansion
        self._varied = expansion.varied if expansion is not None else frozenset()
        self._file_inputs = sorted(card.file_inputs)
        self._images = images
        self._on_bad = on_bad
        self._ids = CompactMap()
        self._number = 0
        self._given_up: RowParts | None = None
        """The record that is bad in every cell, and has said so once."""

    def rows(self, records: Iterator[tuple[int, RowParts]]) -> Iterator[Row]:
        asks = self._asks(records)
        while batch := list(islice(asks, _BATCH)):
            problems: dict[int, Sequence[Problem]] = {}
            """What is wrong, by place in the batch; most batches have nothing here."""
            self._check_parts(batch, problems)
            bad_records = frozenset(problems)
            inputs = self._checked(batch, problems)
            controls = self._resolve_files(inputs, problems)
            if problems:
                self._look_at_files_of(batch, problems)
            texts = [canonical_json(given) for given in inputs]
            _refuse_nul(batch, inputs, texts, problems)
            for place, ask in enumerate(batch):
                if place not in problems:
                    repeats = ask.parts.repeat or 1
                    job = self._job(inputs[place], texts[place])
                    yield self._good(ask, job, controls.get(place))
                    for repeat in range(1, repeats):
                        again = job._replace(
                            job_id=hash_of(job.model, texts[place], repeat), repeat=repeat
                        )
                        yield self._good(ask, again, controls.get(place))
                elif ask.parts is not self._given_up:
                    yield self._refused(ask, problems[place])
                    fields = {problem.field for problem in problems[place]}
                    fields -= {problem.field for problem in ask.problems}
                    if place in bad_records or not fields <= ask.inputs.keys():
                        self._given_up = ask.parts  # the row's own fault, the same in every cell

    def _asks(self, records: Iterator[tuple[int, RowParts]]) -> Iterator[_Ask]:
        if self._expansion is None:
            for line, parts in records:
                yield _Ask(line, parts, _NO_CELL, _NO_CELL)
            return
        for line, parts in records:
            for made in self._expansion.over(parts):
                yield _Ask(line, parts, *made)
                if parts is self._given_up:
                    break

    def _check_parts(self, batch: list[_Ask], problems: dict[int, Sequence[Problem]]) -> None:
        """What is wrong with the records, whatever their inputs."""
        last: RowParts | None = None
        found: Sequence[Problem] = ()
        for place, (line, parts, *_) in enumerate(batch):
            if parts is not last:
                last, found = parts, parts.problems
                if parts.user_id is not None and (
                    first := self._ids.setdefault(parts.user_id, line)
                ):
                    found = self._with_repeated_id(parts, line, first)
                if self._varied:
                    found = self._with_varied(parts, found)
            if found:
                problems[place] = found

    def _with_repeated_id(self, parts: RowParts, line: int, first: int) -> Sequence[Problem]:
        if first == line:  # the same record, cut in two by the end of a batch
            return parts.problems
        reason = f"{parts.user_id!r} is already the id of line {first}; ids must differ"
        return [*parts.problems, Problem("id", reason)]

    def _with_varied(self, parts: RowParts, found: Sequence[Problem]) -> Sequence[Problem]:
        twice = [name for name in self._varied if parts.given.get(name) not in (None, "")]
        reason = "is varied by the sweep too; drop the column or the axis"
        return [*found, *(Problem(name, reason) for name in sorted(twice))]

    def _checked(self, batch: list[_Ask], problems: dict[int, Sequence[Problem]]) -> list[Input]:
        """The inputs as the model's types; an empty one where `problems` says why."""
        check = self._card.check
        merge = bool(self._defaults or self._expansion)
        inputs: list[Input] = []
        for place, (_, parts, _, over, own_problems) in enumerate(batch):
            given: Mapping[str, object] = parts.given
            if merge:
                given = self._merged(parts.given, over)
            if own_problems:
                problems[place] = [*problems.get(place, ()), *own_problems]
            try:
                inputs.append(check(given))
            except BadInput as exc:
                inputs.append({})
                if not parts.is_broken:
                    problems[place] = [*problems.get(place, ()), *exc.problems]
        return inputs

    def _merged(self, own: Mapping[str, object], over: Input) -> dict[str, object]:
        given = {name: value for name, value in own.items() if value not in (None, "")}
        return {**self._defaults, **given, **over}

    def _resolve_files(
        self, inputs: list[Input], problems: dict[int, Sequence[Problem]]
    ) -> dict[int, ControlFile]:
        """Put into *inputs* what names a job for each file; the local files by place."""
        controls: dict[int, ControlFile] = {}
        resolve = self._images.resolve
        for name in self._file_inputs:
            self._images.look_ahead(given.get(name) for given in inputs)
            for place, given in enumerate(inputs):
                value = given.get(name)
                if type(value) is not str or place in problems:
                    continue
                try:
                    given[name], control = resolve(value)
                except BadControl as exc:
                    problems[place] = [Problem(name, str(exc))]
                    continue
                if control is not None:
                    first = controls.setdefault(place, control)
                    if first.sha256 != control.sha256:
                        problems[place] = [Problem(name, _SECOND_FILE)]
        return controls

    def _look_at_files_of(self, batch: list[_Ask], problems: dict[int, Sequence[Problem]]) -> None:
        """A row that is bad in other ways says at once what is wrong with its files."""
        for place, found in problems.items():
            parts = batch[place].parts
            if parts.is_broken or parts is self._given_up:
                continue
            given, named = self._merged(parts.given, batch[place].inputs), {p.field for p in found}
            for name in self._file_inputs:
                value = given.get(name)
                if not isinstance(value, str) or name in named:
                    continue
                try:
                    self._images.resolve(value)
                except BadControl as exc:
                    problems[place] = [*problems[place], Problem(name, str(exc))]

    def _job(self, given: Input, text: bytes) -> Job:
        slug = self._card.slug
        wanted = self._card.outputs_wanted(given)
        return Job(hash_of(slug, text), slug, given, 0, wanted, text.decode())

    def _good(self, ask: _Ask, job: Job, control: ControlFile | None) -> Row:
        line, parts, cell, *_ = ask
        self._number += 1
        number, user_id, meta, priority = self._number, parts.user_id, parts.meta, parts.priority
        return Row(number, line, user_id, meta, job, control, None, priority, cell)

    def _refused(self, ask: _Ask, problems: Sequence[Problem]) -> Row:
        line, parts, cell, *_ = ask
        self._number += 1
        bad = [BadRow(self._number, line, field, reason) for field, reason in problems]
        if self._on_bad is not None:
            for row in bad:
                self._on_bad(row)
        others = [f"{row.field}: {row.reason}" for row in bad[1:]]
        return Row(
            number=self._number,
            line=line,
            user_id=parts.user_id,
            meta=parts.meta,
            job=None,
            error="; ".join([str(bad[0]), *others]),
            priority=parts.priority,
            axes=cell,
        )


def _refuse_nul(
    batch: Sequence[_Ask],
    inputs: Sequence[Input],
    texts: Sequence[bytes],
    problems: dict[int, Sequence[Problem]],
) -> None:
    """No database and no tool downstream keeps a NUL; CSV has had none from the start."""
    for place, (ask, text) in enumerate(zip(batch, texts, strict=True)):
        may_have = rb"\u0000" in text or ask.parts.meta or "\0" in (ask.parts.user_id or "")
        if not may_have:
            continue
        given: dict[str, object] = {**inputs[place], "id": ask.parts.user_id}
        given |= {f"meta.{name}": value for name, value in ask.parts.meta.items()}
        told = {problem.field for problem in problems.get(place, ())}
        found = [
            Problem(name, _NUL)
            for name, value in given.items()
            if name not in told and _has_nul(value)
        ]
        if found:
            problems[place] = [*problems.get(place, ()), *found]


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(name) or _has_nul(inner) for name, inner in value.items())
    return isinstance(value, list) and any(_has_nul(inner) for inner in value)
