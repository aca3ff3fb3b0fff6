"""Sweeps: exact counts, lazy cells, and refusals that name the axis."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from fluxbatch.config.sweep import Sweep
from fluxbatch.errors import ConfigError
from fluxbatch.manifest import Cells
from fluxbatch.manifest.sweep.cells import shuffled
from tests.unit.manifest.reading import CARD, ROW, bad_rows, inputs, line, opened, read, write


def cells(axes: dict[str, Any], folder: Path = Path(), **settings: Any) -> Cells:
    return Cells(Sweep(axes=axes, **settings), card=CARD, folder=folder)


def refusal(axes: dict[str, Any], folder: Path = Path(), **settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        cells(axes, folder, **settings)
    return str(caught.value)


def test_a_product_has_every_combination_the_last_axis_first() -> None:
    """In the order of the config."""
    made = list(cells({"seed": {"range": [1, 2]}, "guidance": [3, "4.5"]}))

    assert made == [
        {"seed": 1, "guidance": 3},
        {"seed": 1, "guidance": 4.5},
        {"seed": 2, "guidance": 3},
        {"seed": 2, "guidance": 4.5},
    ]


def test_ranges_are_inclusive_and_counts_begin_at_zero() -> None:
    """As documented, so that raising either adds cells and keeps the old."""
    assert [c["seed"] for c in cells({"seed": {"range": [-1, 5], "step": 3}})] == [-1, 2, 5]
    assert [c["seed"] for c in cells({"seed": {"count": 3}})] == [0, 1, 2]


def test_zip_goes_through_the_axes_side_by_side() -> None:
    """They must be of one length."""
    axes: dict[str, Any] = {"seed": {"range": [1, 3]}, "prompt": ["a", "b", "c"]}

    assert list(cells(axes, mode="zip", exclude=[{"prompt": "b"}])) == [
        {"seed": 1, "prompt": "a"},
        {"seed": 3, "prompt": "c"},
    ]
    assert "seed has 2, prompt has 3" in refusal({**axes, "seed": [1, 2]}, mode="zip")


def test_excluded_cells_are_left_out_and_not_counted() -> None:
    """A partial cell takes all that match it; values go by the axis's type."""
    axes = {"seed": {"range": [1, 3]}, "num_outputs": [1, 2, 4], "guidance": [5, 10]}
    made = cells(axes, exclude=[{"seed": "2"}, {"num_outputs": 4, "guidance": 10.0}])

    assert made.count() == len(list(made)) == 18 - 6 - 3 + 1
    assert all(cell["seed"] != 2 for cell in made)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["seed", "num_outputs", "output_quality"]),
            st.integers(1, 3),
            min_size=1,
        ),
        max_size=6,
    )
)
def test_the_count_is_the_number_of_cells(excluded: list[dict[str, int]]) -> None:
    """Counted by arithmetic, compared with the cells themselves."""
    axes = {"seed": [1, 2, 3, 4], "num_outputs": [1, 2, 3, 4], "output_quality": {"range": [1, 5]}}
    made = cells(axes, exclude=excluded)  # no 4 is, so some cells are left

    assert made.count() == len(list(made))


def test_a_huge_sweep_is_counted_and_begun_at_once() -> None:
    """10^18 cells exist as arithmetic only."""
    axes = {"seed": {"count": 10**12}, "guidance": {"range": [1, 100]}, "output_quality": [1, 2]}
    started = time.process_time()
    made = cells(axes, exclude=[{"seed": 5, "guidance": 7}])

    assert made.count() == 2 * 10**14 - 2
    assert len(list(islice(made, 1000))) == 1000
    sampled = cells(axes, mode="sample", sample=1000, seed=3)
    assert len({tuple(cell.values()) for cell in sampled}) == 1000
    assert time.process_time() - started < 2


def test_a_sample_is_drawn_without_replacement_and_by_seed() -> None:
    """The same anywhere; more of it keeps what was drawn."""
    axes = {"seed": {"count": 50}, "num_outputs": [1, 2]}
    few = list(cells(axes, mode="sample", sample=10, seed=1))

    assert few == list(cells(axes, mode="sample", sample=30, seed=1))[:10]
    assert few != list(cells(axes, mode="sample", sample=10, seed=2))
    assert few[:2] == [{"seed": 26, "num_outputs": 2}, {"seed": 11, "num_outputs": 2}]
    everything = list(cells(axes, mode="sample", sample=100))
    assert len({tuple(cell.values()) for cell in everything}) == 100


def test_a_sample_draws_past_the_excluded() -> None:
    """Its size is kept while there are cells enough."""
    axes = {"seed": {"count": 20}}
    excluded = [{"seed": n} for n in range(10)]

    assert sorted(
        int(str(cell["seed"])) for cell in cells(axes, mode="sample", sample=10, exclude=excluded)
    ) == list(range(10, 20))
    assert "only 10 cells" in refusal(axes, mode="sample", sample=11, exclude=excluded)


