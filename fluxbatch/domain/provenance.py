"""The provenance of an image: how it was requested, made and stored.

Owns the fields of a sidecar and of the facts embedded in a file, both ways. What may be a token (a
URL's query) never gets in, and nothing else that is secret is known here. Touches no disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError, to_json

from fluxbatch._version import __version__
from fluxbatch.domain.filenames import NameFields

_FORMAT = 1
_MARK = "fluxbatch"
MAX_METADATA_BYTES = 16 * 1024 * 1024
"""Facts that are longer are ignored: the reading of an untrusted file is bounded."""

Metadata = dict[str, Any]
"""As JSON has them: plain words, in a fixed order."""


class Provenance(NamedTuple):
    """What is known of a prediction's outputs before they are fetched."""

    job: str
    """32 hex digits."""
    edition: int
    model: str
    input: Mapping[str, Any]
    """As the row and the defaults gave it; no URL with its query."""
    repeat: int
    control_sha256: str | None
    prediction_id: str | None
    seed: int | None
    run_id: str
    created_at: str
    """RFC 3339: when its create was about to be sent."""
    row: int | None = None
    """The first row that names the job, in the manifest that named it last."""
    row_id: str | None = None
    axes: Mapping[str, Any] = {}
    adopted: str | None = None
    """How its create was found again, where its answer was lost: by time alone is no proof."""
    reroll: int = 0
    """Which of its row's rerolls the job is, from 1; 0: the row's own."""
    reroll_of: str | None = None
    """The row's own job, in hex, where this is a reroll."""

    def named(self, number: int) -> NameFields:
        """What of it may stand in the name of output *number*."""
        return NameFields(
            self.job,
            self.edition,
            number,
            self.model,
            self.input,
            self.seed,
            self.row,
            self.row_id,
            self.axes,
        )


class Delivered(NamedTuple):
    """An image as the provider delivered it."""

    sha256: str
    bytes: int
    mime: str
    width: int
    height: int
    stored_at: str
    """RFC 3339."""


def image_metadata(made: Provenance, number: int, image: Delivered) -> Metadata:
    """Everything an image says of itself, what is not known left out."""
    row = {"number": made.row, "id": made.row_id, "axes": made.axes or None}
    facts: Metadata = {
        _MARK: _FORMAT,
        "prompt": made.input.get("prompt"),
        "seed": made.seed,
        "model": made.model,
        "input": made.input,
        "repeat": made.repeat or None,
        "control_sha256": made.control_sha256,
        "row": _known(row) or None,
        "job": made.job,
        "edition": made.edition or None,
        "reroll": made.reroll or None,
        "reroll_of": made.reroll_of,
        "number": number,
        "prediction_id": made.prediction_id,
        "adopted": made.adopted,
        "run": made.run_id,
        "created_at": made.created_at,
        "stored_at": image.stored_at,
        "sha256": image.sha256,
        "bytes": image.bytes,
        "mime": image.mime,
        "width": image.width,
        "height": image.height,
        "tool": f"fluxbatch {__version__}",
    }
    return _known(facts)


def as_sidecar(facts: Metadata) -> bytes:
    """A whole `.json` file, for people too."""
    try:
        text = to_json(facts, indent=2)
    except PydanticSerializationError:  # half a surrogate pair, which only JSON can say
        text = json.dumps(facts, indent=2).encode()
    return text + b"\n"


def as_embedded(facts: Metadata) -> str:
    """One line of ASCII: every container of metadata takes it."""
    return json.dumps(facts, separators=(",", ":"))


def read_facts(text: str | bytes) -> Metadata | None:
    """What `as_sidecar` or `as_embedded` has written; None for anything else."""
    if len(text) > MAX_METADATA_BYTES:
        return None
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(facts, dict) or facts.get(_MARK) is None:
        return None
    return facts if isinstance(facts.get("job"), str) else None


def matches(facts: Metadata | None, *, job: str, sha256: str | None) -> bool:
    """Whether *facts* are those of that job's image."""
    return facts is not None and (facts.get("job"), facts.get("sha256")) == (job, sha256)


def _known(facts: Metadata) -> Metadata:
    return {name: value for name, value in facts.items() if value is not None}
