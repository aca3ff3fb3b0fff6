"""A folder of wildcard files: `__dir/name__` is a line of `dir/name.txt`.

Owns what is in the files; each is read once, and its lines may be templates themselves. Part of
a manifest's identity, because other lines make other jobs.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from fluxbatch.errors import ConfigError
from fluxbatch.manifest.templates.dynamic_nodes import Node, Variants
from fluxbatch.manifest.templates.dynamic_parser import parse, weight_of
from fluxbatch.manifest.templates.errors import BadTemplate

_MOST_FILES = 10_000
_MOST_BYTES = 64 * 1024 * 1024
_MOST_WITHIN = 10
_WEIGHT = 1_000_000


class Wildcards:
    """The files of one folder, by name. Without a folder every name is refused."""

    def __init__(self, folder: Path | None) -> None:
        """Raise `ConfigError` where the folder cannot be read."""
        self._folder = folder
        self._texts: dict[str, str | bytes] = {}
        """By name: the text, or the bytes of what is no text and may not be named."""
        if folder is not None:
            if not folder.is_dir():
                raise ConfigError(f"templates.wildcards: {str(folder)!r} is no folder")
            self._texts = _read(folder)

    @cached_property
    def sha256(self) -> str | None:
        """Of every name and every byte; None without a folder."""
        if self._folder is None:
            return None
        digest = hashlib.sha256()
        for name, text in self._texts.items():
            for part in (name.encode(), text.encode() if isinstance(text, str) else text):
                digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

    def reader(self, known: frozenset[str]) -> Callable[[str], Variants]:
        """Finds choices by name, for templates that may use the *known* names."""
        found: dict[str, Variants] = {}
        opened: list[str] = []

        def read(name: str) -> Variants:
            if name not in found:
                if name in opened or len(opened) >= _MOST_WITHIN:
                    raise BadTemplate(f"the file {name!r} leads back to itself")
                opened.append(name)
                found[name] = self._choice(name, known, read)
                opened.pop()
            return found[name]

        return read

    def _choice(
        self, name: str, known: frozenset[str], wildcard: Callable[[str], Variants]
    ) -> Variants:
        options: list[tuple[int, Node]] = []
        for file in self._files(name):
            content = self._texts[file]
            if isinstance(content, bytes):
                raise BadTemplate(f"the file '{file}.txt' is not UTF-8; save it as UTF-8")
            for number, line in enumerate(content.split("\n"), start=1):
                text = line.strip()
                if not text or text.startswith("#"):
                    continue
                try:
                    weight, text = weight_of(text)
                    option, _ = parse(text, known, wildcard)
                except BadTemplate as exc:
                    raise BadTemplate(f"{exc} in line {number} of '{file}.txt'") from None
                if weight != 0:
                    options.append((_WEIGHT if weight is None else weight, option))
        if not options:
            raise BadTemplate(f"the file of {name!r} has no lines")
        return Variants(options)

    def _files(self, name: str) -> list[str]:
        if self._folder is None:
            raise BadTemplate(
                f"{'__' + name + '__'!r} is a line of a file, but no folder of such files is"
                " named; set templates.wildcards"
            )
        files = [file for file in self._texts if fnmatchcase(file, name)]
        if not files:
            near = difflib.get_close_matches(name, self._texts, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BadTemplate(f"there is no file '{name}.txt' in {str(self._folder)!r}{hint}")
        return files


def _read(folder: Path) -> dict[str, str | bytes]:
    texts: dict[str, str | bytes] = {}
    size = 0
    within = f"{os.path.realpath(folder).rstrip('/')}/"
    for path in sorted(folder.rglob("*.txt")):
        if not os.path.realpath(path).startswith(within):
            raise ConfigError(
                f"templates.wildcards: {str(path)!r} is a link that leads out of the folder; put"
                " the file itself there"
            )
        try:
            data = path.read_bytes() if path.is_file() else b""
        except OSError as exc:
            raise ConfigError(
                f"templates.wildcards: cannot read {str(path)!r}: {exc.strerror}"
            ) from exc
        name = path.relative_to(folder).with_suffix("").as_posix()
        try:
            texts[name] = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            texts[name] = data
        size += len(data)
        if len(texts) > _MOST_FILES or size > _MOST_BYTES:
            raise ConfigError(
                f"templates.wildcards: {str(folder)!r} holds more than {_MOST_FILES:,} files or"
                f" {_MOST_BYTES // 2**20} MiB; name the folder of the files you use"
            )
    return texts
