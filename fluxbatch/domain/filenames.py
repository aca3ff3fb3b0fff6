"""The file name of an output below `images/`, without its extension.

Owns `sink.path_template`, how text becomes part of a path, and why two outputs never share a
name: whatever the template says, a name ends in its job, edition and number, and nothing before
that matters. Text that somebody wrote (a prompt, an id) arrives as letters, digits and `-`, in
lower case, so names also differ where case does not count. Touches no disk.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple

IMAGES = "images"
DEFAULT_TEMPLATE = "{job}_{number}"
OUTPUTS_A_FOLDER = 4_000
"""An image and its sidecar are two files, so 8,000 of a folder's 10,000; what remains is for
several writers that count at once (PostgreSQL)."""

_PART_BYTES = 100
_NAME_BYTES = 200
"""With its ending, and as a temporary file elsewhere, a name stays below the usual 255."""
_MOST_FOLDERS = 6
_SLUG_BYTES = 80
_SLUG_READS = 400
"""Characters of a text that can matter for its first 80 bytes."""
_NOTHING = "none"
_STEM_BYTES = 900
"""Keys of object stores have 1,024."""

_PLAIN_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_PIECE = re.compile(r"\{([^{}/]*)\}|([^{}]+)|([{}])")
_ENDING = re.compile(r"(?:[-_]?\{(?:job|job8|number)\})+$")
"""What a name ends in anyway."""
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)
"""No names for files on Windows, where datasets are copied to."""


_OUTPUT = re.compile(r"(?:.*[-_])?([0-9a-f]{32})(?:_r([0-9]{1,9}))?_([0-9]{1,9})")


class NamedOutput(NamedTuple):
    """What the end of an image's name says."""

    job: str
    """32 hex digits."""
    edition: int
    number: int


def output_of_name(name: str) -> NamedOutput | None:
    """The output whose image, or sidecar, is called *name*; None for a name that is not ours."""
    stem, _, ending = name.rpartition(".")
    found = _OUTPUT.fullmatch(stem) if ending else None
    return None if found is None else NamedOutput(found[1], int(found[2] or 0), int(found[3]))


class NameFields(NamedTuple):
    """What of an output may stand in its name."""

    job: str
    """32 hex digits."""
    edition: int = 0
    """How many predictions of the job named outputs before."""
    number: int = 0
    model: str = ""
    input: Mapping[str, Any] = {}
    seed: int | None = None
    row: int | None = None
    row_id: str | None = None
    axes: Mapping[str, Any] = {}


_FIELDS: Mapping[str, Callable[[NameFields], object]] = {
    "job": lambda named: named.job,
    "job8": lambda named: named.job[:8],
    "job2": lambda named: named.job[:2],
    "number": lambda named: named.number,
    "model": lambda named: named.model,
    "prompt": lambda named: named.input.get("prompt"),
    "seed": lambda named: named.seed,
    "row": lambda named: named.row,
    "id": lambda named: named.row_id,
}
_BY_NAME: Mapping[str, Callable[[NameFields], Mapping[str, Any]]] = {
    "axis": lambda named: named.axes,
    "input": lambda named: named.input,
}
"""`{axis.style}`, `{input.guidance}`."""
_OF_THE_JOB_ALONE = frozenset({"job", "job8", "job2", "number"})

_Piece = str | Callable[[NameFields], object]
"""A literal, or how a field is filled."""


class PathTemplate:
    """A checked `sink.path_template`."""

    def __init__(self, text: str) -> None:
        """Raise `ValueError` saying what is wrong with *text* and what to write instead."""
        _refuse_absolute(text)
        *folders, name = text.split("/")
        if not name:
            raise ValueError(f"{text!r} ends in '/'; its last part names the file")
        if len(folders) > _MOST_FOLDERS:
            raise ValueError(f"{text!r} has {len(folders)} folders; {_MOST_FOLDERS} at most")
        self.text = text
        self.needs_record = False
        """It takes more than the job's id, the edition and the number."""
        self._folders = [self._parsed(part, may_have_dots=True) for part in folders]
        self._head = self._parsed(name, may_have_dots=False, ending=True)

    @property
    def is_default(self) -> bool:
        """Whether it gives the names that images had before there were templates."""
        return not self._folders and not self._head

    def stem(self, named: NameFields, shard: int = 0) -> str:
        """The output's stem; its own within the dataset, and safe whatever was written."""
        end = output_stem(named.job, named.edition, named.number)
        head = _cut(_filled(self._head, named), _NAME_BYTES - len(end))
        name = f"{head.lstrip('-.')}{end}"
        folders = [_as_folder(_filled(pieces, named)) for pieces in self._folders]
        if shard:
            folders.append(f"{shard:04d}")
        return "/".join([*folders, name])

    def _parsed(self, part: str, *, may_have_dots: bool, ending: bool = False) -> list[_Piece]:
        _refuse_part(part)
        if ending:
            part = _ENDING.sub("", part)
            if part and part[-1] not in "-_":
                part += "_"
        pieces: list[_Piece] = []
        for field, literal, brace in _PIECE.findall(part):
            if brace:
                raise ValueError(f"{part!r} has a lone {brace!r}; fields are written like {{job}}")
            if literal:
                _refuse_literal(literal, may_have_dots=may_have_dots)
                pieces.append(unicodedata.normalize("NFC", literal))
            else:
                pieces.append(_field(field))
                self.needs_record |= field not in _OF_THE_JOB_ALONE
        return pieces


