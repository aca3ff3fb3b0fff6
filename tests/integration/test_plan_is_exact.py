"""The first rows that `plan` shows: to the byte what the provider then receives."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.support.commands import fluxbatch
from tests.support.emulator import EmulatorProcess

pytestmark = pytest.mark.proof

_shown = re.compile(r"^  .*?: (\{.*\})$", re.MULTILINE).findall

_URL = "https://example.org/a.png"
_EVERY_INPUT = (
    "id,prompt,control_image,num_outputs,num_inference_steps,guidance,seed,output_format,"
    "output_quality,disable_safety_checker,megapixels,priority,meta.shop\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (16, 16), colour).save(tmp_path / f"{number}.png")
    return tmp_path


def foretold(source: Path) -> list[str]:
    planned = fluxbatch("plan", source)
    assert planned.code == 0, planned.err
    return sorted(_shown(planned.out))


def received(source: Path, emulator: EmulatorProcess) -> list[str]:
    """Every create's input as text, its keys in the order they came in."""
    out = source.parent / "d"
    made = fluxbatch("run", source, "--out", out, "--base-url", emulator.base_url)
    assert made.code == 0, made.err
    with sqlite3.connect(out / "ledger.sqlite") as db:
        uploads = dict(db.execute("SELECT url, sha256 FROM uploads").fetchall())
    texts = [json.dumps(one["input"], ensure_ascii=False) for one in emulator.predictions()]
    for url, sha256 in uploads.items():
        texts = [text.replace(json.dumps(url), f'"upload:sha256:{sha256}"') for text in texts]
    return sorted(texts)


def config(folder: Path, **settings: Any) -> Path:
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    return path


def test_a_table_with_local_files_and_every_input(emulator: EmulatorProcess, folder: Path) -> None:
    """Numbers, booleans, seeds given and derived, quotes, newlines and other alphabets."""
    path = folder / "m.csv"
    path.write_text(
        _EVERY_INPUT
        + '1,"a ""cat"", café\n猫 \U0001f431",0.png,2,7,3.50,42,png,80,true,0.25,3,oslo\n'
        + "2,<b>\\n & \t it's,1.png,,,10,,,,,,,\n"
        + f"3,plain,{_URL},,28,1e1,0,jpg,100,FALSE,1,,\n",
        encoding="utf-8",
    )

    assert foretold(path) == received(path, emulator)


def test_a_sweep_with_templates_and_defaults(emulator: EmulatorProcess, folder: Path) -> None:
    """Over files and variables; the seeds are derived."""
    path = config(
        folder,
        defaults={"prompt": "a {{ style }} of a {cat|dog} ☂", "guidance": 10.0},
        sweep={
            "mode": "zip",
            "axes": {"control_image": "*.png", "style": ['oil "x"', "ink", "clay"]},
        },
        templates={"mode": "sample", "sample": 1, "seed": 3},
    )

    assert foretold(path) == received(path, emulator)


def test_a_table_under_a_sweep_of_seeds(emulator: EmulatorProcess, folder: Path) -> None:
    """Defaults, the row and the cell in one input, repeated too."""
    (folder / "m.jsonl").write_text('{"prompt": "a cat", "control_image": "2.png", "repeat": 1}\n')
    path = config(
        folder,
        manifest=str(folder / "m.jsonl"),
        defaults={"num_inference_steps": 4, "output_format": "webp", "megapixels": "1"},
        sweep={"axes": {"seed": {"range": [5, 6]}, "guidance": [2.5]}},
    )

    assert foretold(path) == received(path, emulator)


def test_repeats_and_seeds_left_to_the_provider(emulator: EmulatorProcess, folder: Path) -> None:
    """A repeat has a seed of its own; `inputs.seed: provider` sends none."""
    manifest = folder / "m.jsonl"
    manifest.write_text('{"prompt": "a cat", "control_image": "2.png", "repeat": 3}\n')
    repeated = foretold(manifest)
    assert len(set(repeated)) == 3
    assert repeated == received(manifest, emulator)

    emulator.reset()
    other = folder / "other"
    other.mkdir()
    path = config(other, manifest=str(manifest), inputs={"seed": "provider"})
    texts = foretold(path)
    assert texts == received(path, emulator)
    assert '"seed"' not in texts[0]
