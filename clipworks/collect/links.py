"""Addresses in a page made absolute, as browsers do it. The owner of ada, the URL parser of Node.js.

What most addresses look like is joined by hand, with the same result; all others go through ada.
"""

import re
from functools import lru_cache
from typing import Literal

import ada_url

Dropped = Literal["no_address", "data_address", "other_scheme", "malformed_address"]
"""Why an address leads nowhere: empty, a picture in the page itself, `javascript:` and so on, unreadable."""

_EDGES = "".join(map(chr, range(0x21)))
_BREAKS = str.maketrans("", "", "\t\n\r")
_SEGMENT = r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*"
_QUERY = r"(?:\?[A-Za-z0-9_.~!$&()*+,;:=@/?%-]*)?"
_BELOW = rf"(?:{_SEGMENT}/)*{_SEGMENT}{_QUERY}"
_RELATIVE = re.compile(_BELOW, re.ASCII)
_UPWARDS = re.compile(rf"((?:\.\./)+){_BELOW}", re.ASCII)
_ROOTED = re.compile(rf"(?:/{_SEGMENT})+{_QUERY}", re.ASCII)
_HOST = r"https?://(?!xn--)[a-z0-9-]+(?:\.(?!xn--)[a-z0-9-]+)*\.(?!xn--)[a-z]{2,24}"
_ABSOLUTE = re.compile(rf"{_HOST}(?:/{_SEGMENT})+{_QUERY}", re.ASCII)
_PLAIN_PAGE = re.compile(rf"{_HOST}/(?:{_SEGMENT}/)*(?:{_SEGMENT})?{_QUERY}", re.ASCII)
_EMPTY_SEGMENTS = re.compile(r"(?<=[^:/])//+")
_PATH = re.compile(r"[^?#]*")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE | re.ASCII)


class Base:
    """Where the addresses of one page are relative to.

    Args:
        page_url: the page's own address.
        href: the page's `<base href>`, "" if it has none; ignored where it cannot be used, as in browsers.
    """

    def __init__(self, page_url: str, href: str = "") -> None:
        self.url = _normalise(page_url)
        if self.url and href.strip(_EDGES):
            joined = _join(href, self.url)
            self.url = joined if joined.startswith(("http://", "https://")) else self.url
        path_at = self.url.find("/", 8)
        end = min((at for at in map(self.url.find, "?#") if at >= 0), default=len(self.url))
        self._origin = self.url[:path_at]
        self._folder = self.url[: self.url.rfind("/", 0, end) + 1]

    def resolve(self, text: str) -> tuple[str, Dropped | None]:
        """The absolute http or https address without its fragment, or "" and why there is none."""
        url = self._by_hand(text)
        if url:
            return url, None
        text = text.strip(_EDGES).translate(_BREAKS)
        if not text or text.startswith("#"):
            return "", "no_address"
        scheme = _SCHEME.match(text)
        if scheme and scheme[1].lower() not in ("http", "https"):
            return "", "data_address" if scheme[1].lower() == "data" else "other_scheme"
        if scheme is None and "//" in text[1:]:
            text = _without_empty_segments(text)
        url = self._by_hand(text) or _join(text, self.url)
        if not url:
            return "", "malformed_address"
        if not url.startswith(("http://", "https://")):
            return "", "other_scheme"
        return url.partition("#")[0], None

    def _by_hand(self, text: str) -> str:
        """The address of the usual forms, "" for others."""
        first = text[:1]
        if first == "h" and _ABSOLUTE.fullmatch(text):
            return text
        if not self.url:
            return ""
        if first == "/":
            return self._origin + text if _ROOTED.fullmatch(text) else ""
        if first == ".":
            upwards = _UPWARDS.fullmatch(text)
            if upwards is None:
                return ""
            length = upwards.end(1)
            return self._above(length // 3) + text[length:]
        return self._folder + text if _RELATIVE.fullmatch(text) else ""

    def _above(self, levels: int) -> str:
        """The folder so many levels up; the highest is above itself."""
        folder, highest = self._folder, len(self._origin)
        end = len(folder) - 1
        while levels and end > highest:
            end = folder.rfind("/", highest, end)
            levels -= 1
        return folder[: end + 1]


def host_of(url: str) -> str:
    """The host of an absolute address, without user name and port."""
    end = url.find("/", 8)
    return _host_before_path(url if end < 0 else url[:end])


@lru_cache(maxsize=1 << 12)
def _host_before_path(url: str) -> str:
    authority = url.partition("://")[2].partition("/")[0].partition("?")[0]
    host = authority.rpartition("@")[2]
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _without_empty_segments(text: str) -> str:
    """`images//a.png` as `images/a.png`, which servers answer alike; an address in the path stays."""
    match = _PATH.match(text)
    assert match is not None
    return _EMPTY_SEGMENTS.sub("/", match[0]) + text[match.end() :]


def _normalise(url: str) -> str:
    """ "" for what no page of the web can have as its address."""
    if _PLAIN_PAGE.fullmatch(url):
        return url
    normal = _join(url, "")
    return normal if normal.startswith(("http://", "https://")) else ""


def _join(text: str, base: str) -> str:
    """ "" where there is no such address."""
    try:
        return str(ada_url.join_url(base, text) if base else ada_url.normalize_url(text))
    except ValueError:
        return ""
