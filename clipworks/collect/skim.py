"""The tags of a page that matter for its pictures, without all the rest: the parser then has little to do.

One pass over the bytes, compiled by numba, that reads tags, comments and scripts as the tokenizer of the
HTML standard does and keeps those tags, titles and captions that `pages.py` asks for. A page on which the
rest could change what they mean is not skimmed, and is parsed whole.
"""

import numpy as np
from numpy.typing import NDArray

from clipworks.compiled import compiled, inlined, keep_machine_code
from clipworks.files import cache_folder

NOT_SKIMMED = -1

_LESS, _GREATER, _SLASH, _BANG, _MINUS, _EQUALS = (ord(c) for c in "<>/!-=")
_QUESTION, _BRACKET, _DOUBLE, _SINGLE, _LETTER_A = (ord(c) for c in "?[\"'a")
_SPARE_BYTES = 8
_WORD_BITS = 5
_PLACES = 91
"""Of a table in which no two names meet."""
_MAX_NAME = 12
"""Letters of a name that are told apart; 12 letters of 5 bits fill a word."""

_OTHER, _WHOLE, _RAW, _TITLE, _SCRIPT, _SELECT, _LINK = range(7)
_KEPT, _FOREIGN, _FIGURE, _CAPTION, _PICTURE, _CHOICE = range(7, 13)
"""Kinds of elements: left out, needing the whole page, holding text only, ...; from _KEPT on tags stay."""

_SIZE, _LINK_START, _LINK_END, _IN_LINK, _IN_CAPTION, _IN_SELECT, _IN_CHOICE, _DEPTH, _HAS_PICTURE = range(9)
"""Places in the state: bytes kept; a link that is kept once a picture is in it; where the pass stands."""

_SPACE, _ENDS_TAG, _LETTER, _HALTS = 1, 2, 4, 8
"""What a byte is, or ends."""

_NAMES = {
    _WHOLE: "plaintext frameset",
    _RAW: "style textarea xmp iframe noembed noframes",
    _TITLE: "title",
    _SCRIPT: "script",
    _SELECT: "select",
    _LINK: "a",
    _KEPT: "source base html template",
    _FOREIGN: "svg math",
    _FIGURE: "figure",
    _CAPTION: "figcaption",
    _PICTURE: "img image",
    _CHOICE: "picture",
}


def skim(html: bytes) -> bytes | None:
    """The page's tags that matter, b"" where it has no picture; None where the whole page is needed.

    Args:
        html: in an encoding that holds ASCII as it is.
    """
    keep_machine_code(cache_folder, _skim)
    page = np.frombuffer(html, dtype=np.uint8)
    kept = np.empty(2 * len(page) + _SPARE_BYTES, dtype=np.uint8)  # `<a><img>` may need 12 bytes for 8
    state = np.zeros(9, dtype=np.int64)
    if _skim(page, kept, state) == NOT_SKIMMED:
        return None
    return kept[: state[_SIZE]].tobytes() if state[_HAS_PICTURE] else b""


def _code(name: str) -> int:
    """A name of letters as a number, as `_name` computes it."""
    code = 0
    for letter in name:
        code = code << _WORD_BITS | ord(letter) - ord("a") + 1
    return code


