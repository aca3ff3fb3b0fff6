"""The inputs of the Python API, and the manifest that rows become."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fluxbatch.api.inputs import PythonInputs
from fluxbatch.config.api_keys import ApiKey
from fluxbatch.dataset.folder import Folder
from fluxbatch.errors import ConfigError, ManifestError


def test_settings_may_be_dotted_nested_or_both() -> None:
    """
    Both forms of one section are merged, and the options of their own win.
    """
    given = PythonInputs(
        [],
        {
            "settings": {"limits": {"window": 30}, "limits.creates": 50, "budget.per_day": 4},
            "budget": 1.5,
            "base_url": "http://127.0.0.1:1/v1",
        },
    )

    limits, budget = given.settings.limits, given.settings.budget
    assert (limits.creates, limits.window) == (50, 30.0)
    assert (budget.per_run, budget.per_day) == (1_500_000, 4_000_000)
    assert given.settings.provider.base_url == "http://127.0.0.1:1/v1"


def test_an_unknown_setting_is_an_error_with_its_dotted_name() -> None:
    """
    As everywhere.
    """
    with pytest.raises(ConfigError, match=r"limits.create: no such setting"):
        PythonInputs([], {"settings": {"limits.create": 1}})
    with pytest.raises(ConfigError, match="'limits' is given as a value too"):
        PythonInputs([], {"settings": {"limits": 3, "limits.creates": 1}})


def test_keys_are_those_given_else_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Texts may carry labels, and equal ones count once.
    """
    monkeypatch.setenv("EACHLABS_API_KEY", "from-the-environment")
    assert list(PythonInputs([], {}).keys()) == [ApiKey("from-the-environment")]

    given = PythonInputs([], {"keys": ["main=abc", "abc", ApiKey("def", label="second")]})
    keys = given.keys()
    assert {key.label for key in keys} == {"main", "second"}

    with pytest.raises(ConfigError, match="no API key"):
        PythonInputs([], {"keys": []}).keys()


def test_rows_become_one_manifest_named_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Files are where the caller is; the same rows are the same file.
    """
    monkeypatch.chdir(tmp_path)
    rows = [
        {"id": 1, "prompt": "a", "image": Path("cat.png")},
        {"id": 2, "input": {"prompt": "b", "control_image": "https://photos.invalid/x.png"}},
    ]
    first = PythonInputs(iter(rows), {}).kept_manifest(Folder(tmp_path / "d"))
    again = PythonInputs(rows, {}).kept_manifest(Folder(tmp_path / "d"))

    assert first is not None
    assert first == again
    assert [p.name for p in (tmp_path / "d" / "manifests").iterdir()] == [first.name]
    lines = [json.loads(line) for line in first.read_text().splitlines()]
    assert lines[0]["image"] == str(tmp_path / "cat.png")
    assert lines[1]["input"]["control_image"] == "https://photos.invalid/x.png"


@pytest.mark.parametrize("rows", [["not a row"], [{"prompt": object()}]])
def test_rows_that_are_none_are_refused_and_leave_nothing(
    rows: list[dict[str, object]], tmp_path: Path
) -> None:
    """
    By the row's number.
    """
    with pytest.raises(ManifestError, match="row 1"):
        PythonInputs(rows, {}).kept_manifest(Folder(tmp_path))

    assert list((tmp_path / "manifests").iterdir()) == []
