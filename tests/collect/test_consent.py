import asyncio
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipworks.addresses import WebAddress, parse_address
from clipworks.blocklists import Blocklist, read_blocklist
from clipworks.collect.consent import Consent, ConsentRules, is_refusing_tag, read_tdm
from clipworks.errors import NetError

PICTURE = "http://pictures.example/photos/cat.png"
ROBOTS = "/robots.txt"
TDM = "/.well-known/tdmrep.json"


class Site:
    """Says what it is told to, and remembers what it was asked."""

    def __init__(self, **files: tuple[int, bytes]) -> None:
        self.files = {ROBOTS: files.get("robots", (404, b"")), TDM: files.get("tdm", (404, b""))}
        self.asked: list[str] = []

    async def get(self, address: WebAddress) -> tuple[int, bytes]:
        self.asked.append(address.target)
        await asyncio.sleep(0)
        status, data = self.files[address.target]
        if status == 0:
            raise NetError("The host cannot be reached.", reason="unreachable")
        return status, data

    def consent(self, rules: ConsentRules | None = None, opt_outs: Blocklist | None = None) -> Consent:
        return Consent(rules or ConsentRules(), opt_outs or Blocklist(), self.get)


def reason(consent: Consent, url: str = PICTURE) -> str | None:
    return asyncio.run(consent.reason(url, parse_address(url)))


@pytest.mark.parametrize(
    ("robots", "answer"),
    [
        ((404, b""), None),
        ((403, b""), None),
        ((200, b"User-agent: *\nDisallow: /photos/\n"), "robots"),
        ((200, b"User-agent: *\nDisallow: /other/\n"), None),
        ((200, b"User-agent: clipworks\nDisallow: /\n\nUser-agent: *\nAllow: /\n"), "robots"),
        ((200, b"User-agent: ClipWorks\nAllow: /\n\nUser-agent: *\nDisallow: /\n"), None),
        ((200, b"User-agent: *\nDisallow: /\nAllow: /photos/*.png$\n"), None),
        ((200, b"\xef\xbb\xbfUser-agent: *\r\nDisallow: /photos\r\n"), "robots"),
        ((200, b"<html>\xff not a robots.txt"), None),
        ((500, b""), "robots_unavailable"),
        ((429, b""), "robots_unavailable"),
    ],
)
def test_robots_txt_is_obeyed_as_rfc_9309_says(robots: tuple[int, bytes], answer: str | None) -> None:
    assert reason(Site(robots=robots).consent()) == answer


def test_a_host_that_cannot_be_reached_is_not_asked_for_pictures() -> None:
    with pytest.raises(NetError) as caught:
        reason(Site(robots=(0, b"")).consent())
    assert caught.value.reason == "unreachable"


def test_a_host_is_asked_once_however_many_ask_at_the_same_time() -> None:
    site = Site(robots=(200, b"User-agent: *\nDisallow: /photos/\n"))

    async def play() -> list[str | None]:
        consent = site.consent()
        return await asyncio.gather(*[consent.reason(PICTURE, parse_address(PICTURE)) for _ in range(9)])

    assert asyncio.run(play()) == ["robots"] * 9 and sorted(site.asked) == [TDM, ROBOTS]


def test_each_scheme_host_and_port_has_its_own_robots_txt() -> None:
    site = Site()

    async def play() -> None:
        consent = site.consent(ConsentRules(tdm=False))
        for url in ("http://a.example/1", "http://a.example/2", "https://a.example/1", "http://b.example/1"):
            assert await consent.reason(url, parse_address(url)) is None

    asyncio.run(play())
    assert site.asked == [ROBOTS] * 3


@pytest.mark.parametrize(
    ("data", "url", "answer"),
    [
        (b'[{"location": "*", "tdm-reservation": 1}]', PICTURE, "tdm"),
        (b'[{"location": "/photos/*", "tdm-reservation": 1}]', PICTURE, "tdm"),
        (b'[{"location": "/photos/*.jpg$", "tdm-reservation": 1}]', PICTURE, None),
        (
            b'[{"location": "/", "tdm-reservation": 1}, {"location": "/photos/", "tdm-reservation": 0}]',
            PICTURE,
            None,
        ),
        (b'{"location": "/"}', PICTURE, None),
        (b"[1, {}, null]", PICTURE, None),
        (b"<html>", PICTURE, None),
    ],
)
def test_tdmrep_json_reserves_the_paths_it_names(data: bytes, url: str, answer: str | None) -> None:
    assert reason(Site(tdm=(200, data)).consent(), url) == answer


