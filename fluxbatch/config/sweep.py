"""The settings that define the jobs: a manifest's format, a sweep, templates.

Owns their shape, pinned for users; what they mean is `fluxbatch.manifest`'s to work out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fluxbatch.config.plugins import installed_plugins
from fluxbatch.config.types import FilledText, Section, Seed, WholeNumber

MANIFEST_FORMATS = ("csv", "tsv", "jsonl", "parquet", "yaml", "toml", "images")


def _known_format(name: str) -> str:
    """Ours, or one of a plugin; nobody is looked for unless it is none of ours."""
    if name not in MANIFEST_FORMATS and name not in (others := installed_plugins("sources")):
        *some, last = (repr(one) for one in (*MANIFEST_FORMATS, *others))
        raise ValueError(f"must be {', '.join(some)} or {last}")
    return name


ManifestFormat = Annotated[str, AfterValidator(_known_format)]
"""One of `MANIFEST_FORMATS`, or the name of a plugin (`fluxbatch.sources`)."""


class Sweep(Section):
    """Axes to vary, alone or over every row of a manifest."""

    mode: Literal["product", "zip", "sample"] = "product"
    axes: dict[str, Any] = Field(default_factory=dict)
    """An input or a template's variable to `[..]`, `{range: [a, b]}`, `{count: n}` or a glob."""
    nested: list[Sweep] = Field(default_factory=list)
    """Sweeps within: the cells of each are the values of one more axis."""
    exclude: list[dict[str, Any]] = Field(default_factory=list)
    """Cells to leave out: each names some axes and their values."""
    sample: WholeNumber | None = Field(default=None, ge=1)
    """How many cells `mode: sample` draws."""
    seed: Seed = 0
    """Of the draw."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.axes and not self.nested:
            raise ValueError("a sweep needs at least one axis under `axes`")
        if (self.mode == "sample") != (self.sample is not None):
            raise ValueError("`mode: sample` and `sample: N` go together")
        return self


Grammar = Literal["jinja", "dynamic", "both"]


class Templates(Section):
    """Which texts are templates, and how many prompts each may become."""

    expand: bool = True
    """False: no text is a template, whatever it looks like (`templates: false` says the same)."""
    inputs: dict[str, Grammar] = Field(default_factory=dict)
    """By input; empty: every free text input, `both`."""
    wildcards: FilledText | None = None
    """A folder: `__colour__` is a line of its `colour.txt`. Relative to the config."""
    mode: Literal["combinatorial", "sample"] = "combinatorial"
    """Every prompt a template can become, or some."""
    sample: WholeNumber | None = Field(default=None, ge=1, le=100_000)
    """How many prompts of each row and cell `mode: sample` draws."""
    seed: Seed = 0
    """Of the draw."""

    @model_validator(mode="before")
    @classmethod
    def _may_be_off(cls, given: object) -> object:
        return {"expand": False} if given is False else given

    @model_validator(mode="after")
    def _sample_has_a_size(self) -> Self:
        if (self.mode == "sample") != (self.sample is not None):
            raise ValueError("`mode: sample` and `sample: N` go together")
        return self
