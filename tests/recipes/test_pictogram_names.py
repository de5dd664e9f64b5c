import pytest

from recipes.pictogram_names import NameCleaner, plain_words


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("umbrella-on-ground", "umbrella on ground"),
        ("house-outline", "house"),
        ("house-20-filled", "house"),
        ("house2", "house"),
        ("traffic-light", "traffic light"),
        ("tv", "tv"),
    ],
)
def test_style_words_go_and_words_of_the_thing_stay(name: str, plain: str) -> None:
    assert NameCleaner([name], suffixes=["20-filled"]).clean(name) == plain


def test_a_word_is_a_style_where_many_names_of_the_set_end_in_it() -> None:
    names = [f"{thing}-light" for thing in ("house", "fox", *(f"thing{i}" for i in range(30)))]
    assert NameCleaner(names).clean("fox-light") == "fox"


def test_a_declared_prefix_goes() -> None:
    assert NameCleaner([], prefixes=["baseline"]).clean("baseline-fox") == "fox"


@pytest.mark.parametrize(
    "name", ["1f98a", "a", "letter-a", "h-4", "x-y-z", "a-b-c-d-fox", "one-two-three-four-five-six-seven"]
)
def test_codes_letters_and_long_names_are_dropped(name: str) -> None:
    assert NameCleaner([name]).clean(name) == ""


@pytest.mark.parametrize("name", ["brand-tabler", "fox-logo", "github-fork", "apple", "acme-tool"])
def test_trade_marks_are_dropped(name: str) -> None:
    assert NameCleaner([name], brands=frozenset({"acme tool"})).clean(name) == ""


def test_a_trade_mark_that_is_a_word_may_stand_in_a_longer_name() -> None:
    assert NameCleaner([]).clean("apple-tree") == "apple tree"


def test_plain_words_joins_with_single_spaces() -> None:
    assert plain_words("Umbrella-on_ground-") == "umbrella on ground"
