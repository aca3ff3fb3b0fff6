"""Settings: their sources, their precedence, and the errors of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxbatch.config.endpoints import DEFAULT_BASE_URL
from fluxbatch.config.loading import environment, load_settings, setting_names
from fluxbatch.config.settings import Settings
from fluxbatch.config.trust import Environment
from fluxbatch.errors import ConfigError
from fluxbatch.infra.loopback import is_loopback


def written(folder: Path, text: str, name: str = "c.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(
    path: Path | None = None, *, environ: dict[str, str] | None = None, **flags: object
) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, flags, environ or {})
    return str(caught.value)


def test_the_defaults_are_the_cards_limits() -> None:
    """Pinned by the issue: names and values."""
    settings = load_settings(environ={})

    assert (settings.limits.creates, settings.limits.window, settings.limits.concurrent) == (
        100,
        60.0,
        10,
    )
    assert settings.provider.base_url == DEFAULT_BASE_URL
    assert (settings.provider.dialect, settings.provider.auth) == ("card", "x-api-key")
    assert (settings.provider.timeout, settings.provider.deadline) == (30.0, 900.0)
    assert (settings.reconcile.lag, settings.reconcile.patience) == (30.0, 600.0)
    assert settings.budget.per_run is None


def test_the_pinned_names_are_all_there() -> None:
    """Files, variables and documents name them so."""
    pinned = {
        "limits.creates",
        "limits.window",
        "limits.concurrent",
        "budget.per_run",
        "budget.per_day",
        "budget.per_dataset",
        "provider.base_url",
        "provider.dialect",
        "provider.auth",
        "provider.timeout",
        "provider.deadline",
        "reconcile.lag",
        "reconcile.patience",
        "inputs.seed",
        "sink.min_free",
        "model",
        "manifest",
        "defaults",
    }

    assert pinned <= set(setting_names())


def test_a_flag_beats_the_environment_beats_dotenv_beats_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source is heard where no higher one speaks."""
    path = written(
        tmp_path, "limits: {creates: 1, concurrent: 1, window: 1s}\nprovider: {timeout: 1}\n"
    )
    dotenv = written(
        tmp_path,
        "FLUXBATCH_LIMITS__CREATES=2\nFLUXBATCH_LIMITS__CONCURRENT=2\nFLUXBATCH_LIMITS__WINDOW=2\n",
        ".env",
    )
    monkeypatch.setenv("FLUXBATCH_LIMITS__CREATES", "3")
    monkeypatch.setenv("FLUXBATCH_LIMITS__CONCURRENT", "3")

    settings = load_settings(path, {"limits": {"creates": 4}}, environment(dotenv))

    assert settings.limits.creates == 4
    assert settings.limits.concurrent == 3
    assert settings.limits.window == 2.0
    assert settings.provider.timeout == 1.0


def test_toml_and_yaml_say_the_same(tmp_path: Path) -> None:
    """And a byte order mark is no part of either."""
    yaml = written(tmp_path, "\ufefflimits:\n  creates: 7\nbudget:\n  per_run: 1.5\n")
    toml = written(tmp_path, "[limits]\ncreates = 7\n[budget]\nper_run = 1.5\n", "c.toml")

    assert (
        load_settings(yaml, environ={}).model_dump() == load_settings(toml, environ={}).model_dump()
    )


def test_an_empty_file_is_no_settings(tmp_path: Path) -> None:
    """As a commented-out quickstart is."""
    assert load_settings(written(tmp_path, "# nothing\n"), environ={}).limits.creates == 100


def test_an_unknown_name_in_a_file_is_an_error_with_a_hint(tmp_path: Path) -> None:
    """A misspelt cap would otherwise be no cap."""
    said = refusal(written(tmp_path, "limits: {creats: 5}\nbugdet: {per_run: 1}\n"))

    assert "limits.creats: no such setting; did you mean 'limits.creates'?" in said
    assert "bugdet: no such setting" in said


def test_an_unknown_name_in_the_environment_is_an_error_with_a_hint() -> None:
    """The stock source of pydantic-settings would pass it over in silence."""
    said = refusal(environ={"FLUXBATCH_LIMITS__CREATS": "5", "FLUXBATCH_LIMIT__CREATES": "5"})

    assert "limits.creats: no such setting; did you mean 'limits.creates'?" in said
    assert "limit__creates: no such setting; did you mean 'limits.creates'?" in said


