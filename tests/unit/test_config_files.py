"""Files that are hardly configs: other encodings, doubled names, no end; and YAML's plain words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fluxbatch.config.loading import environment, load_settings
from fluxbatch.errors import ConfigError
from tests.unit.manifest.reading import ROW, read, write


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {}, {})
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_another_encoding_is_named_with_its_remedy(tmp_path: Path, encoding: str) -> None:
    """Of a config and of `.env` alike."""
    text = "model: caf\xe9\n".encode(encoding)
    assert "save it as UTF-8" in refusal(write(tmp_path, text, "c.yaml"))
    assert "save it as UTF-8" in refusal(write(tmp_path, text, "c.toml"))
    with pytest.raises(ConfigError, match="save it as UTF-8"):
        environment(write(tmp_path, text, ".env"))


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    """Windows writes one."""
    found = environment(write(tmp_path, "\ufeffEACHLABS_TEST_MARK=1\n", ".env"))
    assert found["EACHLABS_TEST_MARK"] == "1"
    config = write(tmp_path, "\ufeffmodel: other\n", "c.yaml")
    assert load_settings(config, {}, {}).model == "other"


def test_a_folder_called_env_is_no_file_of_settings(tmp_path: Path) -> None:
    """A virtual environment may be called so."""
    (tmp_path / ".env").mkdir()
    assert environment(tmp_path / ".env")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budget: {per_run: 1}\nmodel: a\nbudget: {per_day: 2}\n", "in lines 1 and 3"),
        ("limits:\n  creates: 1\n  creates: 2\n", "'creates' stands twice, in lines 2 and 3"),
        ("limits: {creates: 1, creates: 2}\n", "in lines 1 and 1"),
    ],
)
def test_a_name_that_stands_twice_is_named_with_both_lines(
    tmp_path: Path, text: str, said: str
) -> None:
    """One of the two would be dropped without a word."""
    assert said in refusal(write(tmp_path, text, "c.yaml"))


@pytest.mark.parametrize("opening", ["[", "- ", "{a: ", "a: [", "? "])
@pytest.mark.parametrize("name", ["c.yaml", "c.toml"])
def test_nesting_without_end_is_refused(tmp_path: Path, opening: str, name: str) -> None:
    """Never a `RecursionError`, at the program's own depth or far below it."""
    for times in (150, sys.getrecursionlimit(), 50_000):
        assert "c." in refusal(write(tmp_path, "a: " + opening * times, name))
    assert "c.toml" in refusal(write(tmp_path, "a = " + "[" * 50_000, "c.toml"))


def test_aliases_may_not_multiply_a_config(tmp_path: Path) -> None:
    """A thousand laughs are refused before they are counted."""
    laughs = "a0: &a0 [x, x]\n"
    laughs += "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(40))
    assert "values" in refusal(write(tmp_path, laughs, "c.yaml"))


def test_null_that_is_written_is_a_value(tmp_path: Path) -> None:
    """Only nothing at all is refused."""
    config = write(tmp_path, "budget: {per_run: null, per_day: ~}\n", "c.yaml")
    assert load_settings(config, {}, {}).budget.per_run is None


def test_a_section_given_as_a_value_is_said_in_plain_words(tmp_path: Path) -> None:
    """With the line, and a setting of it."""
    assert "budget: is a section; write a setting of it, as in budget: {per_run: …} (line 2)" in (
        refusal(write(tmp_path, "model: a\nbudget: 5\n", "c.yaml"))
    )


WORDS = ["NO", "yes", "1.10", "07", "12:30", "1e3", "+5", "2026-11-20", ".5", "1_000", "y"]


@pytest.mark.parametrize("word", WORDS)
def test_a_plain_word_is_one_text_in_configs_and_manifests(tmp_path: Path, word: str) -> None:
    """As it was typed: countries, versions, times, and numbers with noughts."""
    config = write(tmp_path, f"sweep: {{axes: {{prompt: [{word}]}}}}\n", "c.yaml")
    settings = load_settings(config, {}, {})
    assert settings.sweep is not None
    assert settings.sweep.axes == {"prompt": [word]}
    text = f"- {{prompt: {word}, control_image: '{ROW['control_image']}'}}\n"
    (row,) = read(write(tmp_path, text, "m.yaml"))
    assert row.job is not None
    assert row.job.input["prompt"] == word


@pytest.mark.parametrize(("word", "number"), [("7", 7), ("-7", -7), ("0.5", 0.5), ("0x10", 16)])
def test_a_number_as_numbers_are_written_is_one(tmp_path: Path, word: str, number: float) -> None:
    """And one with a nought at its end is one where a number is asked for."""
    config = write(tmp_path, f"sweep: {{axes: {{x: [{word}]}}}}\nprice: 1.10\n", "c.yaml")
    settings = load_settings(config, {}, {})
    assert settings.sweep is not None
    assert settings.sweep.axes["x"] == [number]
    assert settings.price == 1_100_000
