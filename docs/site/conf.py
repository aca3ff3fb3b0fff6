"""The configuration of Sphinx for the documents' site; `build.py` lays the source tree."""

from __future__ import annotations

import dataclasses
from typing import Any

from fluxbatch import __version__

project = "fluxbatch"
author = "the fluxbatch authors"
copyright = author  # noqa: A001  # Sphinx's name for it
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"
nitpicky = False
suppress_warnings = ["ref.python"]  # `bytes`, the type, is taken for a field of that name
default_role = "code"
language = "en"
smartquotes = False

myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "fluxbatch"
html_copy_source = False
html_show_sphinx = False


def setup(app: Any) -> None:
    """What docstrings of ours mean, said to Sphinx."""
    app.connect("autodoc-process-docstring", _as_rst)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _is_left_out)


def _as_rst(_: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """An indented block is code; what Python says of a tuple's field by itself is nothing."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()
    for number in range(len(lines) - 1, 0, -1):
        begins = lines[number].startswith("    ") and not lines[number - 1].strip()
        before = next((line for line in reversed(lines[:number]) if line.strip()), "    ")
        if begins and not before.startswith("    "):
            lines[number:number] = ["::", ""]


def _signature(
    _: Any, what: str, name: str, found: Any, options: Any, signature: str, returns: str
) -> tuple[str | None, str | None]:
    """Values that we hand out are not made by those who get them."""
    is_value = dataclasses.is_dataclass(found) or hasattr(found, "_fields")
    return ("", None) if what in {"class", "exception"} and is_value else (signature, returns)


def _is_left_out(_: Any, what: str, name: str, found: Any, skip: bool, options: Any) -> bool | None:
    return True if name in {"__init__", "__new__", "told_by_another"} else None
