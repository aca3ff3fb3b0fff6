"""Templates over rows and sweeps: which texts they are, what they may name, how many jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fluxbatch.config.sweep import Sweep, Templates
from fluxbatch.domain.job import Row
from fluxbatch.errors import ConfigError, ManifestError
from tests.unit.manifest.reading import ROW, URL, bad_rows, inputs, line, opened, read, write

BOTH = Templates()
OFF = Templates.model_validate(False)


def prompts(rows: list[Row]) -> list[object]:
    return [given["prompt"] for given in inputs(rows)]


def test_a_brace_in_an_ordinary_manifest_is_a_brace(tmp_path: Path) -> None:
    """Without a word about templates no text is one, whatever it looks like."""
    odd = "a {red|blue} {{ cat }} __x__ ${y} {% if %}"

    assert prompts(read(write(tmp_path, line(prompt=odd)))) == [odd]
    assert prompts(read(write(tmp_path, line(prompt=odd)), templates=OFF)) == [odd]


def test_a_row_is_made_once_for_each_prompt_of_its_template(tmp_path: Path) -> None:
    """With the same line, id and meta."""
    path = write(
        tmp_path, line(id="x", prompt="a {red|blue} {{ meta.animal }}", meta={"animal": "cat"})
    )
    rows = read(path, templates=BOTH)

    assert prompts(rows) == ["a red cat", "a blue cat"]
    assert [(row.number, row.line, row.user_id) for row in rows] == [(1, 1, "x"), (2, 1, "x")]


def test_columns_that_mean_nothing_are_names_for_templates(tmp_path: Path) -> None:
    """And stay with the row; one that is nearly an input is still a slip."""
    csv = f"subject,look,control_image\nfox,,{URL}\n"
    path = write(tmp_path, csv, "m.csv")
    defaults = {"prompt": "a {{ subject }} in {oil|ink} ${look:by day}"}
    rows = read(path, defaults=defaults, templates=BOTH)

    assert prompts(rows) == ["a fox in oil by day", "a fox in ink by day"]
    assert rows[0].meta == {"subject": "fox"}
    with pytest.raises(ManifestError, match="did you mean 'guidance'"):
        read(write(tmp_path, f"prompt,control_image,guidnace\na,{URL},7\n", "n.csv"),
             templates=BOTH)  # fmt: skip


def test_an_axis_that_is_no_input_is_a_variable() -> None:
    """It makes templates of the texts by itself; its values stay with the job."""
    sweep = Sweep(axes={"style": ["oil", "{ink|x}"], "seed": {"count": 2}})
    rows = read(None, defaults={**ROW, "prompt": "a {{ style }} cat"}, sweep=sweep)

    assert prompts(rows) == ["a oil cat"] * 2 + ["a {ink|x} cat"] * 2
    assert rows[1].axes == {"style": "oil", "seed": 1}
    assert inputs(rows)[1] == {**ROW, "prompt": "a oil cat", "seed": 1}


def test_an_axis_no_template_names_is_refused() -> None:
    """Its cells would all be the same job, and somebody meant something."""
    sweep = Sweep(axes={"flavour": ["a", "b"]})

    with pytest.raises(ManifestError, match=r"sweep\.axes\.flavour: is no input"):
        read(None, defaults=ROW, sweep=sweep)
    with pytest.raises(ManifestError, match=r"sweep\.axes\.flavour: is no input"):
        opened(None, defaults=ROW, sweep=sweep).count()
    with pytest.raises(ConfigError, match="did you mean 'seed'"):
        opened(None, defaults=ROW, sweep=Sweep(axes={"sed": [1]}))


@pytest.mark.parametrize("text", ["a {red|blue} cat", "a {{ style }} cat", "a __colour__ cat"])
def test_a_config_whose_text_looks_like_a_template_is_asked_what_it_means(text: str) -> None:
    """A row's text is somebody's prompt; a config's is the user's own."""
    sweep = Sweep(axes={"seed": [1]})

    with pytest.raises(ConfigError, match=r"defaults\.prompt: .* looks like a template"):
        opened(None, defaults={**ROW, "prompt": text}, sweep=sweep)
    with pytest.raises(ConfigError, match=r"sweep\.axes\.prompt: .* looks like a template"):
        opened(None, defaults={"control_image": URL}, sweep=Sweep(axes={"prompt": [text]}))
    (row,) = read(None, defaults={**ROW, "prompt": text}, sweep=sweep, templates=OFF)
    assert prompts([row]) == [text]


def test_an_axis_of_templates_is_expanded_in_each_cell() -> None:
    """The axis keeps the template, the job has the prompt."""
    sweep = Sweep(axes={"prompt": ["a {b|c}", "d"], "seed": [1, 2]})
    rows = read(None, defaults={"control_image": URL}, sweep=sweep, templates=BOTH)

    assert prompts(rows) == ["a b", "a c", "a b", "a c", "d", "d"]
    assert rows[0].axes == {"prompt": "a {b|c}", "seed": 1}


def test_one_grammar_alone_leaves_the_other_as_it_is(tmp_path: Path) -> None:
    """As the config says, input by input."""
    path = write(tmp_path, line(prompt="{{ seed }} {a|b}", seed=3))

    assert prompts(read(path, templates=Templates(inputs={"prompt": "jinja"}))) == ["3 {a|b}"]
    both = read(path, templates=Templates(inputs={"prompt": "both"}))
    assert prompts(both) == ["3 a", "3 b"]
    single = write(tmp_path, line(prompt="{% x %} {a|b}"), "n.jsonl")
    dynamic = read(single, templates=Templates(inputs={"prompt": "dynamic"}))
    assert prompts(dynamic) == ["% x % a", "% x % b"]
    with pytest.raises(ConfigError, match=r"templates\.inputs\.promt: no such input"):
        opened(path, templates=Templates(inputs={"promt": "jinja"}))


def test_other_inputs_may_be_templates_too(tmp_path: Path) -> None:
    """What they become is checked as the input's own type; files of the config stay its own."""
    (tmp_path / "config").mkdir()
    asked = Templates(inputs={"guidance": "jinja", "control_image": "jinja"})
    defaults = {"guidance": "{{ g }}", "control_image": "https://example.org/{{ g }}.png"}
    path = write(tmp_path, '{"prompt": "a", "g": 7}\n{"prompt": "a", "g": "x"}\n')
    rows = read(path, defaults=defaults, templates=asked)

    assert inputs(rows) == [
        {"prompt": "a", "guidance": 7, "control_image": "https://example.org/7.png"}
    ]
    assert "guidance: 'x' is not a number" in str(rows[1].error)


