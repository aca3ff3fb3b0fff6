"""The command line: one thin file a verb, and the one place where an error becomes an exit code.

Data goes to stdout, talk to stderr, keys to neither. What a verb needs beyond typer is
imported when it runs, so that `fluxbatch --help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; answers the process's exit code.

    Source of the codes: docs/guide/exit-codes.md "Exit codes".
    """
    from fluxbatch.cli.app import invoke
    from fluxbatch.cli.console import Console

    words = list(sys.argv[1:] if argv is None else argv)
    console = Console(words)
    try:
        return invoke(words, console)
    except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001  # the edge: nothing leaves bare
        from fluxbatch.cli.errors import exit_code_of

        return exit_code_of(exc, console)
    finally:
        console.close()
