"""A plan for callers in Python: of a file or of rows, spending nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Unpack, cast

from fluxbatch.api.call_options import checked_options, checked_path
from fluxbatch.api.inputs import ManifestInput, PythonInputs, ShapeOptions
from fluxbatch.api.notebook_html import plan_html
from fluxbatch.dataset.address import dataset_at
from fluxbatch.infra.atomic_file import passing_folder
from fluxbatch.planning.plan import Plan, make_plan


def plan(
    source: ManifestInput | None = None,
    *,
    out: str | Path | None = None,
    **options: Unpack[ShapeOptions],
) -> Plan:
    """What a run of *source* would make, cost and take; *out* is the dataset to compare with."""
    options = cast("ShapeOptions", checked_options("plan", options, ShapeOptions.__optional_keys__))
    given = PythonInputs(source, options)
    with passing_folder() as place:
        folder = dataset_at(checked_path("out", out)) if out is not None else None
        manifest = given.passing_manifest(place, folder)
        made = make_plan(
            given.settings, manifest, folder, accounts=given.accounts(), key=given.any_key()
        )
    name = made.source if given.rows is None else "the rows given"
    return replace(made, source=name, html_view=plan_html)
