"""The Jinja2 sandbox over a row's names: no access outside, no endless work.

Owns what of Jinja is allowed: output, conditions, loops, a list of filters. No calls but `range`,
no attributes but an object's own names, no macros, no includes. Every loop, text and number is
bounded. What an expression puts out is a value: it is guarded from the other grammar.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial, wraps
from itertools import islice
from typing import Any, cast

import jinja2
from jinja2 import meta, nodes
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from fluxbatch.manifest.templates.errors import MOST_CHARS, BadTemplate, unknown_name
from fluxbatch.manifest.templates.output import guarded

_MOST_TURNS = 10_000
_MOST_SECONDS = 2.0
_MOST_NUMBER = 10**100
_KEPT = 512

_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const,
    nodes.Filter, nodes.Test, nodes.If, nodes.CondExpr, nodes.For, nodes.Getattr, nodes.Getitem,
    nodes.Slice, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Concat,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos,
    nodes.Assign, nodes.List, nodes.Tuple, nodes.Call, nodes.Keyword,
)  # fmt: skip
_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "first", "float", "int", "last",
    "length", "list", "lower", "max", "min", "reverse", "sort", "string",
    "sum", "title", "trim", "truncate", "unique", "upper", "wordcount",
)  # fmt: skip
_TESTS = (
    "defined", "undefined", "none", "odd", "even", "divisibleby", "number", "string", "integer",
    "float", "boolean", "true", "false", "lower", "upper", "in", "eq", "==", "ne", "!=", "gt",
    ">", "ge", ">=", "lt", "<", "le", "<=", "equalto", "greaterthan", "lessthan",
)  # fmt: skip


_OF_A_LOOP = ("index", "index0", "revindex", "revindex0", "first", "last", "length")


class Renderer:
    """Compiles templates and keeps the latest of them."""

    def __init__(self) -> None:
        self._limits = _Limits()
        self._env = _Environment(self._limits)
        self._kept: OrderedDict[str, tuple[jinja2.Template, frozenset[str]]] = OrderedDict()

    def render(
        self, text: str, names: Mapping[str, object], *, has_choices: bool = False
    ) -> tuple[str, frozenset[str]]:
        """What *text* becomes, and the names it asks for; raise `BadTemplate`.

        With *has_choices* it may be of the other grammar as well, where `{{a|b}|c}` is a choice
        within a choice: what Jinja cannot read is tried so too.
        """
        try:
            template, asked = self._compiled(text, has_choices=has_choices)
            self._limits.begin()
            pieces: list[str] = []
            chars = 0
            for piece in template.root_render_func(template.new_context(dict(names))):
                chars += len(piece)
                if chars > MOST_CHARS:
                    raise BadTemplate(f"becomes longer than {MOST_CHARS:,} characters")
                pieces.append(piece)
        except jinja2.TemplateSyntaxError as exc:
            hint = ""
            if has_choices and "{{" in text:
                hint = "; `{{` begins Jinja: for a choice write `{ {`, or set"
                hint += " templates.inputs to `dynamic` for it"
            raise BadTemplate(f"{exc.message} in line {exc.lineno} of it{hint}") from None
        except jinja2.UndefinedError as exc:
            raise BadTemplate(self._why_undefined(str(exc), names)) from None
        except (RecursionError, MemoryError, SyntaxError):
            raise BadTemplate("nests too deep") from None
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as exc:
            raise BadTemplate(f"cannot be rendered: {str(exc)[:200]}") from None
        except jinja2.TemplateError as exc:
            raise BadTemplate(str(exc)[:200]) from None
        return "".join(pieces), asked

    def _compiled(self, text: str, *, has_choices: bool) -> tuple[jinja2.Template, frozenset[str]]:
        if (known := self._kept.get(text)) is not None:
            self._kept.move_to_end(text)
            return known
        if len(text) > MOST_CHARS:
            raise BadTemplate(f"is longer than {MOST_CHARS:,} characters")
        tree = self._parsed(text, has_choices=has_choices)
        _AstWhitelist().visit(tree)  # first, for whoever looks at the tree folds its constants
        asked = frozenset(meta.find_undeclared_variables(tree)) - {"range"}
        code = self._env.compile(tree)
        template = jinja2.Template.from_code(self._env, code, self._env.globals)
        self._kept[text] = template, asked
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return template, asked

    def _parsed(self, text: str, *, has_choices: bool) -> nodes.Template:
        try:
            return self._env.parse(text)
        except jinja2.TemplateSyntaxError:
            kept = _with_nested_choices(text) if has_choices else text
            if kept == text:
                raise
            try:
                return self._env.parse(kept)
            except jinja2.TemplateSyntaxError:
                pass
            raise

    def _why_undefined(self, said: str, names: Mapping[str, object]) -> str:
        name = said.split("'")[1] if said.endswith(" is undefined") and "'" in said else ""
        return unknown_name(name, names) if name else said[:200]


def _with_nested_choices(text: str) -> str:
    """*text* with every `{{` that begins a choice, and that no `}}` answers, as plain text."""
    pieces: list[str] = []
    at = 0
    while (begins := text.find("{{", at)) >= 0:
        pieces.append(text[at:begins])
        ends, depth = begins + 1, 0
        while ends < len(text):
            depth += (text[ends] == "{") - (text[ends] == "}")
            if not depth:
                break
            ends += 1
        is_jinja = text[ends + 1 : ends + 2] == "}" or "|" not in text[begins:ends]
        pieces.append("{{" if is_jinja else "{% raw %}{{{% endraw %}")
        at = begins + 2
    return "".join([*pieces, text[at:]])


class _Limits:
    """What one rendering has used."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._turns = 0
        self._until = time.thread_time() + _MOST_SECONDS

    def turns(self, values: Iterable[Any]) -> Iterator[Any]:
        """*values* as a loop gets them."""
        for value in values:
            self._turns += 1
            if self._turns > _MOST_TURNS:
                raise BadTemplate(f"loops more than {_MOST_TURNS:,} times")
            self.check_time()
            yield value

    def held(self, value: Any) -> Any:
        """*value*, once it is sure that it is not too large."""
        self.check_time()
        if isinstance(value, str | list | tuple) and len(value) > MOST_CHARS:
            raise BadTemplate(f"makes a text longer than {MOST_CHARS:,} characters")
        if isinstance(value, int) and abs(value) > _MOST_NUMBER:
            raise BadTemplate("makes a number that is too large")
        return value

    def check_time(self) -> None:
        if time.thread_time() > self._until:
            raise BadTemplate(f"takes longer than {_MOST_SECONDS:g} s")


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja with what is allowed, and nothing else."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self, limits: _Limits) -> None:
        super().__init__(
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
            finalize=_finished,
            autoescape=False,
            cache_size=0,
        )
        self._limits = limits
        stock = self.filters
        self.filters = {name: _bounded(limits, stock[name]) for name in _FILTERS}
        self.filters |= {
            "replace": partial(_replaced, limits),
            "join": partial(_joined, limits),
            "round": _rounded,
            "_turns": limits.turns,
            "_held": limits.held,
        }
        self.tests = {name: self.tests[name] for name in _TESTS}
        self.globals = {"range": partial(_ranged, limits)}

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return isinstance(obj, LoopContext) and attr in _OF_A_LOOP

    def is_safe_callable(self, obj: Any) -> bool:
        return obj is self.globals["range"]

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise BadTemplate("the operator % takes numbers; put texts together with ~")
        if operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(text, str | list | tuple) and isinstance(times, int):
                    _require(len(text) * times)
        return self._limits.held(super().call_binop(context, operator, left, right))


