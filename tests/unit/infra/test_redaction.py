"""Redaction: what may be shown of an address, and of another program's words."""

from __future__ import annotations

import pytest

from fluxbatch.infra.redaction import host_of, sanitize, strip_queries, strip_query

_SIGNED = "https://user:pw@h.example:8443/a/b.png?token=T&x=1#frag"


def test_a_stored_address_names_the_image_and_opens_nothing() -> None:
    """
    Alone or anywhere in a JSON value; a text with a URL in it is a text.
    """
    assert strip_query(_SIGNED) == "https://h.example:8443/a/b.png"
    assert strip_queries({"a": [_SIGNED, f"see {_SIGNED}", 1]}) == {
        "a": ["https://h.example:8443/a/b.png", f"see {_SIGNED}", 1]
    }


@pytest.mark.parametrize("text", ["", "?", "no url", "a?b#c", "://", "//h/p?q"])
def test_what_is_no_address_is_taken_all_the_same(text: str) -> None:
    """
    A success is recorded even if its URL is no URL.
    """
    assert "?" not in strip_query(text)
    assert strip_queries([text]) == [text] or "://" in text


def test_a_message_has_the_host_alone() -> None:
    """
    And a question mark where there is none.
    """
    assert host_of(_SIGNED) == "h.example"
    assert (host_of("nowhere"), host_of("http://[")) == ("?", "?")


def test_words_of_others_are_one_line_without_secrets() -> None:
    """
    However many URLs are in them.
    """
    assert sanitize(f"x\n{_SIGNED} y {_SIGNED}") == (
        "x https://h.example:8443/a/b.png y https://h.example:8443/a/b.png"
    )
