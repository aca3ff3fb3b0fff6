"""Control images: URLs passed on, local files checked and known by their bytes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from PIL import Image

from fluxbatch.domain.job import Row
from fluxbatch.manifest import FileHash, FileStamp, MemoryFileHashes
from tests.unit.manifest.reading import bad_rows, line, opened, read, write


class CountingHashes(MemoryFileHashes):
    """Counts how often a file had to be read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def put(self, stamp: FileStamp, found: FileHash, /) -> None:
        self.reads += 1
        super().put(stamp, found)


def picture(
    path: Path, kind: str = "PNG", size: tuple[int, int] = (8, 8), age: int = 1_700_000_000
) -> Path:
    Image.new("RGB", size, (200, 30, 30)).save(path, kind)
    os.utime(path, (age, age))  # long settled
    return path


def one(folder: Path, given: str, **settings: object) -> Row:
    (row,) = read(write(folder, line(control_image=given)), **settings)
    return row


def refusal(folder: Path, given: str, **settings: object) -> str:
    (bad,) = bad_rows(write(folder, line(control_image=given)), **settings)
    assert (bad.number, bad.line, bad.field) == (1, 1, "control_image")
    return bad.reason


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.png",
        "https://example.org/a.png?token=x#y",
        "HTTPS://Example.org/ä.png",
        "https://example.org:8443",
        "https://93.184.216.34/a",
        "https://[2606:2800::1]/a.png",
    ],
)
def test_an_https_url_is_passed_on_as_it_is(tmp_path: Path, url: str) -> None:
    """Never fetched, never rewritten."""
    row = one(tmp_path, url)

    assert row.job is not None
    assert row.job.input["control_image"] == url
    assert row.control is None


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("http://example.org/a.png", "use https"),
        ("ftp://example.org/a.png", "give an https URL or a local file"),
        ("s3://bucket/a.png", "give an https URL or a local file"),
        ("https://", "is not a valid URL"),
        ("https://exa mple.org/a.png", "is not a valid URL"),
        ("https://example.org/a b.png", "spaces are written %20"),
        ("https://[::1/a.png", "is not a valid URL"),
        ("https://localhost/a.png", "give the local file"),
        ("https://x.localhost/a.png", "give the local file"),
        ("https://127.0.0.1:8000/a.png", "give the local file"),
        ("https://[::1]/a.png", "give the local file"),
        ("data:image/png;base64,iVBORw0KGgo=", "save the image to a file"),
        ("sha256:" + "0" * 64, "give the file's path or an https URL"),
        ("file://server/a.png", "write file:///path"),
    ],
)
def test_what_the_provider_would_refuse_is_refused_first(
    tmp_path: Path, given: str, remedy: str
) -> None:
    """With the remedy, before anything is spent."""
    assert remedy in refusal(tmp_path, given)


def test_a_loopback_endpoint_may_have_http_and_local_urls(tmp_path: Path) -> None:
    """The emulator serves its images so."""
    for url in ("http://127.0.0.1:9/a.png", "https://localhost/a.png", "http://example.org/a.png"):
        assert one(tmp_path, url, allow_http=True).error is None
    assert "is not a valid URL" in refusal(tmp_path, "http:///a.png", allow_http=True)


