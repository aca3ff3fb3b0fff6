"""The site of the documents: `python docs/site/build.py OUT` (or `make docs`).

Lays a source tree of the documents as they are, with what is made of the code beside them: the
command reference of the commands themselves, the Python reference of the docstrings, `llms.txt`.
Sphinx then builds it, a warning is an error, and every link of the pages is followed.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(__file__).resolve().parent

_LINK = re.compile(r"^(?:\d+\.|-) \[([^\]]+)\]\(([^)]+\.md)\)(?:: (.*))?$", re.M)
_PYTHON = {
    "The package": ["fluxbatch"],
    "What calls return": ["fluxbatch.api.dataset"],
    "Events": ["fluxbatch.events"],
    "Exceptions": ["fluxbatch.errors"],
    "For plugins": ["fluxbatch.plugins"],
    "For tests": ["fluxbatch.emulator.pytest_plugin"],
}
_OWN = {  # modules that show what is defined elsewhere
    "fluxbatch": ["Dataset", "run", "plan", "Job"],
    "fluxbatch.api.dataset": [
        "DatasetVerbs",
        "ProviderVerbs",
        "SyncDataset",
        "Image",
        "Result",
        "RunSummary",
        "Plan",
    ],
    "fluxbatch.plugins": [],
}


def main(to: Path) -> int:
    """Build it into *to*; answers the exit code."""
    source, html = to / "source", to / "html"
    for folder in (source, html):
        shutil.rmtree(folder, ignore_errors=True)
    lay_source(source)
    from sphinx.cmd.build import build_main

    command = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(to / "doctrees")]
    if code := build_main([*command, "-c", str(SITE), str(source), str(html)]):
        return code
    lay_llms(source, html)
    broken = [*broken_links(html), *broken_llms_links(html)]
    for one in broken:
        sys.stderr.write(f"broken link: {one}\n")
    sys.stdout.write(f"{html / 'index.html'}\n")
    return 1 if broken else 0


def lay_source(source: Path) -> None:
    """The whole tree that Sphinx reads."""
    source.mkdir(parents=True)
    shutil.copytree(
        ROOT / "docs", source / "docs", ignore=shutil.ignore_patterns("site", "README.md")
    )
    shutil.copytree(ROOT / "configs", source / "configs")
    shutil.copy(ROOT / "CHANGELOG.md", source)
    reference = source / "reference"
    reference.mkdir()
    (reference / "commands.md").write_text("\n".join(command_lines()) + "\n", encoding="utf-8")
    (reference / "python.rst").write_text("\n".join(python_lines()) + "\n", encoding="utf-8")
    (source / "index.md").write_text("\n".join(index_lines()) + "\n", encoding="utf-8")


def sections() -> dict[str, list[tuple[str, str, str]]]:
    """Title, path and line of every page that `docs/README.md` lists, by its section."""
    _, *parts = re.split(r"^## (.+)$", (ROOT / "docs" / "README.md").read_text("utf-8"), flags=re.M)
    return {
        title: [(name, f"docs/{path}", about) for name, path, about in _LINK.findall(text)]
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


def index_lines() -> Iterator[str]:
    """The first page: the README's first words, then all there is."""
    opening = (ROOT / "README.md").read_text("utf-8").partition("\n```")[0].strip()
    yield opening
    yield ""
    yield "Begin with the [quickstart](docs/guide/quickstart.md)."
    yield ""
    for section, pages in sections().items():
        yield from _toctree(section, [path for _, path, _ in pages])
    yield from _toctree("Reference", ["reference/commands.md", "reference/python.rst"])
    yield from _toctree("History", ["CHANGELOG.md"])


def _toctree(caption: str, paths: list[str]) -> Iterator[str]:
    yield from ("```{toctree}", f":caption: {caption}", ":maxdepth: 1", "")
    yield from (path.rpartition(".")[0] for path in paths)
    yield from ("```", "")


def command_lines() -> Iterator[str]:
    """A section for each verb, made of the commands as they are."""
    import typer.main

    from fluxbatch.cli.app import app

    yield from (
        "# Command reference",
        "",
        "Made from the commands themselves, as `--help` has them.",
        "",
    )
    yield "The [guide's page](../docs/guide/commands.md) says when to use which."
    for name, command in _verbs(typer.main.get_command(app), "fluxbatch"):
        yield from ("", f"## `{name}`", "")
        yield from _paragraphs(command.help or "")
        context = typer.Context(command, info_name=name)
        usage = command.get_usage(context).removeprefix("Usage: ")
        yield from ("```text", _bare(" ".join(usage.split())), "```", "")
        records = [parameter.get_help_record(context) for parameter in command.params]
        if rows := [
            f"| `{_cell(flag)}` | {_cell(about)} |" for flag, about in filter(None, records)
        ]:
            yield from ("| flag or argument | meaning |", "|---|---|", *rows)


