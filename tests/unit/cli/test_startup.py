"""The command line answers at once, and the package hands out what it promises."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import fluxbatch
from tests.export.made import made_dataset, row

_HEAVY = (
    "aiohttp",
    "alembic",
    "jsonschema",
    "sqlalchemy",
    "sqlalchemy.dialects.postgresql",
    "fluxbatch.config.settings",
    "pydantic",
    "rich",
    "PIL",
    "yaml",
    "jinja2",
    "pyarrow",
)


def _modules_after(program: str) -> set[str]:
    """The heavy modules a fresh interpreter has loaded after *program*."""
    report = f"import sys; print(*[m for m in {_HEAVY!r} if m in sys.modules], file=sys.stderr)"
    ended = subprocess.run(
        [sys.executable, "-c", f"{program}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(ended.stderr.splitlines()[-1].split()) if ended.stderr.strip() else set()


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["version"], ["nonsense"]])
def test_help_and_version_load_nothing_heavy(words: list[str]) -> None:
    """
    Only what lays out help is needed to show it; typer itself reads a verb's flags by pydantic.
    """
    loaded = _modules_after(f"from fluxbatch.cli import main; main({words!r})")

    assert loaded <= ({"pydantic"} if words[0] != "--help" else set())


@pytest.mark.parametrize("words", [["status"], ["ls"], ["show", "#1"], ["why", "#1"]])
def test_what_reads_the_ledger_loads_neither_the_network_nor_the_migrations(
    tmp_path: Path, words: list[str]
) -> None:
    """
    It reads one file.
    """
    one = row(1)
    with made_dataset(tmp_path / "d", [one]) as maker:
        maker.done(one)
    argv = [words[0], str(tmp_path / "d"), *words[1:]]
    program = f"from fluxbatch.cli import main; assert main({argv!r}) == 0"

    assert _modules_after(program) & {
        "aiohttp", "alembic", "PIL", "rich", "jinja2", "pyarrow", "sqlalchemy.dialects.postgresql",
        "fluxbatch.config.settings",
    } == set()  # fmt: skip


@pytest.mark.parametrize("words", [["models"], ["models", "flux-depth-dev"]])
def test_a_typed_model_is_shown_without_the_network_or_schemas(words: list[str]) -> None:
    """
    Nothing has to be asked, so nothing that asks is loaded.
    """
    loaded = _modules_after(f"from fluxbatch.cli import main; main({words!r})")

    assert loaded & {"aiohttp", "alembic", "jsonschema", "PIL", "rich"} == set()


def test_help_takes_at_most_three_times_what_typer_takes() -> None:
    """
    The best of several, in turns: the machine may be busy with other things.
    """
    importing = [sys.executable, "-c", "import typer"]
    helping = [sys.executable, "-m", "fluxbatch", "--help"]
    best = {"typer": 99.0, "help": 99.0}
    for _ in range(7):
        for name, command in (("typer", importing), ("help", helping)):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            best[name] = min(best[name], time.perf_counter() - began)

    assert best["help"] <= 3 * best["typer"]


def test_importing_the_package_loads_nothing() -> None:
    """
    The public names are fetched when they are asked for.
    """
    assert _modules_after("import fluxbatch; fluxbatch.__version__") == set()


def test_the_public_surface_is_exactly_this() -> None:
    """
    A name more is a promise more; one less breaks somebody.
    """
    assert sorted(fluxbatch.__all__) == [
        "ConfigError", "Dataset", "FluxbatchError", "Job", "ManifestError", "__version__", "plan",
        "run",
    ]  # fmt: skip
    for name in fluxbatch.__all__:
        assert getattr(fluxbatch, name) is not None
        assert name in dir(fluxbatch)
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = fluxbatch.runn


def test_the_public_names_are_what_their_modules_define() -> None:
    """
    The lazy names are no copies.
    """
    from fluxbatch import errors
    from fluxbatch.api import dataset
    from fluxbatch.domain import job

    assert fluxbatch.Dataset is dataset.Dataset
    assert fluxbatch.run is dataset.run
    assert fluxbatch.plan is dataset.plan
    assert fluxbatch.Job is job.Job
    assert fluxbatch.ManifestError is errors.ManifestError
    assert fluxbatch.ConfigError is errors.ConfigError
    assert fluxbatch.FluxbatchError is errors.FluxbatchError
