import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipworks.curate.expressions import (
    Both,
    Comparison,
    Either,
    Filter,
    Flag,
    Not,
    Top,
    parse_filter,
    replaced,
    rules_of,
    words_of,
)
from clipworks.errors import ConfigError

FLAGS, QUANTITIES = ("english", "unsafe"), ("b32", "l14", "words")

rules = st.one_of(
    st.sampled_from(FLAGS).map(lambda name: Flag(name=name)),
    st.builds(
        lambda name, sign, number: Comparison(name=name, sign=sign, number=number),
        st.sampled_from(QUANTITIES),
        st.sampled_from([">=", ">", "<=", "<", "==", "!="]),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.builds(
        lambda name, part: Top(name=name, fraction=part),
        st.sampled_from(QUANTITIES),
        st.floats(0, 1, exclude_max=True),
    ),
)
filters = st.recursive(
    rules,
    lambda inner: st.one_of(
        inner.map(lambda part: Not(inner=part)),
        st.tuples(inner, inner).map(lambda two: Both(first=two[0], second=two[1])),
        st.tuples(inner, inner).map(lambda two: Either(first=two[0], second=two[1])),
    ),
    max_leaves=12,
)


def parse(text: str) -> Filter:
    return parse_filter(text, flags=FLAGS, quantities=QUANTITIES)


@settings(deadline=None)
@given(filters)
def test_the_words_of_a_filter_give_it_back(part: Filter) -> None:
    assert parse(words_of(part)) == part


def test_not_binds_closer_than_and_and_and_closer_than_or() -> None:
    english, unsafe = Flag(name="english"), Flag(name="unsafe")
    b32 = Comparison(name="b32", sign=">=", number=0.28)
    assert parse("not unsafe and english or b32>=.28") == Either(
        first=Both(first=Not(inner=unsafe), second=english), second=b32
    )
    assert parse(" english and (b32 >= 0.28 or not unsafe)\n") == Both(
        first=english, second=Either(first=b32, second=Not(inner=unsafe))
    )


def test_rules_are_listed_and_changed_in_place() -> None:
    part = parse("english and (top(l14, 0.3) or not words > 2)")
    assert [words_of(rule) for rule in rules_of(part)] == ["english", "top(l14, 0.3)", "words > 2.0"]
    settled = replaced(part, lambda rule: Flag(name="unsafe") if isinstance(rule, Top) else rule)
    assert words_of(settled) == "english and (unsafe or not words > 2.0)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("englsh", r"no rule 'englsh'.*Nearest: english"),
        ("english and b23 > 1", r"no rule 'b23'.*Nearest: b32"),
        ("english and", "ends where a rule is wanted"),
        ("", "ends where a rule is wanted"),
        ("b32", "ends where a comparison is wanted"),
        ("b32 english", "compares b32 by 'english'"),
        ("b32 >=", "ends where a number is wanted"),
        ("b32 >= l14", "has 'l14' where a number is wanted"),
        ("b32 >= (1", "has '[(]' where a number is wanted"),
        ("(english", "lacks a '[)]'"),
        ("(english words", "has 'words' where '[)]' is wanted"),
        ("english english", "goes on with 'english'"),
        ("english & unsafe", "has '& unsafe', which no filter has"),
        ("and english", "has 'and' where a rule is wanted"),
        ("> 3", "has '>' where a rule is wanted"),
        ("top(b32, 1)", r"fraction 1.0, which is not in \[0, 1\)"),
        ("top b32", "has 'b32' where '[(]' is wanted"),
        ("top(english, 0.3)", "no rule 'english'"),
        ("b32 >= nan", "has 'nan' where a number is wanted"),
        ("__import__('os')", "has '__import__'|no rule '__import__'|which no filter has"),
        ("not " * 60 + "english", "nested more than 50 deep"),
        ("(" * 60 + "english" + ")" * 60, "nested more than 50 deep"),
    ],
)
def test_what_is_no_filter_is_an_error_that_says_where(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text)
