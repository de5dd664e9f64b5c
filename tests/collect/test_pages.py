"""Pictures and their texts, as they stand in a page."""

from collections import Counter
from typing import Any

import pytest
from web_archive import page

from clipworks.collect.pages import Page, Picture, clean_text, read_length, read_page

URL = "https://a.example/docs/"


def read(*pictures: str, head: str = "", counts: Counter[str] | None = None) -> tuple[Picture, ...]:
    counts = Counter() if counts is None else counts
    found = read_page(page(*pictures, head=head), url=URL, content_type=b"", counts=counts)
    return found.pictures if found is not None else ()


def only(*pictures: str, head: str = "") -> Picture:
    (one,) = read(*pictures, head=head)
    return one


def test_a_picture_has_its_texts_size_and_link() -> None:
    found = read_page(
        page(
            '<a href="../big"><img src=cat.png alt="A &amp; B&nbsp;C" title=T data-image-title=D '
            "width=40 height=30px></a>"
        ),
        url=URL,
        content_type=b"text/html; charset=utf-8",
        counts=Counter(),
    )
    texts = (("alt", "A & B\xa0C"), ("title", "T"), ("data-image-title", "D"))
    picture = Picture(url=f"{URL}cat.png", texts=texts, width=40, height=30, link="https://a.example/big")
    assert found == Page(title="T", language="en", pictures=(picture,))


def test_a_caption_is_the_text_of_the_nearest_figure() -> None:
    caption = "<figcaption> H<sub>2</sub>O <p>is<br>wet</p><script>no</script></figcaption>"
    figure = f"<figure><img src=a.png>{caption}</figure>"
    assert only(f"<figure>{figure}<figcaption>outer</figcaption></figure>").texts == (
        ("figcaption", "H2O is wet"),
    )
    assert only("<figure><img src=a.png></figure>").texts == ()


@pytest.mark.parametrize(
    "body",
    [
        "<!-- <img src=a.png> -->",
        "<script>'<img src=a.png>'</script>",
        "<textarea><img src=a.png></textarea>",
        "<template><img src=a.png></template>",
        "<svg><image href=a.png /></svg>",
        "<imgs src=a.png>",
        "no picture",
        "",
    ],
)
def test_what_a_browser_does_not_show_is_no_picture(body: str) -> None:
    assert read(body) == ()


@pytest.mark.parametrize(
    "body",
    ["<IMG SRC=a.png>", "<iMg\nsrc='a.png'/>", "<image src=a.png>", "<noscript><img src=a.png></noscript>"],
)
def test_a_picture_is_found_however_it_is_written(body: str) -> None:
    assert only(body).url == f"{URL}a.png"


def test_a_base_counts_wherever_it_stands() -> None:
    assert only("<img src=a.png>", head="<base href=/x/>").url == "https://a.example/x/a.png"
    assert only("<img src=a.png>", head="<BASE HREF=/x/>").url == "https://a.example/x/a.png"
    assert only("<img src=a.png><p>text</p><base href=/x/>").url == "https://a.example/x/a.png"


def test_sources_of_a_picture_element_are_candidates() -> None:
    inside = "<source srcset='b.webp 900w' type=image/webp><source srcset='c.jxl 999w' type=image/jxl>"
    assert only(f"<picture>{inside}<img src=a.png></picture>").url == f"{URL}b.webp"


def test_pictures_without_an_address_are_counted_by_reason() -> None:
    counts: Counter[str] = Counter()
    body = "<img><img src=''><img src=data:x><img src=javascript:x><img src=https://><img src=a.png>"
    assert len(read(body, counts=counts)) == 1
    assert counts == Counter(images=6, no_address=2, data_address=1, other_scheme=1, malformed_address=1)


def test_a_page_in_utf_16_is_read() -> None:
    body = b"\xff\xfe" + "<img src=a.png alt=é>".encode("utf-16-le")
    found = read_page(body, url=URL, content_type=b"", counts=Counter())
    assert found is not None and found.pictures[0].texts == (("alt", "é"),)


def test_broken_utf_8_is_marked() -> None:
    found = read_page(
        b"<meta charset=utf-8><img src=a.png alt='\xff x'>", url=URL, content_type=b"", counts=Counter()
    )
    assert found is not None and found.pictures[0].texts == (("alt", "\ufffd x"),)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [(" a\r\nb\rc\nd\t", "a b c d"), ("a  b", "a  b"), ("\xa0a\xa0", "\xa0a\xa0"), ("  ", ""), (None, "")],
)
def test_a_text_is_put_on_one_line_and_left_alone_otherwise(text: str | None, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@pytest.mark.parametrize(
    ("text", "pixels"),
    [
        ("40", 40),
        (" 40px", 40),
        ("+40.7", 40),
        ("50%", None),
        ("12.5%", None),
        ("0", None),
        ("auto", None),
        (None, None),
    ]
    + [("999999999999", 999_999_999)],
)
def test_a_size_is_in_pixels_or_unknown(text: Any, pixels: int | None) -> None:
    assert read_length(text) == pixels


def test_a_page_without_a_title_in_its_head_may_have_one_later() -> None:
    found = read_page(b"<img src=a.png><title> A\n B </title>", url=URL, content_type=b"", counts=Counter())
    assert found is not None and found.title == "A B"