@given(st.integers(1, 3000), st.integers())
def test_shuffling_names_every_number_once(total: int, seed: int) -> None:
    """A permutation, for every size."""
    assert sorted(shuffled(total, seed)) == list(range(total))


def test_a_glob_is_an_axis_of_files_in_order(tmp_path: Path) -> None:
    """Relative to the manifest; folders don't count."""
    for name in ("b", "a"):
        Image.new("RGB", (8, 8), "red" if name == "a" else "blue").save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").mkdir()
    path = write(tmp_path, '{"prompt": "a cat"}\n')
    rows = read(path, sweep=Sweep(axes={"control_image": "*.png", "seed": [1, 2]}))

    assert [row.axes["control_image"] for row in rows] == ["a.png", "a.png", "b.png", "b.png"]
    assert [row.axes["seed"] for row in rows] == [1, 2, 1, 2]
    assert len({row.control.sha256 for row in rows if row.control}) == 2
    assert len({row.job.job_id for row in rows if row.job}) == 4


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"sed": [1]}, "sweep.axes.sed: no such input; did you mean 'seed'?"),
        ({"num_outputs": [1, 9]}, "sweep.axes.num_outputs: 9 is not an integer from 1 to 4"),
        ({"num_outputs": {"range": [1, 9]}}, "9 is not an integer from 1 to 4"),
        ({"num_outputs": {"count": 2}}, "0 is not an integer from 1 to 4"),
        ({"seed": []}, "has no values"),
        ({"seed": [1, "1"]}, "names 1 twice"),
        ({"seed": [None]}, "is empty"),
        ({"seed": {"range": [5, 1]}}, "has no values"),
        ({"seed": {"range": [1, 5], "step": 0}}, "has no values"),
        ({"guidance": {"range": [0.5, 2]}}, "write fractions as a list"),
        ({"seed": {"range": [1]}}, "is none of"),
        ({"seed": {"count": 0}}, "is not at least 1"),
        ({"seed": {"count": True}}, "is not at least 1"),
        ({"seed": {"counts": 3}}, "is none of"),
        ({"seed": 7}, "is none of"),
        ({"prompt": "a cat"}, "write ['a cat']"),
        ({"prompt": {"count": 3}}, "takes no numbers"),
        ({"control_image": "nothing/*.png"}, "no file matches 'nothing/*.png'"),
    ],
)
def test_an_axis_that_cannot_be_meant_is_refused(
    tmp_path: Path, axes: dict[str, Any], said: str
) -> None:
    """By its name, before any row."""
    assert said in refusal(axes, tmp_path)


@pytest.mark.parametrize(
    ("excluded", "said"),
    [
        ({"guidance": 1}, "sweep.exclude.guidance: no such input"),
        ({"seed": 9}, "sweep.exclude.seed: 9 is not a value of this axis"),
        ({"seed": "x"}, "sweep.exclude.seed: 'x' is not an integer"),
        ({}, "an empty cell would leave nothing"),
    ],
)
def test_an_exclude_that_matches_nothing_is_refused(excluded: dict[str, Any], said: str) -> None:
    """It is a typing error, and the cells it should have removed would be paid."""
    assert said in refusal({"seed": [1, 2]}, exclude=[excluded])


def test_excluding_everything_is_refused() -> None:
    """There would be nothing to make."""
    assert "every cell is excluded" in refusal({"seed": [1]}, exclude=[{"seed": 1}])


def test_a_sweep_needs_an_axis() -> None:
    """The shape is the config's to check."""
    with pytest.raises(ValidationError):
        Sweep(axes={})


def test_a_sweep_over_a_manifest_makes_every_cell_of_every_row(tmp_path: Path) -> None:
    """With the row's line and id, and the cell's values."""
    path = write(tmp_path, line(id="a") + line(id="b", prompt="a dog"))
    rows = read(path, sweep=Sweep(axes={"seed": {"count": 300}}))

    assert [row.number for row in rows] == list(range(1, 601))
    assert [(row.line, row.user_id) for row in rows[299:301]] == [(1, "a"), (2, "b")]
    assert rows[300].axes == {"seed": 0}
    assert inputs(rows)[300] == {**ROW, "prompt": "a dog", "seed": 0}


def test_a_new_axis_value_adds_only_its_cells(tmp_path: Path) -> None:
    """Jobs are named by content."""
    path = write(tmp_path, line())
    few = {r.job.job_id for r in read(path, sweep=Sweep(axes={"seed": [1, 2]})) if r.job}
    more = {r.job.job_id for r in read(path, sweep=Sweep(axes={"seed": [0, 1, 2]})) if r.job}

    assert few < more
    assert len(more) == 3


