"""A memory for a million keys that stays small."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.infra.compact_set import NumberSet
from fluxbatch.manifest import CompactMap


def test_a_key_is_new_once_and_keeps_its_first_mark() -> None:
    """Texts and bytes alike."""
    seen = CompactMap()

    assert seen.setdefault("a", 7) == 0
    assert seen.setdefault("a", 9) == 7
    assert seen.setdefault(b"16 bytes of name") == 0
    assert seen.setdefault(b"16 bytes of name") == 1
    assert len(seen) == 2


@given(st.lists(st.text(max_size=3)))
def test_it_answers_as_a_dictionary_would(keys: list[str]) -> None:
    """Through every collision."""
    seen, known = CompactMap(), dict[str, int]()
    for mark, key in enumerate(keys, start=1):
        assert seen.setdefault(key, mark) == known.get(key, 0)
        known.setdefault(key, mark)
    assert len(seen) == len(known)


def test_it_grows_without_forgetting() -> None:
    """Past several doublings."""
    seen = CompactMap()
    for mark in range(1, 10_001):
        assert seen.setdefault(f"row-{mark}", mark) == 0

    assert all(seen.setdefault(f"row-{mark}") == mark for mark in range(1, 10_001))


@given(st.lists(st.integers(0, 200)))
def test_a_number_is_new_once(numbers: list[int]) -> None:
    """In whatever order they come."""
    seen, known = NumberSet(), set[int]()
    for number in numbers:
        assert seen.add(number) == (number not in known)
        known.add(number)