def test_a_bad_template_names_row_field_and_place(tmp_path: Path) -> None:
    """And the next row is made."""
    path = write(
        tmp_path, line(prompt="a {b|c") + line(prompt="{{ stile }}", style="x") + line(prompt="d")
    )
    found = bad_rows(path, templates=BOTH)

    assert [(bad.line, bad.field) for bad in found] == [(1, "prompt"), (2, "prompt")]
    assert "never closed (character 3: '{b|c')" in found[0].reason
    assert "there is no 'stile'; did you mean 'style'?" in found[1].reason
    assert prompts(read(path, templates=BOTH)) == ["d"]


def test_a_bad_row_is_refused_once_not_in_every_cell(tmp_path: Path) -> None:
    """Templates change nothing about that."""
    path = write(tmp_path, line(guidance="x", prompt="{a|b}") + "{\n" + line(prompt="{a|b}"))
    sweep = Sweep(axes={"seed": {"count": 500}})
    found = bad_rows(path, sweep=sweep, templates=BOTH)

    assert [(bad.line, bad.field) for bad in found] == [(1, "guidance"), (2, "")]
    assert len(prompts(read(path, sweep=sweep, templates=BOTH))) == 1000


def test_a_template_bad_in_one_cell_spoils_that_cell_alone() -> None:
    """The others are made."""
    sweep = Sweep(axes={"style": ["oil", "ink"]})
    text = "{% if style == 'ink' %}{{ missing }}{% endif %}a cat"
    rows = read(None, defaults={**ROW, "prompt": text}, sweep=sweep)

    assert [row.job is not None for row in rows] == [True, False]
    assert rows[1].axes == {"style": "ink"}


