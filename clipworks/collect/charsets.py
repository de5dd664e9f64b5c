"""Bytes of a page to UTF-8, by the rules of browsers: byte-order mark, then HTTP, then the page's own word.

Labels mean what the WHATWG's Encoding Standard says they mean: `iso-8859-1` is windows-1252, `gb2312` is
GBK, and so on. A page that says nothing is UTF-8 where its bytes are, else windows-1252.
"""

import codecs
import re

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_PRESCAN_BYTES = 1024
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([^\s\"';/>]+)", re.IGNORECASE)
_META = re.compile(rb"<meta[\s/][^>]*>", re.IGNORECASE)
_XML = re.compile(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._:-]+)[\"']", re.IGNORECASE)
_COMMENT = re.compile(rb"<!--.*?(?:-->|$)", re.DOTALL)

_SUPERSETS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "johab": "cp949",
    "big5": "big5hkscs",
    "utf-16": "utf-16-le",
}
"""What a codec's name stands for on the web, by Python's name of it."""

_LABELS = {
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "x-gbk": "gb18030",
    "x-euc-jp": "euc_jp",
    "ks_c_5601-1987": "cp949",
    "windows-949": "cp949",
    "x-x-big5": "big5hkscs",
    "big5-hkscs": "big5hkscs",
    "windows-874": "cp874",
    "dos-874": "cp874",
    "x-cp1251": "cp1251",
    "x-cp1252": "cp1252",
    "x-cp1250": "cp1250",
    "x-mac-roman": "mac-roman",
    "unicode-1-1-utf-8": "utf-8",
    "x-user-defined": "cp1252",
}
"""Labels of the web that Python does not know."""


def to_utf8(body: bytes, content_type: bytes) -> bytes:
    """A page as UTF-8 without its byte-order mark; bytes that cannot be read become U+FFFD.

    Args:
        content_type: the header's value, b"" if there is none.
    """
    for mark, name in _BOMS:
        if body.startswith(mark):
            return _transcode(body[len(mark) :], name)
    return _transcode(body, find_charset(body, content_type))


def find_charset(body: bytes, content_type: bytes) -> str:
    """Python's name of the codec for a page without a byte-order mark."""
    match = _CHARSET.search(content_type)
    name = match and _codec(match[1])
    if name:
        return name
    head = body[:_PRESCAN_BYTES]
    if b"<!--" in head:
        head = _COMMENT.sub(b"", head)
    for tag in _META.finditer(head):
        match = _CHARSET.search(tag[0])
        name = match and _codec(match[1])
        if name:
            return "utf-8" if name.startswith("utf-16") else name  # it could be read as ASCII, so it is not
    match = _XML.match(head)
    name = match and _codec(match[1])
    if name:
        return "utf-8" if name.startswith("utf-16") else name
    try:
        body.decode()
    except UnicodeDecodeError as error:
        is_cut = error.end == len(body) and error.reason == "unexpected end of data"
        return "utf-8" if is_cut else "cp1252"
    return "utf-8"


def _codec(label: bytes) -> str | None:
    text = label.decode("latin-1").strip().lower()
    try:
        name = codecs.lookup(_LABELS.get(text, text)).name
        b"".decode(name)
    except (LookupError, ValueError):
        return None
    return _SUPERSETS.get(name, name)


def _transcode(body: bytes, name: str) -> bytes:
    """A codec that is no encoding of text leaves the bytes as they are."""
    if name == "utf-8":
        return body
    try:
        return body.decode(name, "replace").encode()
    except (LookupError, UnicodeError):
        return body
