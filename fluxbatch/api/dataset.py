"""The functions and values of the Python API: the command line's verbs for programs.

Owns what is promised to programs: `Dataset`, `run`, `plan` and the plain values they
return. Everything is done by the engine, the planner and the ledger; a refusal is the exception
they raise, an outcome is the summary's exit code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, Unpack, cast

from anyio.from_thread import start_blocking_portal

from fluxbatch.api.call_options import checked_options, checked_path, checked_source
from fluxbatch.api.dataset_verbs import DatasetVerbs
from fluxbatch.api.event_logging import logging_listener
from fluxbatch.api.inputs import ManifestInput, PythonInputs, ShapeOptions, as_python_said
from fluxbatch.dataset.address import dataset_at
from fluxbatch.dataset.image_store import open_images
from fluxbatch.domain.job import JobId
from fluxbatch.domain.money import Micros
from fluxbatch.engine.hooks.run import with_hooks
from fluxbatch.engine.notify import with_notifications
from fluxbatch.engine.request import RunRequest
from fluxbatch.engine.run import execute_run
from fluxbatch.engine.run_status import RunStatus, RunSummary
from fluxbatch.errors import ManifestError
from fluxbatch.events import Events, Listener
from fluxbatch.infra.atomic_file import passing_folder
from fluxbatch.infra.loopback import is_loopback
from fluxbatch.infra.runtime import in_thread
from fluxbatch.ledger.queries import runs_and_failures, totals
from fluxbatch.ledger.queries.results import RowResult, StoredOutput, row_results
from fluxbatch.planning.plan import Plan, make_plan
from fluxbatch.sink import Images

__all__ = ["Dataset", "Image", "Options", "Plan", "Result", "RunSummary", "plan", "run"]


_Bytes = bytes
_Opener = Callable[[], IO[bytes]]


class Options(ShapeOptions, total=False):
    """The options of a run beside its source."""

    skip_invalid: bool
    no_wait: bool
    limit: int
    on_event: Listener
    on_status: Callable[[RunStatus], None]


@dataclass(frozen=True, slots=True)
class Image:
    """One image, in the dataset's folder or in its object store."""

    path: Path | None
    """None in an object store."""
    place: str
    """The path, or the URL in the object store."""
    sha256: str
    bytes: int
    mime: str
    width: int
    height: int
    prediction_id: str | None
    seed: int | None
    _open: _Opener = field(repr=False, compare=False)

    def read(self) -> _Bytes:
        """Its bytes, wherever it is.

        Raises `OSError` where it cannot be read, `SinkError` where the store does not answer.
        """
        with self._open() as file:
            return file.read()