def test_an_unknown_name_in_dotenv_is_an_error(tmp_path: Path) -> None:
    """`.env` is as binding as the environment."""
    dotenv = written(tmp_path, "FLUXBATCH_BUDGET__PER_RUNN=5\n", ".env")

    assert "budget.per_runn: no such setting; did you mean 'budget.per_run'?" in refusal(
        environ=environment(dotenv)
    )


def test_every_bad_setting_is_named_at_once(tmp_path: Path) -> None:
    """One run is enough to mend a file."""
    said = refusal(
        written(tmp_path, "limits: {creates: 0, burst: x}\nprovider: {dialect: german}\n")
    )

    assert {line.split(":")[0].strip() for line in said.splitlines()[1:]} == {
        "limits.creates",
        "limits.burst",
        "provider.dialect",
    }


def test_no_value_is_repeated_in_a_message(tmp_path: Path) -> None:
    """A key in the wrong place stays out of the terminal and the logs."""
    path = written(tmp_path, "keys:\n  - {label: a, key: sk-very-secret}\n")

    assert "sk-very-secret" not in refusal(path)
    assert "sk-very-secret" not in refusal(environ={"FLUXBATCH_KEYS": '["sk-very-secret"]'})
    assert "sk-very-secret" not in refusal(environ={"FLUXBATCH_KEYS": "sk-very-secret"})
    assert "sk-very-secret" not in refusal(environ={"FLUXBATCH_LIMITS__CREATES": "sk-very-secret"})
    url = "https://sk-very-secret:x@api.example.org/v1"
    assert "sk-very-secret" not in refusal(environ={"EACHLABS_BASE_URL": url})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("90s", 90.0), ("15m", 900.0), ("15min", 900.0), ("6h", 21600.0), ("1d", 86400)],
)
def test_durations_are_read_with_units(tmp_path: Path, text: str, seconds: float) -> None:
    """Seconds where none is written."""
    path = written(tmp_path, f"provider: {{deadline: {text}}}\n")

    assert load_settings(path, environ={}).provider.deadline == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000", 1000),
        ("500MB", 500_000_000),
        ("2GiB", 2 * 1024**3),
        ("2Gi", 2 * 1024**3),
        ("1.5k", 1500),
    ],
)
def test_sizes_are_read_with_units(tmp_path: Path, text: str, size: int) -> None:
    """Decimal or binary, as written."""
    path = written(tmp_path, f"sink: {{min_free: {text}}}\n")

    assert load_settings(path, environ={}).sink.min_free == size


@pytest.mark.parametrize("text", ["soon", "-5s", "1 fortnight"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With an example of one that is."""
    assert "write it like 90s, 15m or 6h" in refusal(provider={"timeout": text})


@pytest.mark.parametrize(
    "text", ["plenty", "1,000,000", "1,5GB", "10 MB/s", "2 GiB or so", "4kbit", "-5"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    """With an example of one that is; a size is never read from a text's beginning alone."""
    assert "write it like 500MB or 2GiB" in refusal(sink={"min_free": text})


def test_caps_are_dollars_outside_and_micro_dollars_inside() -> None:
    """From every source, and shown as dollars again."""
    settings = load_settings(
        flags={"budget": {"per_run": "$1.50"}}, environ={"FLUXBATCH_BUDGET__PER_DAY": "0.10"}
    )

    assert (settings.budget.per_run, settings.budget.per_day) == (1_500_000, 100_000)
    assert settings.model_dump()["budget"]["per_run"] == "1.50"


def test_what_is_no_amount_or_time_zone_is_refused() -> None:
    """A cap that cannot be read must not become no cap."""
    assert "write it like 12.50" in refusal(budget={"per_run": "much"})
    assert "write it like Europe/Berlin" in refusal(budget={"timezone": "Mars"})


def test_a_relative_manifest_is_relative_to_the_file(tmp_path: Path) -> None:
    """A config may be run from anywhere."""
    path = written(tmp_path, "manifest: rows.csv\n")

    assert load_settings(path, environ={}).manifest == str(tmp_path / "rows.csv")


def test_plain_http_is_for_this_machine_alone() -> None:
    """Anywhere else it would show the key to the network."""
    local = load_settings(environ={"EACHLABS_BASE_URL": "http://127.0.0.1:8080/v1/"})

    assert local.provider.base_url == "http://127.0.0.1:8080/v1"
    assert "use https" in refusal(provider={"base_url": "http://api.example.org/v1"})
    assert "is not an http(s) address" in refusal(provider={"base_url": "ftp://x"})


def test_the_flag_for_the_address_beats_its_variable() -> None:
    """As every flag does."""
    settings = load_settings(
        flags={"provider": {"base_url": "https://flag.example.org/v1"}},
        environ={"EACHLABS_BASE_URL": "https://env.example.org/v1"},
    )

    assert settings.provider.base_url == "https://flag.example.org/v1"


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:1/v1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80", True),
        ("https://api.eachlabs.ai/v1", False),
        ("http://localhost.example.org", False),
    ],
)
def test_loopback_addresses_are_recognised(url: str, local: bool) -> None:
    """By host alone."""
    assert is_loopback(url) is local