class _AstWhitelist(NodeTransformer):
    """Refuses what is not allowed, and puts every loop and every text under the limits."""

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(node, _ALLOWED):
            what = type(node).__name__
            raise BadTemplate(f"{what!r} of Jinja is not allowed here, in line {node.lineno} of it")
        return super().visit(node, *args, **kwargs)

    def visit_Name(self, node: nodes.Name) -> nodes.Node:
        if node.name == "self":
            raise BadTemplate("there is no 'self' here")
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        if not (isinstance(node.node, nodes.Name) and node.node.name == "range"):
            name = getattr(node.node, "attr", None) or getattr(node.node, "name", "it")
            raise BadTemplate(f"{name!r} may not be called; use a filter: {{{{ name | upper }}}}")
        return self.generic_visit(node)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise BadTemplate(f"a recursive loop is not allowed, in line {node.lineno} of it")
        self.generic_visit(node)
        over: nodes.Expr = cast("nodes.Expr", node.iter)
        node.iter = _through("_turns", over)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _through("_held", node)


def _through(name: str, node: nodes.Expr) -> nodes.Filter:
    through = nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
    assert node.environment is not None
    through.set_environment(node.environment)
    return through


def _finished(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, jinja2.Undefined):
        return value
    if not isinstance(value, str | int | float):
        what = type(value).__name__
        raise BadTemplate(f"puts out a {what}, which is no text; say which part, or use | join")
    return guarded(str(value))


def _bounded(limits: _Limits, stock: Callable[..., Any]) -> Callable[..., Any]:
    def filtered(*args: Any, **kwargs: Any) -> Any:
        return limits.held(stock(*args, **kwargs))

    return wraps(stock)(filtered)  # with the mark of what Jinja is to pass to it


def _rounded(value: float, digits: int = 0) -> float:
    return round(value, max(-300, min(300, digits)))


def _replaced(limits: _Limits, text: object, old: object, new: object) -> Any:
    given, found = str(text), str(old)
    _require(len(given) + given.count(found) * len(str(new)))
    return limits.held(given.replace(found, str(new)))


def _joined(limits: _Limits, values: Iterable[object], between: object = "") -> Any:
    texts = [str(value) for value in islice(values, MOST_CHARS)]
    _require(sum(map(len, texts)) + len(texts) * len(str(between)))
    return limits.held(str(between).join(texts))


def _ranged(limits: _Limits, *ends: int) -> range:
    numbers = range(*ends)
    if len(numbers) > _MOST_TURNS:
        raise BadTemplate(f"range has more than {_MOST_TURNS:,} numbers")
    limits.check_time()
    return numbers


def _require(chars: int) -> None:
    if chars > MOST_CHARS:
        raise BadTemplate(f"makes a text longer than {MOST_CHARS:,} characters")