def _kinds() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes of names and their kinds, each at its place in a table without collisions."""
    codes, kinds = np.zeros(_PLACES, dtype=np.int64), np.zeros(_PLACES, dtype=np.int64)
    for kind, names in _NAMES.items():
        for code in map(_code, names.split()):
            assert not codes[code % _PLACES], "two names share a place"
            codes[code % _PLACES], kinds[code % _PLACES] = code, kind
    return codes, kinds


def _classes() -> NDArray[np.uint8]:
    classes = np.zeros(256, dtype=np.uint8)
    classes[[0x20, 0x0A, 0x09, 0x0D, 0x0C]] = _SPACE | _ENDS_TAG
    classes[_GREATER] = _ENDS_TAG | _HALTS
    classes[_SLASH] = _ENDS_TAG
    classes[[_DOUBLE, _SINGLE]] = _HALTS
    classes[0x41:0x5B] = classes[0x61:0x7B] = _LETTER
    return classes


_CODES, _KINDS = _kinds()
_CLASSES = _classes()


@compiled
def _skim(page: NDArray[np.uint8], kept: NDArray[np.uint8], state: NDArray[np.int64]) -> int:  # noqa: C901
    """NOT_SKIMMED, or 0: what was kept stands in `kept` and `state`."""
    at, num = 0, len(page)
    while at < num:
        start = at
        while at < num and page[at] != _LESS:
            at += 1
        if state[_IN_CAPTION]:
            _keep(page, start, at, kept, state)
        if at + 1 >= num:
            break
        plain = _plain_tag_end(page, at, state)
        if plain:
            at = plain
            continue
        second = page[at + 1]
        if _is_letter(second) or (second == _SLASH and at + 2 < num and _is_letter(page[at + 2])):
            at = _tag(page, at, kept, state)
        elif second == _BANG:
            at = _declaration_end(page, at)
        elif second == _SLASH or second == _QUESTION:  # a comment up to the next >
            at = _find(page, at + 2, _GREATER) + 1
        else:
            if state[_IN_CAPTION]:
                _keep(page, at, at + 1, kept, state)
            at += 1
        if at <= 0:
            return NOT_SKIMMED
    return 0


@inlined
def _plain_tag_end(page: NDArray[np.uint8], at: int, state: NDArray[np.int64]) -> int:  # noqa: C901
    """Behind a tag that is left out and has attributes of the usual form only; 0 at whatever else.

    One function, and part of the loop: called as several it took 1.6 times as long.
    """
    num, code = len(page), 0
    at += 1
    at += page[at] == _SLASH
    start = at
    while at < num and _CLASSES[page[at]] & _LETTER:
        code = code << _WORD_BITS | page[at] & 31
        at += 1
    if at == start or at - start > _MAX_NAME or state[_IN_CAPTION] or state[_IN_CHOICE]:
        return 0
    if _CODES[code % _PLACES] == code and at < num and not 0x30 <= page[at] <= 0x39:
        return 0
    while at < num and not _CLASSES[page[at]] & _ENDS_TAG:
        at += 1
    while at < num:
        while at < num and not _CLASSES[page[at]] & _HALTS:  # to a quote or the end
            at += 1
        if at >= num:
            return 0
        quote = page[at]
        if quote == _GREATER:
            return at + 1
        if page[at - 1] != _EQUALS or not _CLASSES[page[at - 2]] & _LETTER:
            return 0
        name = at - 2
        while _CLASSES[page[name]] & _LETTER or page[name] == _MINUS:
            name -= 1
        if not _CLASSES[page[name]] & _SPACE:
            return 0
        while _CLASSES[page[name]] & _SPACE:
            name -= 1
        if page[name] == _EQUALS:
            return 0  # in `<b c= d=">`, the quote belongs to a value that has begun before
        at += 1
        while at < num and page[at] != quote:
            at += 1
        at += 1
    return 0


@compiled
def _tag(page: NDArray[np.uint8], start: int, kept: NDArray[np.uint8], state: NDArray[np.int64]) -> int:
    """Behind the tag at `start` and what belongs to it; NOT_SKIMMED."""
    is_end = page[start + 1] == _SLASH
    first = start + 2 if is_end else start + 1
    code, name_end = _name(page, first)
    end = _tag_end(page, name_end)
    if end < 0:
        return len(page)  # a tag that the end of the page cuts is none
    place = code % _PLACES
    kind = _KINDS[place] if _CODES[place] == code else _OTHER
    if kind == _WHOLE or (kind == _PICTURE and state[_IN_SELECT]):
        return NOT_SKIMMED
    if state[_IN_CHOICE] and kind != _KEPT and kind != _PICTURE and kind != _CHOICE:
        return NOT_SKIMMED  # <p><picture><div>: the <div> ends the <p>, and the <picture> with it
    if kind == _RAW or kind == _TITLE or kind == _SCRIPT:
        return end if is_end else _text(page, start, end, first, name_end, kind, kept, state)
    if kind == _LINK and not state[_IN_CAPTION]:
        if state[_IN_LINK]:  # this ends it, whether it is its end or another link
            _end_link(kept, state)
        state[_LINK_START], state[_LINK_END] = start, 0 if is_end else end
        return end
    if (kind == _PICTURE or kind == _CAPTION) and state[_LINK_END]:
        _keep(page, state[_LINK_START], state[_LINK_END], kept, state)
        state[_LINK_END], state[_IN_LINK] = 0, 1
    if kind >= _KEPT or state[_IN_CAPTION]:
        _keep(page, start, end, kept, state)
    _note(kind, is_end, page[end - 2] == _SLASH, state)
    return end


@compiled
def _note(kind: int, is_end: bool, is_closed: bool, state: NDArray[np.int64]) -> None:
    """What a tag changes of where the pass stands."""
    if kind == _PICTURE and not is_end:
        state[_HAS_PICTURE] = 1
    elif kind == _SELECT:
        state[_IN_SELECT] = not is_end
    elif kind == _FOREIGN and is_end:
        state[_DEPTH] = max(0, state[_DEPTH] - 1)
    elif kind == _FOREIGN and not is_closed:
        state[_DEPTH] += 1
    elif kind == _CHOICE:
        state[_IN_CHOICE] = not is_end
    elif kind == _FIGURE:
        state[_IN_CAPTION] = 0
    elif kind == _CAPTION:
        state[_IN_CAPTION] = not is_end


@compiled
def _text(
    page: NDArray[np.uint8],
    start: int,
    end: int,
    first: int,
    name_end: int,
    kind: int,
    kept: NDArray[np.uint8],
    state: NDArray[np.int64],
) -> int:
    """Behind the end tag of an element that holds text only; titles are kept."""
    if state[_DEPTH] and page[end - 2] == _SLASH:
        return NOT_SKIMMED  # whether it has content depends on where the parser stands
    end = _raw_end(page, end, first, name_end, kind == _SCRIPT)
    if kind == _TITLE and end > 0:
        _keep(page, start, end, kept, state)
    return end


@compiled
def _keep(
    page: NDArray[np.uint8], start: int, end: int, kept: NDArray[np.uint8], state: NDArray[np.int64]
) -> None:
    size = state[_SIZE]
    for i in range(start, end):
        kept[size + i - start] = page[i]
    state[_SIZE] = size + end - start


@compiled
def _end_link(kept: NDArray[np.uint8], state: NDArray[np.int64]) -> None:
    """Keep an `</a>`."""
    size = state[_SIZE]
    kept[size], kept[size + 1], kept[size + 2], kept[size + 3] = _LESS, _SLASH, _LETTER_A, _GREATER
    state[_SIZE], state[_IN_LINK] = size + 4, 0


@compiled
def _is_letter(byte: int) -> bool:
    return 0x61 <= (byte | 0x20) <= 0x7A


@compiled
def _is_space(byte: int) -> bool:
    return byte == 0x20 or byte == 0x0A or byte == 0x09 or byte == 0x0D or byte == 0x0C


@compiled
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


@compiled
def _tag_end(page: NDArray[np.uint8], at: int) -> int:
    """Behind the `>` of a tag whose name ends at `at`; -1 where the page ends first."""
    num = len(page)
    while 0 <= at < num:
        byte = page[at]
        if byte == _GREATER:
            return at + 1
        at += 1
        if _is_space(byte) or byte == _SLASH:
            continue
        while at < num and not _ends_name(page[at]):  # a name's first character may be anything, = included
            at += 1
        at = _past_spaces(page, at)
        if at < num and page[at] == _EQUALS:
            at = _value_end(page, _past_spaces(page, at + 1))
    return -1


@compiled
def _ends_name(byte: int) -> bool:
    return _is_space(byte) or byte == _SLASH or byte == _GREATER or byte == _EQUALS


@compiled
def _past_spaces(page: NDArray[np.uint8], at: int) -> int:
    while at < len(page) and _is_space(page[at]):
        at += 1
    return at


@compiled
def _value_end(page: NDArray[np.uint8], at: int) -> int:
    """Behind the value of an attribute; -1 where its quotes do not end."""
    num = len(page)
    if at < num and (page[at] == _DOUBLE or page[at] == _SINGLE):
        return _find(page, at + 1, page[at]) + 1 or -1
    while at < num and not _is_space(page[at]) and page[at] != _GREATER:
        at += 1
    return at


@compiled
def _find(page: NDArray[np.uint8], at: int, byte: int) -> int:
    while at < len(page):
        if page[at] == byte:
            return at
        at += 1
    return -1


@compiled
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


@compiled
def _declaration_end(page: NDArray[np.uint8], at: int) -> int:
    """Behind a comment or a doctype that begins at `at`; -1 where it does not end, or may be CDATA."""
    if at + 3 >= len(page) or page[at + 2] == _BRACKET:
        return -1
    if page[at + 2] == _MINUS and page[at + 3] == _MINUS:
        return _comment_end(page, at + 4)
    return _find(page, at + 2, _GREATER) + 1 or -1


@compiled
def _comment_end(page: NDArray[np.uint8], at: int) -> int:
    """Behind a comment whose text begins at `at`; `<!-->` and `<!--->` have none."""
    num = len(page)
    if at + 1 < num and (page[at] == _GREATER or (page[at] == _MINUS and page[at + 1] == _GREATER)):
        return _find(page, at, _GREATER) + 1
    while True:
        at = _find(page, at, _MINUS)
        if at < 0 or at + 2 >= num:
            return -1
        if page[at + 1] == _MINUS:
            behind = at + 3 if page[at + 2] == _BANG else at + 2
            if behind < num and page[behind] == _GREATER:
                return behind + 1
        at += 1
