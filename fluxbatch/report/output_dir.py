"""The folder of a report, and the files in it that a new report may replace.

Owns the folder's layout: `index.html` beside `thumbs/`. A folder with anything else in it is not
touched: nobody's files are lost by a mistyped `--to`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError
from fluxbatch.sink import refuse_links_in
from fluxbatch.sink.temp_file import disk_errors

_OURS = frozenset({"index.html", "index.html.part", "thumbs"})


@dataclass(frozen=True, slots=True)
class ReportDir:
    """A report's folder and its dataset's."""

    dataset: Folder
    root: Path

    @classmethod
    def of(cls, dataset: Folder, to: Path | None) -> ReportDir:
        """`DIR/report` where nothing else is asked for; raises `ConfigError` for a bad *to*."""
        if to is None and dataset.is_shared:
            raise ConfigError(f"{dataset.address!r} is no folder: name one for the report (--to)")
        root = to if to is not None else dataset.root / "report"
        if root.exists() and not root.is_dir():
            raise ConfigError(f"--to {str(root)!r} is a file; name a folder for the report")
        if to is None or root.resolve().is_relative_to(dataset.root.resolve()):
            refuse_links_in(str(root))
        strangers = sorted(set(os.listdir(root)) - _OURS) if root.is_dir() else []
        if strangers:
            raise ConfigError(
                f"{str(root)!r} holds {strangers[0]!r}, which is no part of a report;"
                " name an empty folder or an earlier report (--to)"
            )
        return cls(dataset, root)

    @property
    def page(self) -> Path:
        return self.root / "index.html"

    @property
    def thumbs(self) -> Path:
        return self.root / "thumbs"

    def make(self) -> None:
        """Raises `SinkError` where the folder cannot be made."""
        with disk_errors(self.thumbs):
            self.thumbs.mkdir(parents=True, exist_ok=True)

    def original(self, path: str) -> str | None:
        """The URL of a dataset's file as the page sees it; None where it lies elsewhere.

        A report inside its dataset shows the images themselves when one is opened; one that was
        moved or mailed shows their thumbnails.
        """
        root, dataset = self.root.resolve(), self.dataset.root.resolve()
        if not root.is_relative_to(dataset):
            return None
        up = "../" * len(root.relative_to(dataset).parts)
        return up + quote(path)
