"""The split of a row: by a share of the jobs, or by a column of the row.

Owns the choice. By shares a job's id decides, so a job is in the same split in every export,
whatever else is added, and all rows and images of one job stay together.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

from fluxbatch.errors import ConfigError
from fluxbatch.export.columns import COLUMNS
from fluxbatch.manifest.split_names import SPLIT_ALLOWED, SPLIT_NAME

TRAIN = "train"

_MOST_SPLITS = 100


class Split(Protocol):
    """The split of a sample, by the values of some of its columns."""

    reads: tuple[str, str]
    """Those columns, in the order in which it takes their values."""

    def __call__(self, first: Any, second: Any, /) -> str: ...


def parse_splits(given: Sequence[str]) -> Split:
    """From the text of `--split`; raise `ConfigError` (exit 2) for what is neither.

    None: the manifest's own `split` column, `train` where a row has none. One word: another
    column. `NAME=SHARE` once or more: the shares are fractions or percents and make up 1.
    """
    if not given:
        return _Column("meta", "split")
    if len(given) == 1 and "=" not in given[0]:
        return _by_column(given[0])
    shares: dict[str, Decimal] = {}
    for word in given:
        name, _, share = word.partition("=")
        if not SPLIT_NAME.fullmatch(name) or name in shares:
            raise ConfigError(
                f"--split {word!r}: write NAME=SHARE, each name once, of letters, digits and _,"
                " for example  --split train=90% --split test=10%"
            )
        shares[name] = _share(word, share)
    if sum(shares.values()) != 1:
        total = sum(shares.values())
        raise ConfigError(f"the shares of --split make up {total:f} and must make up 1 (100%)")
    return _Shares(shares)


def _share(word: str, text: str) -> Decimal:
    try:
        share = Decimal(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except InvalidOperation:
        share = Decimal(-1)
    if not share.is_finite() or not 0 < share <= 1:
        raise ConfigError(f"--split {word!r}: {text!r} is no share; write 0.9 or 90%")
    return share


class _Shares:
    """The split is a share of the jobs."""

    reads = ("reroll_of", "job_id")

    def __init__(self, shares: dict[str, Decimal]) -> None:
        given = list(shares.values())
        self._bounds = [
            (name, int(sum(given[: n + 1], Decimal(0)) * 2**64)) for n, name in enumerate(shares)
        ]

    def __call__(self, reroll_of: str | None, job_id: str | None, /) -> str:
        # A row that names no job has no id to go by; it has no image either.
        # A reroll goes with its row's own job: both are of one prompt and one control image.
        job = reroll_of or job_id or "0" * 32
        place = int(job[:16], 16)
        return next(name for name, bound in self._bounds if place < bound)


def _by_column(word: str) -> Split:
    column, _, inner = word.partition(".")
    kind = COLUMNS.get(column)
    if word == "split":
        return _Column("meta", "split")
    if kind is None or column == "key" or bool(inner) != (kind == "nested"):
        raise ConfigError(
            f"--split {word!r} is neither NAME=SHARE nor a column; a column is for example"
            " 'split', 'model', 'meta.NAME'"
        )
    return _Column(column, inner)


class _Column:
    """The split is the value of a column."""

    def __init__(self, column: str, inner: str) -> None:
        self.reads = (column, "row")
        self._column = column
        self._inner = inner
        self._met: set[str] = set()

    def __call__(self, value: Any, row: int, /) -> str:
        if self._inner:
            value = value.get(self._inner)
        if value is None or value == "":
            return TRAIN
        name = str(value)
        where = f"row {row}: " if not self._inner else f"row {row}, "
        where += f"{self._inner or self._column!r}"
        if not SPLIT_NAME.fullmatch(name):
            raise ConfigError(
                f"{where}: {name[:80]!r} is no name for a split ({SPLIT_ALLOWED});"
                " name another column, or shares: --split train=90% --split test=10%"
            )
        self._met.add(name)
        if len(self._met) > _MOST_SPLITS:
            raise ConfigError(
                f"{where}: {name!r} is the {_MOST_SPLITS + 1}th split; at most {_MOST_SPLITS} are"
                " written, so this column is hardly one of splits"
            )
        return name
