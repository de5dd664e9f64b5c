"""Line plots are SVG that any reader takes, with every point on the paper."""

import re
from xml.etree import ElementTree

import pytest

from clipworks.plots import HEIGHT, WIDTH, Line, draw_lines

SVG = "{http://www.w3.org/2000/svg}"


def test_each_line_is_drawn_with_its_label_and_its_intervals() -> None:
    lines = [
        Line(label="a & b", xs=[1, 2, 16], ys=[10, 20, 30], lows=[8, 18, 28], highs=[12, 22, 32]),
        Line(label="level", xs=[1, 2, 16], ys=[15, 15, 15], is_dashed=True),
    ]
    text = draw_lines(lines, title="T <1>", x_label="shots", y_label="%", x_scale="doublings")
    tree = ElementTree.fromstring(text)
    assert [len(one.attrib["points"].split()) for one in tree.iter(f"{SVG}polyline")] == [3, 3]
    words = {one.text for one in tree.iter(f"{SVG}text")}
    assert {"a & b", "level", "T <1>", "shots", "%", "1", "2", "16"} <= words


def test_a_logarithmic_axis_gives_doublings_the_same_distance() -> None:
    text = draw_lines(
        [Line(label="", xs=[1, 2, 4], ys=[0, 1, 2])], title="", x_label="", y_label="", x_scale="doublings"
    )
    xs = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', text)]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)


@pytest.mark.parametrize("ys", [[0.0], [5.0, 5.0], [1e-9, 2e-9], [float("nan"), 3.0], [-4.0, 1e6]])
def test_odd_values_stay_on_the_paper(ys: list[float]) -> None:
    xs = list(range(len(ys)))
    text = draw_lines([Line(label="", xs=xs, ys=ys)], title="", x_label="", y_label="")
    places = re.findall(r'<circle cx="([-\d.]+)" cy="([-\d.]+)"', text)
    assert places and all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in places)
    assert "nan" not in text


def test_without_points_the_axes_are_drawn() -> None:
    ElementTree.fromstring(draw_lines([Line(label="", xs=[], ys=[])], title="", x_label=""))
    assert "<polyline" not in draw_lines([], title="", x_label="")


def test_decades_lie_at_even_distances_and_what_is_below_one_at_the_edge() -> None:
    line = Line(label="pool <1>", xs=[1, 10, 1000], ys=[10_000, 100, 0])
    text = draw_lines([line], title="a & b", x_label="rank", x_scale="decades", y_scale="decades", level=100)
    tree = ElementTree.fromstring(text)
    (curve,) = (one.attrib["points"].split() for one in tree.iter(f"{SVG}polyline"))
    assert curve == ["70.0,40.0", "250.0,202.5", "610.0,365.0"]
    assert 'd="M70 202.5H610" stroke="#c40"' in text  # the level, on the same height as the point
    words = {one.text for one in tree.iter(f"{SVG}text")}
    assert {"1e0", "1e3", "1e4", "pool <1>"} <= words


def test_a_long_line_has_round_numbers_below_it_and_no_dots() -> None:
    steps = list(range(3, 497))
    text = draw_lines([Line(label="", xs=steps, ys=steps)], title="", x_label="step")
    words = {one.text for one in ElementTree.fromstring(text).iter(f"{SVG}text")}
    assert {"0", "100", "500"} <= words
    assert "<circle" not in text
