"""The paths that are taken for a dataset's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError
from tests.support.commands import fluxbatch

_SECRET = "s3cr3tw0rd"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{_SECRET}@host/db/name",
        f"PostgreSQL:/me:{_SECRET}@host/db/name",
        f"s3://{_SECRET}/prefix",
        f"file:///{_SECRET}",
    ],
)
def test_a_url_is_no_folder_and_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="a dataset is a folder, and a URL") as caught:
        Folder(Path(url))
    assert _SECRET not in str(caught.value)


@pytest.mark.parametrize("path", ["d", "C:/d", "a:b", "2026-01-01T10:30", "/tmp/postgresql:/x"])
def test_a_folder_may_have_a_colon(path: str) -> None:
    assert Folder(Path(path)).root == Path(path)


_MORE = {
    "show": ("#1",),
    "why": ("#1",),
    "reroll": ("--where", "number=1"),
    "rate": ("#1", "keep"),
    "ctl": ("pause",),
}


@pytest.mark.parametrize(
    "verb",
    [("run", "m.csv", "--out"), ("plan", "m.csv", "--out"), ("demo", "--out"), ("status",),
     ("ls",), ("watch",), ("reconcile",), ("repair",), ("cancel",), ("retry",), ("reroll",),
     ("recover",), ("report",), ("costs",), ("ctl",), ("serve",), ("export", "-f", "csv"),
     ("show",), ("why",), ("rate",)],
)  # fmt: skip
@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("mysql://", "a dataset is a folder, and a URL of 'mysql' was given"),
        ("postgresql://", "the dataset's address holds a password"),
        (" postgresql://", "PGPASSWORD"),
    ],
)
def test_no_verb_makes_folders_of_a_url(
    verb: tuple[str, ...], start: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text("prompt,control_image\na cat,https://example.com/a.png\n")
    url = f"{start}me:{_SECRET}@127.0.0.1:1/db/name"
    more = _MORE.get(verb[0], ())
    ended = fluxbatch(*verb, url, *more, cwd=tmp_path)
    assert ended.code == 2
    assert said in ended.err
    assert _SECRET not in ended.out + ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]


@pytest.mark.parametrize(
    "words",
    [
        ("host=127.0.0.1", "user=me", f"password={_SECRET}"),
        ("d", f"postgresql://me:{_SECRET}@h/d/n"),
    ],
)
def test_words_too_many_are_told_without_a_password(words: tuple[str, ...], tmp_path: Path) -> None:
    """
    A connection's words without quotes around them are one folder, and words too many.
    """
    ended = fluxbatch("status", *words, cwd=tmp_path)
    assert ended.code == 2
    assert "unexpected extra argument" in ended.err
    assert _SECRET not in ended.out + ended.err
