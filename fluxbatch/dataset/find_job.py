"""The lookup of a job by name: `#12`, a user's id, the start of a job id, or a file.

Owns the order in which a name is tried, and what is said of one that fits nothing or too much.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.formatting import shortened
from fluxbatch.errors import ConfigError
from fluxbatch.infra.regular_file import open_regular
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.image_location import image_store
from fluxbatch.ledger.queries import lookup
from fluxbatch.ledger.queries.runs_and_failures import ListedManifest, latest_manifest

_NUMBER = re.compile(r"#\s*(\d{1,15})")
_BARE_NUMBER = re.compile(r"\d{1,15}")
_HEX = re.compile(r"[0-9a-fA-F]{4,32}")
_FEW = 6
_COMPARED = 5_000
"""Ids that an unknown one is compared with."""


@dataclass(frozen=True, slots=True)
class JobRef:
    """What a name stands for: a job, one of its outputs, or a row that is invalid."""

    manifest: ListedManifest
    job_seq: int | None
    row: lookup.NamedRow | None = None
    """Where a row was named; always where `job_seq` is None."""
    output_seq: int | None = None


def find_job(db: Database, folder: Folder, name: str) -> JobRef:
    """Raise `ConfigError` naming the candidates, or the nearest names there are."""
    manifest = latest_manifest(db)
    if manifest is None:
        raise ConfigError(f"{folder.address!r} has no rows yet: nothing was ever run")
    name = name.encode("utf-8", "replace").decode()  # a file's name may hold any bytes
    found = (
        _by_number(db, manifest, name)
        or _by_file(db, manifest, folder, name)
        or _by_user_id(db, manifest, name)
        or _by_our_id(db, manifest, name)
        or _by_prefix(db, manifest, name)
        or _by_bare_number(db, manifest, name)
    )
    if found is None:
        raise ConfigError(_unknown(db, manifest, name))
    return found


def _by_number(db: Database, manifest: ListedManifest, name: str) -> JobRef | None:
    matched = _NUMBER.fullmatch(name.strip())
    if matched is None:
        return None
    row = lookup.row_by_number(db, manifest.seq, int(matched[1]))
    if row is None:
        raise ConfigError(f"there is no row {name}; the rows are #1 to #{manifest.rows}")
    return JobRef(manifest, row.job_seq, row)


def _by_bare_number(db: Database, manifest: ListedManifest, name: str) -> JobRef | None:
    """A shell takes `#12` for a comment; a number that is nobody's id is the row's."""
    return _by_number(db, manifest, f"#{name}") if _BARE_NUMBER.fullmatch(name.strip()) else None


def _by_file(db: Database, manifest: ListedManifest, folder: Folder, name: str) -> JobRef | None:
    """By its place in the dataset, else by its bytes: a copy is known wherever it lies."""
    path, store = Path(name), image_store(db)
    places = [name.removeprefix("./")]
    places += [name.removeprefix(f"{store}/")] if store is not None else []
    for place in (path, folder.root / name):
        try:
            places.append(place.resolve().relative_to(folder.root.resolve()).as_posix())
        except (ValueError, OSError):
            continue
    for relative in dict.fromkeys(places):
        if (output := lookup.output_at(db, relative)) is not None:
            return JobRef(manifest, output[0], output_seq=output[1])
    digest = _digest(path)
    if digest is None:
        return None
    output = lookup.output_of_bytes(db, digest) or _output_by_facts(db, path)
    if output is None:
        raise ConfigError(
            f"{name!r} is no image of this dataset: the ledger knows neither its path nor its"
            " bytes; `fluxbatch show FILE` alone says what it tells of itself"
        )
    return JobRef(manifest, output[0], output_seq=output[1])


def _output_by_facts(db: Database, path: Path) -> tuple[int, int] | None:
    """By the metadata it carries: a sidecar, or an image saved anew with its facts."""
    from fluxbatch.sink.image_facts import read_image_facts  # what else is asked for reads no image

    image = read_image_facts(path)
    if image is None or not isinstance(digest := image.facts.get("sha256"), str):
        return None
    return lookup.output_of_bytes(db, digest)


def _digest(path: Path) -> str | None:
    """None for what is no file."""
    try:
        if not path.is_file():
            return None
    except (OSError, ValueError):  # too long, or a NUL in it
        return None
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise ConfigError(f"cannot read {str(path)!r}: {exc.strerror}") from exc


def _by_user_id(db: Database, manifest: ListedManifest, name: str) -> JobRef | None:
    rows = lookup.rows_by_user_id(db, manifest.seq, name, _FEW)
    return _one_of(manifest, name, rows) if rows else None


def _by_our_id(db: Database, manifest: ListedManifest, name: str) -> JobRef | None:
    """The provider's id in full, or four digits and more of a job's."""
    job_seq = lookup.job_of_prediction(db, name)
    if job_seq is not None:
        return JobRef(manifest, job_seq)
    if not _HEX.fullmatch(name):
        return None
    jobs = lookup.jobs_by_prefix(db, name.lower(), _FEW)
    if len(jobs) > 1:
        raise ConfigError(
            f"{name!r} begins the ids of several jobs: {_some([job for _, job in jobs])};"
            " give more digits"
        )
    return JobRef(manifest, jobs[0][0]) if jobs else None


def _by_prefix(db: Database, manifest: ListedManifest, name: str) -> JobRef | None:
    rows = lookup.rows_by_prefix(db, manifest.seq, name, _FEW) if name else []
    return _one_of(manifest, name, rows) if rows else None


def _one_of(manifest: ListedManifest, name: str, rows: list[lookup.NamedRow]) -> JobRef:
    """The one thing that all *rows* name."""
    if len({row.job_seq for row in rows}) == 1 and (len(rows) == 1 or rows[0].job_seq is not None):
        return JobRef(manifest, rows[0].job_seq, rows[0])
    ids = {row.user_id for row in rows}
    if len(ids) == 1:
        several = _some([f"#{row.number}" for row in rows])
        raise ConfigError(f"{name!r} is the id of several rows: {several}; name one by its number")
    several = _some([f"{row.user_id!r} (#{row.number})" for row in rows])
    raise ConfigError(f"{name!r} begins the ids of several rows: {several}; write the whole id")


def _some(names: list[str]) -> str:
    return ", ".join(names[: _FEW - 1]) + (" and more" if len(names) >= _FEW else "")


def _unknown(db: Database, manifest: ListedManifest, name: str) -> str:
    shown = shortened(name, 80)
    said = f"nothing here is called {shown!r}"
    # Most slips are not in the first letter.
    rows = lookup.rows_by_prefix(db, manifest.seq, name[:1], _COMPARED)
    rows = rows or lookup.rows_by_prefix(db, manifest.seq, "", _COMPARED)
    ids = {row.user_id: row.number for row in rows if row.user_id is not None}
    near = difflib.get_close_matches(name, list(ids), n=3, cutoff=0.5)
    if near:
        return f"{said}; the nearest: {', '.join(f'{n!r} (#{ids[n]})' for n in near)}"
    return (
        f"{said}; name a row (#1 to #{manifest.rows}), its id, a job by four digits or more of its"
        " id, a prediction by its id, or a file. `fluxbatch ls` lists them"
    )
