"""Signed images (C2PA), as a provider may deliver them: no run and no verb breaks a signature."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from fluxbatch.emulator.messages import Picture
from fluxbatch.emulator.painter import Painter
from fluxbatch.sink.metadata import embedded, embedded_facts, has_credentials
from tests.support.commands import fluxbatch
from tests.support.credentials import MIMES, signed, validation
from tests.support.pictures import picture
from tests.support.running import Bench, provider

ROWS: list[dict[str, object]] = [
    {"id": kind, "prompt": f"a lamp, {kind}", "control_image": "https://photos.invalid/c.jpg",
     "output_format": kind}
    for kind in MIMES
]  # fmt: skip
FACTS = '{"fluxbatch":1,"job":"a"}'


@pytest.fixture
def signing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator signs what it paints, every picture once."""
    paint, made = Painter.paint, dict[Picture, bytes]()

    def paint_and_sign(painter: Painter, wanted: Picture) -> bytes:
        if wanted not in made:
            made[wanted] = signed(paint(painter, wanted), wanted.format)
        return made[wanted]

    monkeypatch.setattr(Painter, "paint", paint_and_sign)


@pytest.mark.parametrize("kind", MIMES)
def test_a_signed_file_takes_no_facts(kind: str) -> None:
    """
    The same picture without a signature does.
    """
    plain = picture(kind)
    content = signed(plain, kind)

    assert validation(content, kind) == "Valid"
    assert has_credentials(content)
    assert embedded(content, FACTS) is None
    assert not has_credentials(plain)
    assert embedded(plain, FACTS) is not None


@pytest.mark.parametrize("kind", MIMES)
def test_a_file_whose_manifest_is_elsewhere_takes_no_facts(kind: str) -> None:
    """
    Its bytes are signed as well; it only names an address.
    """
    content = signed(picture(kind), kind, manifest_at="https://provider.invalid/manifest.c2pa")

    assert b"provider.invalid" in content
    assert has_credentials(content)
    assert embedded(content, FACTS) is None


@pytest.mark.parametrize("kind", MIMES)
def test_a_cut_signed_file_is_read_to_its_end(kind: str) -> None:
    """
    Wherever it ends: an answer, never an exception.
    """
    content = signed(picture(kind), kind)

    for end in range(0, len(content), 97):
        assert has_credentials(content[:end]) in (True, False)


@pytest.mark.usefixtures("signing")
async def test_a_run_that_embeds_leaves_signed_images_valid_and_says_so(tmp_path: Path) -> None:
    """
    A sidecar instead, a line in the ledger's history, one notice, and `show` and `why` tell it.
    """
    bench = Bench(tmp_path, settings={"sink": {"embed": True}})
    async with provider() as emulator:
        assert (await bench.run(emulator.base_url, bench.write(ROWS))).exit_code == 0

    images = bench.query("SELECT path, sha256, file_sha256 FROM outputs ORDER BY seq")
    assert len(images) == 3
    for path, sha256, file_sha256 in images:
        content = (bench.out / path).read_bytes()
        assert validation(content, Path(path).suffix[1:]) == "Valid"
        assert hashlib.sha256(content).hexdigest() == sha256
        assert file_sha256 is None
        assert embedded_facts(content) is None
        sidecar = (bench.out / path).with_suffix(".json")
        assert json.loads(sidecar.read_text(encoding="utf-8"))["sha256"] == sha256
    told = bench.query("SELECT reason FROM history WHERE subject = 'output' AND became = 'stored'")
    words = "it carries content credentials (C2PA), so nothing was embedded in it"
    assert told == [(words,)] * 3
    assert [str(event) for event in bench.heard if "C2PA" in str(event)] != []

    place = bench.out / images[0][0]
    assert "it carries content credentials (C2PA)" in fluxbatch("show", bench.out, "#1").out
    assert "it carries content credentials (C2PA)" in fluxbatch("show", place).out
    assert fluxbatch("show", bench.out, "#1", "--json").object["images"][0]["has_credentials"]
    assert fluxbatch("show", place, "--json").object["has_credentials"] is True
    assert words in fluxbatch("why", bench.out, "#1").out


@pytest.mark.usefixtures("signing")
async def test_an_export_hands_on_signed_files_as_they_came(tmp_path: Path) -> None:
    """
    Byte by byte, for whoever checks them there.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        assert (await bench.run(emulator.base_url, bench.write(ROWS))).exit_code == 0
    target = tmp_path / "export"
    ended = fluxbatch("export", bench.out, "--format", "imagefolder", "--to", target)

    assert ended.code == 0, ended.err
    images = [path for path in target.rglob("*") if path.suffix[1:] in MIMES]
    assert len(images) == 3
    for path in images:
        assert validation(path.read_bytes(), path.suffix[1:]) == "Valid"


async def test_unsigned_images_of_a_run_are_told_to_have_no_credentials(tmp_path: Path) -> None:
    """
    Nothing is said where nothing is there.
    """
    bench = Bench(tmp_path, settings={"sink": {"embed": True}})
    async with provider() as emulator:
        await bench.run(emulator.base_url, bench.write(ROWS[:1]))

    assert "C2PA" not in fluxbatch("show", bench.out, "#1").out
    shown = fluxbatch("show", bench.out, "#1", "--json").object
    assert shown["images"][0]["has_credentials"] is False
