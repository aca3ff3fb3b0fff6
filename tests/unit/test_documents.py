"""Documents: what the code cites is there, and every link between documents leads somewhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE_FOLDERS = ("fluxbatch", "tests", "benchmarks", "configs")
CODE_SUFFIXES = (".py", ".toml", ".yaml")

_CITATION = re.compile(
    r"""\b(docs/[\w/-]+\.md)((?:(?:,? and|,? to|,)? (?:\d+(?:\.\d+)*|"[^"]+"))*)"""
)
_PLACE = re.compile(r'\d+(?:\.\d+)*|"[^"]+"')
_BARE = re.compile(
    r"(?<![\w/-])"
    r"(?:protocol|provider-api|design|decisions|field-notes|style|architecture|glossary)\.md"
)
_SOURCE = re.compile(r"(?<!class )\bSource(?: of [^:.]{1,40})?: (?!docs/)(.{0,40})")
_LINE_BREAK = re.compile(r"\s*\n\s*(?:#+ ?)?")
_FENCE = re.compile(r"^ *(```|~~~).*?^ *\1[^\n]*$", re.MULTILINE | re.DOTALL)
_CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_LINK_BY_NAME = re.compile(r"^ *\[[^\]]+\]: +<?(\S+?)>?(?: .*)?$", re.MULTILINE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_NAMED_FILE = re.compile(r"(?<![\w/.-])((?:fluxbatch|tests|benchmarks)/[\w/]+\.py)(?:::(\w+))?")


def test_every_citation_in_the_code_names_a_document_and_a_heading() -> None:
    cited = [(path, text) for path, text in code_files() if _CITATION.search(text)]

    assert [bad for path, text in cited for bad in wrong_citations(path, text, ROOT)] == []
    assert len(cited) > 40


def test_no_document_is_cited_without_its_folder() -> None:
    assert [bad for path, text in code_files() for bad in bare_citations(path, text)] == []


def test_every_source_is_a_document_of_the_repository() -> None:
    python = [(path, text) for path, text in code_files() if path.endswith(".py")]

    assert [bad for path, text in python for bad in sources_elsewhere(path, text)] == []


def test_every_link_between_documents_resolves() -> None:
    documents = documents_of(ROOT)

    assert [bad for path in documents for bad in broken_links(path, ROOT)] == []
    assert sum(len(links_in(path.read_text("utf-8"))) for path in documents) > 10


def test_every_file_and_test_that_a_document_names_is_there() -> None:
    # The changelog tells of the past, and may name what is no more.
    documents = [path for path in documents_of(ROOT) if path.name != "CHANGELOG.md"]

    assert [bad for path in documents for bad in missing_files(path, ROOT)] == []


@pytest.mark.parametrize(
    "citation",
    [
        "docs/design/protocol.md",
        "docs/design/protocol.md 2",
        "docs/design/protocol.md 2.1 and 3",
        "docs/design/protocol.md 2 to 3, and more",
        "docs/design/protocol.md 2, 2.1 and 3.",
        'docs/design/protocol.md "the create".',
        'docs/design/protocol.md "GET /model" and 3',
        "docs/design/protocol.md\n    2.",
        'docs/design/protocol.md\n# "States"',
    ],
)
def test_a_citation_that_resolves_is_left_alone(tmp_path: Path, citation: str) -> None:
    _plant_protocol(tmp_path)

    assert wrong_citations("a.py", f"Source: {citation}", tmp_path) == []


@pytest.mark.parametrize(
    ("citation", "culprit"),
    [
        ("docs/design/protocols.md 2", "docs/design/protocols.md"),
        ("docs/protocol.md", "docs/protocol.md"),
        ("docs/design/protocol.md 4", "4"),
        ("docs/design/protocol.md 2 and 3.1", "3.1"),
        ("docs/design/protocol.md 2, 5 and 3", "5"),
        ("docs/design/protocol.md 2 to\n    9", "9"),
        ('docs/design/protocol.md "Statutes"', '"Statutes"'),
        ('docs/design/protocol.md\n    "No heading"', '"No heading"'),
        ("docs/design/protocol.md 7", "7"),
    ],
)
def test_a_citation_that_leads_nowhere_is_found(
    tmp_path: Path, citation: str, culprit: str
) -> None:
    """A number or a heading in a block of code is none."""
    _plant_protocol(tmp_path)

    (found,) = wrong_citations("a.py", f"Source: {citation}.", tmp_path)

    assert found.startswith("a.py: ")
    assert found.endswith(culprit)


def test_a_document_without_its_folder_is_found() -> None:
    assert bare_citations("a.py", "Source: protocol.md 2.") == ["a.py: protocol.md"]
    assert bare_citations("a.py", "see `style.md`, field-notes.md") == [
        "a.py: style.md",
        "a.py: field-notes.md",
    ]
    assert bare_citations("a.py", "docs/design/protocol.md 2, README.md, my-style.md") == []


def test_a_source_that_is_no_document_is_found() -> None:
    assert sources_elsewhere("a.py", "Source: the contract.") == ["a.py: the contract."]
    assert sources_elsewhere("a.py", "x. Source of the codes:\n    issue 1.") == ["a.py: issue 1."]
    assert sources_elsewhere("a.py", "Source:\n    docs/design/protocol.md 2") == []
    assert sources_elsewhere("a.py", "Source of the names: docs/a.md 2") == []
    assert sources_elsewhere("a.py", "class Source:\n    text: str") == []


@pytest.mark.parametrize(
    "link",
    [
        "b.md",
        "b.md#a-heading-with-code",
        "b.md#again-1",
        "#here",
        "../README.md",
        "b.md 'title'",
        "https://example.org/nothing#nowhere",
        "mailto:a@example.org",
    ],
)
def test_a_link_that_resolves_is_left_alone(tmp_path: Path, link: str) -> None:
    document = _plant_links(tmp_path, f"[words]({link.replace(chr(39), chr(34))})")

    assert broken_links(document, tmp_path) == []


@pytest.mark.parametrize(
    "link",
    ["c.md", "b.md#a-heading", "b.md#again-2", "#there", "../c/b.md", "/b.md", "../../outside.md"],
)
def test_a_link_that_leads_nowhere_is_found(tmp_path: Path, link: str) -> None:
    (tmp_path.parent / "outside.md").write_text("# Outside\n")
    document = _plant_links(tmp_path, f"[words\nand more]({link}) and [good](b.md)")

    assert broken_links(document, tmp_path) == [f"docs/a.md: {link}"]


def test_a_link_by_name_and_an_image_are_links_too(tmp_path: Path) -> None:
    document = _plant_links(tmp_path, "[words][1], ![picture](no.png)\n\n[1]: gone.md")

    assert broken_links(document, tmp_path) == ["docs/a.md: no.png", "docs/a.md: gone.md"]


def test_what_stands_in_code_is_no_link(tmp_path: Path) -> None:
    document = _plant_links(tmp_path, "`[a](gone.md)`\n\n```text\n[a](gone.md)\n# here too\n```\n")

    assert broken_links(document, tmp_path) == []


def test_headings_get_the_anchors_github_gives_them() -> None:
    text = "# `GET /prediction/{id}`\n## 3.4 Looking, for *it*\n### [A link](b.md) & more\n#hash\n"

    assert anchors_in(text) == {"get-predictionid", "34-looking-for-it", "a-link--more"}


def test_a_file_or_test_that_is_not_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("async def test_b() -> None: ...\n")
    document = _plant_links(
        tmp_path,
        "`tests/test_a.py`, `tests/test_a.py::test_b`, `tests/test_a.py::test_c`, `tests/gone.py`",
    )

    assert missing_files(document, tmp_path) == [
        "docs/a.md: tests/test_a.py::test_c",
        "docs/a.md: tests/gone.py",
    ]


def code_files() -> Iterator[tuple[str, str]]:
    """Every file of code or settings but this one, by its path, and its text."""
    paths = [path for folder in CODE_FOLDERS for path in (ROOT / folder).rglob("*")]
    for path in sorted([*paths, *ROOT.glob("*")]):
        if path.suffix in CODE_SUFFIXES and path.is_file() and path != Path(__file__):
            yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


def documents_of(root: Path) -> list[Path]:
    """What people read."""
    return [root / "README.md", root / "CHANGELOG.md", *sorted((root / "docs").rglob("*.md"))]


def wrong_citations(name: str, text: str, root: Path) -> list[str]:
    """Citations of documents, numbers of sections and quoted headings that are not there."""
    wrong = []
    for document, places in _CITATION.findall(_LINE_BREAK.sub(" ", text)):
        path = root / document
        if not path.is_file():
            wrong.append(f"{name}: {document}")
            continue
        lacking = (place for place in _PLACE.findall(places) if not _has_heading(path, place))
        wrong += [f"{name}: {document} has no {place}" for place in lacking]
    return wrong


def bare_citations(name: str, text: str) -> list[str]:
    """Documents that are cited without the folder they lie in."""
    return [f"{name}: {found}" for found in _BARE.findall(text)]


def sources_elsewhere(name: str, text: str) -> list[str]:
    """What follows `Source:` where that is no document."""
    return [f"{name}: {found}" for found in _SOURCE.findall(_LINE_BREAK.sub(" ", text))]


def broken_links(path: Path, root: Path) -> list[str]:
    """Links of one document to files or headings that are not there, or not in the repository."""
    name = path.relative_to(root).as_posix()
    return [
        f"{name}: {link}"
        for link in links_in(path.read_text("utf-8"))
        if not _SCHEME.match(link) and not _resolves(path, link, root)
    ]


def links_in(text: str) -> list[str]:
    """The targets of all links, those by name last."""
    prose = _CODE_SPAN.sub("", _FENCE.sub("", text))
    return [*_LINK.findall(prose), *_LINK_BY_NAME.findall(prose)]


def anchors_in(text: str) -> set[str]:
    """The anchors that GitHub gives a text's headings; a repeated one is numbered."""
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in _headings_in(text):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors


def missing_files(path: Path, root: Path) -> list[str]:
    """Files of code that a document names and tests (or functions) that are not in them."""
    name = path.relative_to(root).as_posix()
    missing = []
    for file, function in _NAMED_FILE.findall(path.read_text("utf-8")):
        code = (root / file).read_text("utf-8") if (root / file).is_file() else None
        if code is None or not re.search(rf"\b(?:def|class) {function}\b", code):
            missing.append(f"{name}: {file}::{function}" if function else f"{name}: {file}")
    return missing


def _headings_in(text: str) -> list[str]:
    """Headings as they are shown: links by their words, no marks of code or emphasis."""
    shown = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", h) for h in _HEADING.findall(_unfenced(text)))
    return [re.sub(r"[`*]", "", heading) for heading in shown]


def _unfenced(text: str) -> str:
    return _FENCE.sub("", text)


@cache
def _headings_of(path: Path) -> tuple[str, ...]:
    return tuple(_headings_in(path.read_text("utf-8")))


def _has_heading(path: Path, place: str) -> bool:
    """Whether a heading begins with the number, or with the quoted words in any case."""
    if place.startswith('"'):
        words = place.strip('"').replace("`", "").lower()
        bare = (re.sub(r"^\d+(?:\.\d+)*\.? ", "", heading) for heading in _headings_of(path))
        return any(heading.lower().startswith(words) for heading in bare)
    return any(re.match(rf"{re.escape(place)}\.? ", heading) for heading in _headings_of(path))


def _resolves(path: Path, link: str, root: Path) -> bool:
    file, _, anchor = link.partition("#")
    target = (path.parent / file).resolve() if file else path.resolve()
    if file.startswith("/") or not target.exists() or not target.is_relative_to(root.resolve()):
        return False
    return not anchor or (
        target.suffix == ".md" and anchor in anchors_in(target.read_text("utf-8"))
    )


def _plant_protocol(root: Path) -> None:
    (root / "docs" / "design").mkdir(parents=True)
    (root / "docs" / "design" / "protocol.md").write_text(
        "# The protocol\n\n## 2. States\n\n### 2.1 Predictions\n\n## 3. The create\n\n"
        "### `GET /model`\n\n```text\n## 7. No heading\n```\n"
    )


def _plant_links(root: Path, text: str) -> Path:
    (root / "docs").mkdir()
    (root / "README.md").write_text("# Read me\n")
    (root / "docs" / "b.md").write_text("# A heading with `code`\n\n## Again\n\n## Again\n")
    document = root / "docs" / "a.md"
    document.write_text(f"# Here\n\n{text}\n")
    return document