@pytest.mark.parametrize("end", ["", "$"])
@given(st.text("ab*/", max_size=8), st.text("ab/", max_size=10))
def test_patterns_of_paths_mean_what_a_regular_expression_would(end: str, location: str, path: str) -> None:
    pattern = re.compile(re.escape(location).replace(r"\*", ".*") + end)
    (found,), _ = read_tdm(json.dumps([{"location": location + end, "tdm-reservation": 1}]).encode())
    assert found.matches(path) == bool(pattern.match(path))


@pytest.mark.parametrize("end", ["", "$"])
def test_no_pattern_of_a_host_takes_longer_than_it_is_long(end: str) -> None:
    location = "/" + "*a" * 3000 + "b" + end  # as a regular expression it takes longer than the world is old
    (found,), _ = read_tdm(json.dumps([{"location": location, "tdm-reservation": 1}]).encode())
    assert not found.matches("/" + "a" * 8000)


def test_a_missing_tdmrep_json_reserves_nothing_even_where_the_connection_breaks() -> None:
    assert reason(Site(tdm=(0, b"")).consent()) is None
    assert read_tdm(b"[" * 100_000) == ((), ())


def test_opt_out_lists_are_asked_before_the_host_is(tmp_path: Path) -> None:
    site = Site()
    (tmp_path / "list.txt").write_text("example")
    assert reason(site.consent(opt_outs=read_blocklist([tmp_path / "list.txt"]))) == "opt_out"
    assert site.asked == []


@pytest.mark.parametrize(
    ("value", "is_refusing"),
    [
        ("noai", True),
        ("NoImageAI", True),
        ("nofollow, noindex", True),
        ("none", True),
        ("noimageindex", True),
        ("nofollow", False),
        ("all", False),
        ("clipworks: noindex", True),
        ("otherbot: noindex", False),
        ("otherbot: noindex, nofollow", False),
        ("otherbot: noindex, clipworks: noai", True),
        ("max-image-preview: none", False),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST, noai", True),
        ("noaircraft", False),
        ("", False),
    ],
)
def test_an_x_robots_tag_forbids_for_us_or_for_all(value: str, is_refusing: bool) -> None:
    assert is_refusing_tag(value) is is_refusing


def test_headers_are_judged_each_and_only_as_far_as_is_asked() -> None:
    consent = Site().consent()
    assert (
        consent.refused_by_headers([("x-robots-tag", "nofollow"), ("x-robots-tag", "noai")]) == "x_robots_tag"
    )
    assert consent.refused_by_headers([("tdm-reservation", "1")]) == "tdm"
    assert consent.refused_by_headers([("tdm-reservation", "0"), ("server", "noai")]) is None
    lax = Site().consent(ConsentRules(robots=False, tags=False, tdm=False))
    assert lax.refused_by_headers([("x-robots-tag", "noai"), ("tdm-reservation", "1")]) is None


def test_what_is_switched_off_is_not_asked_for() -> None:
    site = Site(robots=(200, b"User-agent: *\nDisallow: /\n"))
    assert reason(site.consent(ConsentRules(robots=False, tdm=False))) is None and site.asked == []


def test_a_crawl_delay_is_told_once_the_host_is_known() -> None:
    address = parse_address(PICTURE)
    consent = Site(robots=(200, b"User-agent: *\nCrawl-delay: 2.5\n")).consent()
    assert consent.crawl_delay_seconds(address) == 0
    assert reason(consent) is None and consent.crawl_delay_seconds(address) == 2.5


@pytest.mark.slow
def test_what_hosts_said_takes_a_limited_room() -> None:
    text = b"User-agent: *\nDisallow: /private\n" + b"# x\n" * 100_000

    async def play() -> None:
        site = Site(robots=(200, text))
        consent = site.consent(ConsentRules(tdm=False))
        for number in range(20):
            url = f"http://h{number}.example/"
            assert await consent.reason(url, parse_address(url)) is None
        assert len(consent._sites) < 8 and len(site.asked) == 20

    asyncio.run(play())
