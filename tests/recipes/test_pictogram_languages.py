"""Names in other languages are learned by the text tower alone, from its own English vectors."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tiny_clip import TinyClip

import clipworks
from clipworks.model.tokenizer import tokenize
from clipworks.model.weights import read_checkpoint, write_checkpoint
from clipworks.tables import write_table
from recipes import pictogram_languages
from recipes.pictogram_languages import gather, read_words, teach
from recipes.pictogram_towers import TABLE
from recipes.pool_captions import sentences


@pytest.fixture
def emojibase(tmp_path: Path) -> Path:
    names = {
        "en": ("Fox", ["face"], "Dog", ["pet"]),
        "de": ("Fuchs", ["Gesicht"], "Hund", ["Haustier"]),
        "ja": ("キツネ", ["顔"], "犬", ["ペット"]),
    }
    for locale, (fox, fox_tags, dog, dog_tags) in names.items():
        rows = [
            {"hexcode": "1F98A", "label": fox, "tags": fox_tags, "group": 3},
            {"hexcode": "1F415", "label": dog, "tags": dog_tags, "group": 3},
        ]
        (tmp_path / "emojibase" / locale).mkdir(parents=True)
        (tmp_path / "emojibase" / locale / "data.json").write_text(json.dumps(rows))
    return tmp_path / "emojibase"


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    (tmp_path / "tables").mkdir()
    probs = [
        [{"text": "a photo of a cat", "prob": 0.5}, {"text": "hund", "prob": 0.5}],
        [{"text": "fox", "prob": 1.0}, {"text": "never drawn", "prob": 0.0}],
    ]
    write_table(tmp_path / "tables" / "0.parquet", pa.table({"probs": probs, "weight": [1.0, 8.0]}))
    return tmp_path / "tables"


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    (tmp_path / "wordnet").mkdir()
    lines = [
        "  1 This software and database is being provided to you",
        '00001740 03 n 01 free_will 0 000 | the power to choose; "he left of his own free will"  ',
        "00000005 05 n 01 fox 0 000 | a cunning animal",
        "00002137 00 a 01 outer(a) 0 000 | being on the outside",
    ]
    (tmp_path / "wordnet" / "data.noun").write_text("\n".join(lines), "latin-1")
    index = "free_will n 1 0 1 0 00001740\nfox n 1 0 1 0 00000005\n"
    (tmp_path / "wordnet" / "index.noun").write_text(index)
    (tmp_path / "wordnet" / "index.adj").write_text("red a 1 0 1 1 00000001\n")
    (tmp_path / "wordnet" / "noun.exc").write_text("")
    return tmp_path / "wordnet"


def test_names_and_names_with_tags_stand_beside_the_english_ones(emojibase: Path) -> None:
    found = sentences(emojibase)
    assert ("fuchs", "fox") in found and ("犬, ペット", "dog, pet") in found
    assert len(found) == 8


def test_words_definitions_and_examples_stand_without_notices(wordnet: Path) -> None:
    wanted = {"free will", "the power to choose", "he left of his own free will", "outer"}
    wanted |= {"being on the outside", "fox", "a cunning animal"}
    assert set(read_words(wordnet)) == wanted and len(read_words(wordnet, count=3)) == 3


def test_each_translation_wants_the_vector_of_its_english_name(
    emojibase: Path, wordnet: Path, tables: Path
) -> None:
    material = gather(emojibase, wordnet, tables, 77)
    assert np.diff((0, *material.ends)).tolist() == [8, 4, 1, 7, 6]  # "hund" is no English
    fox = material.wanted[sentences(emojibase).index(("fuchs", "fox"))]
    assert (material.heads[13:20] == fox).all()
    assert np.flatnonzero(material.heads != np.arange(26)).tolist() == list(range(13, 20))
    assert len(material.tokens) == material.ends[-1]
    english = material.tokens[material.wanted[:8]]
    for number, (_, name) in enumerate(sentences(emojibase)):
        row = material.token_rows[english[number]]
        assert row[0] == 49406 and (row == 49407).sum() == 1, name
    fuchs = tokenize(["fuchs"], context_length=77)[0, 1]
    assert material.uses[material.token_rows == fuchs] == [2]  # the name, and the name with a tag
    own = np.arange(8, len(material.tokens))
    assert (material.wanted[own] == own).all()


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {"translations": 6, "names": 2, "captions": 2, "phrases": 2, "words": 2}
    monkeypatch.setattr(pictogram_languages, "GROUPS", groups)


@pytest.mark.slow
@pytest.mark.usefixtures("small_groups")
def test_tokens_that_no_translation_needs_stay_empty(
    emojibase: Path, wordnet: Path, tables: Path, tiny_clip: TinyClip
) -> None:
    fuchs, power = tokenize(["fuchs", "power"], context_length=77)[:, 1]
    before = read_checkpoint(Path(tiny_clip.native))
    table = before.tensors[TABLE].copy()
    table[[fuchs, power]] = 0
    before = replace(before, tensors={**before.tensors, TABLE: table})
    after = teach(before, gather(emojibase, wordnet, tables, 77), steps=2, seed=0)[TABLE]
    assert after[fuchs].any() and not after[power].any()


@pytest.mark.slow
@pytest.mark.usefixtures("small_groups")
def test_translations_come_near_and_pictures_stay(
    emojibase: Path,
    wordnet: Path,
    tables: Path,
    tiny_clip: TinyClip,
    tmp_path: Path,
) -> None:
    before = read_checkpoint(Path(tiny_clip.native))
    tensors = teach(before, gather(emojibase, wordnet, tables, 77), steps=60, seed=0)
    assert all(
        (tensors[name] == before.tensors[name]).all() for name in tensors if name.startswith("vision.")
    )
    write_checkpoint(tmp_path / "new", before.config, tensors)
    old, new = clipworks.load(tiny_clip.native), clipworks.load(str(tmp_path / "new"))
    names, pairs = ["fox", "dog"], ["fuchs", "hund"]
    english = old.embed_texts(names)
    gained = (english * new.embed_texts(pairs)).sum(1) - (english * old.embed_texts(pairs)).sum(1)
    assert (gained > 0.1).all()
