"""Character references in attributes and titles, `&amp;` and the like: those that can be read in one way.

Everything doubtful is left to a parser of HTML: references without their semicolon that are a reference
all the same, and numbers of characters that a page cannot hold.
"""

import re
from html.entities import html5

_REFERENCE = re.compile(r"&(?:#([0-9]{1,7};|[xX][0-9a-fA-F]{1,6};)?|([A-Za-z][A-Za-z0-9]*)(;|=?))", re.ASCII)
_LONGEST_BARE = max(len(name) for name in html5 if not name.endswith(";"))


class Doubtful(ValueError):
    """A parser has to read it."""


def unescape(text: str, *, is_attribute: bool) -> str:
    """A text with its character references replaced, as the HTML standard says.

    Raises:
        Doubtful: it holds a reference that is not read here.
    """
    if "&" not in text:
        return text
    return _REFERENCE.sub(_in_attribute if is_attribute else _in_text, text)


def _in_attribute(match: re.Match[str]) -> str:
    """In `?a=1&copy=2`, `&copy` is none: a letter, a digit or an equals sign follows."""
    name, end = match[2], match[3]
    if name is None:
        return _numbered(match)
    if end == ";":
        if found := html5.get(name + ";"):
            return found
        if name in html5:
            raise Doubtful
        return match[0]  # a longer name follows on a shorter one, if there is one, with a letter or a digit
    if end != "=" and name in html5:
        raise Doubtful
    return match[0]


def _in_text(match: re.Match[str]) -> str:
    name, end = match[2], match[3]
    if name is None:
        return _numbered(match)
    if end == ";" and (found := html5.get(name + ";")):
        return found
    if any(name[:size] in html5 for size in range(2, _LONGEST_BARE + 1)):
        raise Doubtful
    return match[0]


def _numbered(match: re.Match[str]) -> str:
    digits = match[1]
    if digits is None:
        raise Doubtful
    code = int(digits[1:-1], 16) if digits[0] in "xX" else int(digits[:-1])
    is_plain = 0x20 <= code < 0x7F or 0xA0 <= code < 0xD800 or 0xE000 <= code < 0xFDD0
    if not is_plain and not 0x1F000 <= code < 0x1FFF0:  # pictures of characters, which are in use
        raise Doubtful
    return chr(code)