@lru_cache(maxsize=8)
def path_template(text: str) -> PathTemplate:
    """The template *text* is; raise `ValueError` as `PathTemplate` does."""
    return PathTemplate(text)


def output_stem(job: str, edition: int, number: int) -> str:
    """What every stem ends in; all of it where nothing else was asked for."""
    again = f"_r{edition}" if edition else ""
    return f"{job}{again}_{number}"


def shard_of(place: int) -> int:
    """The folder of the dataset's output number *place*, from 0; 0: none of its own."""
    return place // OUTPUTS_A_FOLDER


def wanted_path(stem: str) -> str:
    """What the ledger keeps of a name before there is a file: its path without the ending."""
    return f"{IMAGES}/{stem}"


def stem_of_path(path: str) -> str | None:
    """The stem of a path that the ledger keeps; None of one that is none of ours."""
    head, _, rest = path.partition("/")
    folder, slash, name = rest.rpartition("/")
    stem = f"{folder}{slash}{name.rpartition('.')[0] or name}"
    return stem if head == IMAGES and is_stem(stem) else None


def sidecar_path(path: str) -> str:
    """Where the sidecar of an image lies."""
    return PurePosixPath(path).with_suffix(".json").as_posix()


def is_stem(stem: str) -> bool:
    """Whether *stem* is a plain relative name that stays in its folder."""
    if _PLAIN_STEM.fullmatch(stem):
        return len(stem) <= _STEM_BYTES and max(map(len, stem.split("/"))) <= _NAME_BYTES
    if len(stem.encode("utf-8", "replace")) > _STEM_BYTES:
        return False
    return all(
        part
        and part[0] not in "-."
        and len(part.encode("utf-8", "replace")) <= _NAME_BYTES
        and all(_is_plain(char) or char in "-_." for char in part)
        for part in stem.split("/")
    )


def slug(value: object) -> str:
    """*value* in letters, digits and `-`, of any script, in lower case; `none` where none is."""
    text = str(value)[:_SLUG_READS] if value is not None else ""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = text.lower()
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    plain = "".join(char if _is_plain(char) else "-" for char in text)
    words = "-".join(word for word in plain.split("-") if word)
    return _cut(words, _SLUG_BYTES).strip("-") or _NOTHING


def _is_plain(char: str) -> bool:
    """A letter, a digit or a mark that belongs to one: most scripts cannot be read without."""
    return char.isalnum() if char.isascii() else unicodedata.category(char)[0] in "LMN"


def _filled(pieces: list[_Piece], named: NameFields) -> str:
    return "".join(piece if isinstance(piece, str) else slug(piece(named)) for piece in pieces)


def _as_folder(text: str) -> str:
    folder = _cut(text, _PART_BYTES).strip("-. ") or _NOTHING
    return f"{folder}_" if _RESERVED.fullmatch(folder) else folder


def _cut(text: str, most_bytes: int) -> str:
    """The beginning of *text* that has no more bytes than that."""
    if len(text) * 4 <= most_bytes:
        return text
    return text.encode()[:most_bytes].decode("utf-8", "ignore")


def _field(name: str) -> Callable[[NameFields], object]:
    if name in _FIELDS:
        return _FIELDS[name]
    group, dot, key = name.partition(".")
    if dot and key and group in _BY_NAME:
        values = _BY_NAME[group]
        return lambda named: values(named).get(key)
    known = [*_FIELDS, "axis.NAME", "input.NAME"]
    near = difflib.get_close_matches(name, list(_FIELDS), n=1, cutoff=0.5)
    hint = f"did you mean {{{near[0]}}}? " if near else ""
    listed = ", ".join(f"{{{one}}}" for one in known)
    raise ValueError(f"{{{name}}} is no field; {hint}There are {listed}")


def _refuse_absolute(text: str) -> None:
    if not text:
        raise ValueError(f"is empty; write {DEFAULT_TEMPLATE!r} or leave it out")
    if text.startswith(("/", "~")) or "\\" in text or re.match("[A-Za-z]:", text):
        raise ValueError(f"{text!r} is no path below {IMAGES}/; write it like 'cats/{{prompt}}'")


def _refuse_part(part: str) -> None:
    if not part:
        raise ValueError("has an empty part ('//'); write one '/' between two names")
    if part in {".", ".."}:
        raise ValueError(f"has the part {part!r}; images stay below {IMAGES}/, so leave it out")
    if part[0] in "-.":
        hidden = "would be hidden" if part[0] == "." else "would look like an option"
        raise ValueError(f"{part!r} {hidden}; begin it with a letter, a digit or a field")
    if part[-1] == ".":
        raise ValueError(f"{part!r} ends in a dot; leave it out")
    if _RESERVED.fullmatch(part.partition(".")[0]):
        raise ValueError(f"{part!r} is no name for a file on Windows; choose another")
    if len(part.encode("utf-8", "replace")) > _PART_BYTES:
        raise ValueError(f"{part[:20]!r}… has more than {_PART_BYTES} bytes; shorten it")


def _refuse_literal(literal: str, *, may_have_dots: bool) -> None:
    for char in literal:
        if char == "." and not may_have_dots:
            raise ValueError(f"{literal!r} has a dot; a file gets its ending by itself")
        if not (_is_plain(char) or char in "-_."):
            raise ValueError(f"{literal!r} has {char!r}; use letters, digits, '-' and '_'")
