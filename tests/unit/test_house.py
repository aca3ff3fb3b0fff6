"""The house rules: names, docstrings, sizes and import cycles of the package's modules."""

from __future__ import annotations

import ast
import math
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "fluxbatch"

CLAUSES = frozenset({"from", "how", "what", "when", "where", "whether", "which", "who", "why"})
PROTOCOL_NAMES = frozenset({"upgrade"})
"""Names that several modules must define, because a caller finds them there: the migrations'."""

MOST_MODULES_AT_THE_ROOT = 6
MOST_FILES_IN_A_FOLDER = 20
MOST_LINES_IN_A_FILE = 400
MOST_LINES_IN_A_FUNCTION_P95 = 30
BIG_FOLDERS = frozenset({"fluxbatch/emulator"})


class SourceFile(NamedTuple):
    """One Python file, parsed."""

    path: str
    """Relative to the repository, with `/`."""
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def is_package(self) -> bool:
        return self.path.endswith("/__init__.py")


def test_every_module_has_a_docstring() -> None:
    assert without_docstring(files_of("fluxbatch", "tests", "benchmarks")) == []


def test_a_module_without_a_docstring_is_found() -> None:
    bare = [parsed("a.py", "x = 1\n"), parsed("b.py", '"""A thing."""\n'), parsed("c.py", "")]

    assert without_docstring(bare) == ["a.py", "c.py"]


def test_the_first_line_of_a_module_names_the_thing() -> None:
    assert clauses_first(files_of("fluxbatch", "tests", "benchmarks")) == []


@pytest.mark.parametrize("line", ["Where words go.", "What: a riddle.", "from here to there"])
def test_a_first_line_that_opens_with_a_clause_is_found(line: str) -> None:
    riddle = parsed("a.py", f'"""{line}\n\nOwns nothing.\n"""\n')

    assert clauses_first([riddle]) == [f"a.py: {line}"]


def test_a_first_line_that_opens_with_a_noun_is_let_through() -> None:
    nouns = ["The strict sliding window of creates.", "Whole files.", "`run`: what it costs."]

    assert clauses_first(parsed(f"{n}.py", f'"""{line}"""\n') for n, line in enumerate(nouns)) == []


def test_a_public_name_is_defined_in_one_module() -> None:
    files = files_of(PACKAGE)

    assert defined_twice(files) == {}
    assert sum(len(public_names(file.tree)) for file in files) > 1_000


def test_a_name_with_two_meanings_is_found() -> None:
    first = parsed("a.py", "class Place: ...\nONE = 1\ndef find(): ...\nKind = int | str\n")
    second = parsed("b.py", "class Place: ...\nONE: int = 1\nasync def find(): ...\nKind = int\n")

    twice = defined_twice([first, second])

    assert set(twice) == {"Place", "ONE", "find", "Kind"}
    assert twice["Place"] == ["a.py", "b.py"]


def test_a_name_behind_a_condition_counts() -> None:
    behind = parsed("a.py", "import sys\nif sys.platform == 'win32':\n    def lock(): ...\n")

    assert set(defined_twice([behind, parsed("b.py", "def lock(): ...\n")])) == {"lock"}


def test_a_private_name_and_an_import_have_no_second_meaning() -> None:
    first = parsed("a.py", "class Place: ...\n_x = 1\ndef upgrade(): ...\n")
    second = parsed("b.py", "from a import Place\n_x = 2\ndef upgrade(): ...\n")

    assert defined_twice([first, second]) == {}


def test_no_module_imports_a_private_name_of_another() -> None:
    assert private_imports(files_of("fluxbatch", "tests", "benchmarks")) == []


def test_an_import_of_a_private_name_is_found() -> None:
    taken = parsed(
        "a.py", "from fluxbatch.b import _x\nfrom fluxbatch._version import __version__\n"
    )

    assert private_imports([taken]) == ["a.py: fluxbatch.b._x"]