def _verbs(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner: dict[str, Any] = getattr(command, "commands", {})
    if not inner:
        yield name, command
    for word, one in inner.items():
        yield from _verbs(one, f"{name} {word}")


def _bare(usage: str) -> str:
    """Names of arguments without the signs that only part them."""
    return re.sub(r"\{([^}]+)\}", r"\1", usage.replace("[[", "[").replace("]]", "]"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.replace("\b", "").strip()):
        yield from (_plain(" ".join(paragraph.split())), "")


def _plain(text: str) -> str:
    """Signs of Markdown, outside of code, as they are."""
    parts = text.split("`")
    return "`".join(
        re.sub(r"([*_<\[])", r"\\\1", part) if not n % 2 else part for n, part in enumerate(parts)
    )


def python_lines() -> Iterator[str]:
    """The Python reference, for autodoc to fill from docstrings."""
    title = "Python reference"
    yield from (title, "=" * len(title), "")
    yield "What is named here stays. The guide has :doc:`examples </docs/guide/python>`."
    for heading, modules in _PYTHON.items():
        yield from ("", heading, "-" * len(heading))
        for module in modules:
            yield from ("", f".. automodule:: {module}")
            names = _OWN.get(module)
            if names is None:
                yield from ("   :members:", "   :undoc-members:", "   :show-inheritance:")
            for name in names if names else _names(module) if names is not None else ():
                yield from _documented(module, name)


def _names(module: str) -> list[str]:
    from importlib import import_module

    return list(import_module(module).__all__)


def _documented(module: str, name: str) -> Iterator[str]:
    from importlib import import_module

    found = getattr(import_module(module), name)
    home = getattr(found, "__module__", module)
    if home == "fluxbatch.errors" or home == "builtins":
        return  # has a place of its own, or is another's
    if isinstance(found, type):
        yield from (
            "",
            f".. autoclass:: {home}.{found.__qualname__}",
            "   :members:",
            "   :undoc-members:",
            "   :show-inheritance:",
        )
    elif hasattr(found, "__qualname__"):
        yield from ("", f".. autofunction:: {home}.{found.__qualname__}")


def lay_llms(source: Path, html: Path) -> None:
    """`llms.txt`, and the documents as they are for who follows it."""
    pages = [page for one in sections().values() for page in one]
    opening = (ROOT / "README.md").read_text("utf-8").split("\n\n")[1]
    lines = ["# fluxbatch", "", f"> {' '.join(opening.split())}", ""]
    for section, listed in sections().items():
        lines += [f"## {section}", ""]
        lines += [f"- [{title}]({path}){about and ': '}{about}" for title, path, about in listed]
        lines.append("")
    lines += [
        "## Reference",
        "",
        "- [Command reference](reference/commands.md): every verb and flag",
    ]
    lines += ["", "## Optional", "", "- [Changelog](CHANGELOG.md): what changed", ""]
    (html / "llms.txt").write_text("\n".join(lines), encoding="utf-8")
    paths = [*(path for _, path, _ in pages), "CHANGELOG.md", "reference/commands.md"]
    for path in paths:
        target = html / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / path, target)
    whole = "\n\n".join((source / path).read_text("utf-8").strip() for path in paths)
    (html / "llms-full.txt").write_text(whole + "\n", encoding="utf-8")


class _Page(HTMLParser):
    """A page's links and what in it can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [value for name in ("href", "src") if (value := given.get(name))]
        if anchor := given.get("id"):
            self.anchors.add(anchor)


def broken_links(html: Path) -> Iterator[str]:
    """Links of pages within the site that lead to no file or to no place in it."""
    pages = {path: _Page(path.read_text("utf-8")) for path in sorted(html.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            is_there = target.is_file() or (target / "index.html").is_file()
            wants = unquote(parts.fragment)
            is_known = not wants or target not in pages or wants in pages[target].anchors
            if not is_there or not is_known:
                yield f"{path.relative_to(html)}: {link}"


def broken_llms_links(html: Path) -> Iterator[str]:
    """Links of `llms.txt` that lead to no file."""
    for link in re.findall(r"\]\(([^)]+)\)", (html / "llms.txt").read_text("utf-8")):
        if not (html / link).is_file():
            yield f"llms.txt: {link}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "docs").resolve()))
