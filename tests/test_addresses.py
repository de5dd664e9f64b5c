import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipworks.addresses import DENIED, MAX_ADDRESS_CHARACTERS, is_public, parse_address
from clipworks.errors import NetError

PRIVATE_V4 = [ipaddress.IPv4Network(block) for block in DENIED if block.version == 4]

EMBEDDINGS = [
    lambda v4: 0xFFFF << 32 | v4,  # IPv4-mapped
    lambda v4: v4,  # IPv4-compatible
    lambda v4: 0x0064FF9B << 96 | v4,  # NAT64
    lambda v4: 0x0064FF9B0001 << 80 | v4,  # NAT64 inside one network
    lambda v4: 0x2002 << 112 | v4 << 80,  # 6to4
    lambda v4: 0x20010000 << 96 | 0x08080808 << 64 | v4 ^ 0xFFFFFFFF,  # Teredo client
    lambda v4: 0x20010000 << 96 | v4 << 64,  # Teredo server
    lambda v4: 0x26064700 << 96 | 0x5EFE << 32 | v4,  # ISATAP
    lambda v4: 0x26064700 << 96 | 0x02005EFE << 32 | v4,  # ISATAP, universal
]


@st.composite
def private_v4(draw: st.DrawFn) -> int:
    block = draw(st.sampled_from(PRIVATE_V4))
    return draw(st.integers(int(block.network_address), int(block.broadcast_address)))


@given(private_v4())
def test_no_private_address_is_public_in_any_clothes(number: int) -> None:
    assert not is_public(str(ipaddress.IPv4Address(number)))
    for embed in EMBEDDINGS:
        assert not is_public(str(ipaddress.IPv6Address(embed(number))))


@given(st.integers(0, (1 << 32) - 1))
def test_what_is_public_in_version_4_is_so_mapped_and_translated_and_nowhere_else(number: int) -> None:
    plain = is_public(str(ipaddress.IPv4Address(number)))
    assert is_public(str(ipaddress.IPv6Address(EMBEDDINGS[0](number)))) == plain
    assert is_public(str(ipaddress.IPv6Address(EMBEDDINGS[2](number)))) == plain
    assert not is_public(str(ipaddress.IPv6Address(EMBEDDINGS[4](number))))


@given(st.integers(0, (1 << 128) - 1))
def test_of_version_6_only_global_unicast_is_public(number: int) -> None:
    address = ipaddress.IPv6Address(number)
    if is_public(str(address)):
        assert address.is_global and not address.is_private and number >> 125 == 1


@given(st.text(max_size=40))
def test_what_is_no_address_is_not_public(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        assert not is_public(text)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:81b::200e"]
)
def test_addresses_of_well_known_sites_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "target"),
    [
        ("http://a.org", "http", "a.org", 80, "/"),
        ("HTTPS://A.Org:8443/X?y=Z#part", "https", "a.org", 8443, "/X?y=Z"),
        ("http://a.org?x=1", "http", "a.org", 80, "/?x=1"),
        ("http://a.org./é%20", "http", "a.org", 80, "/%C3%A9%20"),
        ("http://[2606:4700:0::1111]/", "http", "2606:4700::1111", 80, "/"),
        ("http://8.8.8.8/", "http", "8.8.8.8", 80, "/"),
        ("http://xn--bcher-kva.example/", "http", "xn--bcher-kva.example", 80, "/"),
    ],
)
def test_addresses_are_taken_apart(text: str, scheme: str, host: str, port: int, target: str) -> None:
    address = parse_address(text)
    assert (address.scheme, address.host, address.port, address.target) == (scheme, host, port, target)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://a.org/", "of the form"),
        ("http://user@a.org/", "of the form"),
        ("http://a.org\\b", "character"),
        ("http://a b/", "character"),
        ("http://a.org/\n", "character"),
        ("http://bücher.example/", "of the form"),
        ("http://a%2e.org/", "of the form"),
        ("http://a..org/", "of the form"),
        ("http://127.1/", "a number"),
        ("http://0x7f.0x1/", "a number"),
        ("http://256.1.1.1/", "a number"),
        ("http://a.org:0/", "port is 0"),
        ("http://a.org:70000/", "port is 70000"),
        ("http://[::g]/", "of the form"),
        ("http://[1::2::3]/", "no IPv6"),
        (f"http://{'a' * 64}.org/", "too long"),
        (f"http://a.org/{'a' * MAX_ADDRESS_CHARACTERS}", "characters, more than"),
        ("http://a.org/\ud800", "character"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(text: str, words: str) -> None:
    with pytest.raises(NetError, match=words) as caught:
        parse_address(text)
    assert caught.value.reason == "malformed" and len(str(caught.value)) < 160


@given(st.text(max_size=60))
def test_a_parsed_address_is_safe_to_send_whatever_was_given(text: str) -> None:
    for prefix in ("", "http://", "https://a.org/", "http://a.org"):
        try:
            address = parse_address(prefix + text)
        except NetError:
            continue
        assert address.target.isascii() and address.target.startswith("/")
        assert not any(character <= " " for character in address.target + address.authority)
        assert not set("@\\/%?#") & set(address.host)
        again = parse_address(f"{address.scheme}://{address.authority}{address.target}")
        assert again == address


@given(st.text(alphabet="./\\@:?#a[]%0127htp \t", max_size=30))
def test_a_redirect_without_a_host_stays_where_it_is(location: str) -> None:
    here = parse_address("https://a.org/b/c?d=1")
    try:
        there = here.join(location)
    except NetError:
        return
    if not location.startswith("//") and ":" not in location:
        assert (there.scheme, there.host, there.port) == ("https", "a.org", 443)


def test_a_redirect_from_a_path_that_looks_like_a_host_is_refused_and_nothing_worse() -> None:
    here = parse_address("https://site.example//[x")
    with pytest.raises(NetError, match="cannot be read"):
        here.join("y")