def test_few_modules_lie_beside_the_packages() -> None:
    assert len(loose_modules(files_of(PACKAGE))) <= MOST_MODULES_AT_THE_ROOT


def test_a_loose_module_is_counted_and_a_package_is_not() -> None:
    files = [parsed(f"fluxbatch/{name}.py", "") for name in ("__init__", "queue", "cli/app")]

    assert loose_modules(files) == ["fluxbatch/queue.py"]


def test_no_folder_has_too_many_files() -> None:
    assert full_folders(files_of(PACKAGE)) == []


def test_a_full_folder_is_found() -> None:
    at_bound = [parsed(f"fluxbatch/cli/m{n}.py", "") for n in range(MOST_FILES_IN_A_FOLDER)]

    assert full_folders(at_bound) == []
    assert full_folders([*at_bound, parsed("fluxbatch/cli/one.py", "")]) == ["fluxbatch/cli"]


def test_no_file_is_too_long() -> None:
    assert long_files(files_of(PACKAGE)) == []


def test_a_long_file_is_found() -> None:
    at_bound = parsed("a.py", "x = 1\n" * MOST_LINES_IN_A_FILE)
    over = parsed("b.py", "x = 1\n" * (MOST_LINES_IN_A_FILE + 1))

    assert long_files([at_bound, over]) == ["b.py"]


def test_functions_are_short() -> None:
    lengths = function_lengths(files_of(PACKAGE))

    assert percentile_95(lengths) <= MOST_LINES_IN_A_FUNCTION_P95
    assert len(lengths) > 1_000


def test_the_length_of_a_function_is_its_lines() -> None:
    nested = parsed("a.py", "def f():\n    async def g():\n        return 1\n    return g\n")

    assert sorted(function_lengths([nested])) == [2, 4]
    assert percentile_95(range(1, 101)) == 95


def test_no_modules_import_each_other() -> None:
    graph = imports_of(files_of(PACKAGE))

    assert cycles(graph) == []
    assert sum(map(len, graph.values())) > 1_000


def test_a_cycle_of_imports_is_found_types_and_functions_included() -> None:
    files = [
        parsed("fluxbatch/a.py", "def late():\n    from fluxbatch.b import x\n"),
        parsed("fluxbatch/b.py", "from fluxbatch import c\n"),
        parsed(
            "fluxbatch/c.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import fluxbatch.a\n",
        ),
        parsed("fluxbatch/d.py", "from fluxbatch.a import late\n"),
    ]

    assert cycles(imports_of(files)) == [["fluxbatch.a", "fluxbatch.b", "fluxbatch.c"]]


def test_a_package_and_its_module_can_be_a_cycle() -> None:
    package = parsed("fluxbatch/cli/__init__.py", "from fluxbatch.cli.app import main\n")
    module = parsed("fluxbatch/cli/app.py", "from fluxbatch.cli import main\n")

    assert cycles(imports_of([package, module])) == [["fluxbatch.cli", "fluxbatch.cli.app"]]


def test_a_relative_import_is_followed() -> None:
    package = parsed("fluxbatch/cli/__init__.py", "from . import app\n")
    module = parsed("fluxbatch/cli/app.py", "from .. import cli\n")

    assert cycles(imports_of([package, module])) == [["fluxbatch.cli", "fluxbatch.cli.app"]]


@cache
def files_of(*folders: str) -> tuple[SourceFile, ...]:
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    found = sorted(path for path in paths if "cases" not in path.parts)  # users' own scripts
    return tuple(parsed(p.relative_to(ROOT).as_posix(), p.read_text("utf-8")) for p in found)


def parsed(path: str, text: str) -> SourceFile:
    return SourceFile(path, text, ast.parse(text))


def without_docstring(files: Iterable[SourceFile]) -> list[str]:
    return [file.path for file in files if not ast.get_docstring(file.tree)]


