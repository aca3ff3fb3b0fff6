"""The search for near-duplicate images."""

from __future__ import annotations

import random
import time

from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.domain.image_quality import MOST_BITS, MOST_COLOUR, near_duplicates

GREY = "80" * 12


def hexed(marks: list[int], colours: str = GREY) -> list[tuple[int, str]]:
    return [(number, f"{mark:016x}-{colours}") for number, mark in enumerate(marks)]


def test_the_same_and_the_nearly_same_name_the_first() -> None:
    """
    Three bits may differ, four may not; all zeros is a fingerprint like any other.
    """
    found = near_duplicates(hexed([0xFFFF, 0xFFFF, 0xFFFE, 0xFFF8, 0xFFF0, 0, 0]))
    assert found == {1: 0, 2: 0, 3: 0, 6: 5}


@given(st.lists(st.integers(0, 255), min_size=12, max_size=12), st.data())
def test_colours_must_be_near_in_every_quarter(colours: list[int], data: st.DataObject) -> None:
    """
    Sixteen of 255, up or down, at any place of the scale.
    """
    shifts = data.draw(st.lists(st.integers(-18, 18), min_size=12, max_size=12))
    moved = [min(max(c + s, 0), 255) for c, s in zip(colours, shifts, strict=True)]
    near = all(abs(a - b) <= MOST_COLOUR for a, b in zip(colours, moved, strict=True))
    found = near_duplicates(
        [(1, f"{5:016x}-{bytes(colours).hex()}"), (2, f"{5:016x}-{bytes(moved).hex()}")]
    )
    assert found == ({2: 1} if near else {})


@given(
    st.integers(0, 2**64 - 1),
    st.lists(st.sets(st.integers(0, 63), max_size=6), max_size=30),
)
def test_the_search_finds_what_comparing_with_every_kept_one_finds(
    first: int, flips: list[set[int]]
) -> None:
    """
    However the bits that differ are spread: the two bands that are equal are always looked up.
    """
    marks = [first] + [first ^ sum(1 << bit for bit in bits) for bits in flips]
    kept: list[int] = []
    expected = set()
    for number, mark in enumerate(marks):
        if any((mark ^ other).bit_count() <= MOST_BITS for other in kept):
            expected.add(number)
        else:
            kept.append(mark)
    assert near_duplicates(hexed(marks)).keys() == expected


def test_ten_thousand_alike_do_not_meet_one_by_one() -> None:
    """
    Images under one sky, and images of one control image in as many colours.
    """
    draw = random.Random(1)
    alike = [(n, f"{draw.getrandbits(48):016x}-{GREY}") for n in range(5_000)]
    one_shape = [(n, f"{7 << 60:016x}-{draw.randbytes(12).hex()}") for n in range(5_000)]
    began = time.process_time()
    assert near_duplicates(alike + one_shape) == {}
    assert time.process_time() - began < 10  # every pair: a minute and more
