"""Which of the addresses of an `<img>` is the picture: the largest of a srcset, or what a script puts in later.

Pages name one picture in several ways: `src`, `srcset` with sizes, `<source>` inside `<picture>`, and the
`data-` attributes from which scripts load pictures when they are scrolled to, while `src` holds a blank.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

Attributes = Mapping[str, str | None]
"""Names in lower case -> values; None where an attribute has no value."""

LAZY_SOURCES = (
    "data-src",
    "data-original",
    "data-lazy-src",
    "data-lazy",
    "data-original-src",
    "data-orig-file",
    "data-large-file",
    "data-full-src",
    "data-hi-res-src",
    "data-actualsrc",
    "data-real-src",
    "data-img-src",
    "data-image-src",
    "data-delayed-url",
    "data-echo",
    "data-url",
)
"""Attributes that hold the address which a script loads, in the order in which they are believed."""

LAZY_SRCSETS = ("data-srcset", "data-lazy-srcset", "data-original-set")
"""Attributes that hold a srcset which a script loads."""

_SPECIAL = frozenset((*LAZY_SOURCES, *LAZY_SRCSETS, "srcset"))
_READABLE = frozenset(
    ("", "image/jpeg", "image/jpg", "image/png", "image/gif", "image/webp", "image/avif", "image/bmp")
)
"""Types of a `<source>` whose pictures are taken."""

_URL = re.compile(r"[\s,]*([^\s]+)")
_DESCRIPTORS = re.compile(r"(?:[^,(]|\([^)]*(?:\)|$))*")
_WIDTH = re.compile(r"[0-9]{1,9}w", re.ASCII)
_DENSITY = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?(?:e[+-]?[0-9]{1,2})?x|\.[0-9]{1,9}x", re.ASCII)
_ADDRESS = re.compile(
    r"(?:https?:)?//[^\s<>{}\"]+|(?!data:|javascript:)[^\s<>{}\"]*[/.][^\s<>{}\"]*", re.IGNORECASE
)
MAX_SRCSET_CHARACTERS = 100_000
"""A longer srcset is cut: no page needs it, and one could be made to cost time."""


def choose_address(image: Attributes, sources: Sequence[Attributes] = ()) -> str:
    """The address of the picture as it stands in the page, "" if there is none.

    Args:
        image: attributes of the `<img>`.
        sources: attributes of the `<source>` elements before it in the same `<picture>`.
    """
    src = image.get("src") or ""
    if not sources and _SPECIAL.isdisjoint(image):
        return src
    lazy = next((value for value in map(image.get, LAZY_SOURCES) if value and _is_address(value)), "")
    plain = lazy or src
    offers = list(_offers(image))
    for source in sources:
        if (source.get("type") or "").strip().lower() in _READABLE:
            offers += _offers(source)
    return largest(offers, plain)


def largest(offers: Sequence[tuple[str, int, float]], plain: str) -> str:
    """The widest address; where no width is given, the densest; `plain` counts as density 1.

    Args:
        offers: addresses, widths in pixels (0: not given), densities.
        plain: the address beside them, "" if there is none.
    """
    widest = max(offers, key=lambda offer: offer[1], default=None)
    if widest is not None and widest[1]:
        return widest[0]
    densest = max(offers, key=lambda offer: offer[2], default=None)
    if densest is None or (plain and not plain.startswith("data:") and densest[2] <= 1):
        return plain
    return densest[0]


def parse_srcset(text: str) -> Iterator[tuple[str, int, float]]:
    """Address, width in pixels (0: not given) and density of each candidate, as the HTML standard reads it.

    Candidates with descriptors that are not understood are left out.
    """
    text = text[:MAX_SRCSET_CHARACTERS]
    at = 0
    while match := _URL.match(text, at):
        at, url = match.end(), match[1]
        descriptors = ""
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            rest = _DESCRIPTORS.match(text, at)
            assert rest is not None
            at, descriptors = rest.end(), rest[0]
        read = _read_descriptors(descriptors.split())
        if url and read is not None:
            yield url, *read


def _read_descriptors(words: Sequence[str]) -> tuple[int, float] | None:
    width, height, density = 0, False, 0.0
    for word in words:
        if _WIDTH.fullmatch(word) and not width and not density and int(word[:-1]):
            width = int(word[:-1])
        elif _DENSITY.fullmatch(word) and not width and not density and not height:
            density = float(word[:-1])
        elif word.endswith("h") and word[:-1].isdigit() and not height and not density:
            height = True
        else:
            return None
    if height and not width:
        return None
    return width, density or 1.0


def _offers(attributes: Attributes) -> Iterator[tuple[str, int, float]]:
    for name in (*LAZY_SRCSETS, "srcset"):
        if value := attributes.get(name):
            found = [offer for offer in parse_srcset(value) if not offer[0].startswith("data:")]
            if found:
                yield from found
                return


def _is_address(text: str) -> bool:
    """Whether a `data-` attribute holds an address rather than a number or words for a script."""
    return len(text) < 8192 and _ADDRESS.fullmatch(text.strip()) is not None
