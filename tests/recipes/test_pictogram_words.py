from pathlib import Path

import pytest

from recipes.pictogram_words import Emojibase, WordNet


@pytest.fixture
def wordnet(wordnet_folder: Path) -> WordNet:
    return WordNet(wordnet_folder)


@pytest.fixture
def emojibase(packages: Path) -> Emojibase:
    return Emojibase(packages / "emojibase-data")


def test_the_head_noun_is_the_last_word(wordnet: WordNet) -> None:
    meaning = wordnet.look_up("sleeping fox")
    assert meaning is not None and meaning.hypernyms == ("mammal", "animal")


def test_the_head_noun_stands_before_a_preposition(wordnet: WordNet) -> None:
    meaning = wordnet.look_up("fox with umbrella")
    assert meaning is not None and meaning.hypernyms == ("mammal", "animal")


def test_plurals_and_exceptions_are_found(wordnet: WordNet) -> None:
    assert (wordnet.lemma("foxes"), wordnet.lemma("vixens"), wordnet.lemma("qwerty")) == ("fox", "fox", None)


def test_a_second_sense_that_is_an_animal_wins(wordnet: WordNet) -> None:
    meaning = wordnet.look_up("turtle")
    assert meaning is not None and meaning.hypernyms == ("animal",)


def test_preferred_senses_win(wordnet: WordNet) -> None:
    meaning = wordnet.look_up("turtle", frozenset({6}))
    assert meaning is not None and meaning.synonyms == ("turtleneck",)


def test_a_plural_that_is_no_thing_is_read_as_its_singular(wordnet: WordNet) -> None:
    meaning = wordnet.look_up("shoes")
    assert meaning is not None and meaning.is_concrete


def test_words_of_user_interfaces_have_no_meaning(wordnet: WordNet) -> None:
    assert wordnet.look_up("turtle down") is None


def test_an_emoji_is_found_with_and_without_variation_selector(emojibase: Emojibase) -> None:
    found = emojibase.by_code("2602")
    assert found is not None and found.label == "umbrella" and emojibase.by_code("2602-fe0f") == found


def test_an_emoji_is_found_by_any_of_its_names(emojibase: Emojibase) -> None:
    assert emojibase.by_name(["nothing", "brolly"]) == emojibase.by_name(["Umbrella"])


def test_a_flag_is_found_by_country_code(emojibase: Emojibase) -> None:
    flag = emojibase.flag("it")
    assert flag is not None and flag.is_flag and flag.label == "flag: italy"
    assert emojibase.flag("asean") is None and emojibase.flag("xx") is None


def test_people_words_come_from_labels_and_professions(emojibase: Emojibase) -> None:
    assert emojibase.people_words() == {"health", "worker", "nurse", "doctor"}
