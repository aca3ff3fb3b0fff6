"""The results of a manifest, page by page: its rows with their jobs and outputs.

Owns no state and changes none; runs on a reader's own connection. Each page is one query,
so a million rows are never held.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from pydantic_core import from_json
from sqlalchemy import FromClause, and_, bindparam, func, select

from fluxbatch.domain.job import FailureClass, JobId, JobState, OutputState
from fluxbatch.domain.money import Micros
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.db.rows import DbRow
from fluxbatch.ledger.db.sql import Statement, constant
from fluxbatch.ledger.queries.rerolled_jobs import REROLLS_SINCE

_r, _j, _p, _o = schema.rows.c, schema.jobs.c, schema.predictions.c, schema.outputs.c
_rr = schema.rerolls.c
_PAGE = 500


class StoredOutput(NamedTuple):
    """An image on disk."""

    path: str
    """Relative to the dataset."""
    sha256: str
    bytes: int
    mime: str
    width: int
    height: int
    prediction_id: str | None
    seed: int | None
    number: int
    """Within its prediction, from 0."""
    edition: int
    """Which of the predictions that gave the job images made it, from 0: `retry` adds one."""
    attempt: int
    """Which of all predictions of the job made it, from 1."""
    run_id: str
    file_sha256: str
    """Of the file as it lies there; differs from `sha256` where metadata was embedded."""
    dhash: str | None
    quality: Mapping[str, Any]
    submitted_at: str
    generated_at: str | None
    stored_at: str | None
    run_time_s: float | None
    """The provider's own figure."""


class RowResult(NamedTuple):
    """One row, its job and the images there are of it."""

    number: int
    line: int
    user_id: str | None
    state: JobState | None
    """None: the row is invalid and names no job."""
    failure: FailureClass | None
    reason: str | None
    job_id: JobId | None
    model: str | None
    input: Mapping[str, Any]
    meta: Mapping[str, Any]
    axes: Mapping[str, Any]
    cost: Micros
    """Of every prediction of the job; rows that name one job each show all of it."""
    cost_is_estimated: bool
    repeat: int
    control_sha256: str | None
    """Of a local control image; None where it is a URL."""
    control_path: str | None
    """Where that image lay when the manifest was read."""
    outputs_wanted: int
    """By its job; 0 where there is none."""
    reroll: int = 0
    """Which of its row's rerolls it is, from 1; 0: the row's own job."""
    reroll_of: JobId | None = None
    """The row's own job, where this is a reroll."""
    outputs: tuple[StoredOutput, ...] = ()


_OUTPUT = (
    _p.seq, _o.path, _o.sha256, _o.bytes, _o.mime, _o.width, _o.height,
    _p.provider_id, _p.seed, _o.number, _p.attempt, schema.runs.c.id,
    _o.file_sha256, _o.dhash, _o.quality_json, _p.intended_at, _p.ended_at,
    _o.stored_at, _p.run_time_us,
)  # fmt: skip
_RESULT = (
    _r.number, _r.line, _r.user_id, _r.error, _r.meta_json, _r.axes_json, _j.id, _j.state,
    _j.failure, _j.reason, _j.model, _j.input_json, _p.cost, _p.estimated, _j.repeat,
    _j.control_sha256, _j.control_path, _j.outputs_wanted,
    *_OUTPUT,
)  # fmt: skip


def _with_outputs(rows_and_jobs: FromClause) -> FromClause:
    """With every prediction of each job, for its cost, and the images there are of it."""
    return (
        rows_and_jobs.outerjoin(schema.predictions, _p.job_seq == _j.seq)
        .outerjoin(
            schema.outputs,
            and_(_o.prediction_seq == _p.seq, _o.state == constant(OutputState.STORED)),
        )
        .outerjoin(schema.runs, schema.runs.c.seq == _p.run_seq)
    )


