"""The arguments of `plan` and `run`: a config, a manifest or a saved plan, and the flags."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxbatch.cli.console import Console
from fluxbatch.cli.source import CommandSource
from fluxbatch.dataset.address import dataset_at
from fluxbatch.domain.formatting import shell_word
from fluxbatch.manifest.readers.remote_file import as_written
from fluxbatch.planning.plan import Plan
from fluxbatch.planning.saved_plan import SavedPlan

_LONG_NUMBER = 10


def following(run_name: str) -> str:
    """A name for the run after that one: `NIGHT`, `NIGHT-2`, `NIGHT-3`."""
    stem, _, number = run_name.rpartition("-")
    is_counted = bool(stem) and number.isdecimal() and len(number) < _LONG_NUMBER
    return f"{stem}-{int(number) + 1}" if is_counted else f"{run_name}-2"


@dataclass(frozen=True, slots=True)
class BatchArgs:
    """A batch as it was typed; where that is a saved plan, it says what was not."""

    given: Path
    """What was typed; `source` where it is no plan."""
    source: Path
    out: Path | None
    kind: str
    base_url: str
    budget: str
    saved: SavedPlan | None
    plan: Path | None = None
    """The saved plan, where `base_url` is its own."""

    @classmethod
    def read(
        cls, given: Path, out: Path | None, *, kind: str, base_url: str, budget: str
    ) -> BatchArgs:
        """Raises `ConfigError` for a plan that cannot be used."""
        saved = SavedPlan.read(given)
        if saved is None:
            return cls(given, given, out, kind, base_url, budget, None)
        if out is None and saved.out is not None:
            out = Path(saved.out)
        return cls(
            given=given,
            source=Path(saved.source),
            out=out,
            kind=kind or saved.format,
            base_url=base_url or saved.base_url,
            budget=budget or saved.budget,
            saved=saved,
            plan=given if saved.base_url and not base_url else None,
        )

    def asked(
        self, console: Console, *, log_file: str = "", log_format: str = "", give_up: str = ""
    ) -> CommandSource:
        """Its config, or the defaults around its manifest; raises `ConfigError`."""
        return CommandSource(
            console,
            self.source,
            budget=self.budget,
            base_url=self.base_url,
            plan=self.plan,
            kind=self.kind,
            log_file=log_file,
            log_format=log_format,
            give_up=give_up,
        )

    def check(self, planned: Callable[[], Plan]) -> None:
        """Raise `ConfigError` where it is a saved plan and what is *planned* now is another."""
        if self.saved is not None:
            self.saved.check(planned())

    def save(self, path: Path, planned: Plan) -> None:
        """Write *planned*, to be run by what was typed; raises `ConfigError`."""
        saved = SavedPlan.of(
            planned,
            self.source,
            self.out,
            kind=self.kind,
            base_url=self.base_url,
            budget=self.budget,
        )
        saved.write(path, planned)

    def run_again(self, *, yes: bool, run_name: str = "", placed: Sequence[str] = ()) -> str:
        """The command that goes on with it; *placed* are the flags of where."""
        out = dataset_at(self.out).typed if self.out is not None else "DIR"
        words = ["--run", run_name] if run_name else []
        words += placed
        words += ["--base-url", self.base_url] if self.base_url else []
        words += ["--format", self.kind] if self.kind else []
        words += ["--budget", self.budget] if self.budget else []  # copied, it stays capped
        words += ["--yes"] if yes else []
        command = f"fluxbatch run {shell_word(as_written(self.given))} --out {out}"
        return f"{command} {shlex.join(words)}".rstrip()