@pytest.mark.parametrize(
    ("kind", "mime"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")]
)
def test_a_local_image_is_known_by_its_bytes(tmp_path: Path, kind: str, mime: str) -> None:
    """Whatever its name says."""
    path = picture(tmp_path / "image.bin", kind)
    row = one(tmp_path, "image.bin")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    assert row.job is not None
    assert row.control is not None
    assert row.job.input["control_image"] == f"sha256:{sha256}"
    assert (row.control.path, row.control.sha256) == (str(path), sha256)
    assert (row.control.bytes, row.control.mime) == (path.stat().st_size, mime)


def test_all_ways_to_name_a_file_are_one_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative to the manifest, absolute, at home, as file URL, or a copy."""
    (tmp_path / "in").mkdir()
    path = picture(tmp_path / "in" / "a b.png")
    (tmp_path / "copy.png").write_bytes(path.read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    names = [
        "in/a b.png",
        "./in/../in/a b.png",
        str(path),
        "~/in/a b.png",
        "file://" + str(path).replace(" ", "%20"),
        "file://localhost" + str(path).replace(" ", "%20"),
        "copy.png",
    ]
    rows = read(write(tmp_path, "".join(line(control_image=name) for name in names)))

    assert [row.error for row in rows] == [None] * len(names)
    assert len({row.job.job_id for row in rows if row.job}) == 1


def test_a_file_that_is_no_image_is_refused_whatever_its_name(tmp_path: Path) -> None:
    """Text files named .png are the classic."""
    write(tmp_path, "not an image", "a.png")
    write(tmp_path, "GIF89a" + "\0" * 30, "b.png")
    write(tmp_path, "", "c.png")

    assert "is not a JPEG, PNG or WebP image by its content" in refusal(tmp_path, "a.png")
    assert "is not a JPEG, PNG or WebP image by its content" in refusal(tmp_path, "b.png")
    assert "is an empty file" in refusal(tmp_path, "c.png")


def test_a_broken_image_is_refused(tmp_path: Path) -> None:
    """A right beginning is not enough: headers and checksums are read."""
    whole = picture(tmp_path / "a.png", size=(64, 64)).read_bytes()
    write(tmp_path, whole[:40], "short.png")
    write(tmp_path, whole[:50] + b"\xff\xff" + whole[52:], "flipped.png")
    write(tmp_path, b"\xff\xd8\xff\xe0\0\x10JFIF", "short.jpg")
    write(tmp_path, b"RIFF\0\0\0\0WEBPVP8 junk", "junk.webp")

    for name in ("short.png", "flipped.png", "short.jpg", "junk.webp"):
        said = refusal(tmp_path, name)
        assert "is a broken image/" in said or "is cut short" in said


def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    """Or its folder."""
    picture(tmp_path / "house.png")

    assert "'huose.png' does not exist; did you mean 'house.png'?" in refusal(tmp_path, "huose.png")
    assert "does not exist in" in refusal(tmp_path, "qqqq")
    assert "nor does its folder" in refusal(tmp_path, "nowhere/a.png")
    assert "names a user there is not" in refusal(tmp_path, "~nobody-here/a.png")


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    """A pipe would block for ever."""
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")

    assert "is a folder" in refusal(tmp_path, "folder.png")
    assert "is not a regular file" in refusal(tmp_path, "pipe.png")
    assert "cannot read" in refusal(tmp_path, "a\0b.png")
    assert "cannot read" in refusal(tmp_path, "x" * 5000)


def test_a_file_above_50_mb_is_refused_unread(tmp_path: Path) -> None:
    """The provider's limit for a control image."""
    with (tmp_path / "big.png").open("wb") as file:
        file.truncate(50_000_001)

    assert "may have at most 50 MB" in refusal(tmp_path, "big.png")


def test_each_file_is_read_once_however_many_rows_name_it(tmp_path: Path) -> None:
    """And not again in the next run, while size, time and inode are the same."""
    picture(tmp_path / "a.png")
    path = write(tmp_path, line(control_image="a.png") * 1000)
    hashes = CountingHashes()

    assert len(list(opened(path, hashes=hashes).rows())) == 1000
    assert len(list(opened(path, hashes=hashes).rows())) == 1000
    assert hashes.reads == 1


def test_a_changed_file_is_another_job(tmp_path: Path) -> None:
    """The cache goes by the file's stamp."""
    picture(tmp_path / "a.png")
    hashes = CountingHashes()
    before = one(tmp_path, "a.png", hashes=hashes)
    picture(tmp_path / "a.png", size=(9, 9), age=1_700_000_001)
    after = one(tmp_path, "a.png", hashes=hashes)

    assert hashes.reads == 2
    assert before.job != after.job


def test_a_file_written_this_moment_is_not_remembered(tmp_path: Path) -> None:
    """It may change again within one tick of the file system's clock."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    hashes = CountingHashes()

    assert one(tmp_path, "a.png", hashes=hashes).error is None
    assert hashes.reads == 0


def test_a_token_in_a_refused_url_is_not_repeated(tmp_path: Path) -> None:
    """Errors are logged and kept."""
    assert "secret" not in refusal(tmp_path, "http://example.org/a.png?X-Signature=secret")


def test_what_a_model_may_take_otherwise_is_noted(tmp_path: Path) -> None:
    """An animation, CMYK, a photo turned by its EXIF data; a plain one has no note."""
    picture(tmp_path / "plain.png")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    Image.new("CMYK", (8, 8)).save(tmp_path / "print.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 8)).save(tmp_path / "turned.jpg", exif=exif)

    def notes(name: str) -> str:
        control = one(tmp_path, name).control
        assert control is not None
        return " ".join(control.notes)

    assert notes("plain.png") == ""
    assert "animated" in notes("moving.webp")
    assert "CMYK" in notes("print.jpg")
    assert "EXIF" in notes("turned.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_a_file_without_its_end_is_refused(tmp_path: Path, kind: str) -> None:
    """Decoders would fill in grey."""
    path = picture(tmp_path / "cut", kind, size=(64, 64))
    path.write_bytes(path.read_bytes()[:-12])

    assert "cut short" in (said := refusal(tmp_path, "cut")) or "broken" in said
