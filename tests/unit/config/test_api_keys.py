"""API keys: every source, their names, and that their text is never shown."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fluxbatch.config.api_keys import ApiKey, KeyFilter, Keyring, find_keys, key_to_add
from fluxbatch.config.settings import KeyEntry
from fluxbatch.domain.job import PredictionId
from fluxbatch.domain.state_machine import PredictionEvent
from fluxbatch.errors import ConfigError
from fluxbatch.infra.runtime import Timestamp
from fluxbatch.ledger.operations.intents import Intend
from fluxbatch.ledger.operations.outputs import StoreOutput
from fluxbatch.ledger.operations.transitions import Evidence, Transition


def texts(environ: dict[str, str], *entries: KeyEntry) -> list[tuple[str, str]]:
    return [(key.label, key.reveal()) for key in find_keys(entries, environ)]


def refusal(environ: dict[str, str], *entries: KeyEntry) -> str:
    with pytest.raises(ConfigError) as caught:
        find_keys(entries, environ)
    return str(caught.value)


def test_one_key_comes_from_the_environment() -> None:
    """Labelled by its fingerprint where nobody named it."""
    (key,) = find_keys([], {"EACHLABS_API_KEY": "sk-1"})

    assert key.reveal() == "sk-1"
    assert key.label == key.fingerprint[:6]
    assert key.account == key.fingerprint


def test_several_keys_come_from_one_variable_with_labels() -> None:
    """`label=key` or `key`, separated by commas, spaces ignored."""
    found = texts({"EACHLABS_API_KEYS": " a=sk-1, b = sk-2 ,, sk-3"})

    assert [text for _, text in found] == ["sk-1", "sk-2", "sk-3"]
    assert [label for label, _ in found[:2]] == ["a", "b"]


def test_keys_come_from_a_file_of_lines(tmp_path: Path) -> None:
    """With comments, labels and a byte order mark."""
    path = tmp_path / "keys"
    path.write_text("\ufeff# team\na=sk-1\n\nsk-2\n", encoding="utf-8")

    found = texts({"EACHLABS_API_KEY_FILE": str(path)})

    assert [text for _, text in found] == ["sk-1", "sk-2"]
    assert found[0][0] == "a"


def test_the_config_names_keys_by_reference(tmp_path: Path) -> None:
    """Out of the environment or a file, with accounts; the variables are then not asked."""
    (tmp_path / "k").write_text("sk-2\n")
    entries = [
        KeyEntry(label="a", key="env:MINE", account="team"),
        KeyEntry(label="b", key=f"file:{tmp_path / 'k'}"),
    ]

    keys = find_keys(entries, {"MINE": "sk-1", "EACHLABS_API_KEY": "sk-9"})

    assert [(k.label, k.reveal()) for k in keys] == [("a", "sk-1"), ("b", "sk-2")]
    assert keys[0].account == "team"
    assert keys[1].account == keys[1].fingerprint


def test_a_key_given_twice_counts_once() -> None:
    """One account has one window, however often it is named."""
    assert texts({"EACHLABS_API_KEYS": "a=sk-1,b=sk-1", "EACHLABS_API_KEY": "sk-1"}) == [
        ("a", "sk-1")
    ]


def test_two_keys_with_one_label_are_refused() -> None:
    """People must be able to tell them apart."""
    said = refusal({"EACHLABS_API_KEYS": "a=sk-1,a=sk-2"})

    assert "two keys share the label 'a'" in said
    assert "sk-" not in said


def test_no_key_says_which_variables_there_are() -> None:
    """All three."""
    said = refusal({})

    assert "EACHLABS_API_KEY" in said
    assert "EACHLABS_API_KEYS" in said
    assert "EACHLABS_API_KEY_FILE" in said


def test_a_missing_reference_is_refused_by_its_label(tmp_path: Path) -> None:
    """An empty variable, a missing file, an empty file."""
    (tmp_path / "empty").write_text("\n")

    assert "key 'a': the environment has no MINE" in refusal(
        {"MINE": " "}, KeyEntry(label="a", key="env:MINE")
    )
    assert "key 'a': cannot read" in refusal({}, KeyEntry(label="a", key="file:/nowhere/k"))
    assert "is empty" in refusal({"EACHLABS_API_KEY_FILE": str(tmp_path / "empty")})


@pytest.mark.parametrize("text", ["sk 1", "sk-é", "sk-\x07"])
def test_a_key_no_header_can_carry_is_refused_unshown(text: str) -> None:
    """Usually something pasted by mistake, so it is not repeated."""
    said = refusal({"EACHLABS_API_KEY": text})

    assert "characters no API key has" in said
    assert text not in said


def test_a_key_never_prints_its_text() -> None:
    """Neither by repr, nor by str, nor in a container."""
    key = ApiKey("sk-very-secret", label="a")

    assert repr(key) == f"<key a {key.fingerprint[:6]}>"
    assert "secret" not in f"{key} {[key]} { ({'k': key}) }"
    assert key.redacted("header sk-very-secret sent") == "header <key a> sent"


def test_keys_are_equal_by_text() -> None:
    """Labels are for people."""
    assert ApiKey("sk-1", label="a") == ApiKey("sk-1", label="b")
    assert ApiKey("sk-1") != ApiKey("sk-2")
    assert len({ApiKey("sk-1"), ApiKey("sk-1", label="b")}) == 1


_OURS = {"run_id", "budget_day", "sha256", "mime", "dhash", "file_sha256", "note"}
"""Texts that this program makes itself, or takes from a list of its own."""


@pytest.mark.parametrize("operation", [Intend, Transition, StoreOutput])
def test_an_operation_that_names_what_others_said_leaves_out_no_text_of_theirs(
    operation: type[Intend | Transition | StoreOutput],
) -> None:
    texts = {one.name for one in fields(operation) if "str" in str(one.type).split(" | ")}
    assert texts - _OURS <= set(operation.FOREIGN_TEXT)


def test_what_the_provider_said_of_a_prediction_is_written_without_the_key() -> None:
    key = ApiKey("0123456789abcdef", label="main")
    said = Evidence(
        provider_id=PredictionId("p-0123456789abcdef"),
        urls=("https://x.invalid/0123456789abcdef",),
        reason="bad key 0123456789abcdef",
        request_id="0123456789abcdef",
    )
    at = Timestamp(datetime(2026, 1, 1, tzinfo=UTC), "boot", 1.0)
    written = KeyFilter([key]).value(Transition(at, 1, PredictionEvent.FAILED, said))
    assert "0123456789abcdef" not in repr(written)
    assert written.evidence.urls == ("https://x.invalid/<key main>",)


def test_a_ring_hides_the_keys_that_come_later_too() -> None:
    """
    Whoever holds the ring or its filter need not be told of them.
    """
    ring = Keyring([ApiKey("first-secret", label="one")])
    hide = Keyring.of(ring).filter

    ring.add(ApiKey("second-secret", label="two"))
    ring.add(ApiKey("second-secret", label="again"))

    assert hide.text("first-secret and second-secret") == "<key one> and <key two>"
    assert [key.label for key in ring[:]] == ["one", "two"]


@pytest.mark.parametrize(
    ("label", "account"),
    [("sk-secret-text", ""), ("", "of-sk-secret-text"), ("../up", ""), ("", "a/b"), ("x" * 31, "")],
)
def test_a_key_in_the_place_of_a_name_is_refused_unshown(label: str, account: str) -> None:
    """
    Names are shown, written down, and an account's is a file's.
    """
    with pytest.raises(ConfigError) as refused:
        key_to_add("sk-secret-text", label, account)

    assert "sk-secret-text" not in str(refused.value)
