"""The engine's data: rows, jobs, predictions and outputs as plain values.

Owns the names of all states and what makes two jobs the same job. A job's id
never changes for the same input: people keep datasets for years and pay again
for every id that does. Knows nothing of storage, HTTP, files or time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, NamedTuple, NewType

import rfc8785
from pydantic_core import to_json

JobId = NewType("JobId", bytes)
"""16 bytes; people see it as 32 hex digits."""

PredictionId = NewType("PredictionId", str)
"""The provider's name for a prediction."""

Scalar = str | int | float | bool
Json = Scalar | list[Any] | dict[str, Any]
"""A value as JSON has it; never null, which is the same as absent."""
Input = dict[str, Json]
"""A job's input by the model's own parameter names; absent stays absent."""

UPLOAD_PREFIX = "sha256:"
"""A control image given as a local file stands in the input as `sha256:<hex of its bytes>`."""


class PredictionState(StrEnum):
    """Source: docs/design/protocol.md 2.1."""

    SUBMITTING = "submitting"
    UNKNOWN = "unknown"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    UNSENT = "unsent"
    REFUSED = "refused"
    ABSENT = "absent"

    @property
    def is_live(self) -> bool:
        """It may be alive at the provider, so nothing else may be submitted for its job."""
        return self in LIVE


LIVE = (PredictionState.SUBMITTING, PredictionState.UNKNOWN, PredictionState.RUNNING)


class JobState(StrEnum):
    """Source: docs/design/protocol.md 2.2."""

    PENDING = "pending"
    ACTIVE = "active"
    GENERATED = "generated"
    DONE = "done"
    FAILED = "failed"


class OutputState(StrEnum):
    """Source: docs/design/protocol.md 2.3."""

    WANTED = "wanted"
    STORED = "stored"
    LOST = "lost"


class FailureClass(StrEnum):
    """Why a job failed; decides whether it is tried again. Source: docs/design/protocol.md 6."""

    NETWORK = "network"
    PROVIDER_ERROR = "provider_error"
    TIMEOUT = "timeout"
    NO_OUTPUT = "no_output"
    INVALID_INPUT = "invalid_input"
    FILTERED = "filtered"
    CANCELLED = "cancelled"
    LOST = "lost"
    TIMED_OUT = "timed_out"
    SHORT_OUTPUT = "short_output"
    OUTPUT_LOST = "output_lost"


class Quality(StrEnum):
    """What is noticed about an image; never fails a job by itself."""

    BLACK = "black"
    """The mark of a safety filter."""
    FLAT = "flat"
    """One colour all over."""
    SIZE = "size"
    """Unlike the size that was asked for."""
    DUPLICATE = "duplicate"
    """Nearly the same as an earlier output of the dataset. Found when asked, never stored."""


ATTEMPTS: Mapping[FailureClass, int] = {
    FailureClass.NETWORK: 5,
    FailureClass.PROVIDER_ERROR: 3,
    FailureClass.TIMEOUT: 2,
    FailureClass.NO_OUTPUT: 2,
}
"""How many attempts a class allows a job in all; a class that is not here is final at once."""


class Job(NamedTuple):
    """Model and input, named by a hash of them."""

    job_id: JobId
    model: str
    input: Input
    repeat: int = 0
    outputs_wanted: int = 1
    input_json: str = ""
    """The canonical text the id was made of, where whoever made it had it at hand."""


class ControlFile(NamedTuple):
    """A local control image as it was when the manifest was read."""

    path: str
    """Absolute."""
    sha256: str
    bytes: int
    mime: str
    notes: tuple[str, ...] = ()
    """What a model may take otherwise than its owner means; of a file read for the first time."""


_NO_AXES: Mapping[str, object] = {}


class Row(NamedTuple):
    """One job of one line of a manifest: a line with `repeat: 3` gives three."""

    number: int
    """From 1, counting every line and every repeat."""
    line: int
    """The line of the file the row starts on, from 1; 0 for a cell of a sweep without a file."""
    user_id: str | None
    """The user's `id` as given."""
    meta: Mapping[str, object]
    """`meta.*` columns, passed through to the results."""
    job: Job | None
    """None for a row that cannot become a job: `error` says why."""
    control: ControlFile | None = None
    error: str | None = None
    priority: int = 0
    axes: Mapping[str, object] = _NO_AXES
    """The sweep's axis values of this job."""


