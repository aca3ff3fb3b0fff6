"""A folder of control images as a manifest: each is a row, with what lies beside it.

Owns which files are rows. Beside `dir/a.png` a `dir/a.txt` is its prompt and a `dir/a.json` its
other columns, as a line of JSONL has them; its `id` is `dir/a.png`. Hidden files are not looked at,
nor are datasets within.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from fluxbatch.errors import ManifestError
from fluxbatch.manifest.control_images.resolve import LEDGER
from fluxbatch.manifest.readers.file_source import MAX_LINE_BYTES
from fluxbatch.manifest.readers.jsonl import read_jsonl
from fluxbatch.manifest.readers.records import Record

_IMAGES = (".jpeg", ".jpg", ".png", ".webp")
_OTHER_IMAGES = (".avif", ".bmp", ".gif", ".heic", ".jxl", ".svg", ".tif", ".tiff")


class ImageFolderReader:
    """The images of a folder and those within, in the order of their names."""

    def __init__(self, path: Path, input_name: str = "control_image") -> None:
        """Read what lies beside the images once; raise `ManifestError` where there is none."""
        self.path = path
        self._input = input_name
        self.bytes = 0
        self.bytes_read = 0
        digest = hashlib.sha256()
        count = 0
        for image, beside in self._found():
            count += 1
            for part in (image.encode(errors="surrogateescape"), *beside):
                digest.update(len(part or b"").to_bytes(8, "big") + (part or b""))
                self.bytes += len(part or b"")
        if not count:
            raise ManifestError(
                f"manifest {str(path)!r} is a folder without a JPEG, PNG or WebP image in it;"
                " for a table in it name the file"
            )
        self.sha256 = digest.hexdigest()

    def records(self) -> Iterator[Record]:
        """Each image's number, from 1, and its cells."""
        for number, (image, (prompt, inputs)) in enumerate(self._found(), start=1):
            yield number, self._record(image, prompt, inputs)

    def _record(
        self, image: str, prompt: bytes | None, inputs: bytes | None
    ) -> dict[str, object] | str:
        if image.lower().endswith(_OTHER_IMAGES):
            return f"{image!r} is no JPEG, PNG or WebP image; convert it, or take it away"
        try:
            image.encode()
            text = (prompt or b"").decode("utf-8-sig").strip()
        except UnicodeError:
            return f"{image!r} or the text beside it is not UTF-8; rename it, or save it as UTF-8"
        # Found by its name, so it is not read as a user's home (`~a.png`) or as an address.
        found_here = f"./{image}" if image.startswith("~") or ":" in image[:16] else image
        cells: dict[str, object] = {"id": image, self._input: found_here}
        if text:
            cells["prompt"] = text
        if inputs is None:
            return cells
        found = _one_object(inputs)
        if isinstance(found, str):
            return f"the .json beside {image!r}: {found}"
        for name, value in found.items():
            if name in cells and name != "id" and cells[name] != value:
                return f"{name!r} of {image!r} is one thing in its .json and another beside it"
            cells[name] = value
        return cells

    def _found(self) -> Iterator[tuple[str, tuple[bytes | None, bytes | None]]]:
        """Every image by its path in the folder, and the bytes of its .txt and .json."""

        def stop(exc: OSError) -> None:
            raise ManifestError(f"cannot read manifest {str(self.path)!r}: {exc.strerror}")

        for folder, within, files in os.walk(self.path, onerror=stop):
            if LEDGER in files:  # what was made here is not to be made again from
                within.clear()
                continue
            within[:] = sorted(name for name in within if not name.startswith("."))
            there = set(files)
            for name in sorted(files):
                if name.startswith(".") or not name.lower().endswith((*_IMAGES, *_OTHER_IMAGES)):
                    continue
                stem = name.rpartition(".")[0]
                beside = tuple(
                    _content(Path(folder, stem + suffix)) if stem + suffix in there else None
                    for suffix in (".txt", ".json")
                )
                image = Path(folder, name).relative_to(self.path).as_posix()
                yield image, (beside[0], beside[1])


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_LINE_BYTES:
            raise ManifestError(f"{str(path)!r} is larger than {MAX_LINE_BYTES // 2**20} MiB")
        return path.read_bytes()
    except OSError as exc:
        raise ManifestError(f"cannot read {str(path)!r}: {exc.strerror}") from exc


def _one_object(content: bytes) -> dict[str, object] | str:
    line = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r", b" ").replace(b"\n", b" ")
    for _, found in read_jsonl([(1, line)]):
        return dict(found) if not isinstance(found, str) else found.replace("the line", "it", 1)
    return {}