def test_a_sweep_alone_has_rows_without_a_line() -> None:
    """The defaults give what the axes don't."""
    rows = read(None, defaults=ROW, sweep=Sweep(axes={"seed": [1, 2], "guidance": [3]}))

    assert [(row.number, row.line) for row in rows] == [(1, 0), (2, 0)]
    assert inputs(rows)[1] == {**ROW, "seed": 2, "guidance": 3}


def test_a_sweep_alone_without_its_required_inputs_is_refused_once() -> None:
    """Not a million times."""
    (bad,) = bad_rows(
        None, defaults={"prompt": "a"}, sweep=Sweep(axes={"seed": {"count": 1_000_000}})
    )

    assert str(bad) == "row 1, control_image: is required and not given"


def test_a_bad_row_is_refused_once_not_in_every_cell(tmp_path: Path) -> None:
    """The axes are good, so the row is bad everywhere; the next row is read."""
    path = write(tmp_path, line(guidance="x") + "{\n" + line())
    sweep = Sweep(axes={"seed": {"count": 1000}})

    assert [(bad.line, bad.field) for bad in bad_rows(path, sweep=sweep)] == [
        (1, "guidance"),
        (2, ""),
    ]
    assert [row.number for row in read(path, sweep=sweep)] == list(range(1, 1003))


