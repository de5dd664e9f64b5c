"""What may be dialled: web addresses taken apart by one strict parser, and IP addresses judged.

What is checked and dialled is the same parsed value, so that no second reading of the text can lead
elsewhere. Host names are not judged here: only what they resolve to is.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin

from clipworks.errors import NetError

MAX_ADDRESS_CHARACTERS = 8192

DENIED = tuple(
    ipaddress.ip_network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own; Python calls it neither private nor global
        "127.0.0.0/8",
        "168.63.129.16/32",  # the host of an Azure machine: a public number that answers from inside
        "169.254.0.0/16",  # link-local, with the metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments, with 192.0.0.192 of Oracle's cloud
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",  # unspecified, loopback and IPv4-compatible
        "64:ff9b:1::/48",  # translation inside one network
        "100::/64",
        "2001::/23",  # protocol assignments, with Teredo
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/9",  # link-local and site-local
        "ff00::/8",
    )
)
"""Networks that are never dialled, whatever Python's flags say of them (IANA's special registries)."""

_DENIED_RANGES = {
    version: tuple(
        (int(block.network_address), int(block.broadcast_address))
        for block in DENIED
        if block.version == version
    )
    for version in (4, 6)
}
"""The same as numbers, which are compared 20 times as quickly: a crawl judges each host's addresses."""
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST = ipaddress.IPv6Network("2000::/3")

_PATTERN = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][^#]*)?(?:#.*)?",
    re.IGNORECASE | re.ASCII,
)
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\<>\"^`{|}\ud800-\udfff]|[^\S ]")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE | re.ASCII)
_KEPT = "/?:@!$&'()*+,;=-._~%[]"


@dataclass(frozen=True, kw_only=True, slots=True)
class WebAddress:
    """An http or https address, taken apart."""

    scheme: str
    """`http` or `https`."""
    host: str
    """Name or IP address in lower case, without brackets and without a dot at its end."""
    port: int
    """1..65535."""
    target: str
    """Path and query as they are sent, ASCII."""

    @property
    def authority(self) -> str:
        """The value of the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"

    def join(self, location: str) -> "WebAddress":
        """Where a redirect from here leads.

        Raises:
            NetError: the location is no such address.
        """
        _refuse_characters(location)
        if _SCHEME.match(location):
            return parse_address(location)
        if location.startswith("//"):
            return parse_address(f"{self.scheme}:{location}")
        # The origin is ours, so whatever becomes of the path, it stays there.
        try:
            target = urljoin(self.target, location) if location else self.target
        except ValueError as error:  # a path such as //[x, which urljoin takes for a host
            raise _malformed("it is not of the form https://host/path") from error
        slash = "" if target.startswith("/") else "/"
        return parse_address(f"{self.scheme}://{self.authority}{slash}{target}")


def parse_address(text: str) -> WebAddress:
    """Take a web address apart; what other programs read in more than one way is refused.

    Raises:
        NetError: `malformed`: another scheme than http and https, a user name, a backslash, white
            space or a control character, a percent sign or a letter beyond ASCII in the host, or a
            host that is a number in an unusual form such as 0x7f.1.
    """
    if len(text) > MAX_ADDRESS_CHARACTERS:
        raise _malformed(f"it has {len(text):,} characters, more than {MAX_ADDRESS_CHARACTERS:,}")
    _refuse_characters(text)
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise _malformed("it is not of the form https://host/path")
    scheme, host = match["scheme"].lower(), _host(match["host"].lower())
    port = int(match["port"] or {"http": 80, "https": 443}[scheme])
    if not 1 <= port <= 65535:
        raise _malformed(f"its port is {port}")
    target = quote(match["target"] or "/", safe=_KEPT)
    return WebAddress(
        scheme=scheme, host=host, port=port, target=target if target.startswith("/") else f"/{target}"
    )


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, and every IPv4 address inside it, too.

    Args:
        address: IPv4 or IPv6 in text, as a resolver returns it.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        # A scope names an interface of this machine; addresses of the internet have none.
        return parsed.scope_id is None and _is_public_v6(parsed)
    return _is_public_v4(parsed)


def _is_public_v4(address: ipaddress.IPv4Address) -> bool:
    return _is_plain(address)


def _is_public_v6(address: ipaddress.IPv6Address) -> bool:
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _MAPPED or address in _NAT64:
        return _is_public_v4(low)
    if address not in _UNICAST or not _is_plain(address):
        return False
    # ISATAP: the last 64 bits are 0000:5efe or 0200:5efe and an IPv4 address.
    is_isatap = (int(address) >> 32) & 0xFDFFFFFF == 0x00005EFE
    return not is_isatap or _is_public_v4(low)


def _is_plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    number = int(address)
    if any(first <= number <= last for first, last in _DENIED_RANGES[address.version]):
        return False
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or address.is_loopback
        or address.is_link_local
        or address.is_private
    )


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError as error:
            raise _malformed("its host is no IPv6 address") from error
    host = text.removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or any(len(label) > 63 for label in labels):
        raise _malformed("its host name is too long")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise _malformed("its host is a number and not four from 0 to 255") from error
    return host


def _refuse_characters(text: str) -> None:
    if _FORBIDDEN.search(text):
        raise _malformed("it holds a character that an address must not hold")


def _malformed(why: str) -> NetError:
    return NetError(f"The address cannot be read: {why}.", "Write https://host/path.", reason="malformed")
