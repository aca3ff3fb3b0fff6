"""The filter of `--where`: a condition on rows, in a few words.

Owns the grammar, and that a mistake is reported with its position. Nothing of it ever becomes
SQL: it is parsed to a tree and asked of one record after another.

    filter      or
    or          and { "or" and }
    and         not { "and" not }
    not         "not" not | "(" or ")" | comparison
    comparison  field [ operator value ]
    operator    =  !=  <  <=  >  >=  ~  !~
    value       word | 'text' | "text"      a quote inside its own kind is doubled

`~` is "contains", whatever the case. A field by itself asks whether there is a value. An absent
value equals nothing: only `!=`, `!~` and `not` let it through. Fields are the columns of an
export, `input.NAME`, `meta.NAME`, `axes.NAME`, `quality.NAME`, the short names in
`FIELD_ALIASES`, and `RATING_FIELDS`.
"""

from __future__ import annotations

import difflib
import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from fluxbatch.errors import ConfigError
from fluxbatch.export.columns import COLUMNS, EXPORT_COLUMNS, ColumnType

FIELD_ALIASES: Mapping[str, str] = {
    "number": "row",
    "state": "status",
    "failure": "error_class",
    "reason": "error_message",
    "job": "job_id",
    "prediction": "prediction_id",
    "file": "file_name",
    "cost": "cost_usd",
    "run": "run_id",
}
RATING_FIELDS: Mapping[str, ColumnType] = {
    "rating": "text",
    "stars": "integer",
    "rating_note": "text",
}
"""What people have said of an image: no column of an export, so absent where nobody has."""
Test = Callable[[Mapping[str, Any]], bool]

