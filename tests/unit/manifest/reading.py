"""The support of manifest tests: writing a manifest, and reading it to the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from fluxbatch.config.sweep import ManifestFormat, Sweep, Templates
from fluxbatch.domain.job import Row
from fluxbatch.errors import BadRow
from fluxbatch.manifest import FileHashes, Manifest, ManifestShape
from fluxbatch.models import find_card

CARD = find_card("flux-depth-dev")
URL = "https://example.org/a.png"
ROW: Mapping[str, object] = {"prompt": "a cat", "control_image": URL}


def line(**given: object) -> str:
    """A good row of JSONL, with more or other inputs."""
    return json.dumps({**ROW, **given}) + "\n"


def write(folder: Path, text: str | bytes, name: str = "m.jsonl") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def opened(
    path: Path | None,
    *,
    defaults: Mapping[str, object] | None = None,
    sweep: Sweep | None = None,
    allow_http: bool = False,
    hashes: FileHashes | None = None,
    folder: Path | None = None,
    columns: Mapping[str, str] | None = None,
    templates: Templates | None = None,
    kind: ManifestFormat | None = None,
    config_folder: Path | None = None,
) -> Manifest:
    return Manifest.open(
        path,
        card=CARD,
        shape=ManifestShape(defaults or {}, sweep, columns or {}, templates, kind, config_folder),
        allow_http=allow_http,
        hashes=hashes,
        folder=folder,
    )


def read(path: Path | None, **settings: object) -> list[Row]:
    return list(opened(path, **settings).rows())  # type: ignore[arg-type]  # passed on as given


def bad_rows(path: Path | None, **settings: object) -> list[BadRow]:
    found: list[BadRow] = []
    for _ in opened(path, **settings).rows(found.append):  # type: ignore[arg-type]
        pass
    return found


def inputs(rows: list[Row]) -> list[dict[str, object]]:
    """The inputs of the good rows."""
    return [dict(row.job.input) for row in rows if row.job is not None]