def test_a_burst_above_the_window_is_refused() -> None:
    """Both numbers are named."""
    assert "burst (200) is above creates (100)" in refusal(limits={"burst": 200})


def test_a_sample_needs_its_size() -> None:
    """And a size needs the mode."""
    axes = {"seed": [1]}
    assert "go together" in refusal(sweep={"mode": "sample", "axes": axes})
    assert "go together" in refusal(sweep={"axes": axes, "sample": 3})


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "1: 2"])
def test_a_file_that_holds_no_table_is_refused(tmp_path: Path, text: str) -> None:
    """With its path."""
    assert "c.yaml" in refusal(written(tmp_path, text))


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    """With its path, not a traceback."""
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")

    assert "none.yaml" in refusal(tmp_path / "none.yaml")
    assert "b.yaml" in refusal(tmp_path / "b.yaml")


def test_settings_cannot_be_changed_once_loaded() -> None:
    """Everyone reads the same ones."""
    settings = Settings()

    with pytest.raises(ValueError, match=r"frozen"):
        settings.model = "other"  # type: ignore[misc]  # just what is tested


def test_webhooks_are_off_until_somebody_says_how_the_provider_reaches_us() -> None:
    """A default place to listen, and nobody is told of it."""
    webhook = load_settings(environ={}).webhook

    assert webhook.public_url is None
    assert webhook.listen == "127.0.0.1:8787"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://hooks.example.org", "use https"),
        ("https://me:hunter2@hooks.example.org", "may not carry"),
        ("hooks.example.org", "not an http"),
        ("https://hooks.example.org/?token=hunter2", "ends with its path"),
        ("https://hooks.example.org/#hunter2", "ends with its path"),
        ("https://hooks.example.org:99999", "range"),
        ("http://127.0.0.1:8787", "the provider cannot call it"),
        ("https://localhost:8787", "the provider cannot call it"),
    ],
)
def test_a_public_address_that_cannot_work_or_would_tell_a_secret_is_refused(
    url: str, words: str
) -> None:
    """And no password is quoted."""
    said = refusal(webhook={"public_url": url})

    assert "webhook.public_url" in said
    assert words in said
    assert "hunter2" not in said


def test_http_on_loopback_is_for_a_provider_on_loopback() -> None:
    """An emulator."""
    local = {"provider": {"base_url": "http://127.0.0.1:1/v1"}}
    flags = {**local, "webhook": {"public_url": "http://127.0.0.1:8787/hooks/"}}

    assert load_settings(None, flags, {}).webhook.public_url == "http://127.0.0.1:8787/hooks"


@pytest.mark.parametrize("listen", ["8787", ":8787", "host", "host:99999", "a@b:1", "::1:80", ""])
def test_a_place_to_listen_is_a_host_and_a_port(listen: str) -> None:
    """Anything else is named with an example."""
    said = refusal(webhook={"listen": listen})

    assert "webhook.listen" in said
    assert "127.0.0.1:8787" in said


def test_a_price_is_dollars_and_more_than_nothing(tmp_path: Path) -> None:
    """
    Of one execution, from file and environment; exact to the micro-dollar.
    """
    file = written(tmp_path, "model: flux-dev-t2i\nprice: 0.0125\n")
    assert load_settings(file, {}, {}).price == 12_500
    assert load_settings(file, {}, {"FLUXBATCH_PRICE": "0.02"}).price == 20_000
    assert load_settings(None, {}, {}).price is None
    for wrong in ("0", "-1", "cheap"):
        assert "price" in refusal(written(tmp_path, f"price: {wrong}\n"))


def test_the_switch_of_plugins_is_no_setting_and_stands_in_no_file() -> None:
    """
    In `.env` it would be read by nobody, and plugins would run.
    """
    assert load_settings(None, {}, Environment({"FLUXBATCH_PLUGINS": "off"}, {})) is not None
    with pytest.raises(ConfigError, match=r"FLUXBATCH_PLUGINS stands in \.env"):
        load_settings(None, {}, Environment({}, {"FLUXBATCH_PLUGINS": "off"}))
