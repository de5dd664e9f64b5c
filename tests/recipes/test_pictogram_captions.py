from recipes.pictogram_captions import Captions


def test_the_name_comes_first_then_tags_hypernyms_and_kinds(captions: Captions) -> None:
    texts = captions.of_name("umbrella")
    assert texts[:3] == ("umbrella", "rain", "protection")
    assert set(texts) >= {"weather", "sky"} and len(set(texts)) == len(texts)


def test_a_name_that_is_no_thing_gets_no_guesses(captions: Captions) -> None:
    assert captions.of_name("arrow sideways") == ("arrow sideways",)
    assert not captions.is_thing("arrow sideways")


def test_a_person_needs_a_word_for_people(captions: Captions) -> None:
    assert captions.of_name("speaker") == ("speaker",)
    assert "person" in captions.of_name("nurse")


def test_an_emoji_has_label_tags_kinds_and_hypernyms(captions: Captions) -> None:
    emoji = captions.emojibase.by_code("1f98a")
    assert emoji is not None
    texts = captions.of_emoji(emoji)
    assert texts[:2] == ("fox", "fox, animal, face")
    assert set(texts) >= {"animal", "face", "mammal"}


def test_short_tags_are_left_out(captions: Captions) -> None:
    emoji = captions.emojibase.by_code("2602")
    assert emoji is not None and "uv" not in captions.of_emoji(emoji)


def test_a_flag_is_called_by_its_country(captions: Captions) -> None:
    flag = captions.emojibase.flag("it")
    assert flag is not None
    assert captions.of_emoji(flag) == ("flag: italy", "flag of italy", "italy flag", "flag", "italy")
