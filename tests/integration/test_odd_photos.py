"""Photos as phones and old programs write them: what `plan` takes `run` takes, without a word of
a library's."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.support.commands import fluxbatch
from tests.support.emulator import emulator_process

pytestmark = pytest.mark.proof

CASES = Path(__file__).parent.parent / "cases"


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    image = Image.effect_noise((48, 32), 60).convert(mode)
    image.save(out, kind, **options)
    return out.getvalue()


def with_two_pictures() -> bytes:
    return (CASES / "mpo-jpeg" / "phone.jpg").read_bytes()


def with_broken_exif() -> bytes:
    return (CASES / "pillow-warnings" / "a.jpg").read_bytes()


def broken_in_the_middle() -> bytes:
    content = bytearray(saved("JPEG"))
    middle = len(content) // 2
    content[middle : middle + 20] = b"\0" * 20
    return bytes(content)


def two_frames() -> bytes:
    more = [Image.new("RGB", (48, 32), "red")]
    return saved("WEBP", save_all=True, append_images=more)


@pytest.mark.parametrize(
    ("name", "photo"),
    [
        ("phone.jpg", with_two_pictures),
        ("a.jpg", with_broken_exif),
        ("cmyk.jpg", lambda: saved("JPEG", "CMYK")),
        ("progressive.jpg", lambda: saved("JPEG", progressive=True)),
        ("noise.jpg", broken_in_the_middle),
        ("tail.jpg", lambda: saved("JPEG") + b"\0" * 70_000),
        ("tail.png", lambda: saved("PNG") + b"\0" * 70_000),
        ("grey16.png", lambda: saved("PNG", "I;16")),
        ("palette.png", lambda: saved("PNG", "P", transparency=b"\0\1\2")),
        ("moving.webp", two_frames),
        ("exif.webp", lambda: saved("WEBP", exif=b"Exif\0\0II*\0\xff\xff")),
    ],
)
def test_what_the_plan_takes_the_run_takes(
    tmp_path: Path, name: str, photo: Callable[[], bytes]
) -> None:
    """
    Or neither does; and no path into a library is told to anyone.
    """
    (tmp_path / name).write_bytes(photo())
    (tmp_path / "m.csv").write_text(f"id,prompt,control_image\n1,a cat,{name}\n")
    planned = fluxbatch("plan", "m.csv", cwd=tmp_path)
    with emulator_process() as emulator:
        more = ("--out", "d", "--budget", "1", "--base-url", emulator.base_url, "--json")
        made = fluxbatch("run", "m.csv", *more, cwd=tmp_path)
        assert planned.code == made.code, planned.err + made.err
        if planned.code == 0:
            assert made.object["jobs"]["done"] == 1
            assert emulator.stats()["created"] == 1
    for words in (planned.err, planned.out, made.err, made.out):
        assert "Warning" not in words
        assert "site-packages" not in words


@pytest.mark.parametrize("case", ["mpo-jpeg", "pillow-warnings"])
def test_these_two_photos_are_taken(tmp_path: Path, case: str) -> None:
    """
    They are images like any other.
    """
    folder = shutil.copytree(CASES / case, tmp_path / case)
    planned = fluxbatch("plan", "m.csv", cwd=folder)
    assert planned.code == 0, planned.err
    assert "1 new" in planned.out