_MOST_CHARS = 10_000
_MOST_DEPTH = 50
_NUMERIC = ("integer", "number", "money")
_TOKEN = re.compile(
    r"""\s*(?:(?P<operator>!=|<=|>=|!~|[=<>~])|(?P<bracket>[()])
    |(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")|(?P<word>[^\s()=<>~!'"]+))""",
    re.VERBOSE,
)
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class BadFilter(ConfigError):
    """A filter that cannot be understood; the message shows the place."""

    def __init__(self, text: str, place: int, reason: str) -> None:
        shown = text.replace("\n", " ").replace("\t", " ")
        start = max(0, place - 40)
        line = ("…" if start else "") + shown[start : start + 76]
        caret = " " * (place - start + bool(start)) + "^"
        super().__init__(f"--where, at character {place + 1}: {reason}\n  {line}\n  {caret}")


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter."""

    text: str
    matches: Test


EVERYTHING = Filter("", lambda record: True)


def parse_filter(text: str) -> Filter:
    """Raise `BadFilter` (exit 2) naming the place and what would be right."""
    if not text.strip():
        raise BadFilter(text, 0, "the filter is empty; write for example  status=done")
    if len(text) > _MOST_CHARS:
        raise BadFilter(text, _MOST_CHARS, f"a filter has at most {_MOST_CHARS:,} characters")
    return Filter(text.strip(), _Parser(text).parsed())


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._read())
        self._next = 0
        self._depth = 0

    def _read(self) -> list[_Token]:
        tokens, place = [], 0
        end = len(self._text.rstrip())
        while place < end:
            found = _TOKEN.match(self._text, place)
            if found is None:
                at = place + len(self._text[place:]) - len(self._text[place:].lstrip())
                why = f"{self._text[at]!r} is out of place"
                if self._text[at] in "'\"":
                    why = "this quote is never closed"
                raise BadFilter(self._text, at, why)
            kind = str(found.lastgroup)
            tokens.append(_Token(kind, found[kind], found.start(kind)))
            place = found.end()
        return [*tokens, _Token("end", "", end)]

    def parsed(self) -> Test:
        test = self._either()
        if self._peek.kind != "end":
            self._fail("expected 'and', 'or' or the end here")
        return test

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._peek
        self._next += token.kind != "end"
        return token

    def _took(self, word: str) -> bool:
        is_it = self._peek.kind in ("word", "bracket") and self._peek.text.lower() == word
        self._next += is_it
        return is_it

    def _fail(self, reason: str, token: _Token | None = None) -> BadFilter:
        raise BadFilter(self._text, (token or self._peek).place, reason)

    def _either(self) -> Test:
        tests = [self._both()]
        while self._took("or"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda record: any(t(record) for t in tests)

    def _both(self) -> Test:
        tests = [self._not()]
        while self._took("and"):
            tests.append(self._not())
        return tests[0] if len(tests) == 1 else lambda record: all(t(record) for t in tests)

    def _not(self) -> Test:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            self._fail(f"more than {_MOST_DEPTH} brackets and nots within each other")
        if self._took("not"):
            test = self._not()
            found: Test = lambda record: not test(record)  # noqa: E731  # a closure, like its kin
        elif self._took("("):
            found = self._either()
            if not self._took(")"):
                self._fail("expected ')' here")
        else:
            found = self._comparison()
        self._depth -= 1
        return found

    def _comparison(self) -> Test:
        token = self._take()
        if token.kind != "word" or token.text.lower() in ("and", "or"):
            self._fail("expected a field here, for example  status=done", token)
        read, kind = self._field(token)
        if self._peek.kind != "operator":
            return lambda record: read(record) is not None
        sign, value = self._take().text, self._take()
        if value.kind not in ("word", "text"):
            self._fail(f"expected a value after {sign!r}", value)
        return self._compared(read, kind, sign, value)

    def _field(self, token: _Token) -> tuple[Callable[[Mapping[str, Any]], Any], str]:
        found = _reader(token.text)
        if found is None:
            raise self._fail(_unknown(token.text), token)
        return found

    def _compared(
        self, read: Callable[[Mapping[str, Any]], Any], kind: str, sign: str, token: _Token
    ) -> Test:
        text = token.text
        if token.kind == "text":
            text = text[1:-1].replace(text[0] * 2, text[0])
        if sign in ("~", "!~"):
            part, wanted = text.casefold(), sign == "~"
            return lambda record: _contains(read(record), part) is wanted
        if sign == "!=":
            same = self._compared(read, kind, "=", token)
            return lambda record: not same(record)
        order = _ORDERS[sign]
        number = _number(text)
        if kind in _NUMERIC and number is None:
            self._fail(f"{text!r} is no number, and the field before it is one", token)
        if kind == "flag":
            if text not in ("true", "false") or sign != "=":
                self._fail("this field is compared by  =true  or  =false", token)
            return lambda record: bool(read(record)) == (text == "true")
        if kind in _NUMERIC:
            return lambda record: _ordered(order, _number(read(record)), number)
        if kind == "nested" and token.kind == "word" and number is not None:
            return lambda record: _ordered(order, *_alike(read(record), text, number))
        return lambda record: _ordered(order, _text(read(record)), text)


def field_reader(text: str) -> Callable[[Mapping[str, Any]], Any]:
    """How the field *text* is read from a line of an export; raise `ConfigError` (exit 2) for one
    that there is not."""
    found = _reader(text)
    if found is None:
        raise ConfigError(_unknown(text))
    return found[0]


def _reader(text: str) -> tuple[Callable[[Mapping[str, Any]], Any], str] | None:
    """How a field is read, and what kind it is; None for one that there is not."""
    name, _, inner = text.partition(".")
    name = FIELD_ALIASES.get(name, name)
    if text in RATING_FIELDS:
        return (lambda record: record.get(name)), RATING_FIELDS[name]
    kind = COLUMNS.get(name)
    if kind is None or name in EXPORT_COLUMNS or bool(inner) != (kind == "nested"):
        return None
    if not inner:
        return (lambda record: record[name]), str(kind)
    steps = inner.split(".")
    return (lambda record: _inside(record[name], inner, steps)), "nested"


def _unknown(name: str) -> str:
    column = name.partition(".")[0]
    if COLUMNS.get(FIELD_ALIASES.get(column, column)) == "nested":
        return f"{name!r} holds several values: name one of them, {name + '.NAME'!r}"
    known = [n for n in COLUMNS if n not in EXPORT_COLUMNS and COLUMNS[n] != "nested"]
    known += [*FIELD_ALIASES, *RATING_FIELDS]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return f"no such field {name!r}; {hint} (and input.NAME, meta.NAME, axes.NAME, quality.NAME)"


def _inside(value: Any, name: str, steps: list[str]) -> Any:
    if isinstance(value, Mapping) and name in value:  # a name may have a point of its own
        return value[name]
    for step in steps:
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value


def _number(value: Any) -> Decimal | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _alike(value: Any, text: str, number: Decimal) -> tuple[Any, Any]:
    """Both as numbers where the value is one, else both as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value), number
    return _text(value), text


def _ordered(order: Callable[[Any, Any], bool], value: Any, wanted: Any) -> bool:
    return value is not None and order(value, wanted)


def _contains(value: Any, part: str) -> bool:
    text = _text(value)
    return text is not None and part in text.casefold()
