"""The configs in `configs/` do what their comments say, against a quick provider."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from fluxbatch.config.loading import load_settings
from tests.support.commands import Ended, fluxbatch
from tests.support.emulator import EmulatorProcess

pytestmark = pytest.mark.proof

CONFIGS = Path(__file__).parents[2] / "configs"
_SCALED = {
    "FLUXBATCH_PROVIDER__DEADLINE": "20s",
    "FLUXBATCH_RECONCILE__LAG": "1s",
    "FLUXBATCH_RECONCILE__PATIENCE": "5s",
    "NIGHTLY_KEY": "sk-nightly-1234",
}


def run(name: str, emulator: EmulatorProcess, out: Path) -> Ended:
    words = ("run", CONFIGS / f"{name}.yaml", "--out", out, "--base-url", emulator.base_url)
    log = {"FLUXBATCH_LOG__FILE": str(out.parent / "run.log")}  # else it lies beside the config
    return fluxbatch(*words, "--json", env=_SCALED | log)


def test_every_config_has_a_test_here() -> None:
    """
    A config nobody runs is a config that rots.
    """
    tested = {name.removeprefix("test_the_").split("_config")[0] for name in globals()
              if name.startswith("test_the_")}  # fmt: skip

    assert {path.stem for path in CONFIGS.glob("*.yaml")} == tested


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_a_config_has_commented_out_is_settings_too(path: Path, tmp_path: Path) -> None:
    """
    A block whose comment is taken away as it stands is read without an error.
    """
    text = path.read_text()
    blocks = re.findall(r"(?:^#(?: {2,3})?[a-z_]+:\s*\n(?:^# {3,}\S.*\n)+)", text, re.MULTILINE)
    for block in blocks:
        plain = textwrap.dedent(block.replace("#", " ", 1).replace("\n#", "\n "))
        name = plain.strip().partition(":")[0]
        if re.search(rf"^{name}:", text, re.MULTILINE):
            continue  # shown as another way to write what is there
        config = tmp_path / f"{name}.yaml"
        config.write_text(plain)
        load_settings(config, {}, {"NIGHTLY_PING": "", "NIGHTLY_HOOK": ""})


def test_the_quickstart_config_makes_its_rows(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """
    Three rows, three images, seven and a half cents.
    """
    ended = run("quickstart", emulator, tmp_path / "d")

    assert ended.code == 0
    assert (ended.object["images"], ended.object["cost_usd"]["run"]) == (3, "0.075")


def test_the_sweep_config_makes_exactly_its_cells(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    2 rows x (3 x 2 x 2 - 2) cells, planned and made.
    """
    planned = fluxbatch("plan", CONFIGS / "sweep.yaml", "--json")
    ended = run("sweep", emulator, tmp_path / "d")

    assert planned.object["jobs"]["new"] == 20
    assert ended.code == 0
    assert ended.object["jobs"]["done"] == emulator.stats()["billed"] == 20
    sent = [one["input"] for one in emulator.predictions()]
    assert not any(one["guidance"] == 20 and one["megapixels"] == "1" for one in sent)


def test_the_templates_config_makes_a_sample_of_its_prompts(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    2 styles x 2 rows x 3 prompts, each prompt another one, all of them finished texts.
    """
    planned = fluxbatch("plan", CONFIGS / "templates.yaml", "--json")
    ended = run("templates", emulator, tmp_path / "d")

    assert planned.object["jobs"]["new"] == 12
    assert (ended.code, ended.object["jobs"]["done"]) == (0, 12)
    prompts = {str(one["input"]["prompt"]) for one in emulator.predictions()}
    assert len(prompts) == 12
    assert not any(set(prompt) & set("{}|$_") for prompt in prompts)


def test_the_nightly_config_goes_on_with_a_longer_manifest(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    The key comes by reference, several outputs are one execution, again costs nothing.
    """
    first = run("nightly", emulator, tmp_path / "d")
    again = run("nightly", emulator, tmp_path / "d")

    assert (first.code, again.code) == (0, 0)
    assert (first.object["images"], first.object["cost_usd"]["run"]) == (4, "0.075")
    assert again.object["cost_usd"]["run"] == "0.00"
    assert {one["key"] for one in emulator.predictions()} == {"sk-nightly-1234"}


def test_the_cost_bounded_config_stops_at_its_cap(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """
    Four executions a run, eight in all: the second run ends them, the cap on the whole holds.
    """
    first = run("cost_bounded", emulator, tmp_path / "d")
    second = run("cost_bounded", emulator, tmp_path / "d")

    assert (first.code, first.object["cost_usd"]["run"]) == (4, "0.10")
    assert (second.code, second.object["cost_usd"]["dataset"]) == (0, "0.15")
    assert emulator.stats()["billed"] == 6
    assert second.object["images"] == 24
