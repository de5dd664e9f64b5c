"""Models side by side, and quality against cost."""

import re

import pytest
from starlette.testclient import TestClient

from clipworks.model.catalogue import rows
from clipworks.serve.site import charts
from clipworks.serve.site.charts import Dot

B16, L14 = "openai/clip-vit-base-patch16", "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"
METACLIP = "facebook/metaclip-b16-fullcc2.5b"


def heads(page: str) -> list[str]:
    table = page[page.index('<table class="sides">') :]
    return re.findall(r'<th scope="col"><a href="/models/([^"]+)"', table[: table.index("</thead>")])


def row(page: str, name: str) -> str:
    found = re.search(rf'<th scope="row">{re.escape(name)}</th>.*?</tr>', page, re.DOTALL)
    assert found is not None, name
    return found[0]


def test_models_stand_in_the_order_in_which_they_were_asked_for(shared_client: TestClient) -> None:
    page = shared_client.get("/compare", params={"m": [L14, "OpenAI-B16", L14]}).text
    assert heads(page) == [L14, B16]
    imagenet = row(page, "ImageNet 1k")
    assert re.findall(r"(\d\d\.\d) %<span", imagenet) == ["79.2", "68.3"]
    assert imagenet.count('class="best ahead"') == 1 and "67.9 to 68.7 %" in imagenet
    assert "162.03 GFLOP" in row(page, "Work for a picture") and "$0.060" in row(page, "1,000 pictures, est.")


def test_what_is_best_without_an_interval_is_not_said_to_be_ahead(shared_client: TestClient) -> None:
    page = shared_client.get("/compare", params={"m": [L14, B16]}).text
    assert 'class="best"' in row(page, "MSCOCO") and "ahead" not in row(page, "MSCOCO")
    close = shared_client.get("/compare", params={"m": [B16, METACLIP]}).text
    assert 'class="best"' in row(close, "ImageNet-A")  # 50.0 and 49.5 of 7,500 pictures


def test_all_models_are_compared_where_none_is_named(shared_client: TestClient) -> None:
    page = shared_client.get("/compare").text
    assert len(heads(page)) == 8 and heads(page)[:2] == ["colours", "team/other"]
    for known in rows()[1:]:
        assert f'value="{known.id}"' in page
    assert "Without a number on this scale" in page and page.count('class="dot coming"') == 5
    assert "{% block" not in page and '<section id="run"' in page


@pytest.mark.parametrize("quality", ["imagenet", "average", "retrieval", "objects"])
@pytest.mark.parametrize("cost", ["price", "work"])
def test_every_scale_is_drawn_and_stands_in_a_table(
    shared_client: TestClient, quality: str, cost: str
) -> None:
    page = shared_client.get("/compare", params={"quality": quality, "cost": cost}).text
    drawing = page[page.index('<svg class="drawing"') : page.index("</svg>")]
    table = page[page.index("The drawing as a table") : page.index("</details>")]
    for known in rows()[1:]:
        assert known.title in drawing and known.title in table
    for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawing):
        assert charts.LEFT <= float(x) <= charts.WIDTH and 0 <= float(y) <= charts.HEIGHT


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"m": ["openai/<b>", B16]}, "There is no model &#39;openai/&lt;b&gt;&#39;. Nearest: "),
        ({"quality": "beauty"}, "There is no quality &#39;beauty&#39;."),
        ({"cost": "time"}, "There is no cost &#39;time&#39;."),
        (
            {"m": ["colours", "team/other", *(known.id for known in rows()), "x"]},
            "There is no model &#39;x&#39;.",
        ),
    ],
)
def test_what_means_nothing_is_said_and_the_rest_shown(
    shared_client: TestClient, query: dict[str, str | list[str]], words: str
) -> None:
    answer = shared_client.get("/compare", params=query)
    assert answer.status_code == 400 and words in answer.text and '<svg class="drawing"' in answer.text


def dot(x: float, y: float, interval: tuple[float, float] | None = None) -> Dot:
    return Dot(id="a", label="a", x=x, y=y, interval=interval, is_usable=True)


@pytest.mark.parametrize("xs", [(1.0, 1.0), (0.0, 0.0), (0.01, 160.0), (1e-6, 2e-6)])
@pytest.mark.parametrize("ys", [(0.5, 0.5), (0.0, 1.0), (0.711, 0.712)])
def test_a_drawing_holds_whatever_there_is(xs: tuple[float, float], ys: tuple[float, float]) -> None:
    drawn = charts.scatter([dot(x, y, (y, y)) for x, y in zip(xs, ys, strict=True)], "$")
    for mark in drawn.marks:
        assert charts.LEFT <= mark.x <= charts.WIDTH - charts.RIGHT
        assert charts.TOP <= mark.top <= mark.y <= mark.bottom <= charts.HEIGHT - charts.BOTTOM
    places = [tick.at for tick in drawn.across]
    assert 2 <= len(places) <= 14 and places == sorted(places)


def test_the_numbers_of_an_axis_have_the_same_decimals() -> None:
    drawn = charts.scatter([dot(0.047, 0.5), dot(0.06, 0.6)], "$")
    assert [tick.words for tick in drawn.across] == ["$0.045", "$0.050", "$0.055", "$0.060", "$0.065"]
    drawn = charts.scatter([dot(10.0, 0.5), dot(160.0, 0.6)], "")
    assert {tick.words for tick in drawn.across} >= {"50", "100", "150"}


def test_labels_of_equal_models_do_not_stand_on_each_other() -> None:
    drawn = charts.scatter([dot(1.0, 0.5), dot(1.0, 0.5), dot(1.0, 0.501), dot(2.0, 0.9)], "")
    heights = sorted(mark.label_y for mark in drawn.marks)
    assert all(b - a >= 15 for a, b in zip(heights, heights[1:], strict=False))
