"""A venv with fluxbatch and plugin packages installed in it, as users have them.

Both are built by their own build backend: fluxbatch as a wheel, a plugin as an sdist. Their
dependencies are those of this interpreter, so nothing is fetched.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEY = "any-key-will-do"


@dataclass(frozen=True, slots=True)
class Venv:
    """A Python of its own."""

    root: Path

    @property
    def python(self) -> Path:
        return self.root / "bin" / "python"

    def run(
        self, *words: object, cwd: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A program of it, to its end; `fluxbatch` among them."""
        program, *arguments = [str(word) for word in words]
        surroundings = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
        return subprocess.run(
            [str(self.root / "bin" / program), *arguments],
            cwd=cwd,
            env={**surroundings, "EACHLABS_API_KEY": KEY, **(env or {})},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )


def made_venv(root: Path) -> Venv:
    """A venv with a wheel of this checkout in it."""
    venv.create(root, symlinks=True)
    (packages,) = root.glob("lib/python*/site-packages")
    places = {sysconfig.get_paths()["purelib"], *_packages_on_path()}
    (packages / "dependencies.pth").write_text("".join(f"{place}\n" for place in sorted(places)))
    made = Venv(root)
    _install(made, built(ROOT, "wheel", root / "dist"))
    return made


def install_plugin(into: Venv, source: Path) -> None:
    """Build the package in *source* as an sdist and install that."""
    _install(into, built(source, "sdist", source / "dist"))


def write_package(page: Path, to: Path) -> Path:
    """The files that a page shows, each named by its first line."""
    blocks = re.findall(r"^```\w+\n# (\S+\.(?:toml|py))\n(.*?)^```$", page.read_text(), re.M | re.S)
    for name, text in blocks:
        path = to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (to / "fluxbatch_shop" / "__init__.py").write_text('"""Plugins of a shop."""\n')
    return to


def _packages_on_path() -> list[str]:
    """Where this interpreter's packages are, if that is elsewhere."""
    return [place for place in sys.path if place.endswith("site-packages")]


def built(source: Path, kind: str, to: Path) -> Path:
    """The wheel or the sdist of the package in *source*, made in *to*."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(to)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (made,) = to.iterdir()
    return made


def _install(into: Venv, package: Path) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(into.python), "install", "--no-deps"]
    options = ["--no-index", "--no-build-isolation", "--disable-pip-version-check", "-q"]
    ended = subprocess.run(
        [*command, *options, str(package)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