def private_imports(files: Iterable[SourceFile]) -> list[str]:
    """Each import of a name that its owner keeps to itself."""
    return [
        f"{file.path}: {node.module}.{name.name}"
        for file in files
        for node in ast.walk(file.tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith(("fluxbatch", "tests"))
        for name in node.names
        if name.name.startswith("_") and not name.name.startswith("__")
    ]


def clauses_first(files: Iterable[SourceFile]) -> list[str]:
    """The files whose docstring opens with a clause, each with that line."""
    lines = {file.path: (ast.get_docstring(file.tree) or "").partition("\n")[0] for file in files}
    return [f"{path}: {line}" for path, line in lines.items() if opens_with_a_clause(line)]


def opens_with_a_clause(line: str) -> bool:
    word = re.match(r"\W*([^\W\d_]+)", line)
    return word is not None and word[1].lower() in CLAUSES


def defined_twice(files: Iterable[SourceFile]) -> dict[str, list[str]]:
    """The public names that more than one file defines, each with its files."""
    places: dict[str, list[str]] = defaultdict(list)
    for file in files:
        for name in public_names(file.tree):
            places[name].append(file.path)
    return {name: paths for name, paths in places.items() if len(paths) > 1}


def public_names(tree: ast.Module) -> set[str]:
    """What a module defines for others at its top level; not what it imports."""
    names = {name for statement in top_level(tree.body) for name in names_bound_by(statement)}
    return {name for name in names - PROTOCOL_NAMES if not name.startswith("_")}


def top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, with those behind an `if` or a `try`."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If):
            yield from top_level([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            handled = [inner for handler in statement.handlers for inner in handler.body]
            yield from top_level([*statement.body, *handled, *statement.orelse])


def names_bound_by(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (name for target in targets for name in names_set_in(target))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case _ if type(statement).__name__ == "TypeAlias":  # `type X = ...`: Python 3.12
            yield from names_set_in(statement)


def names_set_in(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            yield inner.id


def loose_modules(files: Iterable[SourceFile]) -> list[str]:
    return [file.path for file in files if file.path.count("/") == 1 and not file.is_package]


def full_folders(files: Iterable[SourceFile]) -> list[str]:
    counts = Counter(file.path.rpartition("/")[0] for file in files)
    full = {folder for folder, count in counts.items() if count > MOST_FILES_IN_A_FOLDER}
    return sorted(full - BIG_FOLDERS)


def long_files(files: Iterable[SourceFile]) -> list[str]:
    return [file.path for file in files if len(file.text.splitlines()) > MOST_LINES_IN_A_FILE]


def function_lengths(files: Iterable[SourceFile]) -> list[int]:
    """The lines of every function and method, without its decorators."""
    return [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for file in files
        for node in ast.walk(file.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def percentile_95(lengths: Iterable[int]) -> int:
    """The smallest length that at least 95 of 100 functions do not exceed."""
    ordered = sorted(lengths)
    return ordered[math.ceil(len(ordered) * 0.95) - 1]


def imports_of(files: Iterable[SourceFile]) -> dict[str, set[str]]:
    """Each module of the package with the modules it imports, for types or late as well."""
    by_module = {file.module: file for file in files}
    return {
        name: {target for target in imported_by(file, by_module) if target != name}
        for name, file in by_module.items()
    }


def imported_by(file: SourceFile, known: Container[str]) -> Iterator[str]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            source = absolute_source(file, node)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield from [name for name in (inner, source) if name in known][:1]


def absolute_source(file: SourceFile, node: ast.ImportFrom) -> str:
    """The module that `from X import ...` names, relative ones worked out."""
    if not node.level:
        return node.module or ""
    parts = file.module.split(".")
    up = node.level - file.is_package
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or by way of others."""
    reached = {module: reachable_from(module, graph) for module in graph}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in graph
        if module in reached[module]
    }
    return [list(group) for group in sorted(groups)]


def reachable_from(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """All that is imported by way of `start`; `start` itself only if it is in a cycle."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += graph[module]
    return found
