"""A job's name never changes: people pay again for every id that does."""

from __future__ import annotations

import hashlib

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.domain.job import (
    JobId,
    PredictionState,
    Scalar,
    canonical_json,
    derived_seed,
    job_id,
    reroll_seed,
)
from fluxbatch.models import find_card

URL = "https://images.example.org/a/1.png"
SCALARS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)


@pytest.mark.parametrize(
    ("inputs", "repeat", "golden"),
    [
        ({"prompt": "a cat", "control_image": URL}, 0, "655f64e6f1fd25de3ad4c2710bf0540f"),
        ({"prompt": "a cat", "control_image": URL}, 1, "f2d058ebe28ac443a5174beeb77297b5"),
        (
            {"prompt": "a cat", "control_image": URL, "guidance": 10},
            0,
            "85227d4586f3fb4b6dcbd8247baed527",
        ),
        (
            {
                "prompt": "a cat",
                "control_image": URL,
                "guidance": 7.5,
                "seed": 7,
                "num_outputs": 4,
                "output_format": "png",
                "disable_safety_checker": True,
                "megapixels": "0.25",
            },
            0,
            "ebee7bcacc193b91fc6c43a158e25fb4",
        ),
        (
            {"prompt": 'Öl "quoted" 🎈\n', "control_image": "sha256:" + "0" * 64},
            0,
            "fb4884e76d16a5bdbe892dc16ca48c72",
        ),
    ],
)
def test_job_ids_are_what_they_always_were(
    inputs: dict[str, Scalar], repeat: int, golden: str
) -> None:
    """Golden values. If this fails, the code is wrong, never the test."""
    assert job_id("flux-depth-dev", inputs, repeat).hex() == golden


def test_ten_and_ten_point_zero_are_one_job() -> None:
    """Numbers go by the card's type, however a file wrote them."""
    card = find_card("flux-depth-dev")
    row = {"prompt": "a cat", "control_image": URL}
    ids = {
        job_id(card.slug, card.check({**row, "guidance": guidance}))
        for guidance in (10, 10.0, "10", "10.0")
    }

    assert {name.hex() for name in ids} == {"85227d4586f3fb4b6dcbd8247baed527"}


def test_an_absent_input_is_not_its_default() -> None:
    """The provider's default may change; what was asked for does not."""
    row: dict[str, Scalar] = {"prompt": "a cat", "control_image": URL}

    assert job_id("m", row) != job_id("m", {**row, "guidance": 10})


def test_the_order_of_inputs_does_not_matter() -> None:
    """Columns may be moved."""
    assert job_id("m", {"a": 1, "b": "x"}) == job_id("m", {"b": "x", "a": 1})


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), SCALARS))
def test_the_fast_writer_and_the_reference_agree(value: dict[str, object]) -> None:
    """RFC 8785 by hand is only worth having while it is RFC 8785."""
    assert canonical_json(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.dictionaries(st.text(min_size=1, max_size=8, alphabet='abc_é"🎈'), SCALARS),
    st.integers(0, 1000),
)
def test_the_id_is_the_hash_of_the_reference_form(
    model: str, inputs: dict[str, Scalar], repeat: int
) -> None:
    """The bytes that are hashed by hand are those of the whole object."""
    whole = {"v": 1, "model": model, "input": inputs, "repeat": repeat}

    assert job_id(model, inputs, repeat) == hashlib.sha256(rfc8785.dumps(whole)).digest()[:16]  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [2**53, float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_carry_has_no_name(value: Scalar) -> None:
    """Better an error than an id that another machine computes differently."""
    with pytest.raises(ValueError, match=r".+"):
        job_id("m", {"a": value})


def test_a_reroll_s_seed_is_what_it_always_was() -> None:
    """
    Golden value: a reroll's id is made of it. None is one that a `retry --quality` sends.
    """
    name = JobId(bytes(range(16)))
    assert reroll_seed(name, 1) == 908903426
    seeds = {reroll_seed(name, number) for number in range(1, 200)}
    assert len(seeds | {derived_seed(name, number) for number in range(200)}) == 399
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_derived_seeds_are_31_bits_and_differ_by_reseed() -> None:
    """Reproducible, accepted by every backend, another for another image."""
    name = JobId(bytes(16))

    assert derived_seed(name) == derived_seed(name) == 126635565
    assert derived_seed(name) != derived_seed(name, 1)
    assert 0 <= derived_seed(name, 1) < 2**31


def test_live_states_are_those_that_may_still_cost() -> None:
    """Nothing else may be bought for a job while one of these holds."""
    assert {state for state in PredictionState if state.is_live} == {
        PredictionState.SUBMITTING,
        PredictionState.UNKNOWN,
        PredictionState.RUNNING,
    }
