"""The guide's pages of settings, commands and exit codes, compared with the code.

Owns nothing but the comparison: a page names all there is, and nothing that is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from fluxbatch.cli.app import app
from fluxbatch.config.loading import setting_names
from fluxbatch.config.sweep import Sweep, Templates
from fluxbatch.errors import ExitCode

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"
VERBS = "fluxbatch"


def page(name: str) -> str:
    return (GUIDE / name).read_text(encoding="utf-8")


def every_setting() -> set[str]:
    within: dict[str, type[BaseModel]] = {"sweep": Sweep, "templates": Templates}
    return {*setting_names()} | {
        f"{name}.{inner}" for name, section in within.items() for inner in section.model_fields
    }


def settings_rows() -> list[tuple[str, str]]:
    """Each row's setting and its name in the environment."""
    return re.findall(r"^\| `([a-z_.]+)` \| `(FLUXBATCH_[A-Z_]+)` \|", page("settings.md"), re.M)


def commands(command: Any, name: str = VERBS) -> Iterator[tuple[str, Any]]:
    """Every verb that does something, by its full name."""
    inner: dict[str, Any] = getattr(command, "commands", {})
    if not inner:
        yield name, command
    for word, one in inner.items():
        yield from commands(one, f"{name} {word}")


def long_flags(command: Any) -> set[str]:
    """The long flags of one verb or of the whole."""
    return {
        flag
        for parameter in command.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag.startswith("--")
    }


WHOLE: Any = typer.main.get_command(app)
ALL = dict(commands(WHOLE))
EVERYWHERE = {"--help"}


def sections() -> dict[str, str]:
    """The page's text of each verb, by the verb's full name."""
    parts = re.split(r"^### `(fluxbatch[^`]*)`$", page("commands.md"), flags=re.M)
    titles, texts = parts[1::2], parts[2::2]
    found = {}
    for title, text in zip(titles, texts, strict=True):
        words = re.sub(r" (\[.*|[A-Z|]{3,}.*)$", "", title)
        found[words] = re.split(r"^## ", text, flags=re.M)[0]
    return found


def flags_in(text: str) -> set[str]:
    """The flags a text names as the verb's own: at the start of a span of code."""
    return set(re.findall(r"(?<=`)(--[a-z][a-z-]*)", text))


def test_the_page_of_settings_names_every_setting_and_no_other() -> None:
    """
    Whoever adds, renames or removes a setting changes its line too.
    """
    named = [name for name, _ in settings_rows()]

    assert sorted(named) == sorted(every_setting())


def test_each_setting_stands_beside_its_name_in_the_environment() -> None:
    """
    The second column can be copied as it is.
    """
    for name, variable in settings_rows():
        assert variable == f"FLUXBATCH_{name.upper().replace('.', '__')}"


def test_the_page_of_commands_has_every_verb_and_no_other() -> None:
    """
    A new verb needs its section.
    """
    assert sorted(sections()) == sorted(ALL)


@pytest.mark.parametrize("verb", sorted(ALL))
def test_a_verb_s_section_names_all_its_flags_and_no_other(verb: str) -> None:
    """
    What `--help` lists is what the page explains.
    """
    own = long_flags(ALL[verb]) - EVERYWHERE

    assert flags_in(sections()[verb]) == own


def test_the_flags_before_the_verb_are_named() -> None:
    """
    They are no verb's own, and stand at the page's beginning.
    """
    opening = page("commands.md").partition("\n## ")[0]

    for flag in long_flags(WHOLE):
        assert flag in opening


def test_the_page_of_exit_codes_has_every_code_and_no_other() -> None:
    """
    Scripts branch on these numbers.
    """
    table = page("exit-codes.md").partition("\n## ")[0]
    cells = re.findall(r"^\| (\d[\d, ]*) \|", table, re.M)
    named = [int(number) for cell in cells for number in cell.split(",")]

    assert sorted(named) == sorted(ExitCode)
