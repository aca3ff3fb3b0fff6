"""A plan that is agreed to, and a run that does exactly that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from anyio import to_thread

from tests.integration.test_cli_run import write_manifest
from tests.support.certificate import certificate
from tests.support.commands import Ended, fluxbatch, started
from tests.support.emulator import QUICK, EmulatorProcess, emulator_process
from tests.support.pictures import picture
from tests.support.raw_server import Conversation, raw_server

pytestmark = pytest.mark.proof


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process(*QUICK) as running:
        yield running


def test_a_saved_plan_runs_as_it_was_planned_and_again_for_nothing(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Source, dataset, address and budget come from the plan; what is done meanwhile is no change.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 4)
    saved = tmp_path / "plan.json"
    planned = fluxbatch("plan", manifest, "--out", tmp_path / "d", "--save", saved,
                        "--base-url", emulator.base_url, "--budget", "1.00")  # fmt: skip
    assert planned.code == 0
    assert not (tmp_path / "d").exists()

    first = fluxbatch("run", saved, "--json")
    again = fluxbatch("run", saved, "--json")
    assert (first.code, again.code) == (0, 0)
    assert first.object["jobs"]["done"] == 4
    assert emulator.stats()["billed"] == 4


@pytest.mark.parametrize("changed", ["a row", "another row", "the photo", "a default"])
def test_what_is_not_as_it_was_planned_is_refused_before_anything_is_spent(
    changed: str, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Exit 2 says what has changed, as far as that can be told apart.
    """
    (tmp_path / "photo.png").write_bytes(picture("png"))
    row = {"prompt": "a lighthouse", "control_image": "photo.png"}
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps(row) + "\n")
    config = tmp_path / "c.yaml"
    config.write_text("manifest: m.jsonl\n")
    saved, out = tmp_path / "plan.json", tmp_path / "d"
    words = ("--base-url", emulator.base_url)
    assert fluxbatch("plan", config, "--out", out, "--save", saved, *words).code == 0

    match changed:
        case "a row":
            manifest.write_text(json.dumps({**row, "prompt": "a lighthouse at dusk"}) + "\n")
        case "another row":
            manifest.write_text(2 * (json.dumps(row) + "\n"))
        case "the photo":
            (tmp_path / "photo.png").write_bytes(picture("jpg"))
        case _:
            config.write_text("manifest: m.jsonl\ndefaults: {guidance: 12}\n")
    ended = fluxbatch("run", saved)

    assert ended.code == 2
    assert "changed since the plan was saved" in " ".join(ended.err.split())
    if changed == "another row":
        assert "1 then, 2 now" in ended.err
    assert emulator.stats()["created"] == 0


def test_a_plan_of_a_model_that_only_keys_may_ask_about_is_checked_with_the_key(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Plan and run ask what the model takes with the same key, and agree.
    """
    emulator.faults(private_models=1)
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"prompt": "a blue door"}\n')
    config = tmp_path / "c.yaml"
    config.write_text("manifest: m.jsonl\nmodel: flux-mosaic\nprice: 0.0125\n")
    saved = tmp_path / "plan.json"
    asked = ("plan", config, "--base-url", emulator.base_url, "--out", tmp_path / "d")
    assert fluxbatch(*asked, env={"EACHLABS_API_KEY": ""}).code == 1
    assert fluxbatch(*asked, "--save", saved).code == 0

    ended = fluxbatch("run", saved, "--json")

    assert ended.code == 0, ended.err
    assert ended.object["jobs"]["done"] == 1


def test_what_is_no_plan_is_said_to_be_none(tmp_path: Path) -> None:
    """
    Half a file, a plan of another version, a missing dataset: exit 2 and the remedy.
    """
    manifest = write_manifest(tmp_path / "m.jsonl", 1)
    saved = tmp_path / "plan.json"
    assert fluxbatch("plan", manifest, "--save", saved).code == 0
    homeless = fluxbatch("run", saved)
    assert homeless.code == 2
    assert "--out DIR is missing" in homeless.err

    kept = json.loads(saved.read_text())
    saved.write_text(json.dumps({**kept, "fluxbatch_plan": 99}))
    assert "plan it again" in fluxbatch("run", saved, "--out", tmp_path / "d").err
    del kept["digest"]
    saved.write_text(json.dumps(kept))
    assert "plan it again" in fluxbatch("run", saved, "--out", tmp_path / "d").err
    saved.write_text("{")
    assert fluxbatch("run", saved, "--out", tmp_path / "d").code == 2
    assert not (tmp_path / "d").exists()


def test_jobs_that_differ_by_their_seed_alone_get_a_hint(tmp_path: Path) -> None:
    """
    One execution with four outputs costs a quarter of four executions.
    """
    manifest = tmp_path / "m.jsonl"
    rows = [
        {"prompt": "a cat", "control_image": "https://photos.invalid/a.png", "seed": n}
        for n in range(8)
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "num_outputs: 4" in fluxbatch("plan", manifest).out

    for n, row in enumerate(rows):
        row["prompt"] = f"cat {n}"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "num_outputs: 4" not in fluxbatch("plan", manifest).out


def fresh(*words: object, env: Mapping[str, str]) -> Ended:
    """An interpreter of its own: which certificates are trusted is settled by its imports."""
    with started(*words, env=env) as process:
        out, err = process.communicate(timeout=60)
        return Ended(process.returncode, out, err)


async def test_urls_are_fetched_only_when_asked_and_named_with_their_rows(tmp_path: Path) -> None:
    """
    A good image, a page, one that is gone; each once, however many rows name it.
    """
    asked: list[str] = []

    async def serve(conversation: Conversation) -> None:
        path = (await conversation.request()).split(b" ")[1].decode()
        asked.append(path)
        if path == "/good.png":
            await conversation.answer(picture("png"))
        elif path == "/page":
            await conversation.answer(b"<html>sign in</html>")
        else:
            await conversation.answer(b"", head="404 Not Found")

    trusted = {"SSL_CERT_FILE": str(tmp_path / "trusted.pem")}
    async with raw_server(serve, certificate(tmp_path / "trusted.pem")) as server:
        manifest = tmp_path / "m.jsonl"
        rows = [
            {"id": f"row-{n}", "prompt": f"{n}", "control_image": f"{server.url}/{name}"}
            for n, name in enumerate(("good.png", "page", "gone?token=SECRET", "good.png"))
        ]
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = ("plan", manifest, "--base-url", f"{server.url}/v1")
        plain = await to_thread.run_sync(lambda: fresh(*words, env=trusted))
        assert plain.code == 0
        assert asked == []

        checked = await to_thread.run_sync(lambda: fresh(*words, "--check-urls", env=trusted))

    assert checked.code == 2
    assert sorted(asked) == ["/gone?token=SECRET", "/good.png", "/page"]
    assert "row-1" in checked.err
    assert "HTML page" in checked.err
    assert "row-2" in checked.err
    assert "404" in checked.err
    assert "row-0" not in checked.err
    assert "SECRET" not in checked.err