@dataclass(frozen=True, slots=True)
class Result:
    """One row of a manifest, and what there is of it."""

    number: int
    line: int
    id: str | None
    """As the row gave it."""
    status: str
    """`done`, `failed`, `invalid`, or not ended: `pending`, `active`, `generated`."""
    failure: str | None
    reason: str | None
    job_id: str | None
    model: str | None
    input: Mapping[str, Any]
    meta: Mapping[str, Any]
    axes: Mapping[str, Any]
    cost: Micros
    """Micro-dollars, of every prediction of its job."""
    cost_is_estimated: bool
    images: tuple[Image, ...]

    @property
    def cost_usd(self) -> Decimal:
        return Decimal(self.cost) / 1_000_000

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of the images that are on this machine."""
        return tuple(image.path for image in self.images if image.path is not None)

    @property
    def prediction_id(self) -> str | None:
        """Of the latest prediction that gave an image."""
        return self.images[-1].prediction_id if self.images else None


class Dataset(DatasetVerbs):
    """A folder of images and its ledger, or a dataset in PostgreSQL by its address.

    Nothing is held open between calls; `async with` makes sure that the folder is there.
    """

    def __init__(self, path: str | Path) -> None:
        self._folder = dataset_at(checked_path("out", path))

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The dataset at *path*, which need not exist yet."""
        return cls(path)

    @property
    def path(self) -> Path:
        """Its folder; of a dataset in PostgreSQL, this machine's for what passes through."""
        return self._folder.root

    async def __aenter__(self) -> Self:
        self._folder.make()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def __repr__(self) -> str:
        return f"Dataset({self._folder.address!r})"

    async def run(
        self, source: ManifestInput | None = None, **options: Unpack[Options]
    ) -> RunSummary:
        """Make what *source* asks for; None: a sweep or manifest that the settings name.

        Raises `FluxbatchError` where the run is refused, before anything is spent, and `TypeError`
        for a keyword there is not. Cancelled, it leaves what runs at the provider; the next run
        adopts it.
        """
        options = cast("Options", checked_options("run", options, Options.__optional_keys__))
        given = PythonInputs(source, cast("ShapeOptions", options))
        listener = options.get("on_event")
        request = RunRequest(
            settings=given.settings,
            keys=given.keys(),
            folder=self._folder,
            manifest=await in_thread(partial(given.kept_manifest, self._folder)),
            skip_invalid=options.get("skip_invalid", False),
            no_wait=options.get("no_wait", False),
            limit=options.get("limit"),
        )
        events = Events(logging_listener(request.keys), *([listener] if listener else []))
        settings = given.settings
        run = partial(execute_run, request, on_status=options.get("on_status"))
        work = partial(with_hooks, settings.hooks, self._folder, events, run)
        local = is_loopback(settings.provider.base_url)
        try:
            return await with_notifications(
                settings.notify, self._folder.address, events, work, anywhere=local
            )
        except ManifestError as exc:
            raise as_python_said(exc, are_rows=given.rows is not None) from None

    def plan(self, source: ManifestInput | None = None, **options: Unpack[ShapeOptions]) -> Plan:
        """What a run would make, cost and take. Spends nothing; blocks for disk reads."""
        return plan(source, out=self._folder.address, **options)

    def results(self) -> Iterator[Result]:
        """Every row of the latest manifest, in its order, as the ledger has it now."""
        with self._folder.reader() as db:
            latest = runs_and_failures.latest_manifest(db)
            if latest is not None:
                images = open_images(self._folder, db)
                for row in row_results(db, latest.seq):
                    yield _result(row, images)

    def totals(self) -> totals.Totals:
        """Money and images of the whole dataset."""
        with self._folder.reader() as db:
            return totals.totals(db)


def run(
    source: ManifestInput | None = None, *, out: str | Path, **options: Unpack[Options]
) -> RunSummary:
    """`Dataset.run` for code without an event loop, or inside a running one (a notebook).

    The run has a thread and a loop of its own. Ctrl-C leaves at once; the next run takes up what
    was left at the provider.
    """

    checked = cast("Options", checked_options("run", options, Options.__optional_keys__))
    checked_source(source)

    async def call() -> RunSummary:
        async with Dataset.open(out) as dataset:
            return await dataset.run(source, **checked)

    with start_blocking_portal("asyncio", name="fluxbatch-run") as portal:
        return portal.call(call)


def plan(
    source: ManifestInput | None = None,
    *,
    out: str | Path | None = None,
    **options: Unpack[ShapeOptions],
) -> Plan:
    """What a run of *source* would make, cost and take; *out* is the dataset to compare with."""
    options = cast("ShapeOptions", checked_options("plan", options, ShapeOptions.__optional_keys__))
    given = PythonInputs(source, options)
    with passing_folder() as place:
        folder = dataset_at(checked_path("out", out)) if out is not None else None
        manifest = given.passing_manifest(place, folder)
        made = make_plan(
            given.settings, manifest, folder, accounts=given.accounts(), key=given.any_key()
        )
    return made if given.rows is None else replace(made, source="the rows given")


def _hex(name: JobId | None) -> str | None:
    return name.hex() if name is not None else None


def _result(row: RowResult, store: Images) -> Result:
    return Result(
        number=row.number,
        line=row.line,
        id=row.user_id,
        status=row.state.value if row.state is not None else "invalid",
        failure=row.failure.value if row.failure is not None else None,
        reason=row.reason,
        job_id=_hex(row.job_id),
        model=row.model,
        input=row.input,
        meta=row.meta,
        axes=row.axes,
        cost=row.cost,
        cost_is_estimated=row.cost_is_estimated,
        images=tuple(_image(output, store) for output in row.outputs),
    )


def _image(output: StoredOutput, store: Images) -> Image:
    return Image(
        path=store.file(output.path),
        place=store.place(output.path),
        sha256=output.sha256,
        bytes=output.bytes,
        mime=output.mime,
        width=output.width,
        height=output.height,
        prediction_id=output.prediction_id,
        seed=output.seed,
        _open=partial(store.open, output.path),
    )
