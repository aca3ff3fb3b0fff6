"""A config file: its settings as nested tables, and the line of each.

Owns what is refused before anybody asks what a setting means: a name that stands twice, a name
without a value (a bare `per_run:` would be no cap without a word), nesting without end. Knows no
setting's type. YAML's words are `fluxbatch.config.yaml_text`'s.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fluxbatch.config.text_file import read_utf8
from fluxbatch.config.yaml_text import YAML_ERRORS, YamlLoader, one_line
from fluxbatch.errors import ConfigError

_MOST_VALUES = 1_000_000

_MOST_DEEP = 100

SettingPath = tuple[str | int, ...]
"""The names and numbers that lead to a setting."""


class ConfigFile(NamedTuple):
    """What a file says, and where."""

    settings: dict[str, Any]
    lines: Mapping[SettingPath, int]
    """By the names that lead to a setting; empty for TOML, whose parser tells no lines."""

    def at(self, place: SettingPath) -> str:
        """` (line 3)` for the setting at *place*, or for the nearest around it that has one."""
        while place:
            if (line := self.lines.get(place)) is not None:
                return f" (line {line})"
            place = place[:-1]
        return ""


def read_config(path: Path) -> ConfigFile:
    """Raises `ConfigError` naming the file, and the line where there is one to name."""
    what = f"config {str(path)!r}"
    text = read_utf8(path, what)
    read = _of_toml if path.suffix.lower() == ".toml" else _of_yaml
    found = read(text, what)
    names: Any = found.settings
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{what} must be a table of settings")
    return found


def _of_toml(text: str, what: str) -> ConfigFile:
    try:
        return ConfigFile(tomllib.loads(text), {})
    except RecursionError:
        raise ConfigError(f"cannot read {what}: it is nested too deep") from None
    except ValueError as exc:
        raise ConfigError(f"cannot read {what}: {one_line(exc)}") from None


def _of_yaml(text: str, what: str) -> ConfigFile:
    lines: dict[SettingPath, int] = {}
    try:
        loader = YamlLoader(text)
        node = loader.get_single_node()
        if node is None:
            return ConfigFile({}, {})
        for count, (place, value) in enumerate(_values_of(node)):
            if count >= _MOST_VALUES:
                raise ConfigError(f"{what} has more than {_MOST_VALUES:,} values")
            lines[place] = value.start_mark.line + 1
            if _is_bare(place, value):
                name = ".".join(map(str, place))
                raise ConfigError(
                    f"cannot use {what}:\n  {name}: has no value (line {lines[place]});"
                    " write one, or leave the line out"
                )
        settings = loader.construct_document(node)
    except RecursionError:
        raise ConfigError(f"cannot read {what}: it is nested too deep") from None
    except YAML_ERRORS as exc:
        raise ConfigError(f"cannot read {what}: {one_line(exc)}") from None
    return ConfigFile(settings, lines)


def _values_of(root: yaml.Node) -> Iterator[tuple[SettingPath, yaml.Node]]:
    """Every value with the names that lead to it, however deep; as often as aliases repeat it."""
    left: list[tuple[SettingPath, yaml.Node]] = [((), root)]
    while left:
        place, node = left.pop()
        if place:
            yield place, node
        if len(place) > _MOST_DEEP:
            raise RecursionError
        if isinstance(node, yaml.MappingNode):
            left += [((*place, str(key.value)[:100]), value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            left += [((*place, at), value) for at, value in enumerate(node.value)]


def _is_bare(place: SettingPath, node: yaml.Node) -> bool:
    """Whether a name is followed by nothing at all; `null` and `~` are something."""
    is_named = isinstance(place[-1], str)
    return (
        is_named
        and isinstance(node, yaml.ScalarNode)
        and node.value == ""
        and not node.style
        and node.tag == "tag:yaml.org,2002:null"
    )
