"""The comparison of images narrows the search for near-duplicates and changes no answer of it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.domain.fingerprint_keys import MOST_UNDER_KEY, Fingerprint, compare
from fluxbatch.domain.image_quality import MOST_BITS, MOST_COLOUR, near_duplicates
from fluxbatch.domain.job import Quality
from fluxbatch.ledger.db import schema
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.operations.maintenance import RequeueOutputs
from fluxbatch.ledger.operations.resemblance import CompareImages
from fluxbatch.ledger.queries.quality_notes import Noted, noted_outputs
from tests.ledger.support import Books, all_rows, at, fetch

GREY = "80" * 12


def fingerprint(draw: random.Random, near: str | None = None) -> str:
    """Of any image; of one that resembles the one of *near*, or all but does, where it is given."""
    if near is None:
        return f"{draw.getrandbits(64):016x}-{draw.randbytes(12).hex()}"
    dhash, colours = int(near[:16], 16), bytes.fromhex(near[17:])
    for bit in draw.sample(range(64), draw.randint(0, MOST_BITS + 1)):
        dhash ^= 1 << bit
    by = MOST_COLOUR + draw.choice((0, 0, 1))
    moved = bytes(min(max(c + draw.randint(-by, by), 0), 255) for c in colours)
    return f"{dhash:016x}-{moved.hex()}"


def store(books: Books, job_seq: int, dhash: str | None) -> int:
    (output,) = books.generate(job_seq).outputs
    books.store(output.output_seq, dhash=dhash)
    return output.output_seq


def expected(db: Database) -> list[tuple[int, int]]:
    """As a search among all finds it: output and twin."""
    looks = fetch(db, "SELECT seq, dhash FROM outputs WHERE dhash IS NOT NULL ORDER BY seq")
    return sorted(near_duplicates(looks).items())


@pytest.mark.parametrize("seed", range(3))
def test_whatever_was_compared_the_same_near_duplicates_are_found(
    database: Database, seed: int
) -> None:
    """
    Compared in portions while more come, or not at all: as a search among all images.
    """
    draw = random.Random(seed)
    books = Books.opened(database, jobs=60)
    made: list[str] = []
    for job_seq in range(1, 61):
        like = draw.choice(made) if made and draw.random() < 0.6 else None
        made.append(fingerprint(draw, like))
        store(books, job_seq, made[-1])
        if draw.random() < 0.2:
            books.do(CompareImages(draw.randint(1, 20)))
    found = [(one.output_seq, one.twin) for one in noted_outputs(books.db)]
    assert found == expected(books.db)
    assert len(found) > 5
    while books.do(CompareImages()):
        pass
    assert [(one.output_seq, one.twin) for one in noted_outputs(books.db)] == found


def test_images_that_resemble_none_are_compared_once_and_never_looked_at_again(
    books: Books,
) -> None:
    draw = random.Random(1)
    for job_seq in (1, 2, 3):
        store(books, job_seq, fingerprint(draw))
    assert books.do(CompareImages(2)) == 2
    assert books.do(CompareImages(2)) == 1
    assert books.do(CompareImages(2)) == 0
    assert [row["resembles"] for row in all_rows(books.db, schema.outputs)] == [0, 0, 0]
    assert len(all_rows(books.db, schema.fingerprint_keys)) == 12


def test_an_original_is_marked_when_its_likeness_comes(books: Books) -> None:
    """
    Also by a look that is not at the original; an image without a fingerprint resembles none.
    """
    first = store(books, 1, f"00ff00ff00ff00ff-{GREY}")
    books.do(CompareImages())
    second = store(books, 2, f"00ff00ff00ff00fe-{GREY}")
    store(books, 3, None)
    books.do(CompareImages())
    assert [row["resembles"] for row in all_rows(books.db, schema.outputs)] == [1, 1, 0]
    assert noted_outputs(books.db) == [Noted(second, 2, (Quality.DUPLICATE,), first)]


def test_an_image_fetched_again_is_compared_again(books: Books) -> None:
    first = store(books, 1, f"00ff00ff00ff00ff-{GREY}")
    second = store(books, 2, f"ff00ff00ff00ff00-{GREY}")
    books.do(CompareImages())
    assert noted_outputs(books.db) == []
    books.do(RequeueOutputs(at(50), 2, [(second, "the file is gone")]))
    books.store(second, dhash=f"00ff00ff00ff00ff-{GREY}")
    books.do(CompareImages())
    assert noted_outputs(books.db) == [Noted(second, 2, (Quality.DUPLICATE,), first)]


@given(st.randoms(use_true_random=False))
def test_whatever_resembles_is_kept_under_one_of_the_keys_it_is_looked_up_by(
    draw: random.Random,
) -> None:
    text = fingerprint(draw)
    one, other = Fingerprint.parsed(text), Fingerprint.parsed(fingerprint(draw, text))
    assert one is not None
    assert other is not None
    if one.resembles(other):
        assert set(one.keys_near()) & set(other.own_keys())
        assert set(other.keys_near()) & set(one.own_keys())


def test_a_thousand_under_one_sky_are_not_compared_one_by_one() -> None:
    """
    They count as resembling; so few of them are kept that the next one is compared with few.
    """
    draw = random.Random(1)
    alike = {n: f"{draw.getrandbits(48):016x}-{GREY}" for n in range(1_000)}
    found = compare(alike, {})
    sky = [key for key, _ in found.kept]
    assert max(map(sky.count, set(sky))) == MOST_UNDER_KEY + 1
    assert found.resembling == set(alike)


def test_what_is_no_fingerprint_is_left_to_whoever_looks() -> None:
    assert compare({7: "zebra"}, {}) == ({7}, [])
