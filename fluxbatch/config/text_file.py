"""A small text file of the user's, read as UTF-8.

Owns what is said of one in another encoding: editors on Windows save UTF-16, and a config that is
half understood would be worse than none. Knows nothing of what the text means.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from fluxbatch.errors import ConfigError

MOST_TEXT_BYTES = 16 * 1024 * 1024


def read_utf8(path: Path, what: str) -> str:
    """The whole text, a byte order mark left out; *what* names the file in errors.

    Raises `ConfigError` for what is no UTF-8 text of at most 16 MiB, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_TEXT_BYTES + 1)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise ConfigError(f"cannot read {what}: {reason}") from exc
    if len(content) > MOST_TEXT_BYTES:
        raise ConfigError(f"{what} is larger than {MOST_TEXT_BYTES // 2**20} MiB")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f"{what} is UTF-16; save it as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    if (at := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, at) + 1
        raise ConfigError(f"{what} is not text: there is a NUL in line {line}; save it as UTF-8")
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise ConfigError(f"{what} is not UTF-8 in line {line}; save it as UTF-8") from None
