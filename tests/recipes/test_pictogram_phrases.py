"""Phrases and the word that says what they are."""

from pathlib import Path

import pytest

from recipes import pictogram_phrases
from recipes.pictogram_phrases import make_phrases, read_adjectives
from recipes.pictogram_words import WordNet

NOTICE = "  1 This software and database is being provided to you\n"
NOUNS = (
    # offset, lexicographer file, lemmas, offset of the hypernym
    (1, 6, ("vehicle",), None),
    (2, 6, ("motor_vehicle",), 1),
    (3, 6, ("fire_engine",), 2),
    (4, 6, ("engine",), None),
    (5, 20, ("red_fox",), None),
    (6, 5, ("fox",), None),
    (7, 9, ("idea",), None),
)


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    data, index = NOTICE, NOTICE
    for offset, file, lemmas, parent in NOUNS:
        pointer = f"001 @ {parent:08d} n 0000" if parent is not None else "000"
        data += f"{offset:08d} {file:02d} n 01 {lemmas[0]} 0 {pointer} | a thing\n"
        index += f"{lemmas[0]} n 1 0 1 0 {offset:08d}\n"
    (tmp_path / "data.noun").write_text(data)
    (tmp_path / "index.noun").write_text(index)
    (tmp_path / "noun.exc").write_text("")
    adjectives = (
        "red a 2 2 & + 2 1 00000001 00000002\nabactinal a 1 1 ! 1 0 00000003\nno-go a 1 0 1 1 00000004\n"
    )
    (tmp_path / "index.adj").write_text(NOTICE + adjectives)
    return tmp_path


def test_a_compound_is_what_its_last_word_says_only_if_wordnet_has_it_above(wordnet: Path) -> None:
    assert list(WordNet(wordnet).compounds()) == [("motor vehicle", "vehicle")]


def test_adjectives_are_words_that_were_met_in_texts(wordnet: Path) -> None:
    assert read_adjectives(wordnet) == ["red"]


def test_heads_are_captions_that_name_things_and_no_phrase_is_a_caption(
    wordnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictogram_phrases, "DESCRIBED", 100)
    monkeypatch.setattr(pictogram_phrases, "PLACED", 1000)
    captions = ["fox", "vehicle", "red fox", "idea", "arrow sideways", "a red vehicle", "engine"]
    pairs = dict(make_phrases(wordnet, captions, num_heads=5))
    assert pairs["motor vehicle"] == pairs["red vehicle"] == "vehicle"
    assert pairs["a fox on a vehicle"] == "fox" and pairs["a vehicle under a fox"] == "vehicle"
    assert not {"red fox", "a red vehicle"} & set(pairs)
    assert set(pairs.values()) == {"fox", "vehicle", "red fox"}
    assert make_phrases(wordnet, ["arrow sideways"], num_heads=5) == []
