"""The grammar of diffusion tools: what a template becomes, how often, and where it is wrong."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxbatch.errors import ConfigError
from fluxbatch.manifest.templates.dynamic_nodes import Node
from fluxbatch.manifest.templates.dynamic_parser import parse
from fluxbatch.manifest.templates.errors import MOST_CHARS, BadTemplate
from fluxbatch.manifest.templates.output import OutputBuffer, SeededDraw
from fluxbatch.manifest.templates.wildcards import Wildcards

NAMES = {"style": "oil", "n": "7"}


def parsed(text: str, folder: Path | None = None) -> Node:
    known = frozenset(NAMES)
    node, _ = parse(text, known, Wildcards(folder).reader(known))
    return node


def texts(text: str, folder: Path | None = None) -> list[str]:
    """All that *text* may become, in its order."""
    node = parsed(text, folder)
    made = []
    for number in range(node.count):
        into = OutputBuffer(NAMES)
        node.write(number, into)
        made.append(str(into))
    return made


def drawn(text: str, seed: int, folder: Path | None = None) -> str:
    into = OutputBuffer(NAMES)
    parsed(text, folder).draw(SeededDraw(str(seed).encode()), into)
    return str(into)


def refusal(text: str, folder: Path | None = None) -> str:
    with pytest.raises(BadTemplate) as caught:
        texts(text, folder)
    return str(caught.value)


@pytest.fixture
def wildcards(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "colour.txt").write_text("# a remark\nred\n\n3::green\n{dark|light} blue\n")
    (tmp_path / "deep" / "place.txt").write_text("a __colour__ house\n${style} sea\n")
    (tmp_path / "loop.txt").write_text("a __pool__\n")
    (tmp_path / "pool.txt").write_text("b __loop__\n")
    (tmp_path / "bad.txt").write_text("good\n{never closed\n")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("a cat", ["a cat"]),
        ("a {red|blue} cat", ["a red cat", "a blue cat"]),
        ("{a|b}{1|2}", ["a1", "a2", "b1", "b2"]),
        ("{a|{b|c}}", ["a", "b", "c"]),
        ("{|very }big", ["big", "very big"]),
        ("{2$$a|b|c}", ["a,b", "a,c", "b,a", "b,c", "c,a", "c,b"]),
        ("{2$$ and $$a|b}", ["a and b", "b and a"]),
        ("{1-2$$a|b}", ["a", "b", "a,b", "b,a"]),
        ("{0-1$$a|b}", ["", "a", "b"]),
        ("{-2$$a|b}", ["a", "b", "a,b", "b,a"]),
        ("{2-$$a|b}", ["a,b", "b,a"]),
        ("{9$$a|b}", ["a,b", "b,a"]),
        ("{2$$-$$a|{b|c}}", ["a-b", "a-c", "b-a", "c-a"]),
        ("{0.3::a|b|2::c}", ["a", "b", "c"]),
        ("{0::a|b}", ["b"]),
        ("${x={a|b}}${x}${x}", ["aa", "ab", "ba", "bb"]),
        ("${x=!{a|b}}${x}${x}", ["aa", "bb"]),
        ("${x=!{a|b}}{${x=!c}${x}|${x}}", ["c", "a", "c", "b"]),
        ("in ${style}", ["in oil"]),
        ("${other:{a|b}} ${style:none}", ["a oil", "b oil"]),
        (r"\{a\|b\} \$ {x\}|y}", ["{a|b} $ x}", "{a|b} $ y"]),
        ("a | b } c $5 $$ _ __ x_y", ["a | b } c $5 $$ _ __ x_y"]),
        ("(cat:1.2) [a] # no remark", ["(cat:1.2) [a] # no remark"]),
        ("  spaces { stay } ", ["  spaces  stay  "]),
    ],
)
def test_a_template_becomes_these_prompts(text: str, made: list[str]) -> None:
    """Every one, the last choice first."""
    assert texts(text) == made


def test_wildcards_are_lines_of_files(wildcards: Path) -> None:
    """With weights, remarks, templates within, folders and patterns."""
    colours = ["red", "green", "dark blue", "light blue"]

    assert texts("__colour__", wildcards) == colours
    houses = [f"a {colour} house" for colour in colours]
    assert texts("__deep/place__", wildcards) == [*houses, "oil sea"]
    assert texts("__d*/pl*__", wildcards) == texts("__deep/place__", wildcards)


def test_two_of_a_file_are_two_lines_of_it(wildcards: Path) -> None:
    """No line twice; a line that is a template counts as each of its texts."""
    made = texts("{2$$ & $$__colour__}", wildcards)

    assert len(made) == len(set(made)) == 10
    assert "red & dark blue" in made
    assert not any("dark blue" in text and "light blue" in text for text in made)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a {b|c", "never closed (character 3: '{b|c')"),
        ("x {}", "nothing between the braces (character 3"),
        ("{0::a}", "every option has the weight 0"),
        ("in ${stile}", "there is no 'stile'; did you mean 'style'? (character 4"),
        ("a __colour__", "set templates.wildcards (character 3"),
        ("{" * 60, "nests deeper than 50 levels"),
        ("{a|b}" * 2000, "more than 10^300 prompts"),
        ("x" * (MOST_CHARS + 1), "longer than 100,000 characters"),
        ("{101$$" + "|".join("abcdefghij" * 20) + "}", "which is too many"),
        ("{9999999::a|b}", "the weight 9999999 is above"),
    ],
)
def test_a_template_that_cannot_be_meant_is_refused_with_its_place(text: str, said: str) -> None:
    """Counted in characters from 1."""
    assert said in refusal(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a __color__", "there is no file 'color.txt'"),
        ("__loop__", "leads back to itself"),
        ("__bad__", "in line 2 of 'bad.txt'"),
    ],
)
def test_a_wildcard_that_cannot_be_used_is_refused(wildcards: Path, text: str, said: str) -> None:
    """By its name, and by the line of its file."""
    assert said in refusal(text, wildcards)


def test_a_folder_of_wildcards_must_be_there(tmp_path: Path) -> None:
    """Before any row."""
    with pytest.raises(ConfigError, match="is no folder"):
        Wildcards(tmp_path / "none")


def test_a_file_that_is_no_text_spoils_only_the_prompts_that_name_it(wildcards: Path) -> None:
    """A pack from elsewhere holds files that nobody here uses."""
    (wildcards / "latin.txt").write_bytes(b"caf\xe9\n")

    assert texts("{a|b}", wildcards) == ["a", "b"]
    assert "'latin.txt' is not UTF-8" in refusal("__latin__", wildcards)
    assert "'latin.txt' is not UTF-8" in refusal("__la*__", wildcards)


def test_other_lines_are_another_manifest(wildcards: Path) -> None:
    """Known by names and bytes."""
    before = Wildcards(wildcards).sha256
    assert before == Wildcards(wildcards).sha256
    (wildcards / "colour.txt").write_text("red\n")

    assert Wildcards(wildcards).sha256 != before


def test_draws_go_by_weight_and_seed() -> None:
    """The same everywhere; golden values, because other draws would be other jobs."""
    many = [drawn("{9::a|1::b}", seed) for seed in range(1000)]

    assert 850 < many.count("a") < 950
    assert [drawn("{2$$a|b|c|d} ${x=!{1|2}}${x}${x}", seed) for seed in range(4)] == [
        "a,c 11",
        "c,d 11",
        "b,a 22",
        "b,a 22",
    ]


def test_a_template_that_would_never_end_is_stopped() -> None:
    """A doubling of nothing costs no length, but it costs steps."""
    doubled = "".join(f"${{a{n + 1}=${{a{n}}}${{a{n}}}}}" for n in range(40))
    began = time.process_time()

    assert "more than 100,000 steps" in refusal("${a0=}" + doubled + "${a40}")
    assert "longer than 100,000 characters" in refusal("${a0=aaaa}" + doubled + "${a40}")
    assert time.process_time() - began < 5


PIECES = st.sampled_from(
    [
        "{",
        "}",
        "|",
        "a",
        "2$$",
        "1-2$$",
        ", $$",
        "0.5::",
        "::",
        "__",
        "__a__",
        "${",
        "${x=",
        "=!",
        "${x}",
        ":",
        "$",
        "$$",
        "\\",
        " ",
        "x",
        "é",
        "${style}",
        "${style:",
    ]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_any_text_settles(text: str) -> None:
    """In as many prompts as were counted, or in a refusal."""
    try:
        node = parsed(text)
        made = [OutputBuffer(NAMES) for _ in range(min(node.count, 200))]
        for number, into in enumerate(made):
            node.write(number, into)
        node.draw(SeededDraw(b"x"), OutputBuffer(NAMES))
    except BadTemplate:
        return
    assert node.count >= 1
