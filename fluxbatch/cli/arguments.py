"""A verb's command line, refused where a value is empty.

Owns one rule for every flag and argument there is: an empty value is a shell variable that was
not set, and never means "no limit", "everything" or "here".
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand


class Interrupted(Exception):
    """Ctrl-C ended a verb that does not answer it itself."""


class FilledCommand(TyperCommand):
    """Raises `typer.BadParameter` naming the first flag or argument with an empty value, and
    `Interrupted`: typer would end with a code, and nobody would be told why."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as exc:
            raise Interrupted from exc

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # a shell asks how an unfinished line may go on
            return super().parse_args(ctx, args)
        given: dict[str, Any] = self.make_parser(ctx).parse_args(args=list(args))[0]
        for param in self.get_params(ctx):
            value = given.get(param.name or "")
            values = value if isinstance(value, list | tuple) else [value]
            if any(isinstance(one, str) and not one.strip() for one in values):
                name = max(param.opts, key=len)
                if not name.startswith("-"):
                    name = getattr(param, "metavar", None) or name.upper()
                raise typer.BadParameter(f"{name} is empty; give it a value, or leave it out", ctx)
        return super().parse_args(ctx, args)
