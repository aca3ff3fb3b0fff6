"""Notebooks that are executed in a real kernel, and what their cells show."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from tests.support.emulator import EmulatorProcess

ATTACK = "<script>alert(1)</script>"
ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "fluxbatch" / "demo" / "photos" / "coffee.webp"


def rows_cell(jobs: int) -> str:
    """A cell that makes `rows`, each with a prompt that is a script."""
    return f"""
import fluxbatch
rows = [{{"id": f"r{{n}}", "prompt": f"{ATTACK} a cup, {{n}}", "control_image": {str(PHOTO)!r}}}
        for n in range({jobs})]
"""


class Executed:
    """A notebook that has been run to its end."""

    def __init__(self, notebook: nbformat.NotebookNode) -> None:
        self._cells = [cell["outputs"] for cell in notebook["cells"]]
        widgets = notebook["metadata"].get("widgets", {})
        self._states: Mapping[str, Any] = {
            name: widget["state"]
            for kind in widgets.values()
            for name, widget in kind["state"].items()
        }

    def html(self, cell: int) -> str:
        """What the value of a cell shows itself as."""
        (shown,) = (
            one["data"] for one in self._cells[cell] if one["output_type"] != "display_data"
        )
        return str(shown["text/html"])

    def text(self, cell: int) -> str:
        (shown,) = (one["data"] for one in self._cells[cell])
        return str(shown["text/plain"])

    def bars(self, cell: int) -> list[tuple[float, float, str]]:
        """The progress bars under a cell: how far, of what, and the words after it."""
        found = []
        for output in self._cells[cell]:
            view = output.get("data", {}).get("application/vnd.jupyter.widget-view+json")
            if view is not None:
                boxed = self._states[view["model_id"]]["children"]
                _, bar, words = [self._states[one.removeprefix("IPY_MODEL_")] for one in boxed]
                said = words["value"].replace("\u2007", " ")  # spaces as wide as a figure
                found.append((bar["value"], bar["max"], said))
        return found

    def streams(self) -> list[str]:
        """Whatever was printed, warnings among it."""
        return [one["text"] for cell in self._cells for one in cell if "text" in one]


def client_for(folder: Path, *cells: str) -> NotebookClient:
    """A notebook of *cells* that is executed in *folder*."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources=resources, allow_errors=True
    )


def kernel_environment(folder: Path, provider: EmulatorProcess) -> dict[str, str]:
    return {
        **os.environ,
        "EACHLABS_API_KEY": "sk-api-test-1",
        "EACHLABS_BASE_URL": provider.base_url,
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "PYTHONPATH": str(ROOT),
    }


def facts_of(html: str) -> dict[str, str]:
    """The lines of the table, by their names."""
    return dict(re.findall(r"<th[^>]*>([^<]*)</th><td[^>]*>([^<]*)</td>", html))
