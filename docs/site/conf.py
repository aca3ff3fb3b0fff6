"""The configuration of Sphinx for the documents' site; `build.py` lays the source tree."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "fluxbatch"
author = "the fluxbatch authors"
copyright = author  # noqa: A001  # Sphinx's name for it
try:
    release = installed_version("fluxbatch")
except Exception:  # noqa: BLE001  # a checkout that is not installed
    release = ""
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"
nitpicky = False
default_role = "code"
language = "en"

myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "fluxbatch"
html_copy_source = False
html_show_sphinx = False
