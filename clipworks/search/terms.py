"""Parts of a question as people write them: words, pictures, pictures of the index, words that count.

`query.py` and the server make vectors of them.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipworks.errors import ConfigError

if TYPE_CHECKING:
    from clipworks.model.preprocess import ImageInput, Region

_REGION = re.compile(r"(.*)\[([-\d.,\s]+,[-\d.,\s]+)\]", re.DOTALL)
_WEIGHT = re.compile(
    r"\s*([-+]?(?:(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?|(?i:nan|inf)))\s*(?:\*|x(?=\s))\s*(.+)", re.DOTALL
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One part of a question; exactly one of text, image, like and words is given."""

    text: str | None = None
    """Words."""
    image: "ImageInput | None" = None
    """A picture that is not of the index."""
    like: str | None = None
    """Id of a picture of the index."""
    words: str | None = None
    """Words that a picture gains by `weight` for having them in its name, caption, tags or place."""
    weight: float = 1.0
    """Negative: what shall not be in the pictures."""
    region: "Region | None" = None
    """The part of a picture that counts; None is all of it."""

    def needs_model(self) -> bool:
        """Whether it must be embedded."""
        return self.words is None and (self.like is None or self.region is not None)


def read_term(text: str, sign: int = 1) -> Term:
    """`horse`, `0.5*stripes`, `@dog.jpg`, `id:rome/1.jpg[0,0,0.5,1]` and `0.1*words:party`.

    Raises:
        ConfigError: a region or a weight is not one, or nothing is named.
    """
    found = _WEIGHT.fullmatch(text)
    number, rest = (float(found.group(1)), found.group(2)) if found else (1.0, text)
    if not 0 <= number < math.inf:
        raise ConfigError(
            f"The weight {number} of {rest!r} cannot be used.",
            "Give a number from 0 on, as in 0.5*stripes; --minus turns a term round.",
        )
    if rest in ("@", "id:", "words:"):
        raise ConfigError(f"The term {text!r} names nothing.", "Give @FILE, id:ID or words:TEXT.")
    weight = sign * number
    if rest.startswith("words:"):
        return Term(words=rest[6:], weight=weight)
    if not rest.startswith(("@", "id:")):
        return Term(text=rest, weight=weight)
    cut = _REGION.fullmatch(rest)
    region = read_region(cut.group(2)) if cut else None
    name = cut.group(1) if cut else rest
    if name.startswith("@"):
        return Term(image=Path(name[1:]), weight=weight, region=region)
    return Term(like=name[3:], weight=weight, region=region)


def read_region(text: str) -> "Region":
    """`0,0,0.5,1`: the left half.

    Raises:
        ConfigError: not four shares in order.
    """
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
        is_sound = 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    except ValueError:
        is_sound = False
    if not is_sound:
        raise ConfigError(
            f"The region {text!r} cannot be used.",
            "Give left,top,right,bottom as shares of width and height, for example 0,0,0.5,1.",
        )
    return left, top, right, bottom


def words_of(terms: Sequence[Term]) -> list[tuple[str, float]]:
    """The words that count where pictures have them, and how much."""
    return [(term.words, term.weight) for term in terms if term.words is not None]


def ids_of(terms: Sequence[Term]) -> list[str]:
    """The pictures of the index that are meant whole."""
    return [term.like for term in terms if term.like is not None and term.region is None]
