"""Jinja over a row: what it may do, and that nothing it does can reach out or go on for ever."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxbatch.manifest.templates.dynamic_parser import parse
from fluxbatch.manifest.templates.errors import BadTemplate
from fluxbatch.manifest.templates.jinja import Renderer
from fluxbatch.manifest.templates.output import unguarded
from fluxbatch.manifest.templates.wildcards import Wildcards

NAMES: dict[str, object] = {
    "style": "oil",
    "seed": 7,
    "words": ["a", "b"],
    "meta": {"place": "sea", "items": "three"},
    "long": "ab" * 5000,
    "sly": "{a|b} __c__ ${d}",
}


def rendered(text: str) -> str:
    return unguarded(Renderer().render(text, NAMES)[0])


def refusal(text: str) -> str:
    began = time.process_time()
    with pytest.raises(BadTemplate) as caught:
        rendered(text)
    assert time.process_time() - began < 5
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("a {{ style }} cat, {{ seed }}", "a oil cat, 7"),
        ("{{ style | upper }} {{ style | replace('o', 'O') }}", "OIL Oil"),
        ("{{ meta.place }} {{ meta['place'] }} {{ meta.items }}", "sea sea three"),
        ("{% if seed > 5 %}high{% else %}low{% endif %}", "high"),
        ("{{ 'ink' if style == 'oil' else 'oil' }}", "ink"),
        ("{% for w in words %}{{ loop.index }}{{ w }}{% if loop.first %}, {% endif %}{% endfor %}",
         "1a, 2b"),
        ("{{ words | join(' and ') }}", "a and b"),
        ("{{ mood | default('calm') }} {{ mood is defined }}", "calm False"),
        ("{% set x = seed * 2 %}{{ x }}{# a remark #}", "14"),
        ("{{ none }}|{{ seed / 2 }}|{{ 7.456 | round(1) }}", "|3.5|7.5"),
        ("two\nlines\n", "two\nlines\n"),
    ],
)  # fmt: skip
def test_a_template_becomes_this_text(text: str, made: str) -> None:
    """Output, conditions, loops, filters, the row's own names."""
    assert rendered(text) == made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ stile }}", "there is no 'stile'; did you mean 'style'?"),
        ("{{ meta.plcae }}", "has no attribute 'plcae'"),
        ("{{ style ", "unexpected end of template"),
        ("{{ style.upper() }}", "use a filter"),
        ("{{ ''.__class__ }}", "unsafe"),
        ("{{ style['__class__'] }}", "unsafe"),
        ("{{ style.__class__.__mro__ }}", "unsafe"),
        ("{{ range.func }}", "unsafe"),
        ("{{ self }}", "there is no 'self'"),
        ("{% include 'x' %}", "'Include' of Jinja is not allowed"),
        ("{% import 'x' as y %}", "'Import' of Jinja is not allowed"),
        ("{% macro m() %}{% endmacro %}", "'Macro' of Jinja is not allowed"),
        ("{{ style | map('upper') }}", "No filter named 'map'"),
        ("{{ style | random }}", "No filter named 'random'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ words }}", "puts out a list"),
        ("{{ meta }}", "puts out a dict"),
        ("{{ 'a' + 1 }}", "cannot be rendered"),
    ],
)
def test_what_is_not_allowed_says_so(text: str, said: str) -> None:
    """And what would be."""
    assert said in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(1000000000) %}a{% endfor %}",
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
        "{% for a in long %}{% for b in long %}{% endfor %}{% endfor %}",
        "{% for i in range(10000) %}{{ long | sort | join | length }}{% endfor %}",
        "{% for i in range(9000) %}{{ long }}{% endfor %}",
        "{{ 'a' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ 2 ** 1000000000 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ 1 | round(1000000000, 'ceil') }}",
        "{{ 'aa' | replace('a', 'b' * 90000) | replace('b', 'c' * 90000) }}",
        "{{ long | replace('', long) }}",
        "{% set x = long %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}",
        "{% set x = 10 %}" + "{% set x = x * x %}" * 60 + "{{ x }}",
        "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
        "{% for i in words %}" * 30 + "{% endfor %}" * 30,
        "{{ " + "9" * 5000 + " }}",
        "x{{ seed }}" * 20000,
    ],
)
def test_no_template_takes_more_than_its_share(text: str) -> None:
    """Of time or of memory, whatever it tries."""
    assert refusal(text)


def test_what_a_row_says_is_no_grammar() -> None:
    """A value with braces in it stays a value; the template's own braces do not."""
    text, asked = Renderer().render("{{ sly }} {x|y}", NAMES)
    node, _ = parse(text, frozenset(), Wildcards(None).reader(frozenset()))

    assert asked == {"sly"}
    assert node.count == 2
    assert unguarded(text) == "{a|b} __c__ ${d} {x|y}"


PIECES = st.sampled_from(
    [
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        " ",
        "style",
        "meta",
        ".",
        "|",
        "upper",
        "for x in words",
        "endfor",
        "if seed",
        "endif",
        "set x = ",
        "range(",
        "9",
        "**",
        "*",
        "~",
        "'a'",
        "(",
        ")",
        "[",
        "]",
        "'__class__'",
        "join",
        "é",
        "\n",
        "recursive",
        "loop",
        "default(1)",
        "sort",
    ]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=20).map("".join))
def test_any_text_settles(text: str) -> None:
    """In a text or in a refusal."""
    try:
        rendered(text)
    except BadTemplate:
        return


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=8).map(" ".join), st.booleans())
def test_any_expression_settles(inner: str, is_statement: bool) -> None:
    """Within its braces, where Jinja's own parser is at work."""
    try:
        rendered(f"{{% {inner} %}}" if is_statement else f"{{{{ {inner} }}}}")
    except BadTemplate:
        return
