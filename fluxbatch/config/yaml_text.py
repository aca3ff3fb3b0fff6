"""YAML 1.2 as people write it by hand: the one reading of configs and manifests.

Owns what a plain word stands for. Values are those of YAML 1.2, because `NO`, `12:30` and
`2026-11-20` are texts; a number that is not written as numbers are (`1.10`, `07`, `+5`) is text
too, and becomes a number where a number is asked for: as text it keeps what was typed. A name
that stands twice is an error. Knows no setting and no column.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MOST_YAML_BYTES = 16 * 1024 * 1024
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

YAML_ERRORS = (yaml.YAMLError, RecursionError, ValueError, TypeError, LookupError)
"""What a text that is no YAML raises, one way or another."""


class YamlLoader(_Base):  # type: ignore[misc]  # which of the two is known at runtime
    """YAML 1.2's own types and no others."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # pyyaml's own way

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                if key.value in lines:
                    where = f"in lines {lines[key.value]} and {line}"
                    raise yaml.constructor.ConstructorError(
                        None,
                        None,
                        f"the name {key.value[:60]!r} stands twice, {where}",
                        None,
                    )
                lines[key.value] = line
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"0|-?[1-9][0-9]*|0o[0-7]+|0x[0-9a-fA-F]+", "-0123456789"),
    ("float", r"-?(?:0|[1-9][0-9]*)\.(?:0|[0-9]*[1-9])", "-0123456789"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("merge", r"<<", "<"),
):
    YamlLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), [*_first, ""]
    )


def _whole(loader: Any, node: Any) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)


YamlLoader.add_constructor("tag:yaml.org,2002:int", _whole)
YamlLoader.add_constructor(
    "tag:yaml.org,2002:float", lambda loader, node: float(loader.construct_scalar(node))
)


def one_line(exc: BaseException) -> str:
    """What a parser complains of, on one line."""
    said = " ".join(str(exc).split()).replace('in "<unicode string>", line', "in line")
    return said[:300] or type(exc).__name__
