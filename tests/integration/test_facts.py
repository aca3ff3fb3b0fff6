"""The names and the metadata of images, after real runs."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fluxbatch.domain.filenames import OUTPUTS_A_FOLDER, sidecar_path
from fluxbatch.domain.provenance import MAX_METADATA_BYTES, read_facts
from fluxbatch.errors import ExitCode
from fluxbatch.sink.metadata import embedded_facts
from tests.integration.test_cli_run import run
from tests.maintenance.support import Ward
from tests.support.commands import fluxbatch
from tests.support.emulator import emulator_process
from tests.support.running import Bench, make_rows, provider

TOKEN = "sig=a-token-that-opens-it"
ROWS: list[dict[str, object]] = [
    {
        "id": f"Lamp {n}",
        "prompt": f"a “lamp”, <{n}> ü 猫",
        "control_image": f"https://photos.invalid/c.jpg?{TOKEN}",
        "output_format": kind,
        "num_outputs": 2,
    }
    for n, kind in enumerate(("png", "jpg", "webp"))
]


def stored(bench: Bench) -> list[dict[str, Any]]:
    names = ("path", "sha256", "file_sha256", "bytes", "mime", "number", "job", "seed", "id")
    found = bench.query(
        "SELECT o.path, o.sha256, o.file_sha256, o.bytes, o.mime, o.number, lower(hex(j.id)),"
        " p.seed, p.provider_id FROM outputs o JOIN jobs j ON j.seq = o.job_seq"
        " JOIN predictions p ON p.seq = o.prediction_seq WHERE o.state = 'stored' ORDER BY o.seq"
    )
    return [dict(zip(names, record, strict=True)) for record in found]


def sidecars(bench: Bench) -> dict[str, dict[str, Any]]:
    return {
        path.relative_to(bench.out).as_posix(): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((bench.out / "images").rglob("*.json"))
    }


def check_facts(facts: Mapping[str, Any], output: Mapping[str, Any]) -> None:
    """They are the ledger's words, and nobody's secret."""
    (number,) = [n for n, row in enumerate(ROWS) if row["prompt"] == facts["prompt"]]
    assert facts["sha256"] == output["sha256"]
    assert (facts["job"], facts["number"]) == (output["job"], output["number"])
    assert (facts["seed"], facts["prediction_id"]) == (output["seed"], output["id"])
    assert (facts["bytes"], facts["mime"]) == (output["bytes"], output["mime"])
    assert (facts["width"], facts["height"]) == (64, 64)
    assert facts["row"]["id"] == f"Lamp {number}"
    assert facts["input"]["num_outputs"] == 2
    assert facts["input"]["control_image"] == "https://photos.invalid/c.jpg"
    assert facts["model"] == "flux-depth-dev"
    assert facts["tool"].startswith("fluxbatch ")
    assert TOKEN not in json.dumps(facts)


async def test_each_image_has_a_sidecar_with_the_ledgers_words(tmp_path: Path) -> None:
    """
    By default, and the image is what the provider delivered, byte by byte.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        await bench.run(emulator.base_url, bench.write(ROWS))
    told = sidecars(bench)

    assert len(stored(bench)) == len(told) == 6
    for output in stored(bench):
        check_facts(told[sidecar_path(output["path"])], output)
        content = (bench.out / output["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == output["sha256"]
        assert output["file_sha256"] is None
        assert output["path"] == f"images/{output['job']}_{output['number']}.{_ending(output)}"
    assert all(path.read_bytes().endswith(b"}\n") for path in (bench.out / "images").glob("*.json"))


async def test_embedded_facts_leave_the_pixels_and_both_hashes(tmp_path: Path) -> None:
    """
    No sidecar then; the ledger has the hash of what was delivered and of the file.
    """
    plain, filled = Bench(tmp_path / "a"), Bench(tmp_path / "b", settings={"sink": {"embed": True}})
    async with provider() as emulator:
        for bench in (plain, filled):
            bench.folder.mkdir()
            assert (await bench.run(emulator.base_url, bench.write(ROWS))).exit_code == 0

    assert sidecars(filled) == {}
    for before, after in zip(_by_place(plain), _by_place(filled), strict=True):
        content = (filled.out / after["path"]).read_bytes()
        facts = read_facts(embedded_facts(content) or "")
        assert facts is not None
        check_facts(facts, after)
        assert before["sha256"] == after["sha256"] != after["file_sha256"]
        assert hashlib.sha256(content).hexdigest() == after["file_sha256"]
        assert before["bytes"] == after["bytes"] < len(content)
        assert _pixels(content) == _pixels((plain.out / before["path"]).read_bytes())


async def test_names_come_from_the_template_and_stay_when_it_changes(tmp_path: Path) -> None:
    """
    Killed between a name and its image, with another template at the next start: the image gets
    the name that was decided, new jobs the new ones.
    """
    bench = Bench(tmp_path, settings={"sink": {"path_template": "{axis.none}/{id}_{seed}"}})
    async with provider() as emulator:
        emulator.core.faults["download_500"] = 1
        bench.settings = {"sink": {**bench.settings["sink"], "timeout": 0.2}}  # type: ignore[dict-item]
        ended = await bench.run(emulator.base_url, bench.write(make_rows(2, id="x")[:1]))
        assert ended.exit_code is ExitCode.SOME_FAILED
        emulator.core.faults["download_500"] = 0
        ward = Ward(bench, emulator, flags={"sink": {"path_template": "{prompt}"}})
        assert (await ward.repair()).fetched == 1
        bench.settings = {"sink": {"path_template": "{prompt}"}}
        await bench.run(emulator.base_url, bench.write(make_rows(2)))
    first, second = stored(bench)

    assert first["path"] == f"images/none/x_{first['seed']}_{first['job']}_0.webp"
    assert second["path"] == f"images/a-lighthouse-1_{second['job']}_0.webp"
    assert set(sidecars(bench)) == {sidecar_path(one["path"]) for one in (first, second)}


async def test_what_was_named_before_there_were_templates_keeps_its_name(tmp_path: Path) -> None:
    """
    Its path was empty while it was wanted, and still is.
    """
    bench = Bench(tmp_path, settings={"sink": {"timeout": 0.2}})
    async with provider() as emulator:
        emulator.core.faults["download_500"] = 1
        await bench.run(emulator.base_url, bench.write(make_rows(1)))
        emulator.core.faults["download_500"] = 0
        assert bench.query("SELECT path, state FROM outputs") == [(None, "lost")]
        ward = Ward(bench, emulator, flags={"sink": {"path_template": "{prompt}"}})
        assert (await ward.repair()).fetched == 1
    (output,) = stored(bench)
    assert output["path"] == f"images/{output['job']}_0.webp"


async def test_after_thousands_of_outputs_names_get_folders(tmp_path: Path) -> None:
    """
    Whatever the template; the next ones of a dataset that is large already.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        await bench.run(emulator.base_url, bench.write(make_rows(1)))
        ward = Ward(bench, emulator)
        ward.change(f"UPDATE outputs SET seq = {OUTPUTS_A_FOLDER - 1}")
        await bench.run(emulator.base_url, bench.write(make_rows(3)))
    folders = sorted(Path(one["path"]).parent.as_posix() for one in stored(bench))
    assert folders == ["images", "images", "images/0001"]


async def test_repair_mends_sidecars_and_leaves_none_alone(tmp_path: Path) -> None:
    """
    Missing, torn and another image's are written anew from the ledger, for nothing; one without
    an image goes; what somebody else put there stays.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        await bench.run(emulator.base_url, bench.write(ROWS))
        before = sidecars(bench)
        missing, torn, wrong, _, orphan, _ = (bench.out / path for path in before)
        missing.unlink()
        torn.write_bytes(torn.read_bytes()[:40])
        shutil.copy(orphan, wrong)
        orphan.rename(orphan.with_name(orphan.name.replace(orphan.name[:32], "0" * 32)))
        alone = orphan.with_name(orphan.name.replace(orphan.name[:4], "ffff"))
        facts = before[f"images/{orphan.name}"]
        alone.write_text(json.dumps({**facts, "job": "ffff" + facts["job"][4:]}))
        (bench.out / "images" / "notes.json").write_text("{}")
        calls = emulator.stats["calls"]
        report = await Ward(bench, emulator).repair(keys=())
        assert emulator.stats["calls"] == calls

    strays = [f"images/{'0' * 32}{orphan.name[32:]}", "images/notes.json"]
    assert (report.sidecars, sorted(report.strays)) == (4, sorted(strays))
    assert not alone.exists()
    for path in strays:
        (bench.out / path).unlink()
    assert sidecars(bench) == before


async def test_a_sidecar_that_cannot_be_written_keeps_no_other_from_being_mended(
    tmp_path: Path,
) -> None:
    """
    A folder has its name: that is told at the end, with what to do.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        await bench.run(emulator.base_url, bench.write(ROWS))
        before = sidecars(bench)
        first, second, *_ = (bench.out / path for path in before)
        for path in (first, second):
            path.unlink()
        first.mkdir()
        report = await Ward(bench, emulator).repair(keys=())

    code, reason = report.outcome()
    assert (report.sidecars, code) == (1, 1)
    assert "a folder is where that file must be: move it away" in reason
    assert second.is_file()


async def test_repair_removes_no_file_that_only_looks_like_a_sidecar(tmp_path: Path) -> None:
    """
    Facts of a job that is named by chance, and an image that somebody has copied with its sidecar.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator:
        await bench.run(emulator.base_url, bench.write(make_rows(1)))
        (image,) = bench.images()
        folder = image.parent / "best"
        folder.mkdir()
        for file in (image, image.with_suffix(".json")):
            shutil.copy(file, folder)
        for job in ("", "note"):
            facts = {"fluxbatch": 1, "job": job, "number": 0}
            (image.parent / f"{job}s_note_0.json").write_text(json.dumps(facts))
        before = sidecars(bench)
        report = await Ward(bench, emulator).repair(keys=())

    copies = [f"images/best/{image.stem}{ending}" for ending in (".json", ".webp")]
    assert sorted(report.strays) == [*copies, "images/notes_note_0.json", "images/s_note_0.json"]
    assert sidecars(bench) == before


async def test_repair_brings_no_sidecars_where_the_run_had_none(tmp_path: Path) -> None:
    """
    `sink.sidecar: false` is remembered with the dataset.
    """
    bench = Bench(tmp_path, settings={"sink": {"sidecar": False}})
    async with provider() as emulator:
        await bench.run(emulator.base_url, bench.write(make_rows(2)))
        report = await Ward(bench, emulator).repair(keys=())
    assert (report.sidecars, sidecars(bench)) == (0, {})


@pytest.mark.parametrize("embed", [False, True])
def test_show_reads_a_file_back_wherever_it_lies(tmp_path: Path, *, embed: bool) -> None:
    """
    In its dataset, by its sidecar, and moved away alone: then it says what it tells itself.
    """
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    with emulator_process() as emulator:
        env = {"FLUXBATCH_SINK__EMBED": str(embed).lower()}
        assert run(emulator, manifest, env=env).code == 0
    dataset = tmp_path / "d"
    image = next(p for p in sorted((dataset / "images").iterdir()) if p.suffix == ".png")
    away = tmp_path / "away" / "renamed.png"
    away.parent.mkdir()
    shutil.copy(image, away)
    if not embed:
        shutil.copy(image.with_suffix(".json"), away.with_suffix(".json"))
        by_sidecar = fluxbatch("show", dataset, image.with_suffix(".json"), "--json")
        assert by_sidecar.object["images"][0]["path"] == f"images/{image.name}"

    inside = fluxbatch("show", dataset, image, "--json").object
    alone = fluxbatch("show", away, "--json")
    words = fluxbatch("show", away)

    assert (alone.code, words.code) == (0, 0)
    assert alone.object["source"] == ("embedded" if embed else "renamed.json")
    assert alone.object["is_whole"] is (None if embed else True)
    assert alone.object["facts"]["job"] == inside["job"]
    assert alone.object["facts"]["seed"] == inside["images"][0]["seed"]
    assert inside["images"][0]["file"] == "whole"
    for part in ("a “lamp”, <0> ü 猫", "'Lamp 0'", inside["job"], "no ledger was asked"):
        assert part in words.out
    assert TOKEN not in words.out + alone.out


def test_show_of_a_file_that_tells_nothing_names_the_way(tmp_path: Path) -> None:
    """
    Not a trace but a sentence, whatever the file is.
    """
    plain, broken = tmp_path / "plain.png", tmp_path / "broken.json"
    Image.new("RGB", (2, 2)).save(plain)
    broken.write_bytes(b"\xff[{")
    for path, said in (
        (plain, "ask its dataset: fluxbatch show DIR FILE"),
        (broken, "does not tell how it was made"),
        (tmp_path / "nothing", "cannot read"),
        (tmp_path, "name a file or a job"),
    ):
        ended = fluxbatch("show", path)
        assert (ended.code, said in ended.err) == (2, True), ended.err


def test_show_of_a_hostile_file_has_an_end(tmp_path: Path) -> None:
    """
    A sidecar that never ends, a device, numbers of thousands of digits, facts beyond all measure.
    """
    image, endless = tmp_path / "image.png", tmp_path / "endless.json"
    Image.new("RGB", (2, 2)).save(image)
    image.with_suffix(".json").symlink_to("/dev/zero")
    endless.symlink_to("/dev/zero")
    long = tmp_path / "long.json"
    long.write_text(json.dumps({"fluxbatch": 1, "job": "a", "prompt": "x" * MAX_METADATA_BYTES}))
    for path in (image, endless, long):
        ended = fluxbatch("show", path)
        assert (ended.code, "does not tell how it was made" in ended.err) == (2, True), ended.err
    for digits in ("9" * 4_300, "1e999"):
        facts = f'"number": {digits}, "edition": {digits}, "bytes": {digits}'
        (tmp_path / "large.json").write_text(f'{{"fluxbatch": 1, "job": "a", {facts}}}')
        ended = fluxbatch("show", tmp_path / "large.json")
        assert (ended.code, "job         a, image ?, edition ?" in ended.out) == (0, True), ended


def _ending(output: Mapping[str, Any]) -> str:
    return str(output["mime"]).rpartition("/")[2].replace("jpeg", "jpg")


def _by_place(bench: Bench) -> list[dict[str, Any]]:
    return sorted(stored(bench), key=lambda one: (one["job"], one["number"]))


def _pixels(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGBA").tobytes()
