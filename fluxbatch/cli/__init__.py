"""The command line: one thin file a verb, and the one place where an error becomes an exit code.

Data goes to stdout, talk to stderr, keys to neither. What a verb needs beyond typer is
imported when it runs, so that `fluxbatch --help` answers at once.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fluxbatch.infra.garbage import collect_seldom

if TYPE_CHECKING:
    from fluxbatch.cli.console import Console


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; answers the process's exit code.

    Source of the codes: docs/guide/exit-codes.md "Exit codes".
    """
    collect_seldom()
    return _exit_code(list(sys.argv[1:] if argv is None else argv))


def _exit_code(words: Sequence[str]) -> int:
    from fluxbatch.cli.console import Console, open_streams

    open_streams()
    from fluxbatch.cli.app import invoke, only_shows

    console = Console(words)
    with warnings.catch_warnings():
        _hush_libraries(console)
        try:
            code = invoke(words, console)
            console.close()
            return 1 if not code and console.is_cut and only_shows(words) else code
        except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001  # the edge: nothing leaves bare
            from fluxbatch.cli.errors import exit_code_of

            return exit_code_of(exc, console)
        finally:
            console.close()


def _hush_libraries(console: Console) -> None:
    """A library's warning is for who writes the program: a line at most, to who asked for all."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if console.verbose:
            console.warn(f"note: {message}")

    warnings.filterwarnings("ignore", module=r"PIL(\.|$)")  # of an image, which is judged anyway
    warnings.showwarning = show
