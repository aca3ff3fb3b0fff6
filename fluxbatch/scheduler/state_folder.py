"""The folder in which this machine keeps its lane files.

Owns the choice: the user's state folder; where there is no home, or it cannot be written, a folder
of the user's own among the temporary files, so that all datasets still share one; at last the
dataset itself. Every process of one user in one environment chooses alike.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from platformdirs import user_state_path

from fluxbatch.errors import ConfigError


def state_folder() -> Path:
    """This user's state folder on this machine; it need not be there yet.

    Raises `ConfigError` where there is no home.
    """
    try:
        return user_state_path("fluxbatch")
    except (RuntimeError, KeyError):
        raise ConfigError(
            "there is no home folder; set XDG_STATE_HOME to a folder that can be written"
        ) from None


def lanes_folder(dataset: Path) -> tuple[Path, str]:
    """The first folder that can be written, made, and what to say of it; empty where all is well.

    *dataset* is the folder of last resort. Raises `ConfigError` where none can be written.
    """
    usual: Path | None = None
    try:
        usual = user_state_path("fluxbatch") / "lanes"
    except (RuntimeError, KeyError):
        why = "there is no home folder"
    else:
        if _is_ready(usual):
            return usual, ""
        why = f"{str(usual)!r} cannot be written"
    for place in _others(dataset):
        if _is_ready(place):
            return place, f"{why}, so the key's limits are kept in {str(place)!r}"
    raise ConfigError(f"{why}; set XDG_STATE_HOME to a folder that can be written")


def _others(dataset: Path) -> Iterator[Path]:
    try:
        own = Path(tempfile.gettempdir()) / f"fluxbatch-{os.getuid()}"
        own.mkdir(mode=0o700, exist_ok=True)
        found = own.lstat()
        # Whoever else may write there could make it first.
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            yield own / "lanes"
    except OSError:
        pass
    yield dataset / "lanes"


def _is_ready(place: Path) -> bool:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(place, os.W_OK | os.X_OK)
