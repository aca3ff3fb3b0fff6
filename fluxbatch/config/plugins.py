"""The plugins of other packages, found by their entry points.

Owns the kinds of them, the one switch (`FLUXBATCH_PLUGINS=off`) and what is said of one that cannot
be used. A package is looked through only when a name is asked for that is none of ours, and its
code is loaded only when it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fluxbatch.errors import ConfigError, FluxbatchError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PLUGINS_VARIABLE = "FLUXBATCH_PLUGINS"
"""`off`: no plugin is looked for; no setting."""

PluginKind = Literal["hooks", "exports", "sources"]
"""Each is the entry points of the group `fluxbatch.KIND`."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point of an installed package."""

    name: str
    package: str
    """With its version."""
    entry: EntryPoint

    def load(self) -> Any:
        """What the entry point names; raises whatever its modules raise."""
        return self.entry.load()

    @contextmanager
    def blamed(self, error: Callable[[str], FluxbatchError]) -> Iterator[None]:
        """What goes wrong in the block and is no error of ours is the plugin's, and named so."""
        try:
            yield
        except FluxbatchError:
            raise
        except Exception as exc:  # code of others may raise anything
            what = f"{type(exc).__name__}: {exc}".rstrip(": ")
            raise error(f"the plugin {self.name!r} of {self.package} failed: {what}") from exc


def installed_plugins(kind: PluginKind) -> Mapping[str, Plugin]:
    """By name, in its order; none where they are off.

    Raises `ConfigError` where two packages offer one name, and where the switch is neither.
    """
    if not _are_on():
        return {}
    from importlib.metadata import entry_points  # looks through every installed package

    found: dict[str, Plugin] = {}
    for entry in sorted(entry_points(group=f"fluxbatch.{kind}"), key=lambda one: one.name):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "?"
        other = found.setdefault(entry.name, Plugin(entry.name, package, entry))
        if other.entry != entry:
            raise ConfigError(
                f"two packages offer {entry.name!r} as one of fluxbatch.{kind}:"
                f" {other.package} and {package}; uninstall one, or set {PLUGINS_VARIABLE}=off"
            )
    return found


def _are_on() -> bool:
    given = os.environ.get(PLUGINS_VARIABLE, "on").strip().lower()
    if given not in {"on", "off"}:
        raise ConfigError(f"{PLUGINS_VARIABLE} is {given!r}; write on or off")
    return given == "on"
