"""The page narrows, lists and goes on: conditions, the next pictures, and what is known of each."""

import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from clipworks.serve.app import create_app
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, ColourEngine
from tests.serve.site.many import write_many


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    engine = ColourEngine()
    gallery = write_many(tmp_path_factory.mktemp("many"), engine)
    app = create_app(ServeSettings(), {"colours": engine}, gallery)  # type: ignore[dict-item]
    with TestClient(app, base_url=ADDRESS) as client:
        yield client


def captions(page: str) -> list[str]:
    return re.findall(r'<p class="caption">([^<]*)</p>', page)


def test_the_next_pictures_are_those_that_follow(client: TestClient) -> None:
    first = client.get("/?q=red&fragment=1").text
    assert "More than 24 pictures for “red”" in first and len(captions(first)) == 24
    (more,) = re.findall(r'href="([^"]*)" data-more', first)
    second = client.get(more.replace("&amp;", "&") + "&fragment=1").text
    assert "More than 48 pictures" in second
    third = client.get("/?q=red&from=48&fragment=1").text
    assert "50 pictures for “red”" in third and "data-more" not in third and "Further away (10)" in third
    seen = captions(first) + captions(second) + captions(third)
    assert seen[:50] == [f"picture {number}" for number in range(50)] and len(set(seen)) == 60


@pytest.mark.parametrize("start", ["-1", "x", "99999", "1e9", "9999"])
def test_a_wrong_place_to_go_on_from_is_no_error(client: TestClient, start: str) -> None:
    assert client.get(f"/?q=red&from={start}&fragment=1").status_code == 200


def test_the_choices_of_the_library_are_offered(client: TestClient) -> None:
    page = client.get("/").text
    assert '<option value="Apple iPhone 15">20</option>' in page and '<option value="Anna">6</option>' in page
    assert '<option value="trips">30</option>' in page and '<option value="trips/rome">30</option>' in page
    assert 'type="date" value="" min="2024-01-01" max="2024-03-04"' in page
    assert '<details class="filters">' in page
    narrowed = client.get("/?q=red&tag=Anna").text
    assert '<details class="filters" open>' in narrowed
    assert 'list="tag-choices" value="Anna"' in narrowed


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("q=red&tag=anna", [0, 10, 20, 30, 40]),
        ("q=red&before=2024-01-03", [0, 1, 2]),
        ("q=red&folder=trips&before=2024-01-03", [1]),
        ("q=red&camera=iphone&before=2024-01-09&where=words!=3", [0, 6]),
        ("tag=Anna&after=2024-02-01&sort=newest", [50, 40, 30]),
    ],
)
def test_conditions_narrow_a_search_or_stand_alone(
    client: TestClient, query: str, numbers: list[int]
) -> None:
    page = client.get(f"/?{query}&fragment=1").text.partition("Further away")[0]
    assert captions(page) == [f"picture {number}" for number in numbers]


def test_a_condition_that_cannot_be_used_is_said(client: TestClient) -> None:
    for query in ("q=red&where=colour=red", "after=soon"):
        answer = client.get(f"/?{query}&fragment=1")
        assert answer.status_code == 400 and 'role="alert"' in answer.text
    assert "No picture meets the conditions" in client.get("/?q=red&tag=nobody&fragment=1").text


def test_what_is_not_wanted_is_taken_away(client: TestClient) -> None:
    plain, without = (client.get(f"/?{query}&fragment=1").text for query in ("q=blue", "q=blue&minus=red"))
    assert captions(plain)[0] == captions(without)[0] == "picture 50"
    assert "-1 red" in without and "-1 red" not in plain


def test_the_details_say_what_is_known_and_why_it_was_found(client: TestClient) -> None:
    page = client.get("/?q=red&fragment=1").text
    details = page[page.index("<dialog") : page.index("</dialog>")]
    for words in (
        *("Score", "1.000; found, since 0.500 counts as found here", "2024-01-01 12:00:00"),
        *("Apple iPhone 15", "4,000 × 3,000 pixels", "Anna", "home/000.png", "CC0-1.0", "calm"),
        *('href="/gallery/home/000.png" download', "/?like=home/000.png"),
    ):
        assert words in details, words


def test_pictures_like_one_of_the_gallery_leave_that_one_out(client: TestClient) -> None:
    page = client.get("/?like=home/000.png&fragment=1").text
    assert "pictures like this one" in page and captions(page)[0] == "picture 1"
    assert "picture 0" not in captions(page)
