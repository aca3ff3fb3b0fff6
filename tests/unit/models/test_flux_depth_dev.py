"""The card of flux-depth-dev: what it takes, what it refuses and in which words."""

from __future__ import annotations

import math

import pytest

from fluxbatch.errors import ConfigError
from fluxbatch.models import BadInput, find_card, known_models, quoted
from fluxbatch.models.card import MOST_SAFE

CARD = find_card("flux-depth-dev")
ROW = {"prompt": "a cat", "control_image": "https://example.org/a.png"}


def reasons(**given: object) -> dict[str, str]:
    with pytest.raises(BadInput) as caught:
        CARD.check({**ROW, **given})
    return dict(caught.value.problems)


def test_the_card_knows_all_ten_inputs_and_the_price() -> None:
    """Names, kinds, defaults and ranges are the contract's."""
    shown = {f.name: (f.kind, f.required, f.default) for f in CARD.inputs.values()}

    assert shown == {
        "prompt": ("string", True, None),
        "control_image": ("string", True, None),
        "num_outputs": ("integer", False, 1),
        "num_inference_steps": ("integer", False, 28),
        "guidance": ("number", False, 10),
        "seed": ("integer", False, None),
        "output_format": ("string", False, "webp"),
        "output_quality": ("integer", False, 80),
        "disable_safety_checker": ("boolean", False, False),
        "megapixels": ("string", False, "1"),
    }
    assert CARD.price == 25_000
    assert CARD.file_inputs == {"control_image"}


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    """A misspelt slug says what there is."""
    assert known_models() == ("flux-depth-dev",)
    with pytest.raises(ConfigError, match=r"no model 'flux-dept'.*flux-depth-dev"):
        find_card("flux-dept")


def test_an_input_that_is_not_given_is_absent() -> None:
    """Defaults are documented and never filled in: they would make another job."""
    assert CARD.check({**ROW, "seed": None, "guidance": "", "megapixels": None}) == ROW


@pytest.mark.parametrize(
    ("name", "given", "typed"),
    [
        ("num_outputs", "4", 4),
        ("num_outputs", 2.0, 2),
        ("num_outputs", "2.0", 2),
        ("num_outputs", " 3 ", 3),
        ("num_inference_steps", "50", 50),
        ("guidance", "10", 10),
        ("guidance", 10.0, 10),
        ("guidance", "7.5", 7.5),
        ("guidance", 0, 0),
        ("seed", MOST_SAFE, MOST_SAFE),
        ("seed", "-5", -5),
        ("output_format", "png", "png"),
        ("disable_safety_checker", "yes", True),
        ("disable_safety_checker", "FALSE ", False),
        ("disable_safety_checker", 0, False),
        ("disable_safety_checker", "1", True),
        ("megapixels", 1, "1"),
        ("megapixels", 0.25, "0.25"),
        ("megapixels", "1.0", "1"),
        ("megapixels", ".25", "0.25"),
        ("prompt", 7, "7"),
        ("prompt", 7.0, "7"),
        ("prompt", 1.5, "1.5"),
    ],
)
def test_values_are_read_as_tables_write_them(name: str, given: object, typed: object) -> None:
    """Text, floats without a fraction and their like become the field's own type."""
    checked = CARD.check({**ROW, name: given})[name]

    assert (checked, type(checked)) == (typed, type(typed))


@pytest.mark.parametrize(
    ("name", "given", "allowed"),
    [
        ("num_outputs", 5, "an integer from 1 to 4"),
        ("num_outputs", 0, "an integer from 1 to 4"),
        ("num_outputs", "2.5", "an integer from 1 to 4"),
        ("num_outputs", 2.5, "an integer from 1 to 4"),
        ("num_outputs", True, "an integer from 1 to 4"),
        ("num_outputs", [1], "an integer from 1 to 4"),
        ("num_outputs", "1_0", "an integer from 1 to 4"),
        ("num_inference_steps", 51, "an integer from 1 to 50"),
        ("output_quality", 101, "an integer from 0 to 100"),
        ("guidance", math.nan, "a number from 0 to 100"),
        ("guidance", "nan", "a number from 0 to 100"),
        ("guidance", math.inf, "a number from 0 to 100"),
        ("guidance", 100.5, "a number from 0 to 100"),
        ("guidance", True, "a number from 0 to 100"),
        ("seed", MOST_SAFE + 1, f"an integer from -{MOST_SAFE} to {MOST_SAFE}"),
        ("seed", -MOST_SAFE - 1, f"an integer from -{MOST_SAFE} to {MOST_SAFE}"),
        ("seed", 1e300, f"an integer from -{MOST_SAFE} to {MOST_SAFE}"),
        ("seed", 9007199254740993.0, f"an integer from -{MOST_SAFE} to {MOST_SAFE}"),
        ("output_format", "jpeg", "one of 'webp', 'jpg', 'png'"),
        ("megapixels", 2, "one of '1', '0.25'"),
        ("disable_safety_checker", "maybe", "true or false"),
        ("disable_safety_checker", 2, "true or false"),
        ("prompt", True, "text"),
        ("prompt", {"a": 1}, "text"),
        ("prompt", "  ", "text"),
        ("prompt", "\ud800", "text"),
        ("prompt", math.nan, "text"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_allowed_values(
    name: str, given: object, allowed: str
) -> None:
    """The value is quoted and the range or choice named; nothing is rounded or guessed."""
    assert reasons(**{name: given}) == {name: f"{quoted(given)} is not {allowed}"}


def test_all_bad_fields_are_named_at_once() -> None:
    """One pass is enough to mend a row."""
    found = reasons(prompt=None, num_outputs=9, guidance="x", promt="a cat")

    assert set(found) == {"prompt", "num_outputs", "guidance", "promt"}
    assert found["prompt"] == "is required and not given"


def test_an_unknown_input_is_refused_with_the_nearest_name() -> None:
    """A misspelt column would otherwise be paid for and ignored."""
    assert reasons(guidence=3) == {"guidence": "no such input; did you mean 'guidance'?"}


def test_one_value_is_checked_by_itself() -> None:
    """Defaults and axes need no whole row; emptiness is no value there."""
    assert CARD.check_value("seed", "7") == 7
    assert CARD.check_value("prompt", "a dog") == "a dog"
    with pytest.raises(BadInput, match=r"num_outputs: 9 is not an integer"):
        CARD.check_value("num_outputs", 9)
    with pytest.raises(BadInput, match=r"seeds: no such input; did you mean 'seed'"):
        CARD.check_value("seeds", 9)
    with pytest.raises(BadInput, match=r"seed: is empty"):
        CARD.check_value("seed", "")


def test_outputs_wanted_is_one_unless_said() -> None:
    """What a job is done by."""
    assert CARD.outputs_wanted({}) == 1
    assert CARD.outputs_wanted({"num_outputs": 4}) == 4


def test_a_quoted_value_is_short_and_keeps_a_url_token_to_itself() -> None:
    """Errors are logged, and a presigned URL's query is a secret."""
    assert quoted("https://h.org/a.png?X-Signature=secret") == "'https://h.org/a.png?…'"
    assert len(quoted("x" * 1_000_000)) == 80