_PAGES = Statement(
    lambda _: (
        select(*_RESULT)
        .select_from(_with_outputs(schema.rows.outerjoin(schema.jobs, _j.seq == _r.job_seq)))
        .where(
            _r.manifest_seq == bindparam("manifest_seq"),
            _r.number > bindparam("after"),
            _r.number <= bindparam("until"),
        )
        .order_by(_r.number)  # as they lie; a row's few outputs are put in order afterwards
    )
)
_origin = schema.jobs.alias("origin")
_REROLL_PAGE = Statement(
    lambda _: (
        select(_rr.job_seq)
        .where(_rr.job_seq > bindparam("after"))
        .order_by(_rr.job_seq)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)
_REROLLED = Statement(
    lambda _: (
        select(*_RESULT, _rr.number, _origin.c.id)
        .select_from(
            _with_outputs(
                schema.rerolls.join(schema.rows, _r.job_seq == _rr.of_job_seq)
                .join(schema.jobs, _j.seq == _rr.job_seq)
                .join(_origin, _origin.c.seq == _rr.of_job_seq)
            )
        )
        .where(
            _r.manifest_seq == bindparam("manifest_seq"),
            _rr.job_seq >= bindparam("first"),
            _rr.job_seq <= bindparam("last"),
        )
        .order_by(_rr.job_seq, _r.number)
    )
)


_LAST_ROW = Statement(
    lambda _: select(func.coalesce(func.max(_r.number), constant(0))).where(
        _r.manifest_seq == bindparam("manifest_seq")
    )
)


class ResultPage(NamedTuple):
    """Results column by column: each line is a row with one of its images, or without any."""

    row: Mapping[str, Sequence[Any]]
    """By the fields of `RowResult`, in their order, but for `outputs`."""
    output: Mapping[str, Sequence[Any]]
    """By the fields of `StoredOutput`, in their order; without an image `quality` is empty and all
    else None."""
    places: Sequence[int]
    """Which of its row's lines it is, from 0; a row's lines are one after the other."""
    input_texts: Sequence[str | None]
    """Of `row["input"]`, as the ledger has it: RFC 8785. None where there is none."""
    has_escapes: bool
    """Whether some JSON text has a `\\u`: all others are texts that UTF-8 can hold."""


def result_pages(db: Database, manifest_seq: int) -> Iterator[ResultPage]:
    """Every row of a manifest, in its order, as it is when its page is read; after the last one
    the rerolls of their jobs, each as its row once more, in the order they were asked for."""
    ((last,),) = db.run(_LAST_ROW, {"manifest_seq": manifest_seq})
    for after in range(0, last, _PAGE):
        place = {"manifest_seq": manifest_seq, "after": after, "until": after + _PAGE}
        if records := db.run(_PAGES, place):
            yield _page(records)
    if db.version >= REROLLS_SINCE:
        yield from _rerolled(db, manifest_seq)


def row_results(db: Database, manifest_seq: int) -> Iterator[RowResult]:
    """As `result_pages`, row by row."""
    for page in result_pages(db, manifest_seq):
        yield from page_rows(page)


def page_rows(page: ResultPage) -> Iterator[RowResult]:
    """Each row with all of its images."""
    lines = zip(
        page.places,
        zip(*page.row.values(), strict=True),
        map(StoredOutput._make, zip(*page.output.values(), strict=True)),
        strict=True,
    )
    row, outputs = None, list[StoredOutput]()
    for place, fields, output in lines:
        if place == 0:
            if row is not None:
                yield RowResult._make((*row, tuple(outputs)))
            row, outputs = fields, []
        if output.path is not None:
            outputs.append(output)
    if row is not None:
        yield RowResult._make((*row, tuple(outputs)))


def _rerolled(db: Database, manifest_seq: int) -> Iterator[ResultPage]:
    after = 0
    while page := db.run(_REROLL_PAGE, {"after": after, "most": _PAGE}):
        first, after = page[0][0], page[-1][0]
        place = {"manifest_seq": manifest_seq, "first": first, "last": after}
        if records := db.run(_REROLLED, place):
            yield _page(records)


_ROW_FIELDS = RowResult._fields[:-1]
_ROW_AND_JOB = itemgetter(0, 6)
_STATES: Mapping[str | None, JobState] = {state.value: state for state in JobState}
_FAILURES: Mapping[str | None, FailureClass] = {failure.value: failure for failure in FailureClass}
_COST, _ESTIMATED, _PREDICTION, _PATH, _NUMBER = 12, 13, 18, 19, 27
_NO_OUTPUT = (None,) * len(_OUTPUT)
_MADE_BY_AND_NUMBER = itemgetter(_PREDICTION, _NUMBER)
_parse_any = json.JSONDecoder().raw_decode
"""Half the time of `json.loads`; what the ledger keeps begins and ends with its value."""


def _page(records: list[DbRow]) -> ResultPage:
    """Column by column: of a million rows that takes half the time of row by row."""
    records, places, editions = _in_order(records)
    (
        numbers, lines, user_ids, errors, metas, axes, jobs, states, failures, reasons, models,
        inputs, costs, estimated, repeats, control_sha256s, control_paths, wanted,
        _, paths, sha256s, sizes, mimes, widths, heights, makers, seeds, output_numbers, attempts,
        run_ids, file_sha256s, dhashes, qualities, begun, ended, stored, run_us, *of_rerolls,
    ) = zip(*records, strict=True)  # fmt: skip
    rerolls, origins = of_rerolls or ([0] * len(records), [None] * len(records))
    row: Sequence[Sequence[Any]] = (
        numbers,
        lines,
        user_ids,
        [_STATES.get(state) for state in states],
        [_FAILURES.get(failure) for failure in failures],
        [error or reason for error, reason in zip(errors, reasons, strict=True)],
        [None if job is None else bytes(job) for job in jobs],
        models,
        _parsed(inputs),
        _parsed(metas),
        _parsed(axes),
        [int(cost or 0) for cost in costs],
        list(map(bool, estimated)),
        [repeat or 0 for repeat in repeats],
        control_sha256s,
        control_paths,
        [most or 0 for most in wanted],
        rerolls,
        [None if job is None else bytes(job) for job in origins],
    )
    output: Sequence[Sequence[Any]] = (
        paths, sha256s, sizes, mimes, widths, heights, makers, seeds, output_numbers, editions,
        attempts, run_ids,
        [of_file or sha256 for of_file, sha256 in zip(file_sha256s, sha256s, strict=True)],
        dhashes, _parsed(qualities), begun, ended, stored,
        [None if us is None else us / 1_000_000 for us in run_us],
    )  # fmt: skip
    return ResultPage(
        dict(zip(_ROW_FIELDS, row, strict=True)),
        dict(zip(StoredOutput._fields, output, strict=True)),
        places,
        inputs,
        any(text and "\\u" in text for texts in (inputs, metas, axes, qualities) for text in texts),
    )


def _in_order(records: list[DbRow]) -> tuple[list[DbRow], Sequence[int], Sequence[int | None]]:
    """A line for each image, in the order they were made, or one without any; each line with its
    place in its row and its edition."""
    if len({record[0] for record in records}) == len(records):
        lines = [one if one[_PATH] is not None else _without_output(one) for one in records]
        return lines, [0] * len(lines), [None if one[_PATH] is None else 0 for one in lines]
    ordered: list[DbRow] = []
    places: list[int] = []
    editions: list[int | None] = []
    for _, of_row in groupby(records, key=_ROW_AND_JOB):
        edition, last = -1, None
        for place, line in enumerate(_lines_of(list(of_row))):
            made_by = line[_PREDICTION]
            edition, last = edition + (made_by != last), made_by
            ordered.append(line)
            places.append(place)
            editions.append(edition if made_by is not None else None)
    return ordered, places, editions


def _lines_of(records: list[DbRow]) -> list[DbRow]:
    """Of one row; each with the money of all predictions."""
    if len(records) == 1:
        return [one if one[_PATH] is not None else _without_output(one) for one in records]
    money = {one[_PREDICTION]: (one[_COST] or 0, one[_ESTIMATED]) for one in records}
    costs, estimated = zip(*money.values(), strict=True)
    spent = (sum(costs), max(estimated))
    lines = sorted((one for one in records if one[_PATH] is not None), key=_MADE_BY_AND_NUMBER)
    return [
        (*one[:_COST], *spent, *one[_ESTIMATED + 1 :])
        for one in lines or [_without_output(records[0])]
    ]


def _without_output(record: DbRow) -> DbRow:
    """Without what is known of its prediction but the money."""
    return (*record[:_PREDICTION], *_NO_OUTPUT, *record[_PREDICTION + len(_NO_OUTPUT) :])


def _parsed(texts: Iterable[str | None]) -> list[Any]:
    return [[] if text == "[]" else _parse(text) if text and text != "{}" else {} for text in texts]


def _parse(text: str) -> Any:
    """A third of the time of `json`; which alone takes halves of surrogate pairs, and any depth."""
    try:
        return from_json(text, cache_strings="keys")
    except ValueError:
        return _parse_any(text)[0]


_STATE = Statement(lambda _: select(_j.state).where(_j.id == bindparam("job_id")))


def job_state(db: Database, name: JobId) -> JobState | None:
    """None for a job the dataset does not know."""
    found = db.run(_STATE, {"job_id": name})
    return JobState(found[0][0]) if found else None


class NamedJob(NamedTuple):
    """Which job a row names, and where that stands."""

    number: int
    line: int
    user_id: str | None
    axes_json: str | None
    job_id: JobId
    state: JobState


_NAMED = Statement(
    lambda _: (
        select(_r.number, _r.line, _r.user_id, _r.axes_json, _j.id, _j.state)
        .join_from(schema.rows, schema.jobs, _j.seq == _r.job_seq)
        .where(_r.manifest_seq == bindparam("manifest_seq"), _r.number > bindparam("after"))
        .order_by(_r.number)
        .limit(bindparam("most"))
        .offset(constant(0))
    )
)


def named_jobs(db: Database, manifest_seq: int) -> Iterator[NamedJob]:
    """Every row of a manifest that names a job, in its order."""
    after = 0
    while records := db.run(
        _NAMED, {"manifest_seq": manifest_seq, "after": after, "most": 10 * _PAGE}
    ):
        for number, line, user_id, axes, job, state in records:
            yield NamedJob(number, line, user_id, axes, JobId(bytes(job)), _STATES[state])
        after = int(records[-1][0])
