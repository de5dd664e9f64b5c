"""The tags of a page that matter for its pictures, without all the rest: the parser then has little to do.

One pass over the bytes, compiled by numba, that reads tags, comments and scripts as the tokenizer of the
HTML standard does and keeps those tags, titles and captions that `pages.py` asks for. A page on which the
rest could change what they mean is not skimmed, and is parsed whole.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

NOT_SKIMMED = -1

_LESS, _GREATER, _SLASH, _BANG, _MINUS, _EQUALS = (ord(c) for c in "<>/!-=")
_LETTER_A = ord("a")
_DOUBLE, _SINGLE = ord('"'), ord("'")
_SPARE_BYTES = 8
_WORD_BITS = 5
_MAX_NAME = 12
"""Letters of a name that are told apart; 12 letters of 5 bits fill a word."""


def skim(html: bytes) -> bytes | None:
    """The page's tags that matter, b"" where it has no picture; None where the whole page is needed.

    Args:
        html: in an encoding that holds ASCII as it is.
    """
    page = np.frombuffer(html, dtype=np.uint8)
    kept = np.empty(len(page) + _SPARE_BYTES, dtype=np.uint8)
    size = _skim(page, kept)
    return None if size == NOT_SKIMMED else kept[:size].tobytes()


def _code(name: str) -> int:
    """A name of letters as a number, as `_skim` computes it."""
    code = 0
    for letter in name[:_MAX_NAME]:
        code = code << _WORD_BITS | ord(letter) - ord("a") + 1
    return code


_IMG, _IMAGE = _code("img"), _code("image")
_SELECT, _FIGURE, _FIGCAPTION = _code("select"), _code("figure"), _code("figcaption")
_SVG, _MATH = _code("svg"), _code("math")
_TITLE, _TEXTAREA, _SCRIPT, _STYLE = (_code(name) for name in ("title", "textarea", "script", "style"))
_XMP, _IFRAME, _NOEMBED, _NOFRAMES = (_code(name) for name in ("xmp", "iframe", "noembed", "noframes"))
_PLAINTEXT, _FRAMESET = _code("plaintext"), _code("frameset")
_A, _PICTURE, _SOURCE, _BASE, _HTML, _TEMPLATE = (
    _code(name) for name in ("a", "picture", "source", "base", "html", "template")
)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _skim(page: NDArray[np.uint8], kept: NDArray[np.uint8]) -> int:
    """Bytes written to `kept`, 0 without a picture, or NOT_SKIMMED."""
    size, at, num, foreign_depth = 0, 0, len(page), 0
    has_picture = in_caption = in_select = has_link = False
    link_start = link_end = 0  # of a link that is kept once a picture is in it
    while at < num:
        start = at
        while at < num and page[at] != _LESS:
            at += 1
        if in_caption:
            size = _keep(page, start, at, kept, size)
        if at + 1 >= num:
            break
        start = at
        second = page[at + 1]
        is_end = second == _SLASH
        first = at + 2 if is_end else at + 1
        if first < num and _is_letter(page[first]):
            code, name_end = _name(page, first)
            at = _tag_end(page, name_end)
            if at < 0:
                break  # a tag that the end of the page cuts is none
            if code == _PLAINTEXT or code == _FRAMESET:
                return NOT_SKIMMED
            is_kept = in_caption
            if code == _IMG or code == _IMAGE:
                if in_select:
                    return NOT_SKIMMED
                is_kept, has_picture = True, has_picture or not is_end
                if link_end:
                    size, has_link = _keep(page, link_start, link_end, kept, size), True
                    link_end = 0
            elif code == _A and not in_caption:
                if has_link:  # this ends it, whether it is its end or another link
                    size, has_link = _end_link(kept, size), False
                link_start, link_end = start, 0 if is_end else at
            elif code == _PICTURE or code == _SOURCE or code == _BASE:
                is_kept = True
            elif code == _HTML or code == _TEMPLATE:
                is_kept = True
            elif code == _SELECT:
                in_select = not is_end
            elif code == _SVG or code == _MATH:
                is_kept = True
                if is_end:
                    foreign_depth = max(0, foreign_depth - 1)
                elif page[at - 2] != _SLASH:
                    foreign_depth += 1
            elif code == _FIGURE:
                is_kept = True
                in_caption = False
            elif code == _FIGCAPTION:
                is_kept = True
                in_caption = not is_end
                if link_end:
                    size, has_link = _keep(page, link_start, link_end, kept, size), True
                    link_end = 0
            elif not is_end and _is_raw(code):
                if foreign_depth and page[at - 2] == _SLASH:
                    return NOT_SKIMMED  # whether it has content depends on where the parser stands
                end = _raw_end(page, at, first, name_end, code == _SCRIPT)
                if end < 0:
                    return NOT_SKIMMED
                if code == _TITLE:
                    size = _keep(page, start, end, kept, size)
                at = end
                continue
            if is_kept:
                size = _keep(page, start, at, kept, size)
        elif second == _BANG:
            at = _declaration_end(page, at)
            if at < 0:
                return NOT_SKIMMED
        elif second == _SLASH or second == 0x3F:  # </ without a name and <? are comments up to the next >
            at = _find(page, at + 2, _GREATER) + 1
            if at == 0:
                return NOT_SKIMMED
        else:  # a < that begins nothing
            at += 1
            if in_caption:
                size = _keep(page, start, at, kept, size)
    return size if has_picture else 0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _keep(page: NDArray[np.uint8], start: int, end: int, kept: NDArray[np.uint8], size: int) -> int:
    for i in range(start, end):
        kept[size + i - start] = page[i]
    return size + end - start


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _end_link(kept: NDArray[np.uint8], size: int) -> int:
    """`</a>`: no longer than the `<a>` or `</a>` that is left out for it."""
    kept[size], kept[size + 1], kept[size + 2], kept[size + 3] = _LESS, _SLASH, _LETTER_A, _GREATER
    return size + 4


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _is_letter(byte: int) -> bool:
    return 0x61 <= (byte | 0x20) <= 0x7A


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _is_space(byte: int) -> bool:
    return byte == 0x20 or byte == 0x0A or byte == 0x09 or byte == 0x0D or byte == 0x0C


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _name(page: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """The code of the name of a tag, 0 if it has other characters than letters, and where it ends."""
    code, length, is_plain = 0, 0, True
    while at < len(page):
        byte = page[at]
        if _is_space(byte) or byte == _SLASH or byte == _GREATER:
            break
        if not _is_letter(byte) or length >= _MAX_NAME:
            is_plain = False
        else:
            code = code << _WORD_BITS | (byte | 0x20) - 0x60
        length += 1
        at += 1
    return (code if is_plain else 0), at


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _tag_end(page: NDArray[np.uint8], at: int) -> int:
    """Behind the `>` of a tag whose name ends at `at`; -1 where the page ends first."""
    num = len(page)
    while at < num:
        byte = page[at]
        if byte == _GREATER:
            return at + 1
        if _is_space(byte) or byte == _SLASH:
            at += 1
            continue
        at += 1  # a name: its first character may be anything, = included
        while at < num:
            byte = page[at]
            if _is_space(byte) or byte == _SLASH or byte == _GREATER or byte == _EQUALS:
                break
            at += 1
        while at < num and _is_space(page[at]):
            at += 1
        if at >= num or page[at] != _EQUALS:
            continue
        at += 1
        while at < num and _is_space(page[at]):
            at += 1
        if at >= num:
            return -1
        quote = page[at]
        if quote == _DOUBLE or quote == _SINGLE:
            at = _find(page, at + 1, quote) + 1
            if at == 0:
                return -1
        else:
            while at < num and not _is_space(page[at]) and page[at] != _GREATER:
                at += 1
    return -1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find(page: NDArray[np.uint8], at: int, byte: int) -> int:
    while at < len(page):
        if page[at] == byte:
            return at
        at += 1
    return -1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _is_raw(code: int) -> bool:
    """Whether the content of an element is text, whatever stands in it."""
    if code == _SCRIPT or code == _STYLE or code == _TITLE or code == _TEXTAREA:
        return True
    return code == _XMP or code == _IFRAME or code == _NOEMBED or code == _NOFRAMES


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _raw_end(page: NDArray[np.uint8], at: int, name: int, name_end: int, is_script: bool) -> int:
    """Behind the end tag of an element whose content is text and begins at `at`; -1 where it is not clear."""
    num, length = len(page), name_end - name
    has_comment = False
    while True:
        at = _find(page, at, _LESS)
        if at < 0 or at + length + 2 >= num:
            return -1
        if page[at + 1] == _SLASH:
            is_same = True
            for i in range(length):
                if (page[at + 2 + i] | 0x20) != (page[name + i] | 0x20):
                    is_same = False
                    break
            byte = page[at + 2 + length]
            if is_same and (_is_space(byte) or byte == _SLASH or byte == _GREATER):
                return _tag_end(page, at + 2 + length)
        elif is_script and page[at + 1] == _BANG:
            has_comment = True
        elif has_comment and (page[at + 1] | 0x20) == 0x73:  # <s: a script in a comment in a script
            return -1
        at += 1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _declaration_end(page: NDArray[np.uint8], at: int) -> int:
    """Behind a comment or a doctype that begins at `at`; -1 where it does not end, or may be CDATA."""
    num = len(page)
    if at + 3 >= num:
        return -1
    if page[at + 2] == 0x5B:  # [
        return -1
    if page[at + 2] != _MINUS or page[at + 3] != _MINUS:
        return _find(page, at + 2, _GREATER) + 1 or -1
    at += 4
    if at < num and page[at] == _GREATER:
        return at + 1
    if at + 1 < num and page[at] == _MINUS and page[at + 1] == _GREATER:
        return at + 2
    while True:
        at = _find(page, at, _MINUS)
        if at < 0 or at + 2 >= num:
            return -1
        if page[at + 1] == _MINUS:
            if page[at + 2] == _GREATER:
                return at + 3
            if page[at + 2] == _BANG and at + 3 < num and page[at + 3] == _GREATER:
                return at + 4
        at += 1