def test_a_bad_file_of_a_glob_spoils_its_own_cells_alone(tmp_path: Path) -> None:
    """The others are made."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    write(tmp_path, "text", "b.png")
    sweep = Sweep(axes={"control_image": "*.png", "seed": [1, 2]})
    rows = read(None, defaults={"prompt": "a"}, sweep=sweep, folder=tmp_path)

    assert [row.job is not None for row in rows] == [True, True, False, False]
    assert rows[2].axes == {"control_image": "b.png", "seed": 1}


def test_a_row_may_not_give_what_the_sweep_varies(tmp_path: Path) -> None:
    """One of the two would be lost without a word; an empty cell is fine."""
    path = write(tmp_path, line(seed=5) + line(seed=None))
    sweep = Sweep(axes={"seed": [1, 2]})

    (bad,) = bad_rows(path, sweep=sweep)
    assert (bad.line, bad.field) == (1, "seed")
    assert "drop the column or the axis" in bad.reason
    assert len(inputs(read(path, sweep=sweep))) == 2


def test_repeats_and_sweeps_multiply(tmp_path: Path) -> None:
    """Every cell is made as often as the row says."""
    rows = read(write(tmp_path, line(repeat=2)), sweep=Sweep(axes={"seed": [1, 2]}))

    assert [(row.axes["seed"], row.job.repeat) for row in rows if row.job] == [
        (1, 0),
        (1, 1),
        (2, 0),
        (2, 1),
    ]


def test_ids_are_checked_once_a_line_across_batches(tmp_path: Path) -> None:
    """A row of many cells is no duplicate of itself."""
    path = write(tmp_path, line(id="a") + line(id="a"))
    found = bad_rows(path, sweep=Sweep(axes={"seed": {"count": 1000}}))

    assert [(bad.line, bad.field) for bad in found] == [(2, "id")]


def test_the_count_is_at_hand_before_any_row(tmp_path: Path) -> None:
    """For the plan."""
    manifest = opened(write(tmp_path, line()), sweep=Sweep(axes={"seed": {"count": 10**9}}))

    assert manifest.cells is not None
    assert manifest.cells.count() == 10**9


# --- Sweeps within ------------------------------------------------------------------------------

PAIRS: dict[str, Any] = {
    "mode": "zip",
    "axes": {"prompt": ["a", "b", "c"], "num_outputs": [1, 2, 4]},
}


def test_a_zip_within_a_product_is_one_axis_of_pairs() -> None:
    """The cells of a sweep within are the values of one more axis, the last."""
    made = cells({"seed": [1, 2]}, nested=[PAIRS])

    assert made.count() == 6
    assert list(made)[:4] == [
        {"seed": 1, "prompt": "a", "num_outputs": 1},
        {"seed": 1, "prompt": "b", "num_outputs": 2},
        {"seed": 1, "prompt": "c", "num_outputs": 4},
        {"seed": 2, "prompt": "a", "num_outputs": 1},
    ]
    assert made.names == {"seed", "prompt", "num_outputs"}


def test_a_product_within_a_zip_goes_side_by_side() -> None:
    """With axes of as many values as it has cells."""
    inner = {"axes": {"guidance": [1, 2], "num_outputs": [1, 2]}}

    assert [c["seed"] for c in cells({"seed": {"count": 4}}, mode="zip", nested=[inner])] == [
        0,
        1,
        2,
        3,
    ]
    assert "seed has 3, guidance and num_outputs has 4" in refusal(
        {"seed": {"count": 3}}, mode="zip", nested=[inner]
    )


def test_sweeps_may_be_nested_twice_and_have_no_axes_of_their_own() -> None:
    """Each with its own exclude."""
    inner = {"axes": {"guidance": [1, 2, 3]}, "exclude": [{"guidance": 2}], "nested": [PAIRS]}

    assert cells({}, nested=[inner]).count() == 6
    assert cells({}, nested=[{**inner, "mode": "sample", "sample": 4}]).count() == 4
    with pytest.raises(ValidationError):
        Sweep(axes={}, nested=[])


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["seed", "guidance", "prompt", "num_outputs"]),
            st.sampled_from([1, 2, "a", "b", 4]),
            min_size=1,
            max_size=3,
        ),
        max_size=5,
    ),
    st.sampled_from(["product", "zip", "sample"]),
)
@example([{"num_outputs": 1}, {"num_outputs": 2}], "sample")
def test_the_count_is_the_number_of_cells_within_too(
    excluded: list[dict[str, Any]], mode: str
) -> None:
    """An exclude may name axes of every level."""
    fitting = {"seed": (1, 2), "guidance": (1, 2), "prompt": ("a", "b"), "num_outputs": (1, 2, 4)}
    excluded = [
        cell for cell in excluded if all(value in fitting[name] for name, value in cell.items())
    ]
    within: list[dict[str, Any]] = [PAIRS, {"axes": {"guidance": [1, 2, 3]}}]
    if mode == "sample":
        within = [{**PAIRS, "mode": "sample", "sample": 5}, within[1]]
    elif mode == "product":
        within = [{**PAIRS, "mode": "product"}, within[1]]
    axes = {"seed": [1, 2, 3, 4]}
    left = [
        cell
        for cell in cells(axes, nested=within)
        if not any(out.items() <= cell.items() for out in excluded)
    ]
    if not left:
        assert "every cell is excluded" in refusal(axes, nested=within, exclude=excluded)
        return
    made = cells(axes, nested=within, exclude=excluded)

    assert made.count() == len(list(made)) == len(left)
    by = made.by(["prompt", "seed"], 1000)
    assert by is not None
    assert sum(count for _, count in by) == made.count()


@pytest.mark.parametrize(
    ("nested", "said"),
    [
        ([{"axes": {"seed": [5]}}], "'seed' is an axis of two sweeps"),
        ([{"axes": {"guidance": {"range": [0, 100]}, "output_quality": {"range": [0, 100]},
                    "num_inference_steps": {"range": [1, 50]}}, "mode": "sample",
           "sample": 100_001}], "at most 100,000 cells"),
        ([{"axes": {"guidance": [1]}, "mode": "sample", "sample": 2}], "give only 1 cells"),
        ([{"axes": {"guidance": [1]}, "exclude": [{"seed": 1}]}], "sweep.exclude.seed: no such"),
    ],
)  # fmt: skip
def test_a_sweep_within_that_cannot_be_meant_is_refused(
    nested: list[dict[str, Any]], said: str
) -> None:
    """As the outer one would be."""
    assert said in refusal({"seed": [1, 2]}, nested=nested)


def test_a_zip_of_long_axes_is_counted_at_once() -> None:
    """What is excluded is found by arithmetic too."""
    axes = {"seed": {"count": 10**9}, "style": {"range": [1, 10**9]}}
    sweep = Sweep(axes=axes, mode="zip", exclude=[{"seed": 4}, {"seed": 9, "style": 9}])
    made = Cells(sweep, card=CARD, folder=Path(), variables=True)

    assert made.count() == 10**9 - 1
    assert next(iter(made)) == {"seed": 0, "style": 1}


def test_a_long_list_is_read_at_once() -> None:
    """Whether a value stands twice is no question of every pair."""
    started = time.process_time()
    assert cells({"seed": list(range(100_000))}).count() == 100_000
    assert time.process_time() - started < 5


def test_a_variable_needs_a_name_templates_can_say() -> None:
    """And values that are texts, numbers, true or false."""
    sweep = Sweep(axes={"art style": ["oil"]})
    with pytest.raises(ConfigError, match="a variable is named like"):
        Cells(sweep, card=CARD, folder=Path(), variables=True)
    for bad in ({"a": 1}, [1], None, "", float("nan")):
        with pytest.raises(ConfigError, match="is not a text, a number"):
            Cells(Sweep(axes={"style": [bad]}), card=CARD, folder=Path(), variables=True)
    many = Sweep(axes={"style": [1, True, 1.0, "1"]})
    assert Cells(many, card=CARD, folder=Path(), variables=True).count() == 4
