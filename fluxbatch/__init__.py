"""Batch image generation that never pays twice and never loses a result.

    import fluxbatch

    summary = fluxbatch.run("manifest.csv", out="dataset", budget="5.00")
    print(summary.jobs, summary.run.spent_usd)

`run` and `plan` work anywhere, also where an event loop runs already (a notebook). From async
code use `Dataset`. What is refused raises `ConfigError`, bad rows its `ManifestError`; both are a
`FluxbatchError`. Everything else is importable from its module and may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fluxbatch._version import __version__

if TYPE_CHECKING:
    from fluxbatch.api.dataset import Dataset, plan, run
    from fluxbatch.domain.job import Job
    from fluxbatch.errors import ConfigError, FluxbatchError, ManifestError

__all__ = [
    "ConfigError", "Dataset", "FluxbatchError", "Job", "ManifestError",
    "__version__", "plan", "run",
]  # fmt: skip

_HOMES = {
    "ConfigError": "errors",
    "Dataset": "api.dataset",
    "FluxbatchError": "errors",
    "Job": "domain.job",
    "ManifestError": "errors",
    "plan": "api.dataset",
    "run": "api.dataset",
}
"""Imported when first asked for: the command line asks for none of them."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
