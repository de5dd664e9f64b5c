import random
from collections.abc import Sequence

import ahocorasick
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipworks.curate.match import MODES, build_matcher, fold, match_texts, pad_entry, read_text, space_text
from clipworks.errors import ConfigError

LETTERS = [
    "a",
    "b",
    "cat",
    "Cat",
    " ",
    "  ",
    ".",
    ",",
    "`",
    "\t",
    "\n",
    "\r",
    "\0",
    "é",
    "É",
    "e\u0301",
    "(",
    "'",
]
LETTERS += [
    "-",
    "longtoken",
    "longtokem",
    "ß",
    "\u00a0",
    "語",
    "猫の",
    "ไทย",
    "、",
    "ﬁ",
    "😀",
    "\ud7ff",
    "İ",
    "\x1c",
]
words = st.lists(st.sampled_from(LETTERS), max_size=8).map("".join)


def by_search(entries: Sequence[str], texts: Sequence[str], mode: str) -> list[list[int]]:
    """What `in` says; of entries that are searched in the same way the first one counts."""
    patterns: dict[str, int] = {}
    for number, entry in enumerate(entries):
        pattern = pad_entry(entry, mode)
        if pattern:
            patterns.setdefault(pattern, number)
    return [
        sorted(number for pattern, number in patterns.items() if pattern in read_text(text, mode))
        for text in texts
    ]


def by_automaton(entries: Sequence[str], texts: Sequence[str]) -> list[list[int]]:
    """The published way: pyahocorasick over spaced texts."""
    automaton = ahocorasick.Automaton()
    for number, entry in enumerate(entries):
        automaton.add_word(f" {entry} ", number)
    automaton.make_automaton()
    return [sorted({number for _, number in automaton.iter(space_text(text))}) for text in texts]


def found(
    entries: Sequence[str], texts: Sequence[str], mode: str = "metaclip", threads: int = 1
) -> list[list[int]]:
    matcher = build_matcher(entries, mode=mode)
    ends, ids = match_texts(matcher, pa.array(texts, pa.large_string()), threads=threads)
    return [part.tolist() for part in np.split(ids, ends[1:-1])] if len(texts) else []


@pytest.mark.parametrize("text", [",,", ", ,", ",  ,", ", , ,"])
def test_two_marks_of_a_text_have_two_spaces_or_more_between_them(text: str) -> None:
    assert ", ," not in space_text(text)
    assert (",  ," in space_text(text)) is (text == ",,")


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=150, deadline=None)
@given(st.lists(words, min_size=1, max_size=12, unique=True), st.lists(words, min_size=1, max_size=6))
@example(["a", "a b", "b"], ["a b", "a  b", "a,b", ""])
@example(["", " ", "a "], ["", " ", "a  ", "a."])
def test_the_matcher_finds_what_a_search_for_each_entry_finds(
    mode: str, entries: list[str], texts: list[str]
) -> None:
    assert found(entries, texts, mode) == by_search(entries, texts, mode)


@settings(max_examples=100, deadline=None)
@given(st.lists(words, min_size=1, max_size=12, unique=True), st.lists(words, min_size=1, max_size=6))
@pytest.mark.slow
def test_the_published_automaton_finds_the_same(entries: list[str], texts: list[str]) -> None:
    assert found(entries, texts) == by_automaton(entries, texts)


@pytest.mark.slow
def test_many_entries_and_long_texts_are_found_as_the_automaton_finds_them() -> None:
    chance = random.Random(0)
    vocabulary = ["".join(chance.choices("abcde", k=chance.randint(1, 12))) for _ in range(3000)]
    entries = list(
        dict.fromkeys(" ".join(chance.choices(vocabulary, k=chance.randint(1, 5))) for _ in range(20_000))
    )
    entries += [word for word in vocabulary if word not in set(entries)]
    entries = list(dict.fromkeys(entries))
    texts = [" ".join(chance.choices(vocabulary, k=chance.choice([0, 3, 15, 3000]))) for _ in range(60)]
    texts += [f"{one}, {two}." for one, two in zip(entries, entries[1:], strict=False)][:500]
    expected = by_automaton(entries, texts)
    assert found(entries, texts) == expected
    assert found(entries, texts, threads=3) == expected
    assert max(map(len, expected)) > 1000


@pytest.mark.parametrize(
    ("entry", "text", "matches"),
    [
        ("Photo", "a photo", False),
        ("photo", "a photo", True),
        ("cat", "(cat)", False),
        ("cat", "cat's", False),
        ("cat", '"cat"', False),
        ("cat", "cat-like", False),
        ("cat", "cat/dog", False),
        ("cat", "concat", False),
        ("cat", "cat, dog", True),
        ("cat", "`cat`", True),
        ("cat", "dog\tcat\r\n", True),
        ("cat", "cat\u00a0dog", False),
        ("cat", "cat &amp; dog", True),
        ("&", "cat &amp; dog", False),
        ("U.S.", "made in the U.S.", False),
        ("St. Louis", "St. Louis", False),
        ("olive oil", "olive  oil", False),
        ("olive oil", "olive, oil", False),
        ("olive oil", "olive\noil", True),
        ("a , b", "a,b", True),
    ],
)
def test_the_published_way_has_these_consequences(entry: str, text: str, matches: bool) -> None:
    assert found([entry], [text]) == [[0] if matches else []]


def test_nested_and_overlapping_entries_all_count_once() -> None:
    entries = ["red", "panda", "red panda", "panda red", "red panda red"]
    assert found(entries, ["red panda red panda"]) == [[0, 1, 2, 3, 4]]
    assert found(entries, ["red panda"]) == [[0, 1, 2]]


def test_an_entry_of_a_script_without_spaces_needs_none_in_metaclip2() -> None:
    entries = ["猫", "cat", "ไทย", "猫cat", "(x"]
    assert found(entries, ["黒猫です", "concat", "ภาษาไทย", "黒猫cat です", "f(x )"], "metaclip2") == [
        *([0], [], [2], [0, 3], [4]),
    ]
    assert found(entries, ["黒猫です", "猫"], "metaclip") == [[], [0]]


def test_folding_ignores_case_forms_punctuation_and_runs_of_spaces() -> None:
    entries = ["olive oil", "Cat", "Straße", "U.S.", "cat"]
    texts = ["OLIVE,  oil", "(cat)'s", "STRASSE", "the U.S. of A.", "ｃａｔ\u00a0ﬁsh"]
    assert found(entries, texts, "folded") == [[0], [1], [2], [3], [1]]
    assert fold("  “Ångström’s”—Ｘ\t") == "ångström s x"


def test_strings_of_both_sizes_slices_and_nulls_are_read_in_place() -> None:
    matcher = build_matcher(["cat", "dog"])
    for kind in (pa.string(), pa.large_string()):
        texts = pa.array(["cat", None, "dog", "", "cat dog"], kind)[1:]
        ends, ids = match_texts(matcher, texts)
        assert (ends.tolist(), ids.tolist()) == ([0, 0, 1, 1, 3], [1, 0, 1])
    ends, ids = match_texts(matcher, pa.array([], pa.string()))
    assert (ends.tolist(), ids.tolist()) == ([0], [])


def test_ids_begin_where_they_are_told_to() -> None:
    matcher = build_matcher(["猫", "cat"], mode="metaclip2", first_id=1000)
    assert match_texts(matcher, pa.array(["猫 cat"]))[1].tolist() == [1000, 1001]


def test_no_entries_match_nothing() -> None:
    assert found([], ["cat", ""]) == [[], []]


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="folded"):
        build_matcher(["cat"], mode="loose")
