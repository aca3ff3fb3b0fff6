"""Every flag, setting and Python keyword with a value that nobody means: refused by name.

The tables are generated from what there is, so a flag or a setting that is added is tried too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
import pytest
import typer

import fluxbatch as package
from fluxbatch.api.call_options import plain_value
from fluxbatch.api.dataset import Options
from fluxbatch.cli.app import app
from fluxbatch.config.loading import load_settings
from fluxbatch.config.settings import Settings
from fluxbatch.config.types import Section
from fluxbatch.domain.money import usd
from fluxbatch.errors import ConfigError, ManifestError

ROWS = [{"prompt": "a cat", "control_image": "https://images.example.org/a.png"}]
NOBODY = "http://127.0.0.1:9/v1"
"""Where nobody listens: what is not refused before fails there, and buys nothing."""


def _verbs() -> Iterator[tuple[str, Any]]:
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        yield from getattr(command, "commands", {name: command}).items()


def _flags() -> Iterator[tuple[str, str]]:
    for verb, command in _verbs():
        words = f"uploads {verb}" if verb == "prune" else verb
        for param in command.params:
            flag = max(param.opts, key=len)
            if verb != "emulator" and flag.startswith("-") and not param.is_flag:
                yield words, flag


@pytest.mark.parametrize(("verb", "flag"), sorted(_flags()))
@pytest.mark.parametrize("value", ["", "  "])
def test_a_flag_without_a_value_is_refused_by_its_name(
    verb: str,
    flag: str,
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is a shell variable that was not set, and no "no limit"."""
    from fluxbatch.cli import main

    monkeypatch.chdir(tmp_path)
    assert main([*verb.split(), "x", f"{flag}={value}"]) == 2
    assert f"{flag} is empty" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.sqlite"))


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--budget", "1,50", "budget.per_run"),
        ("--budget", "nan", "budget.per_run"),
        ("--budget", "-1", "budget.per_run"),
        ("--budget", "1e300", "budget.per_run"),
        ("--limit", "1,5", "--limit '1,5' must be a whole number"),
        ("--limit", "-1", "--limit '-1' must be greater than or equal to"),
        ("--canary", "x", "--canary"),
        ("--max-duration", "1,5h", "--max-duration"),
        ("--max-duration", "nan", "--max-duration"),
        ("--max-duration", "99999999999999d", "--max-duration"),
        ("--deadline", "25:00", "--deadline"),
        ("--deadline", "0001-01-01T00:00", "--deadline"),
        ("--max-failures", "1,5%", "--max-failures"),
        ("--max-failures", "9" * 5000, "--max-failures"),
        ("--max-failures", "nan", "--max-failures"),
        ("--format", "exe", "format"),
        ("--log-format", "xml", "log.format"),
        ("--base-url", "ftp://x", "provider.base_url"),
        ("--bugdet", "1", "--bugdet"),
    ],
)
def test_a_flag_that_cannot_be_meant_is_refused_by_its_name(
    flag: str,
    value: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Comma, NaN, negative, huge, misspelt."""
    from fluxbatch.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EACHLABS_API_KEY", "any-key-123")
    Path("m.csv").write_text("prompt,control_image\na,https://images.example.org/a.png\n")
    words = ["run", "m.csv", "--out", "d", f"{flag}={value}"]
    if flag != "--base-url":
        words.append(f"--base-url={NOBODY}")
    assert main(words) == 2
    assert said in capsys.readouterr().err


def _settings() -> Iterator[tuple[str, Any]]:
    """Every setting of a section, and every single one, with its type."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        choices = () if get_origin(section) is list else get_args(section)
        sections = [one for one in (section, *choices) if isinstance(one, type)]
        inner = [one for one in sections if not get_origin(one) and issubclass(one, Section)]
        for one in inner[:1]:
            for last, of_it in one.model_fields.items():
                yield f"{name}.{last}", of_it.annotation
        if not inner:
            yield name, section


NAMES = dict(_settings())
NUMBERS = [name for name, kind in NAMES.items() if {int, float} & {kind, *get_args(kind)}]
FREE = {"sweep.axes", "sweep.exclude", "defaults"}
"""What stands in them is the user's own."""


def _nested(name: str, value: object) -> dict[str, Any]:
    section, _, last = name.partition(".")
    return {section: {last: value} if last else value}


def _refusal(flags: dict[str, Any], environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, flags, environ or {})
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_setting_without_a_value_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    """An empty variable, an empty text, and a bare name in YAML."""
    variable = "FLUXBATCH_" + name.upper().replace(".", "__")
    assert f"{variable} is empty" in _refusal({}, {variable: ""})
    assert f"{variable} is empty" in _refusal({}, {variable: " "})
    assert name in _refusal(_nested(name, ""))
    section, _, last = name.partition(".")
    config = tmp_path / "c.yaml"
    config.write_text(f"{section}:\n  {last}:\n" if last else f"{section}:\n")
    with pytest.raises(ConfigError, match=rf"{name}: has no value \(line {2 if last else 1}\)"):
        load_settings(config, {}, {})


@pytest.mark.parametrize("name", sorted(NUMBERS))
@pytest.mark.parametrize(
    "value", ["1,5", "nan", float("nan"), "inf", float("inf"), True, "x", [], 10**30]
)
def test_a_number_that_cannot_be_meant_is_refused_by_its_name(name: str, value: object) -> None:
    """From wherever it comes. A seed alone may be as large as it likes."""
    if value == 10**30 and name.endswith("seed"):
        sweep = load_settings(None, {"sweep": {"axes": {"seed": [1]}, "seed": value}}, {}).sweep
        assert sweep is not None
        assert sweep.seed == value
    else:
        assert name in _refusal(_nested(name, value))


@pytest.mark.parametrize("name", sorted(name for name in NUMBERS if not name.endswith("seed")))
def test_a_negative_number_is_refused_by_its_name(name: str) -> None:
    """But for the seed of the order."""
    if name == "queue.shuffle":
        assert load_settings(None, _nested(name, -1), {}).queue.shuffle == -1
    else:
        assert name in _refusal(_nested(name, -1))


@pytest.mark.parametrize("name", sorted(set(NAMES) - FREE))
def test_a_setting_in_another_case_or_misspelt_is_refused_with_the_right_one(
    name: str, tmp_path: Path
) -> None:
    """A misspelt cap would be no cap."""
    section, _, last = name.partition(".")
    for wrong in {(last or section).upper(), f"{last or section}q"}:
        config = tmp_path / "c.yaml"
        config.write_text(f"{section}: {{{wrong}: 1}}\n" if last else f"{wrong}: 1\n")
        with pytest.raises(ConfigError, match="no such setting") as caught:
            load_settings(config, {}, {})
        assert f"{wrong}: no such setting" in str(caught.value)
        assert "(line 1)" in str(caught.value)


WRONG_FOR_ALL: tuple[object, ...] = ("", b"1", [], object())
WRONG: dict[str, tuple[object, ...]] = {
    "base_url": (5,),
    "budget": ("1,50", "nan", float("nan"), -1, True, 10**30, [1], {}),
    "model": (5,),
    "settings": (5, "limits", {5: 1}, {"limits.creats": 1}, {"budget": 5}),
    "keys": (5, [5], [""], ["a", b"b"], {"a": 1}),
    "skip_invalid": ("false", 2),
    "no_wait": ("no", 0.0),
    "limit": ("1", 0, -1, True, 1.5, float("nan"), 10**30),
    "run_name": (5,),
    "on": (5, "slurm", "ray"),
    "workers": ("1", 0, -1, True, 1.5, 3),
    "progress": ("yes", 2),
    "on_event": (5, "print"),
    "on_status": (5, "print"),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, more in WRONG.items() for value in (*WRONG_FOR_ALL, *more)],
)
def test_a_keyword_that_cannot_be_meant_is_refused_by_its_name(
    name: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before there is a dataset."""
    monkeypatch.setenv("EACHLABS_API_KEY", "any-key-123")
    options: dict[str, Any] = {"base_url": NOBODY, "no_wait": True, name: value}
    with pytest.raises(ConfigError) as caught:
        package.run(ROWS, out=tmp_path / "d", **options)
    assert any(word in str(caught.value) for word in (name, "budget", "limits.creats", "5"))
    assert not (tmp_path / "d" / "ledger.sqlite").exists()


def test_the_table_of_keywords_is_whole() -> None:
    """A keyword that is added is tried too."""
    assert set(WRONG) == set(Options.__optional_keys__)


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_misspelt_keyword_is_refused_with_the_right_one(name: str, tmp_path: Path) -> None:
    """By both verbs, and nothing is made."""
    wrong: Any = {f"{name}q": 1}
    for call in (package.run, package.plan):
        with pytest.raises(TypeError, match=rf"{name}q"):
            call(ROWS, out=tmp_path / "d", **wrong)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("out", ["", " ", b"d", 5, Path()])
def test_an_empty_place_is_not_the_working_folder(out: Any) -> None:
    """Nor is anything but a path one."""
    with pytest.raises(ConfigError, match="out is"):
        package.Dataset.open(out)


@pytest.mark.parametrize("source", ["", 5, b"m.csv", ROWS[0]])
def test_a_source_is_a_path_or_rows(source: Any) -> None:
    """One row alone is no list of rows."""
    with pytest.raises(ConfigError, match="source is"):
        package.plan(source)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", b"a cat"),
        ("prompt", {1, 2}),
        ("seed", float("nan")),
        ("seed", object()),
        ("meta.at", np.datetime64("2026-11-26")),
        ("meta.x", {"a": [b"x"]}),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_row_and_field(field: str, value: Any) -> None:
    """And the remedy is none of the command line's."""
    with pytest.raises(ManifestError, match=f"row 2, {field}: ") as caught:
        package.plan([*ROWS, {**ROWS[0], field: value}])
    assert "--skip-invalid" not in str(caught.value)


def test_numbers_of_other_libraries_are_numbers() -> None:
    """As data frames give them."""
    row = {
        "seed": np.int64(5),
        "guidance": np.float32(7.1),
        "disable_safety_checker": np.bool_(True),
    }
    planned = package.plan([{**ROWS[0], **row}], budget=np.float64(0.5))

    assert planned.first_rows[0].input["seed"] == 5
    assert planned.first_rows[0].input["guidance"] == 7.1
    assert planned.budgets[0].cap == usd("0.5")
    assert plain_value([np.int8(1), {"a": np.float16(0.5)}]) == [1, {"a": 0.5}]
