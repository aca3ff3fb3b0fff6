"""Datasets made quickly: the ledger's own operations, one transaction, real small images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import ControlFile, FailureClass, Job, JobState, Row, job_id
from fluxbatch.errors import ExitCode
from fluxbatch.export.export import write_export
from fluxbatch.export.export_request import Exported, ExportRequest
from fluxbatch.export.filter import EVERYTHING, parse_filter
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.ledger.operations.outputs import StoreOutput
from fluxbatch.ledger.writer import Operation, R
from tests.ledger.support import MODEL, URL, Books, E
from tests.support.pictures import picture

SIDE = 16
KINDS = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}


@dataclass(slots=True)
class SwiftBooks(Books):
    """Books within the one transaction of `made_dataset`."""

    def do(self, operation: Operation[R]) -> R:
        return operation.apply(self.db)


class Maker:
    """Makes what jobs of one dataset come to."""

    def __init__(self, folder: Folder, books: SwiftBooks, rows: Sequence[Row]) -> None:
        self.folder = folder
        self.books = books
        self._seqs: dict[bytes, int] = {}
        for row in rows:
            if row.job is not None:
                self._seqs.setdefault(row.job.job_id, len(self._seqs) + 1)

    def seq(self, row: Row) -> int:
        assert row.job is not None
        return self._seqs[row.job.job_id]

    def done(self, row: Row, kind: str = "png") -> None:
        """As many images as the row's job asked for."""
        assert row.job is not None
        urls = [URL] * row.job.outputs_wanted
        edition = self._editions(row)
        moved = self.books.generate(self.seq(row), urls)
        for output_seq, number, _ in moved.outputs:
            again = f"_r{edition}" if edition else ""
            stem = f"images/{row.job.job_id.hex()}{again}_{number}.{kind}"
            self._store(output_seq, stem, kind)

    def failed(self, row: Row, reason: str = "nothing of that kind") -> None:
        self.books.move(
            self.books.run_one(self.seq(row)),
            E.FAILED,
            failure=FailureClass.FILTERED,
            reason=reason,
        )

    def again(self, row: Row) -> None:
        """The job is pending once more, as `retry --quality` leaves it."""
        self.sql("UPDATE jobs SET state = 'pending', ended_at = NULL WHERE seq = ?", self.seq(row))

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        assert isinstance(self.books.db, SqliteDatabase)
        return self.books.db._connection.execute(text, values).fetchall()

    def _editions(self, row: Row) -> int:
        ((count,),) = self.sql(
            "SELECT COUNT(DISTINCT prediction_seq) FROM outputs WHERE job_seq = ?", self.seq(row)
        )
        return int(count)

    def _store(self, output_seq: int, path: str, kind: str) -> None:
        data = picture(kind, side=SIDE, seed=output_seq)
        (self.folder.root / path).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        at = self.books.now()
        stored = StoreOutput(at, output_seq, path, digest, len(data), KINDS[kind], SIDE, SIDE)
        assert self.books.do(stored) in (JobState.DONE, JobState.GENERATED, JobState.FAILED)


@contextmanager
def made_dataset(root: Path, rows: Sequence[Row]) -> Iterator[Maker]:
    """A dataset of *rows* and a run that is ended when the block is."""
    (root / "images").mkdir(parents=True)
    folder = Folder(root)
    db = SqliteDatabase(folder.ledger)
    db.begin()
    books = SwiftBooks(db, checked=False)
    books.manifest_seq = books.import_rows("manifest-1", rows)
    books.run = books.open_run("run-1")
    yield Maker(folder, books, rows)
    books.end_run(ExitCode.DONE)
    db.commit()
    db.close()


def row(number: int, user_id: str | None = None, /, **more: Any) -> Row:
    """A row of its own job; inputs, `meta`, `axes`, `control`, `error` as given."""
    meta, axes = more.pop("meta", {}), more.pop("axes", {})
    control, error, job = more.pop("control", None), more.pop("error", None), more.pop("job", None)
    if error is None and job is None:
        given = {"prompt": f"a lighthouse, {number}", **more}
        job = Job(
            job_id(MODEL, given), MODEL, given, outputs_wanted=int(given.get("num_outputs", 1))
        )
    return Row(number, number + 1, user_id, meta, job, control, error, 0, axes)


def control_file(path: Path) -> ControlFile:
    """A control image of the user's, as a manifest was read with it."""
    data = picture("png", side=SIDE, seed=99)
    path.write_bytes(data)
    return ControlFile(str(path), hashlib.sha256(data).hexdigest(), len(data), "image/png")


def exported(root: Path, form: str, to: Path | None = None, **more: Any) -> Exported:
    """One export of the dataset at *root*."""
    where = parse_filter(more.pop("where")) if "where" in more else EVERYTHING
    return write_export(ExportRequest(Folder(root), form, to, where, **more))


def files_of(root: Path) -> Mapping[str, bytes]:
    """Every file below *root* by its relative path, but for the lock."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "lock"
    }
