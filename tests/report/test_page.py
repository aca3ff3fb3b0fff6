"""The files of a report: one folder, the same bytes each time, and no secret."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import FailureClass, Quality
from fluxbatch.errors import ConfigError, SinkError
from fluxbatch.ledger.operations.retry_quality import RetryQuality
from fluxbatch.report import ReportDir, WrittenReport, write_report
from fluxbatch.report.charts import nice_ticks
from fluxbatch.report.gallery import script_json
from tests.ledger.support import at
from tests.report.datasets import PHOTOS, making, png, row, small_images
from tests.support.commands import fluxbatch


@pytest.fixture
def dataset(tmp_path: Path) -> Folder:
    """Six jobs: three images (one black, one of two colours gone), one failure, two pending."""
    photo = tmp_path / "control.jpg"
    shutil.copy(PHOTOS[0], photo)
    pictures = small_images(tmp_path / "pictures", side=64)
    rows = [row(n, {"prompt": f"a lighthouse, {n}"}, photo) for n in range(1, 7)]
    with making(tmp_path / "dataset") as made:
        made.begin(rows)
        made.image(1, *pictures[0], dhash="00ff00ff00ff00ff-" + "80" * 12)
        made.image(2, *pictures[6], dhash="00ff00ff00ff00ff-" + "81" * 12)
        made.image(3, *pictures[9], quality=(Quality.BLACK,))
        made.fail(4, FailureClass.FILTERED, "moderation said no")
    return Folder(tmp_path / "dataset")


def written(dataset: Folder, to: Path | None = None, most: int = 1_000) -> WrittenReport:
    return write_report(ReportDir.of(dataset, to), most=most)


def page(dataset: Folder) -> str:
    return (dataset.root / "report" / "index.html").read_text()


def block(text: str, name: str) -> list[dict[str, Any]]:
    found = re.search(f'<script type="application/json" id="{name}">(.*?)</script>', text, re.S)
    assert found is not None
    value: list[dict[str, Any]] = json.loads(found[1])
    return value


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_items_have_what_the_gallery_shows(dataset: Folder) -> None:
    """
    A line an image; a failed job has one without; a job nobody bought has none.
    """
    told = written(dataset)
    items = block(page(dataset), "items")
    assert [item["id"] for item in items] == ["row-00001", "row-00002", "row-00003", "row-00004"]
    assert (told.images, told.thumbs_made, told.left_out) == (3, 4, 0)
    first, second, black, failed = items
    assert (first["state"], first["cost"], first["seed"]) == ("done", 25_000, 99)
    assert first["file"] == "../images/000001.webp"
    assert (second["notes"], second["twin"]) == (["duplicate"], f"{first['job'][:8]} image 1")
    assert black["notes"] == ["black"]
    assert (failed["state"], failed["failure"]) == ("failed", "filtered")
    assert failed["why"] == "moderation said no"
    assert "thumb" not in failed
    (control,) = block(page(dataset), "controls")
    assert control["label"] == "control.jpg"
    with Image.open(dataset.root / "report" / control["thumb"]) as thumb:
        assert max(thumb.size) == 384


def test_images_that_cannot_be_read_are_counted_and_have_no_picture(dataset: Folder) -> None:
    """
    One is gone, another one was cut short: `repair` is for both.
    """
    (dataset.root / "images" / "000001.webp").unlink()
    cut = dataset.root / "images" / "000002.webp"
    cut.write_bytes(cut.read_bytes()[:40])
    told = written(dataset)
    assert (told.images, told.undrawn) == (3, 2)
    said = fluxbatch("report", dataset.root).err
    assert "2 images without a picture: not there, no whole image" in said
    assert ["thumb" in item for item in block(page(dataset), "items")][:3] == [False, False, True]


def test_a_report_that_cannot_be_written_says_what_to_do(dataset: Folder) -> None:
    place = dataset.root / "report"
    place.mkdir()
    (place / "thumbs").write_text("a file")
    with pytest.raises(SinkError, match="a file is where a folder must be: move it away"):
        written(dataset)


def test_totals_are_the_ledgers(dataset: Folder) -> None:
    """
    Settled, at risk and per image; each run with its charts; failures with reasons and rows.
    """
    written(dataset)
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page(dataset))).split())
    for words in (
        "Images 3", "Jobs done 3 of 6", "Spent $0.10", "$0.03333 an image", "Settled $0.075",
        "At risk $0.025", "filtered 1 moderation said no row-00004",
        "Creates: 3 succeeded, 1 errored", "1 near-duplicates", "1 black",
    ):  # fmt: skip
        assert words in text
    assert page(dataset).count("<svg viewBox") == 3
    assert "limit 100" in text
    assert "cap $200.00" in text


def test_the_same_ledger_gives_the_same_bytes(dataset: Folder, tmp_path: Path) -> None:
    """
    Again, and of a copy elsewhere; thumbnails are made once.
    """
    written(dataset)
    before = contents(dataset.root / "report")
    assert written(dataset).thumbs_made == 0
    assert contents(dataset.root / "report") == before

    copy = Folder(tmp_path / "elsewhere" / "dataset")
    shutil.copytree(dataset.root, copy.root, ignore=shutil.ignore_patterns("report"))
    assert written(copy).thumbs_made == 4
    assert contents(copy.root / "report") == before


def test_nothing_of_this_machine_and_no_token_is_in_it(dataset: Folder, tmp_path: Path) -> None:
    """
    No absolute path; of a control image's URL only what names it.
    """
    url = "https://user:secret@photos.invalid/a.jpg?X-Amz-Signature=secret"
    pictures = small_images(tmp_path / "pictures", side=64)
    with making(tmp_path / "other") as made:
        made.begin([row(1, {"prompt": "x", "control_image": url})])
        made.image(1, *pictures[0])
    for folder in (dataset, Folder(tmp_path / "other")):
        written(folder)
        assert str(tmp_path) not in page(folder)
        assert "secret" not in page(folder)
    assert block(page(folder), "controls") == [{"label": "https://photos.invalid/a.jpg"}]


def test_an_image_that_is_gone_or_broken_has_no_thumbnail(dataset: Folder) -> None:
    """
    Nor has a control image that was changed since: it would show another one.
    """
    (dataset.images / "000001.webp").unlink()
    broken = dataset.images / "000002.webp"
    broken.unlink()
    broken.write_bytes(b"RIFF\x00\x00\x00\x00WEBPgarbage")
    (dataset.root.parent / "control.jpg").write_bytes(png())
    written(dataset)
    items = block(page(dataset), "items")
    assert ["thumb" in item for item in items] == [False, False, True, False]
    assert block(page(dataset), "controls") == [{"label": "control.jpg"}]
    assert len(contents(dataset.root / "report")) == 2


def test_what_was_made_anew_is_shown_as_earlier(dataset: Folder) -> None:
    """
    Pending again, its black image is still there to be seen.
    """
    from fluxbatch.ledger.db.sqlite import SqliteDatabase
    from fluxbatch.ledger.writer import commit

    database = SqliteDatabase(dataset.ledger)
    commit(database, RetryQuality(at(9_999), [Quality.BLACK]))
    database.close()
    written(dataset)
    states = [item["state"] for item in block(page(dataset), "items") if item["id"] == "row-00003"]
    assert states == ["pending", "earlier"]


def test_thumbnails_nobody_needs_go_and_limits_are_told(dataset: Folder) -> None:
    """
    `--most` leaves jobs out and says how many.
    """
    written(dataset)
    stray = dataset.root / "report" / "thumbs" / "ab" / "0.webp"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"old")
    told = written(dataset, most=2)
    assert (told.left_out, len(block(page(dataset), "items"))) == (2, 2)
    assert not stray.exists()


def test_a_folder_with_other_files_is_not_touched(dataset: Folder, tmp_path: Path) -> None:
    """
    Nor is a file: `--to` is easily mistyped.
    """
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("irreplaceable")
    for place in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt", dataset.root):
        with pytest.raises(ConfigError):
            written(dataset, place)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "irreplaceable"


def test_the_policy_names_exactly_what_may_run(dataset: Folder) -> None:
    """
    One script and one style sheet by their hashes; nothing inline beside them, nothing remote.
    """
    written(dataset)
    text = page(dataset)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;; img-src &#39;self&#39; file:;")
    assert "unsafe" not in policy[1]
    assert text.count("<script>") == text.count("<style>") == 1
    assert not re.search(r"<[^>]+\s(on\w+|style)=", text.partition("<script>")[0])
    assert not re.search(r'(src|href)="(?!#)', text)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner, max_size=3)))
def test_no_text_can_end_the_element_its_json_stands_in(value: Any) -> None:
    """
    Nor begin a comment; it comes back as it was, but for halves of surrogate pairs.
    """
    text = script_json([value, "</script><!--<script>\u2028", "\ud800"])
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text)[1] == "</script><!--<script>\u2028"
    assert json.loads(text)[0] == value


@given(st.floats(0, 1e12), st.booleans())
def test_ticks_are_few_and_reach_the_top(most: float, whole: bool) -> None:
    """
    From zero to at least the largest value; of counts, whole numbers.
    """
    ticks = nice_ticks(most, whole=whole)
    assert not whole or all(tick == int(tick) for tick in ticks)
    assert ticks[0] == 0
    assert 2 <= len(ticks) <= 6
    assert ticks[-1] >= most * 0.998
    assert nice_ticks(5e-324) == [0, 1]


def test_the_command_writes_it_and_names_the_page(dataset: Folder, tmp_path: Path) -> None:
    """
    The page's path on stdout; `--to` puts it elsewhere; `--json` ends in an object.
    """
    ended = fluxbatch("report", dataset.root)
    assert (ended.code, ended.out.strip()) == (0, str(dataset.root / "report" / "index.html"))
    assert "3 images, 4 new thumbnails" in ended.err
    told = fluxbatch("report", dataset.root, "--to", tmp_path / "mail", "--json")
    assert told.object["images"] == 3
    assert "file" not in block((tmp_path / "mail" / "index.html").read_text(), "items")[0]


def test_no_dataset_is_an_error_and_an_empty_one_a_page(tmp_path: Path) -> None:
    """
    Exit 2 and no folder; a dataset without a run has nothing to show, and shows that.
    """
    ended = fluxbatch("report", tmp_path / "none", "--json")
    assert ended.code == 2
    assert not (tmp_path / "none").exists()
    from fluxbatch.ledger.db.sqlite import SqliteDatabase

    SqliteDatabase(tmp_path / "ledger.sqlite").close()
    written(Folder(tmp_path))
    assert block(page(Folder(tmp_path)), "items") == []