COUNTED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("{a|b|{c|d}} {1|2}", {}, {}),
    ("{a|b}", {"axes": {"seed": {"count": 7}}, "exclude": [{"seed": 3}]}, {}),
    ("{{ style }} {2$$a|b|c}", {"axes": {"style": ["x", "y"], "seed": [1, 2]}}, {}),
    ("{% if style == 'x' %}{a|b}{% else %}c{% endif %}",
     {"axes": {"style": ["x", "y"], "seed": [1, 2, 3]}, "exclude": [{"style": "x", "seed": 2}]},
     {}),
    ("{% if seed %}{a|b}{% endif %}c", {"axes": {"seed": {"count": 5}}, "mode": "sample",
     "sample": 3}, {}),
    ("{a|b|c|d}{1|2|3}", {}, {"mode": "sample", "sample": 5}),
    ("{a|b}", {}, {"mode": "sample", "sample": 5}),
    ("{a|a|a}{b|b}", {"axes": {"seed": [1, 2]}}, {"mode": "sample", "sample": 4}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sweep", "templates"), COUNTED)
def test_the_count_is_the_number_of_rows(
    tmp_path: Path, text: str, sweep: dict[str, Any], templates: dict[str, Any]
) -> None:
    """Without making them, with repeats and bad rows."""
    path = write(tmp_path, line(prompt=text) + line(prompt=text, repeat=2) + "{\n")
    manifest = opened(
        path, sweep=Sweep(**sweep) if sweep else None, templates=Templates(**templates)
    )

    assert manifest.count() == (len(list(manifest.rows())), True)


def test_a_count_beyond_all_making_is_known_at_once() -> None:
    """10^9 cells and 10^12 prompts in each."""
    text = "{{ style }} " + "{a|b|c|d|e|f|g|h|i|j}" * 12
    sweep = Sweep(axes={"style": {"count": 10}, "seed": {"count": 10**8}})

    counted = opened(None, defaults={**ROW, "prompt": text}, sweep=sweep).count()
    assert counted == (10**9 * 10**12, True)


def test_a_count_that_hangs_on_too_many_cells_says_about() -> None:
    """Nobody looks at a billion conditions."""
    sweep = Sweep(axes={"style": ["x"], "seed": {"count": 10**9}})
    text = "{% if seed %}{{ style }}{% endif %} {a|b}"

    assert opened(None, defaults={**ROW, "prompt": text}, sweep=sweep).count() == (2 * 10**9, False)


def test_a_sample_draws_different_prompts_and_keeps_them_when_it_grows(tmp_path: Path) -> None:
    """By the seed and by what the row says: a row added above it changes nothing."""
    text = "{a|b|c|d|e|f|g|h} {1|2|3|4|5|6|7|8}"
    row = line(prompt=text, id="x")

    def drawn(content: str, sample: int, seed: int = 0) -> list[object]:
        asked = Templates(mode="sample", sample=sample, seed=seed)
        return prompts(read(write(tmp_path, content), templates=asked))

    few = drawn(row, 5)
    assert len(set(few)) == 5
    assert drawn(row, 9)[:5] == few
    assert drawn(line() + row, 5)[1:] == few
    assert drawn(row, 5, seed=1) != few
    assert drawn(line(prompt=text, id="y"), 5) != few
    assert few[:3] == ["b 4", "e 7", "h 2"]  # golden: other draws would be other jobs


def test_every_cell_of_a_row_compares_the_same_prompts() -> None:
    """A grid is of no use otherwise."""
    sweep = Sweep(axes={"guidance": [5, 10]})
    asked = Templates(mode="sample", sample=3)
    defaults = {**ROW, "prompt": "{a|b|c|d} {1|2|3|4}"}
    made = prompts(read(None, defaults=defaults, sweep=sweep, templates=asked))

    assert made[:3] == made[3:]


def test_a_sample_goes_by_the_weights(tmp_path: Path) -> None:
    """Over many rows."""
    rows = "".join(line(id=n, prompt="{9::a|1::b}") for n in range(500))
    asked = Templates(mode="sample", sample=1)
    made = prompts(read(write(tmp_path, rows), templates=asked))

    assert 420 < made.count("a") < 480


def test_a_new_option_adds_only_its_jobs(tmp_path: Path) -> None:
    """Jobs are named by content."""
    few = read(write(tmp_path, line(prompt="{a|b} x")), templates=BOTH)
    more = read(write(tmp_path, line(prompt="{a|b|c} x")), templates=BOTH)

    assert {r.job.job_id for r in few if r.job} < {r.job.job_id for r in more if r.job}


def test_wildcards_are_part_of_the_manifest(tmp_path: Path) -> None:
    """Other lines make another manifest; the folder is relative to the config."""
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "colour.txt").write_text("red\nblue\n")
    path = write(tmp_path, line(prompt="a __colour__ cat"))
    asked = Templates(wildcards="cards")
    before = opened(path, templates=asked, config_folder=tmp_path)

    assert prompts(list(before.rows())) == ["a red cat", "a blue cat"]
    (tmp_path / "cards" / "colour.txt").write_text("red\n")
    assert opened(path, templates=asked, config_folder=tmp_path).identity != before.identity


def test_a_sample_has_a_size() -> None:
    """The two settings go together."""
    with pytest.raises(ValueError, match="go together"):
        Templates(mode="sample")
    with pytest.raises(ValueError, match="go together"):
        Templates(sample=3)