def job_id(model: str, given: Mapping[str, Json], repeat: int = 0) -> JobId:
    """The job's name: the first 16 bytes of sha256 over its canonical JSON.

    Source: docs/design/protocol.md 1. Golden values in the tests: this can never change.
    """
    return hash_of(model, canonical_json(given), repeat)


def hash_of(model: str, input_json: bytes, repeat: int = 0) -> JobId:
    """The job's name by the canonical JSON of its input, for who needs both."""
    identity = b'{"input":' + input_json + _after_input(model, repeat)
    return JobId(hashlib.sha256(identity).digest()[:16])


@lru_cache(maxsize=256)
def _after_input(model: str, repeat: int) -> bytes:
    return f',"model":{encode_basestring(model)},"repeat":{repeat},"v":1}}'.encode()


def derived_seed(name: JobId, reseed: int = 0) -> int:
    """The seed sent where the row gives none: reproducible, and a mark to find lost creates by.

    31 bits, which every backend accepts. `reseed` counts the user's requests for another image.
    """
    digest = hashlib.sha256(b"fluxbatch seed" + name + reseed.to_bytes(4, "big")).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFF_FFFF


def reroll_seed(name: JobId, number: int) -> int:
    """The seed of a job's reroll *number*, from 1: reproducible, and in no `derived_seed`'s line.

    Source: docs/design/protocol.md 1. Golden values in the tests: this can never change.
    """
    digest = hashlib.sha256(b"fluxbatch reroll" + name + number.to_bytes(4, "big")).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFF_FFFF


def given_seed(given: Mapping[str, object]) -> int | None:
    """The seed a row gave, where it is a number: only those are kept with predictions."""
    seed = given.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


def canonical_json(value: Mapping[str, object]) -> bytes:
    """RFC 8785 JSON; raise `ValueError` for what JSON cannot carry.

    Flat mappings of texts, booleans, safe integers and everyday fractions go through pydantic's
    writer, fifteen times as fast; a test holds both equal. All else goes to the reference library.
    """
    plain = _plain_json(value)
    return plain if plain is not None else rfc8785.dumps(value)  # type: ignore[arg-type]  # it names the JSON types one by one


def as_sent(
    given: Input, file_inputs: Collection[str], control_url: str | None, seed: int | None
) -> Input:
    """A job's input as it leaves: uploads by their URL, the seed filled in, nothing else."""
    sent = dict(given)
    for name in file_inputs:
        if control_url is not None and str(sent.get(name, "")).startswith(UPLOAD_PREFIX):
            sent[name] = control_url
    if seed is not None:
        sent["seed"] = seed
    return sent


_SAFE_INTEGER = 2**53 - 1


def _plain_json(value: Mapping[str, Any]) -> bytes | None:
    """RFC 8785 JSON of a flat mapping, or None where pydantic's forms may differ from it."""
    has_whole = False
    for item in value.values():
        kind = type(item)
        if kind is str or kind is bool:
            continue
        if kind is int:
            if not -_SAFE_INTEGER <= item <= _SAFE_INTEGER:
                return None
        elif kind is not float or not -1e15 < item < 1e15:
            return None
        elif item.is_integer():
            has_whole = True
        elif -1e-4 < item < 1e-4:  # from here on forms with exponents differ
            return None
    order = _in_order(tuple(value))
    if order is None:
        return None
    flat = {name: value[name] for name in order}
    return to_json(_without_points(flat) if has_whole else flat)


def _without_points(flat: Mapping[str, Any]) -> dict[str, Any]:
    """ECMAScript writes 10.0 as 10."""
    return {
        name: int(item) if type(item) is float and item.is_integer() else item
        for name, item in flat.items()
    }


@lru_cache(maxsize=256)
def _in_order(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """*names* as the RFC sorts them, by UTF-16 units; None where Python's order may differ."""
    return tuple(sorted(names)) if all(name.isascii() for name in names) else None
