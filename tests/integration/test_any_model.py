"""Models without a typed card: from the provider's schema to images, with no code."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import fluxbatch
from fluxbatch.config.api_keys import ApiKey
from fluxbatch.config.loading import load_settings
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import FailureClass, JobState, OutputState
from fluxbatch.emulator.models import MODELS, Model
from fluxbatch.errors import ApiError, ConfigError, ExitCode, ManifestError
from fluxbatch.events import Events, Noticed
from fluxbatch.infra.runtime import in_thread
from fluxbatch.ledger.db.sqlite import SqliteDatabase
from fluxbatch.maintenance import (
    DatasetRequest,
    reconcile_dataset,
    repair_dataset,
    saved_settings,
)
from fluxbatch.planning.plan import make_plan
from tests.emulator.support import until
from tests.support.running import KEY, Bench, Provider, provider

_PHOTOS = Path(__file__).parents[2] / "fluxbatch" / "demo" / "photos"
_NOWHERE = "http://127.0.0.1:9/v1"


def bench(folder: Path, model: str, **settings: Any) -> Bench:
    return Bench(folder, settings={"model": model, **settings})


def sent(emulator: Provider) -> list[dict[str, Any]]:
    """The inputs of all creates, in order."""
    return [dict(one.input) for one in emulator.core.executor.history]


async def test_a_text_to_image_model_runs_from_a_manifest_alone(tmp_path: Path) -> None:
    """
    Another set of inputs and another price, and the books agree to the micro-dollar.
    """
    at = bench(tmp_path, "flux-dev-t2i", price="0.02")
    manifest = at.write([{"prompt": f"a lighthouse, {n}", "guidance": n} for n in range(12)])
    async with provider() as emulator:
        ended = await at.run(emulator.base_url, manifest, budget="1.00")
        again = await at.run(emulator.base_url, manifest, budget="1.00")

        assert (ended.exit_code, again.exit_code) == (ExitCode.DONE, ExitCode.DONE)
        assert ended.jobs.of(JobState.DONE) == len(at.images()) == 12
        assert ended.run.spent == emulator.stats["billed_micro_usd"] == 12 * 20_000
        assert again.run.spent == 0
        assert emulator.stats["double_billed"] == 0
        assert sorted(one["guidance"] for one in sent(emulator)) == list(range(12))
    assert at.query("SELECT slug, title FROM models") == [
        ("flux-dev-t2i", "Flux Dev Text to Image")
    ]


async def test_lists_objects_alternatives_and_files_arrive_as_the_schema_has_them(
    tmp_path: Path,
) -> None:
    """
    From JSON as they are, from a table's text as what it stands for; a local file as its URL.
    """
    at = bench(tmp_path, "flux-mosaic")
    shutil.copy(_PHOTOS / "coffee.webp", tmp_path / "coffee.webp")
    table = tmp_path / "rows.csv"
    table.write_text(
        "id,prompt,image_size,palette,strength,num_images,input_image\n"
        'one,a blue door,landscape,"[""red"", ""gold""]",0.50,2,coffee.webp\n'
        'two,a red door,"{""width"": 64, ""height"": 128.0}",,1.0,,https://photos.invalid/x.png\n'
    )
    async with provider() as emulator:
        ended = await at.run(emulator.base_url, table)

        assert ended.exit_code is ExitCode.DONE
        first, second = sorted(sent(emulator), key=lambda one: str(one["prompt"]))
        assert first.pop("input_image").startswith(emulator.core.origin)
        assert isinstance(first.pop("seed"), int)
        assert isinstance(second.pop("seed"), int)
        assert first == {
            "prompt": "a blue door",
            "image_size": "landscape",
            "palette": ["red", "gold"],
            "strength": 0.5,
            "num_images": 2,
        }
        assert second == {
            "prompt": "a red door",
            "image_size": {"width": 64, "height": 128},
            "strength": 1,
            "input_image": "https://photos.invalid/x.png",
        }
        assert emulator.stats["uploads"] == 1
    assert len(at.images()) == 3
    assert at.query("SELECT DISTINCT outputs_wanted FROM jobs ORDER BY 1") == [(1,), (2,)]


async def test_every_bad_row_is_named_before_anything_is_bought(tmp_path: Path) -> None:
    """
    Row, field and remedy, in the words of a typed card; nothing is created.
    """
    at = bench(tmp_path, "flux-mosaic")
    rows: list[dict[str, object]] = [
        {"prompt": "fine"},
        {"prompt": "no such size", "image_size": "huge"},
        {"prompt": "too many", "palette": ["red", "red", "red", "red", "blue"]},
        {"prompt": "no such colour", "palette": ["red", "mauve"]},
        {"strength": 2},
        {"prompt": "x", "num_images": "two"},
        {"prompt": "a misspelt one", "palete": ["red"]},
    ]
    async with provider() as emulator:
        with pytest.raises(ManifestError) as caught:
            await at.run(emulator.base_url, at.write(rows))

        told = {(bad.line, bad.field): bad.reason for bad in caught.value.bad_rows}
        assert told == {
            (2, "image_size"): "'huge' is not one of 'square', 'landscape', 'portrait' or an"
            " object with width, height",
            (3, "palette"): "['red', 'red', 'red', 'red', 'blue'] has more than 4 items; it must"
            " be a list of at most 4 items: one of 'red', 'green', 'blue', 'gold'",
            (4, "palette"): "at [1]: 'mauve' is not one of ['red', 'green', 'blue', 'gold']",
            (5, "prompt"): "is required and not given",
            (5, "strength"): "2 is not a number from 0 to 1",
            (6, "prompt"): "'x' is shorter than 3 characters; it must be text of at least 3"
            " characters",
            (6, "num_images"): "'two' is not an integer from 1 to 4",
            (7, "palete"): "no such input; did you mean 'palette'?",
        }
        assert emulator.stats["create_calls"] == 0


async def test_a_cap_needs_a_price_that_somebody_has_said(tmp_path: Path) -> None:
    """
    Refused at the start with the provider's own figure as a hint; known once something was bought.
    """
    at = bench(tmp_path, "flux-mosaic")
    async with provider() as emulator:
        with pytest.raises(ConfigError, match=r"needs a price.*`price:`.*page says \$0\.0125"):
            await at.run(emulator.base_url, at.write([{"prompt": "a door"}]), budget="1.00")
        assert emulator.stats["create_calls"] == 0

        await at.run(emulator.base_url, at.write([{"prompt": "a door"}]))
        rows = [{"prompt": f"a door, {n}"} for n in range(5)]
        capped = await at.run(emulator.base_url, at.write(rows), budget="0.03")
        assert capped.exit_code is ExitCode.STOPPED
        assert capped.run.spent == 2 * 12_500
        folder = Folder(at.out)
        settings = load_settings(None, {"model": "flux-mosaic"}, {})
        assert make_plan(settings, tmp_path / "manifest.jsonl", folder).cost == 3 * 12_500


async def test_a_model_that_makes_no_images_is_refused_before_money_moves(tmp_path: Path) -> None:
    """
    Its own description says video.
    """
    at = bench(tmp_path, "flux-clip")
    async with provider() as emulator:
        with pytest.raises(ConfigError, match=r"makes video.*stores images only"):
            await at.run(emulator.base_url, at.write([{"prompt": "a door"}]))

        assert emulator.stats["create_calls"] == 0


async def test_an_output_that_is_no_image_is_lost_with_its_name_and_stops_the_buying(
    tmp_path: Path,
) -> None:
    """
    What was paid stays in the ledger with its prediction, for `repair` to try again.
    """
    at = bench(tmp_path, "flux-mosaic", limits={"concurrent": 1})
    rows = [{"prompt": f"a door, {n}", "output_format": "mp4"} for n in range(30)]
    async with provider() as emulator:
        ended = await at.run(emulator.base_url, at.write(rows))

        bought = emulator.stats["created"]
        assert ended.exit_code is ExitCode.STOPPED
        assert "'flux-mosaic': it is an MP4 video, and only images are stored" in ended.reason
        assert bought < 10
        assert ended.run.spent == emulator.stats["billed_micro_usd"] == bought * 12_500
        lost = at.query("SELECT o.state, provider_id FROM outputs o JOIN predictions p"
                        " ON p.seq = o.prediction_seq WHERE o.reason LIKE '%MP4%'")  # fmt: skip
        assert {state for state, _ in lost} == {OutputState.LOST}
        assert all(name for _, name in lost)
        kinds = at.query("SELECT DISTINCT failure FROM jobs WHERE state = 'failed'")
        assert kinds == [(FailureClass.OUTPUT_LOST,)]

        settings = load_settings(
            None, {"model": "flux-mosaic", "provider": {"base_url": emulator.base_url}}, {}
        )
        request = DatasetRequest(settings, (ApiKey(KEY, label="key-0"),), Folder(at.out))
        report = await repair_dataset(request, Events())
        assert (report.lost, report.fetched) == (bought, 0)
        assert emulator.stats["created"] == bought


async def test_a_known_model_needs_the_provider_no_more(tmp_path: Path) -> None:
    """
    A plan on the dataset contacts nobody; one without it says what is missing.
    """
    at = bench(tmp_path, "flux-dev-t2i")
    manifest = at.write([{"prompt": "a door"}])
    settings = load_settings(
        None, {"model": "flux-dev-t2i", "provider": {"base_url": _NOWHERE}}, {}
    )
    async with provider() as emulator:
        await at.run(emulator.base_url, manifest)

    planned = make_plan(settings, manifest, Folder(at.out))
    assert (planned.jobs.done, planned.price) == (1, 20_000)
    with pytest.raises(ApiError, match="what model 'flux-dev-t2i' takes is not known here yet"):
        make_plan(settings, manifest)


async def test_an_old_description_does_while_the_provider_tells_no_newer(tmp_path: Path) -> None:
    """
    After a day it is asked again; what cannot be had is said, and the run goes on.
    """
    at = bench(tmp_path, "flux-dev-t2i")
    manifest = at.write([{"prompt": "a door"}])
    async with provider() as emulator:
        await at.run(emulator.base_url, manifest)
        _age_descriptions(at)
        await at.run(emulator.base_url, manifest)
        ((fetched,),) = at.query("SELECT fetched_at FROM models")
        assert not fetched.startswith("2020")

        _age_descriptions(at)
        emulator.core.faults["model_500"] = 1
        ended = await at.run(emulator.base_url, manifest)
    assert ended.exit_code is ExitCode.DONE
    assert any(
        isinstance(event, Noticed) and "going by its description of 2020-01-01" in event.message
        for event in at.heard
    )


def _age_descriptions(at: Bench) -> None:
    with closing(sqlite3.connect(at.out / "ledger.sqlite")) as db:
        db.execute("UPDATE models SET fetched_at = '2020-01-01T00:00:00.000000Z'")
        db.commit()


async def test_an_unknown_model_is_refused_by_its_name(tmp_path: Path) -> None:
    """
    Before anything is imported, let alone bought.
    """
    at = bench(tmp_path, "flux-dept-dev")
    async with provider() as emulator:
        with pytest.raises(ConfigError, match=r"knows no model 'flux-dept-dev'.*flux-depth-dev"):
            await at.run(emulator.base_url, at.write([{"prompt": "a door"}]))


async def test_two_models_share_a_dataset_and_each_finds_its_lost_creates(tmp_path: Path) -> None:
    """
    A create of one model whose answer was lost is adopted while another model runs: never bought
    again, never taken for absent.
    """
    first = bench(tmp_path, "flux-mosaic")
    second = bench(tmp_path, "flux-dev-t2i")
    async with provider(dialect="docs") as emulator:
        emulator.core.faults.merge({"create_reset_after": 1, "list_500": 1})
        first.settings = {**first.settings, "reconcile": {"lag": 0.3, "patience": 0.0}}
        lost = await first.run(emulator.base_url, first.write([{"prompt": "a door"}], "one.jsonl"))
        assert first.query("SELECT state FROM predictions") == [("unknown",)]
        emulator.core.faults.merge({"create_reset_after": 0, "list_500": 0})

        await second.run(emulator.base_url, second.write([{"prompt": "a door"}], "two.jsonl"))

        assert lost.exit_code is ExitCode.UNKNOWN_LEFT
        states = second.query("SELECT model, state FROM jobs ORDER BY model")
        assert states == [("flux-dev-t2i", "done"), ("flux-mosaic", "done")]
        assert emulator.stats["created"] == 2
        assert emulator.stats["double_billed"] == 0


async def test_planned_inputs_are_what_the_provider_receives(tmp_path: Path) -> None:
    """
    Byte for byte, an uploaded file's URL apart.
    """
    at = bench(tmp_path, "flux-mosaic")
    shutil.copy(_PHOTOS / "coffee.webp", tmp_path / "coffee.webp")
    row: dict[str, object] = {
        "prompt": "Öl 🎈",
        "strength": 1.0,
        "palette": ["red"],
        "image_size": {"height": 64.0, "width": 64},
        "input_image": "coffee.webp",
    }
    manifest = at.write([row])
    async with provider() as emulator:
        await at.run(emulator.base_url, manifest, limit=1)
        (received,) = sent(emulator)
    settings = load_settings(None, {"model": "flux-mosaic"}, {})
    shutil.copy(at.out / "ledger.sqlite", tmp_path / "kept.sqlite")
    (tmp_path / "fresh").mkdir()
    _keep_only_models(tmp_path / "kept.sqlite", tmp_path / "fresh" / "ledger.sqlite")
    (shown,) = make_plan(settings, manifest, Folder(tmp_path / "fresh")).first_rows

    assert str(shown.input["input_image"]).startswith("upload:sha256:")
    shown.input["input_image"] = received["input_image"]
    assert json.dumps(shown.input, sort_keys=True) == json.dumps(received, sort_keys=True)


def _keep_only_models(kept: Path, fresh: Path) -> None:
    SqliteDatabase(fresh).close()
    with closing(sqlite3.connect(fresh)) as db:
        db.execute("ATTACH ? AS old", (str(kept),))
        db.execute("INSERT INTO models SELECT * FROM old.models")
        db.commit()


async def test_rows_from_python_run_on_any_model(tmp_path: Path) -> None:
    """
    The API's rows are the model's inputs too; a plan inside of a running loop asks the provider.
    """
    rows = [{"prompt": "a door", "palette": ["red"], "image_size": {"width": 64, "height": 64}}]
    async with provider() as emulator:
        options: Any = {
            "model": "flux-mosaic",
            "base_url": emulator.base_url,
            "keys": [KEY],
            "settings": {"sink.min_free": 0},
        }
        planned = await in_thread(lambda: fluxbatch.plan(rows, **options))
        async with fluxbatch.Dataset.open(tmp_path / "d") as dataset:
            summary = await dataset.run(rows, **options)
            (result,) = dataset.results()

        assert (planned.jobs.new, planned.price) == (1, None)
        assert summary.exit_code is ExitCode.DONE
        assert result.input == rows[0]
        assert len(result.images) == 1


async def test_one_local_image_a_job_and_a_second_one_is_refused_by_its_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The same image twice is one; another one would be sent in the wrong place.
    """
    schema = {
        "properties": {
            "prompt": {"type": "string"},
            "image": {"type": "string", "format": "uri"},
            "mask": {"type": "string", "format": "uri"},
        }
    }
    model = Model("inpaint", "", 1, schema | {"required": []})
    monkeypatch.setitem(MODELS, "inpaint", model)
    for photo in ("coffee.webp", "chelsea.png"):
        shutil.copy(_PHOTOS / photo, tmp_path / photo)
    same: dict[str, object] = {"prompt": "x", "image": "coffee.webp", "mask": "coffee.webp"}
    at = bench(tmp_path, "inpaint")
    async with provider() as emulator:
        with pytest.raises(ManifestError) as caught:
            await at.run(emulator.base_url, at.write([same, {**same, "mask": "chelsea.png"}]))
        ended = await at.run(emulator.base_url, at.write([same]))

        assert ended.exit_code is ExitCode.DONE
        (one,) = sent(emulator)
        assert one["image"] == one["mask"]
        assert emulator.stats["uploads"] == 1
    (bad,) = caught.value.bad_rows
    assert (bad.line, bad.field) == (2, "mask")
    assert "a second local file" in bad.reason


async def test_an_execution_of_any_model_that_the_ledger_forgot_is_adopted(tmp_path: Path) -> None:
    """
    `reconcile --adopt` compares lists and objects too, and books it on the job it belongs to; a
    colleague's with another list stays a stranger's.
    """
    at = bench(tmp_path, "flux-mosaic", price="0.0125")
    row: dict[str, object] = {"prompt": "a door", "palette": ["red", "gold"], "strength": 1}
    async with provider(dialect="docs") as emulator:
        await at.run(emulator.base_url, at.write([row]))
        (first,) = sent(emulator)
        for values in (first, {**first, "palette": ["gold", "red"]}):
            emulator.core.create(KEY, {"model": "flux-mosaic", "input": values})
        await until(lambda: not emulator.stats["unfinished"])
        folder = Folder(at.out)
        request = DatasetRequest(
            saved_settings(folder, {}, {}), (ApiKey(KEY, label="key-0"),), folder
        )
        report = await reconcile_dataset(request, Events(), adopt=True)

        assert [orphan.was_adopted for orphan in report.orphans] == [True]
        assert report.strangers == 1
        assert at.query("SELECT count(*), sum(cost) FROM predictions") == [(2, 25_000)]
