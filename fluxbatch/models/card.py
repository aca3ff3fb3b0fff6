"""The model card: a model's inputs and price, known before anything is bought.

Owns the contract every model card keeps and the messages by which an input is
refused. A card checks what a row gives and hands back what may be sent; it
never adds an input nobody gave, because an absent input and its default are
two different jobs. Knows nothing of files, URLs, rows or the provider.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, Self
from urllib.parse import urlsplit

from fluxbatch.domain.job import Input, Json
from fluxbatch.domain.money import Micros
from fluxbatch.errors import ConfigError

MOST_SAFE = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""

_QUOTED_CHARS = 80

InputType = Literal["string", "integer", "number", "boolean", "array", "object", "any"]


class Problem(NamedTuple):
    """One field that cannot be used."""

    field: str
    """Empty when no single field is at fault."""
    reason: str
    """The value quoted, and what would be right."""


class BadInput(ConfigError):
    """An input the model does not take; carries every bad field, not the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{field}: {reason}" for field, reason in problems))
        self.problems = tuple(problems)


class ModelCard(Protocol):
    """A model's inputs, checked and typed, and what one execution costs."""

    @property
    def slug(self) -> str:
        """The provider's name for the model."""
        ...

    @property
    def price(self) -> Micros | None:
        """Of one execution, however many outputs it has; None where nobody has said."""
        ...

    @property
    def execution_s(self) -> float | None:
        """About how many seconds one execution takes; None where nobody has said."""
        ...

    @property
    def inputs(self) -> Mapping[str, InputField]:
        """Every input by its API name, in the order people should see them."""
        ...

    @property
    def takes_derived_seed(self) -> bool:
        """Whether it has an input `seed` that takes any 31 bits."""
        ...

    @property
    def schema_sha256(self) -> str | None:
        """Of the provider's schema that shapes its jobs; None where this program's own does."""
        ...

    @property
    def file_inputs(self) -> frozenset[str]:
        """Inputs that name a file: a URL, or a local path that will be uploaded."""
        ...

    def check(self, given: Mapping[str, object]) -> Input:
        """*given* as the model's own types; raise `BadInput` with all that is wrong.

        None and empty text count as absent, and absent stays absent. File inputs come back as
        the text they were.
        """
        ...

    def check_value(self, name: str, value: object) -> Json:
        """One input by itself, for defaults and sweeps; raise `BadInput`."""
        ...

    def outputs_wanted(self, given: Input) -> int:
        """How many images one execution with this input makes."""
        ...


@dataclass(frozen=True, slots=True)
class InputField:
    """One input as the model's schema describes it."""

    name: str
    kind: InputType
    required: bool
    default: Json | None
    """What the provider uses where nothing is sent; never sent by us."""
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    note: str = ""
    shape: str = ""
    """What it may be, where kind, choices and bounds do not say it all."""

    @classmethod
    def from_schema(cls, name: str, schema: Mapping[str, Any], *, required: bool) -> Self:
        """From one property of a JSON Schema."""
        return cls(
            name=name,
            kind=schema.get("type", "string"),
            required=required,
            default=schema.get("default"),
            choices=tuple(schema.get("enum", ())),
            least=schema.get("minimum"),
            most=schema.get("maximum"),
            note=schema.get("description", ""),
        )

    @property
    def allowed(self) -> str:
        """What it may be, to follow "is not"."""
        if self.shape:
            return self.shape
        if self.choices:
            return "one of " + ", ".join(repr(choice) for choice in self.choices)
        if self.kind == "boolean":
            return "true or false"
        if self.kind == "string":
            return "text"
        noun = "an integer" if self.kind == "integer" else "a number"
        if self.least is None or self.most is None:
            return noun
        return f"{noun} from {_plain(self.least)} to {_plain(self.most)}"


def as_kind(field: InputField, value: object) -> object:
    """*value* as *field* would have it where nothing is lost by that, else as it is.

    For what tables and spreadsheets do to text: 0.25 and "1.0" for the choices "0.25" and "1", a
    number for a prompt, `TRUE ` for true.
    """
    if isinstance(value, bool):
        return value
    if field.kind == "string" and isinstance(value, int | float):
        value = _plain(value)
    if field.choices and isinstance(value, str):
        return next((choice for choice in field.choices if _same_number(choice, value)), value)
    if field.kind == "boolean" and isinstance(value, str):
        return value.strip().lower()
    return value


def _plain(number: float) -> object:
    """A number as people write it; one that is not finite or not safe stays a number."""
    if not math.isfinite(number) or abs(number) > MOST_SAFE:
        return number
    return str(int(number)) if number == int(number) else repr(number)


def _same_number(choice: str, text: str) -> bool:
    try:
        return float(choice) == float(text)
    except ValueError:
        return choice == text.strip()


def unknown_input(name: str, known: Iterable[str]) -> Problem:
    """Why *name* is refused, with the nearest *known* name."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return Problem(name, f"no such input; did you mean {near[0]!r}?")
    return Problem(name, f"no such input; there are {', '.join(names)}")


def quoted(value: object) -> str:
    """*value* as an error shows it: short, and without the token a URL's query may be."""
    if isinstance(value, str) and "://" in value[:16] and "?" in value:
        try:
            value = urlsplit(value)._replace(query="…", fragment="").geturl()
        except ValueError:
            value = value.partition("?")[0]
    shown = repr(value[: _QUOTED_CHARS * 2] if isinstance(value, str) else value)
    return shown if len(shown) <= _QUOTED_CHARS else shown[: _QUOTED_CHARS - 1] + "…"
