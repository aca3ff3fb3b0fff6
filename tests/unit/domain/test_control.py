"""The words by which a run at work is changed."""

from __future__ import annotations

import pytest

from fluxbatch.domain.control import asked_reason, because
from fluxbatch.errors import ConfigError


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("card declined", "card declined"),
        ("first\nsecond\r\n\tthird ", "first second third"),
        ("red \x1b[31malert\x07", "red [31malert"),
        ("right\u202eleft\ud800", "right left"),
        ("zu dunkel, 日本語", "zu dunkel, 日本語"),
        ("\n", ""),
    ],
)
def test_a_reason_is_one_line_without_what_a_terminal_would_obey(typed: str, kept: str) -> None:
    assert asked_reason(typed) == kept


def test_a_reason_of_some_pages_is_kept_and_a_longer_one_refused() -> None:
    """
    It is shown short: the ledger has all of it.
    """
    page = "because " * 400

    assert asked_reason(page) == page.strip()
    assert len(because(page)) <= 202
    with pytest.raises(ConfigError, match="at most 4,000"):
        asked_reason("x" * 4_001)
