"""An address out of a file gets no key by itself, wherever the key comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxbatch.config.api_keys import keys_for
from fluxbatch.config.endpoints import DEFAULT_BASE_URL
from fluxbatch.config.loading import environment, load_settings
from fluxbatch.config.trust import Environment
from fluxbatch.errors import ConfigError

ELSEWHERE = "https://elsewhere.example/v1"
KEY = {"EACHLABS_API_KEY": "sk-of-the-shell"}
TRUSTING = {"FLUXBATCH_PROVIDER__TRUST_BASE_URL": "true"}


def named(
    process: dict[str, str], dotenv: dict[str, str], config: Path | None, flag: str | None
) -> list[str]:
    """The keys that would be used, as texts; raises `ConfigError`."""
    environ = Environment(process, dotenv)
    flags = {"provider": {"base_url": flag}} if flag else {}
    settings = load_settings(config, flags, environ)
    return [key.reveal() for key in keys_for(settings, environ)]


def config_with(folder: Path, address: str, more: str = "") -> Path:
    path = folder / "c.yaml"
    path.write_text(f"provider: {{base_url: '{address}'}}\n{more}")
    return path


ENVIRONMENTS = ("EACHLABS_BASE_URL", "FLUXBATCH_PROVIDER__BASE_URL")


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_shells_key_does_not_go_where_a_dotenv_says(name: str) -> None:
    """
    Whoever hands on a folder could write one; the refusal names the address and where it stands.
    """
    with pytest.raises(ConfigError) as refused:
        named(KEY, {name: ELSEWHERE}, None, None)

    assert ELSEWHERE in str(refused.value)
    assert f"{name} in .env" in str(refused.value)
    assert "sk-of-the-shell" not in str(refused.value)


def test_no_key_goes_where_a_config_says(tmp_path: Path) -> None:
    """
    Neither the environment's nor the text of a file that the config names.
    """
    secret = tmp_path / "token"
    secret.write_text("a-token-of-another-service\n")
    by_file = "keys: [{label: a, key: 'file:" + str(secret) + "'}]\n"

    for more, dotenv in (("", {}), (by_file, {}), ("", {"EACHLABS_API_KEY": "sk-of-the-env"})):
        with pytest.raises(ConfigError, match="comes from the config"):
            named(KEY, dotenv, config_with(tmp_path, ELSEWHERE, more), None)


@pytest.mark.parametrize("name", ["EACHLABS_API_KEY_FILE", "EACHLABS_API_KEY"])
def test_a_dotenv_sends_its_own_text_only(tmp_path: Path, name: str) -> None:
    """
    A key that stands beside its address is that file's to give; a file that it names is not.
    """
    secret = tmp_path / "token"
    secret.write_text("a-token-of-another-service\n")
    dotenv = {"EACHLABS_BASE_URL": ELSEWHERE, name: str(secret)}

    if name == "EACHLABS_API_KEY":
        assert named({}, dotenv, None, None) == [str(secret)]
    else:
        with pytest.raises(ConfigError, match="no key is sent to"):
            named({}, dotenv, None, None)


def test_what_a_user_names_here_is_trusted(tmp_path: Path) -> None:
    """
    A flag, the environment, the setting, this machine, and the usual provider.
    """
    config, texts = config_with(tmp_path, ELSEWHERE), ["sk-of-the-shell"]

    assert named(KEY, {}, None, ELSEWHERE) == texts
    assert named({**KEY, "EACHLABS_BASE_URL": ELSEWHERE}, {}, config, None) == texts
    assert named({**KEY, **TRUSTING}, {}, config, None) == texts
    assert named({**KEY, **TRUSTING}, {"EACHLABS_BASE_URL": ELSEWHERE}, None, None) == texts
    assert named(KEY, {"EACHLABS_BASE_URL": "http://127.0.0.1:1/v1"}, None, None) == texts
    assert named(KEY, {"EACHLABS_BASE_URL": DEFAULT_BASE_URL}, None, None) == texts


def test_a_file_cannot_vouch_for_itself(tmp_path: Path) -> None:
    """
    The setting is for the environment alone.
    """
    config = tmp_path / "c.yaml"
    config.write_text(f"provider: {{base_url: '{ELSEWHERE}', trust_base_url: true}}\n")
    whole = {"FLUXBATCH_PROVIDER": f'{{"base_url": "{ELSEWHERE}", "trust_base_url": true}}'}

    for dotenv, path in ((TRUSTING, None), (whole, None), ({}, config)):
        with pytest.raises(ConfigError, match="trust_base_url cannot stand in"):
            named(KEY, {"EACHLABS_BASE_URL": ELSEWHERE, **dotenv}, path, None)


def test_the_environment_knows_what_its_file_alone_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What the process has as well is the process's.
    """
    (tmp_path / ".env").write_text("FLUXBATCH_ONE=1\nFLUXBATCH_TWO=2\n")
    monkeypatch.setenv("FLUXBATCH_TWO", "3")

    found = environment(tmp_path / ".env")

    assert (found["FLUXBATCH_ONE"], found["FLUXBATCH_TWO"]) == ("1", "3")
    assert found.from_file == {"FLUXBATCH_ONE"}


@pytest.mark.parametrize(
    "content",
    [b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNza\n", b"k" * 513, b"a\x07b", b"\xff\xfe",
     b"sk-1\n" * 20_000, b"machine x login y password z\n"],
)  # fmt: skip
@pytest.mark.parametrize("by_reference", [False, True])
def test_a_file_that_is_no_key_is_refused_unshown(
    tmp_path: Path, content: bytes, by_reference: bool
) -> None:
    """
    Whoever names another file does so by mistake, or wants it sent.
    """
    path, config = tmp_path / "k", tmp_path / "c.yaml"
    path.write_bytes(content)
    config.write_text(f"keys: [{{label: a, key: 'file:{path}'}}]\n" if by_reference else "")
    environ = {} if by_reference else {"EACHLABS_API_KEY_FILE": str(path)}

    with pytest.raises(ConfigError) as refused:
        named(environ, {}, config, None)

    assert len(str(refused.value)) < 300
    assert "OPENSSH" not in str(refused.value)


def test_a_key_files_end_is_looked_for_nowhere(tmp_path: Path) -> None:
    """
    A pipe or a device has none.
    """
    for path in ("/dev/zero", str(tmp_path)):
        with pytest.raises(ConfigError, match="cannot read"):
            named({"EACHLABS_API_KEY_FILE": path}, {}, None, None)
