"""A filter as one line of text: `english and (b32 >= 0.28 or not unsafe)`.

    filter = and ("or" and)*        and = not ("and" not)*        not = "not" not | "(" filter ")" | rule
    rule   = FLAG | QUANTITY SIGN NUMBER | "top" "(" QUANTITY "," NUMBER ")"
    SIGN   = ">=" | ">" | "<=" | "<" | "==" | "!="

Read by the few lines below and by nothing else; `top(l14, 0.3)` keeps the best 30 % of the pool as
DataComp counts them. A name that is not known is an error that tells the nearest ones.
"""

import operator
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from clipworks.errors import ConfigError

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
MAX_DEPTH = 50
"""Brackets and nots in one another."""

_TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-z_]\w*)|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
                    r"|(?P<sign>>=|<=|==|!=|[<>(),]))")  # fmt: skip
_WORDS = {"and", "or", "not", "top"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Flag:
    """A rule that is true or false of a row by itself."""

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A quantity against a number."""

    name: str
    sign: str
    number: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Top:
    """The best fraction of the whole pool by a quantity."""

    name: str
    fraction: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Not:
    """What a filter does not keep."""

    inner: "Filter"


@dataclass(frozen=True, kw_only=True, slots=True)
class Both:
    """What two filters keep; the second sees what the first has kept."""

    first: "Filter"
    second: "Filter"


@dataclass(frozen=True, kw_only=True, slots=True)
class Either:
    """What one of two filters keeps; the second sees what the first has not kept."""

    first: "Filter"
    second: "Filter"


Rule = Flag | Comparison | Top
Filter = Rule | Not | Both | Either


def parse_filter(text: str, *, flags: Collection[str], quantities: Collection[str]) -> Filter:
    """Read a filter.

    Raises:
        ConfigError: it is not in the form above, or a name is unknown.
    """
    parser = _Parser(text, frozenset(flags), frozenset(quantities))
    parsed = parser.either(0)
    parser.end()
    return parsed


def words_of(part: Filter) -> str:
    """The text that gives this filter when it is read; of a rule, its name in counts."""
    match part:
        case Flag(name=name):
            return name
        case Comparison(name=name, sign=sign, number=number):
            return f"{name} {sign} {number!r}"
        case Top(name=name, fraction=fraction):
            return f"top({name}, {fraction!r})"
        case Not(inner=inner):
            return f"not {_bracketed(inner)}"
        case Both(first=first, second=second):
            return f"{_bracketed(first)} and {_bracketed(second)}"
        case Either(first=first, second=second):
            return f"{_bracketed(first)} or {_bracketed(second)}"


def rules_of(part: Filter) -> Iterator[Rule]:
    """Every rule of a filter, from left to right."""
    match part:
        case Not(inner=inner):
            yield from rules_of(inner)
        case Both(first=first, second=second) | Either(first=first, second=second):
            yield from rules_of(first)
            yield from rules_of(second)
        case _:
            yield part


def replaced(part: Filter, change: Callable[[Rule], Filter]) -> Filter:
    """The same filter with each rule changed."""
    match part:
        case Not(inner=inner):
            return Not(inner=replaced(inner, change))
        case Both(first=first, second=second):
            return Both(first=replaced(first, change), second=replaced(second, change))
        case Either(first=first, second=second):
            return Either(first=replaced(first, change), second=replaced(second, change))
        case _:
            return change(part)


def _bracketed(part: Filter) -> str:
    return f"({words_of(part)})" if isinstance(part, Both | Either) else words_of(part)


class _Parser:
    """The rest of the tokens, and what names may stand among them."""

    def __init__(self, text: str, flags: frozenset[str], quantities: frozenset[str]) -> None:
        self._text, self._flags, self._quantities = text, flags, quantities
        self._tokens = list(self._split())
        self._place = 0

    def either(self, depth: int) -> Filter:
        left = self.both(depth)
        while self._takes("or"):
            left = Either(first=left, second=self.both(depth))
        return left

    def both(self, depth: int) -> Filter:
        left = self.single(depth)
        while self._takes("and"):
            left = Both(first=left, second=self.single(depth))
        return left

    def single(self, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise self._wrong(f"is nested more than {MAX_DEPTH} deep")
        if self._takes("not"):
            return Not(inner=self.single(depth + 1))
        if self._takes("("):
            inner = self.either(depth + 1)
            self._need(")")
            return inner
        return self._rule()

    def end(self) -> None:
        if self._place < len(self._tokens):
            raise self._wrong(f"goes on with {self._tokens[self._place]!r} where it should end")

    def _rule(self) -> Filter:
        if self._takes("top"):
            self._need("(")
            name = self._quantity()
            self._need(",")
            fraction = self._number()
            self._need(")")
            if not 0 <= fraction < 1:
                raise self._wrong(f"has the fraction {fraction}, which is not in [0, 1)")
            return Top(name=name, fraction=fraction)
        word = self._next("a rule")
        if word in self._flags:
            return Flag(name=word)
        self._place -= 1
        name = self._quantity()
        sign = self._next("a comparison")
        if sign not in OPERATORS:
            raise self._wrong(f"compares {name} by {sign!r}, which is none of {', '.join(OPERATORS)}")
        return Comparison(name=name, sign=sign, number=self._number())

    def _quantity(self) -> str:
        word = self._next("a quantity")
        if word in self._quantities:
            return word
        if not word.isidentifier() or word in _WORDS:
            raise self._wrong(f"has {word!r} where a rule is wanted")
        near = get_close_matches(word, sorted(self._quantities | self._flags), n=3, cutoff=0.0)
        raise ConfigError(f"There is no rule {word!r} in {self._text!r}.", f"Nearest: {', '.join(near)}.")

    def _number(self) -> float:
        word = self._next("a number")
        try:
            if not word[:1].isalpha():
                return float(word)
        except ValueError:
            pass
        raise self._wrong(f"has {word!r} where a number is wanted")

    def _next(self, wanted: str) -> str:
        if self._place >= len(self._tokens):
            raise self._wrong(f"ends where {wanted} is wanted")
        self._place += 1
        return self._tokens[self._place - 1]

    def _takes(self, word: str) -> bool:
        found = self._place < len(self._tokens) and self._tokens[self._place] == word
        self._place += found
        return found

    def _need(self, word: str) -> None:
        if not self._takes(word):
            rest = self._tokens[self._place :]
            raise self._wrong(f"has {rest[0]!r} where {word!r} is wanted" if rest else f"lacks a {word!r}")

    def _split(self) -> Iterator[str]:
        place, end = 0, len(self._text.rstrip())
        while place < end:
            found = _TOKEN.match(self._text, place)
            if found is None:
                rest = self._text[place:].strip()
                raise self._wrong(f"has {rest[:10]!r}, which no filter has")
            yield found[0].strip()
            place = found.end()

    def _wrong(self, words: str) -> ConfigError:
        return ConfigError(f"The filter {self._text!r} {words}.", "Example: english and b32 >= 0.28")
