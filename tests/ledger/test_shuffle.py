"""`queue.shuffle`: an order that a seed decides, in no memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.ledger.operations.shuffle import places

_SEEDS = st.integers(-(2**63), 2**63 - 1)


@given(_SEEDS, st.sets(st.integers(1, 2**53), min_size=2))
def test_no_two_rows_have_one_place(seed: int, numbers: set[int]) -> None:
    """
    Jobs would be lost between two pages otherwise; and every place fits the column.
    """
    found = set(map(places(seed), numbers))

    assert len(found) == len(numbers)
    assert all(0 <= place < 2**63 for place in found)


def test_a_seed_means_the_same_order_for_ever() -> None:
    """
    A run that is continued next year, by another Python, goes on in its order.
    """
    assert sorted(range(1, 13), key=places(7)) == [1, 4, 12, 8, 6, 5, 9, 10, 7, 11, 3, 2]


def test_a_part_of_a_run_is_a_sample_of_the_whole() -> None:
    """
    Of the first tenth, about as many rows come from each tenth of the manifest.
    """
    first = sorted(range(10_000), key=places(1))[:1_000]
    tenths = [sum(row // 1_000 == tenth for row in first) for tenth in range(10)]

    assert min(tenths) > 70
    assert max(tenths) < 130


def test_without_a_seed_the_manifest_decides() -> None:
    """
    Then a place is the row's number itself.
    """
    assert [places(None)(number) for number in (1, 2, 3)] == [1, 2, 3]
