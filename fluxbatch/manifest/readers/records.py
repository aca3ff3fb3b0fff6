"""Records, what every reader makes of a manifest, and the lines that most make them of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fluxbatch.manifest.readers.file_source import MAX_LINE_BYTES

Lines = Iterable[tuple[int, bytes | None]]
Record = tuple[int, "Mapping[str, object] | str"]
"""The line a record starts on, and its cells, or why it has none."""

TOO_LONG = f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB"
NOT_UTF8 = "the line is not valid UTF-8; save the file as UTF-8"
