"""The values that a shell is offered where a flag or an argument takes one of a few.

Owns what is offered; it changes nothing, says nothing, and offers nothing where it cannot look.
What a dataset names is offered only where a shell takes it as one plain word: a manifest may have
been written by a stranger, and what is offered is a keystroke away from being run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from fluxbatch.ledger.db.database import Database

_T = TypeVar("_T")
_MOST = 100
_PLAIN_WORD = re.compile(r"\w[\w.@%+,/-]*")
_DATASET_PARAMS = ("folder", "place", "out")
RATINGS = ("keep", "reject", "none", "1", "2", "3", "4", "5")


def words(*offered: str) -> Callable[[], list[str]]:
    """Always the same ones."""
    return lambda: list(offered)


def manifest_formats() -> list[str]:
    """Ours, then those of plugins."""
    from fluxbatch.config.plugins import installed_plugins
    from fluxbatch.config.sweep import MANIFEST_FORMATS

    return [*MANIFEST_FORMATS, *installed_plugins("sources")]


def failure_classes() -> list[str]:
    from fluxbatch.domain.job import FailureClass

    return list(FailureClass)


def quality_words() -> list[str]:
    from fluxbatch.domain.job import Quality

    return list(Quality)


def spending_dimensions() -> list[str]:
    from fluxbatch.ledger.queries.spending import AXIS, DIMENSIONS

    return [*DIMENSIONS, AXIS]


def model_slugs(ctx: typer.Context) -> list[str]:
    """Those with a card, and those that the dataset of `--out` has met."""
    from fluxbatch.ledger.operations.model_descriptions import kept_models
    from fluxbatch.models import known_models

    met = _asked(ctx, lambda db: [one.slug for one in kept_models(db)])
    return [*known_models(), *_plain(met or ())]


def run_names(ctx: typer.Context) -> list[str]:
    """The latest of the dataset, newest first."""
    from fluxbatch.ledger.queries.runs_and_failures import latest_runs

    return _plain(_asked(ctx, lambda db: [r.run_id for r in latest_runs(db, _MOST, [])]) or ())


def job_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The ids of rows that begin so; a row whose id is no plain word is known by its number."""
    return _asked(ctx, lambda db: _rows_named(db, incomplete)) or []


def rated_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """What may be rated, and what may be said of it."""
    return [*RATINGS, *job_names(ctx, incomplete)]


def filter_terms(incomplete: str) -> list[str]:
    """The field of the last comparison, or its value where there are only a few."""
    from fluxbatch.domain.job import FailureClass, JobState
    from fluxbatch.export.columns import COLUMNS, INVALID
    from fluxbatch.export.filter import FIELD_ALIASES, RATING_FIELDS

    states, failures = [*JobState, INVALID], [*FailureClass, INVALID]
    values = {
        "state": states, "status": states, "failure": failures, "error_class": failures,
        "rating": ["keep", "reject"],
    }  # fmt: skip
    before, space, term = incomplete.rpartition(" ")
    field, equals, _ = term.partition("=")
    if equals:
        found = [f"{field}={value}" for value in values.get(field, ())]
    else:
        found = [*FIELD_ALIASES, *COLUMNS, *RATING_FIELDS]
    return [before + space + one for one in found]


def _rows_named(db: Database, start: str) -> list[str]:
    from fluxbatch.ledger.queries.lookup import row_by_number, rows_by_prefix
    from fluxbatch.ledger.queries.runs_and_failures import latest_manifest

    manifest = latest_manifest(db)
    if manifest is None:
        return []
    if start:
        found = [row.user_id for row in rows_by_prefix(db, manifest.seq, start, _MOST)]
        return _plain(name for name in found if name is not None)
    rows = [row_by_number(db, manifest.seq, n) for n in range(1, min(manifest.rows, _MOST) + 1)]
    return [
        row.user_id if row.user_id and _PLAIN_WORD.fullmatch(row.user_id) else str(row.number)
        for row in rows
        if row is not None
    ]


def _asked(ctx: typer.Context, query: Callable[[Database], _T]) -> _T | None:
    """What the dataset that was typed so far answers; None where it cannot."""
    typed = next((ctx.params[name] for name in _DATASET_PARAMS if ctx.params.get(name)), None)
    if typed is None:
        return None
    from fluxbatch.dataset.address import dataset_at

    try:
        with dataset_at(str(typed)).reader() as db:
            return db.at_one_moment(query)
    except Exception:  # noqa: BLE001  # a shell that completes has nowhere to show an error
        return None


def _plain(names: Iterable[str]) -> list[str]:
    return [name for name in names if _PLAIN_WORD.fullmatch(name)]
