"""The source of a batch: a config or a manifest, and whose keys pay."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxbatch.config.api_keys import ApiKey
from fluxbatch.engine.source import BatchSource


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "-", "https://h.example/rows.yaml"])
def test_what_no_config_is_called_is_the_manifest(name: str) -> None:
    """
    A URL is fetched as one, whatever its ending.
    """
    assert BatchSource(Path(name), {}).manifest == Path(name)


def test_yaml_is_a_config_unless_it_is_a_list_of_rows(tmp_path: Path) -> None:
    """
    A config names its manifest; rows are one.
    """
    config, rows = tmp_path / "config.yaml", tmp_path / "rows.yaml"
    config.write_text("manifest: some.csv\nlimits: {creates: 7}\n")
    rows.write_text("- {prompt: a lamp, control_image: lamp.png}\n")

    read = BatchSource(config, {"limits": {"window": 30}})

    assert (read.manifest, read.settings.limits.creates) == (tmp_path / "some.csv", 7)
    assert read.settings.limits.window == 30.0
    assert BatchSource(rows, {}).manifest == rows


def test_keys_that_are_given_stand_for_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without any there is no key to show and one account to plan for.
    """
    monkeypatch.setenv("EACHLABS_API_KEYS", "one=abc,two=def")
    mine = ApiKey("ghi", label="three")

    assert BatchSource(None, {}).accounts() == 2
    assert list(BatchSource(None, {}, [mine]).keys()) == [mine]
    assert BatchSource(None, {}, []).any_key() is None
    assert BatchSource(None, {}, []).accounts() == 1
