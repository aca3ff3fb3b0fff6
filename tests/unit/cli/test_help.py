"""`--help` of every verb, as a user sees it: whole, on a narrow terminal too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.commands import fluxbatch
from tests.unit.test_guide import ALL


def squeezed(text: str) -> str:
    """Without the spaces and ends of lines that only lay it out."""
    return "".join(text.replace("\b", "").split())


@pytest.mark.parametrize("columns", ["80", "50"])
@pytest.mark.parametrize("name", sorted(ALL))
def test_a_verb_s_help_has_every_flag_with_all_that_is_said_of_it(name: str, columns: str) -> None:
    """
    Nothing is cut, no flag is without words, and no line is wider than the terminal or 80.
    """
    command: Any = ALL[name]
    ended = fluxbatch(*name.split()[1:], "--help", env={"COLUMNS": columns})

    assert (ended.code, ended.err) == (0, "")
    shown = squeezed(ended.out)
    assert squeezed(command.help) in shown
    for parameter in command.params:
        assert parameter.help or parameter.metavar, parameter.name
        assert squeezed(parameter.help or "") in shown
        assert all(flag in ended.out for flag in parameter.opts if flag.startswith("-"))
    assert max(len(line) for line in ended.out.splitlines()) <= 80
