"""What a link or a form says to the playground."""

import pytest

from clipworks.serve.problems import RequestError
from clipworks.serve.site.trial import MAX_CHARACTERS, Trial, read_trial


def test_nothing_said_is_the_beginning() -> None:
    assert read_trial({}) == Trial()
    assert Trial().labels[:2] == ["apple", "boat"] and Trial().templates is None


def test_labels_are_lines_or_where_there_is_one_line_parts_between_commas() -> None:
    assert Trial(label="red, green,blue,").labels == ["red", "green", "blue"]
    assert Trial(label="red, dark\r\n\r\n green ,\nblue").labels == ["red, dark", "green", "blue"]
    assert Trial(label="a\u2028b").labels == ["a\u2028b"]
    assert Trial(label=" ,, ").labels == []
    assert Trial(template="a {}, b\n\n{} c ").templates == ["a {}, b", "{} c"]


def test_links_repeat_a_name_for_several_pictures_and_the_last_of_other_names_counts() -> None:
    trial = read_trial({"picture": ["a", "b", "a", " "], "url": "https://x/y", "mode": ["heat", "matrix"]})
    assert trial.pictures == ("a", "b") and trial.addresses == ("https://x/y",) and trial.mode == "matrix"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mode": "<b>"}, "mode is '<b>'; it must be classify, matrix, heat"),
        ({"show": "all"}, "show is 'all'; it must be score, cosine"),
        ({"against": ""}, "against is ''"),
        ({"label": "x" * (MAX_CHARACTERS + 1)}, "label must be a text of at most 100,000 characters"),
        ({"label": 3}, "label must be a text"),
        ({"picture": [str(n) for n in range(9)]}, "At most 8 pictures"),
    ],
)
def test_what_there_is_not_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        read_trial(values)
