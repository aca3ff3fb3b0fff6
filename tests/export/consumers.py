"""The results of the real readers of an export as JSON: a program, run by `consumed`.

A process of its own, because `datasets` settles its caches and whether it may use the network
when it is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

Rows = list[dict[str, Any]]


def consumed(
    reader: str, source: Path | str, cache: Path, hub: Mapping[str, str] | None = None
) -> Mapping[str, Rows]:
    """Every row by split, as *reader* has it; pixels come as a hash.

    *hub* is the environment that leads to one; without it nobody uses the network.
    """
    name = reader.partition("_")[0]
    pytest.importorskip(name, reason=f"{name} is not installed: pip install --group test")
    env = {"HF_HOME": str(cache), **(hub or {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.export.consumers", reader, str(source)],
        env={**os.environ, **env, "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told: Mapping[str, Rows] = json.loads(ended.stdout.splitlines()[-1])
    return told


def asked(sql: str) -> list[tuple[Any, ...]]:
    """What duckdb answers."""
    import duckdb

    answer = duckdb.sql(sql)
    assert answer is not None
    rows: list[tuple[Any, ...]] = answer.fetchall()
    return rows


def pixels(image: Any) -> str | None:
    """A hash of what an image shows."""
    return image and hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def _datasets_imagefolder(source: str) -> Mapping[str, Rows]:
    """By the format's own name, without the card."""
    import datasets

    return _loaded(datasets.load_dataset("imagefolder", data_dir=source))


def _datasets_card(source: str) -> Mapping[str, Rows]:
    """By the folder alone: its card says what it is."""
    import datasets

    return _loaded(datasets.load_dataset(source))


def _loaded(found: Mapping[str, Iterable[dict[str, Any]]]) -> Mapping[str, Rows]:
    return {
        str(split): [{name: _plain(value) for name, value in row.items()} for row in rows]
        for split, rows in found.items()
    }


def _webdataset(source: str) -> Mapping[str, Rows]:
    """The shards of every split, as a training loop reads them."""
    import webdataset

    shards: dict[str, list[str]] = {}
    for path in sorted(Path(source).glob("*.tar")):
        shards.setdefault(path.name.rpartition("-")[0], []).append(str(path))
    return {
        split: [
            {name: _plain(value) for name, value in sample.items() if name != "__local_path__"}
            for sample in webdataset.WebDataset(paths, shardshuffle=False).decode("pil")
        ]
        for split, paths in shards.items()
    }


def _plain(value: Any) -> Any:
    if hasattr(value, "tobytes"):
        return pixels(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)


_READERS: Mapping[str, Callable[[str], Mapping[str, Rows]]] = {
    "datasets_imagefolder": _datasets_imagefolder,
    "datasets_card": _datasets_card,
    "webdataset": _webdataset,
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(_READERS[sys.argv[1]](sys.argv[2])) + "\n")
