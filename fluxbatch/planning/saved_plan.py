"""The saved plan: the agreed work in a file, so that a run can refuse anything else.

Owns the file's shape, and how it fills in what was not typed. It holds no key; what it compares
is a digest over every job in the manifest's order, which covers rows, settings, templates and the
bytes of control images.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fluxbatch._version import __version__
from fluxbatch.dataset.address import dataset_at
from fluxbatch.domain.money import as_usd
from fluxbatch.errors import ConfigError
from fluxbatch.manifest.readers.remote_file import as_written, is_elsewhere
from fluxbatch.planning.plan import Plan

_MARK = "fluxbatch_plan"
_VERSION = 1
_MARK_WITHIN = 4096
"""Bytes: it is the first name of a plan."""


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """What a run of it is held to, and how it was asked for."""

    source: str
    """Absolute; the config or manifest."""
    out: str | None
    format: str
    base_url: str
    budget: str
    model: str
    rows: int
    invalid: int
    price_usd: str | None
    digest: str

    @classmethod
    def of(
        cls, plan: Plan, source: Path, out: Path | None, *, kind: str, base_url: str, budget: str
    ) -> SavedPlan:
        """Raises `ConfigError` for what cannot be planned again."""
        if str(source) == "-":
            raise ConfigError("a plan of stdin cannot be saved: it could not be read again")
        if plan.is_only_counted:
            raise ConfigError("a plan that only counts its jobs cannot be saved; it is too large")
        where = as_written(source if is_elsewhere(source) else source.absolute())
        return cls(
            source=where,
            out=dataset_at(out).lasting_address if out is not None else None,
            format=kind,
            base_url=base_url,
            budget=budget,
            model=plan.model,
            rows=plan.rows,
            invalid=plan.jobs.invalid,
            price_usd=as_usd(plan.price) if plan.price is not None else None,
            digest=plan.digest,
        )

    @classmethod
    def read(cls, path: Path) -> SavedPlan | None:
        """None for a file that is no plan. Raises `ConfigError` for one that cannot be used."""
        if path.suffix.lower() != ".json":
            return None
        try:
            content = path.read_bytes()
            if _MARK.encode() not in content[:_MARK_WITHIN]:
                if content.partition(b"\n")[0].strip() == b"{":
                    raise ConfigError(f"{str(path)!r} is neither a saved plan nor lines of JSON")
                return None
            kept: Any = json.loads(content)
        except (OSError, ValueError, RecursionError) as exc:
            reason = "it is nested too deep" if isinstance(exc, RecursionError) else exc
            raise ConfigError(f"cannot read the plan {str(path)!r}: {reason}") from None
        if not isinstance(kept, dict) or _MARK not in kept:
            return None
        if kept.pop(_MARK) != _VERSION:
            raise ConfigError(f"{str(path)!r} is a plan of another fluxbatch; plan it again")
        kept.pop("version", None)
        kept.pop("foretold", None)
        try:
            return cls(**kept)
        except TypeError as exc:
            raise ConfigError(f"{str(path)!r} is no whole plan ({exc}); plan it again") from None

    def write(self, path: Path, plan: Plan) -> None:
        """Raises `ConfigError` where the file cannot be written."""
        kept = {_MARK: _VERSION, "version": __version__, **asdict(self), "foretold": plan.as_json()}
        try:
            path.write_text(json.dumps(kept, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        except OSError as exc:
            raise ConfigError(f"cannot save the plan {str(path)!r}: {exc.strerror}") from exc

    def check(self, now: Plan) -> None:
        """Raise `ConfigError` naming what is not as it was planned."""
        price = as_usd(now.price) if now.price is not None else None
        compared = (
            ("the model", self.model, now.model),
            ("the number of rows", f"{self.rows:,}", f"{now.rows:,}"),
            ("the number of invalid rows", f"{self.invalid:,}", f"{now.jobs.invalid:,}"),
            ("the price", f"${self.price_usd}", f"${price}"),
        )
        for what, then, today in compared:
            if then != today:
                raise ConfigError(
                    f"{what} has changed since the plan was saved: {then} then, {today} now;"
                    " look at it with `fluxbatch plan` and save it again"
                )
        if self.digest != now.digest:
            raise ConfigError(
                f"rows of {self.source!r}, its settings or a control image have changed since the"
                " plan was saved; look at it with `fluxbatch plan` and save it again"
            )
