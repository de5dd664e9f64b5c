import json
import string
from pathlib import Path

import pytest

from clipworks.curate.metadata import (
    NUMBERS,
    build_entries,
    count_dead,
    digest_of,
    read_entries,
    write_entries,
)
from clipworks.curate.wordnet import synset_names
from clipworks.errors import ConfigError, DataError

FIXTURE = Path(__file__).parent / "wordnet"
INSTALLED = Path("/usr/share/wordnet")


@pytest.mark.skipif(not (INSTALLED / "data.noun").exists(), reason="Debian's wordnet-base is not installed.")
def test_wordnet_3_0_gives_the_published_number_of_entries() -> None:
    entries = build_entries({"wordnet": synset_names(INSTALLED)})
    assert len(entries.texts) == 86_654
    assert entries.texts[:100] == NUMBERS
    assert sum(" " in text for text in entries.texts) == 27_819
    assert sum(entries.sources["wordnet"].values()) == 117_659


def test_a_name_is_the_first_lemma_in_lower_case_up_to_a_full_stop() -> None:
    names = list(synset_names(FIXTURE))
    assert {"entity", "physical entity", "great white shark", "ph", "22-karat gold", "'hood"} <= set(names)
    assert {"handy", "outback", "asleep", "elect", "a cappella", "breathe"} <= set(names)
    assert "" in names
    assert not any(set(name) & set("_.(") for name in names)


def test_a_folder_without_wordnet_and_a_damaged_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="apt-get install wordnet-base"):
        list(synset_names(tmp_path))
    for path in FIXTURE.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "data.verb").write_text("  licence\nnot a line\n")
    with pytest.raises(DataError, match=r"data.verb, line 2"):
        list(synset_names(tmp_path))


def test_sources_follow_each_other_and_each_string_counts_once() -> None:
    entries = build_entries({"a": ["cat", "7", "", "!", "dog"], "b": ["dog", "Cat", "¿", "a b"]})
    assert entries.texts == (*NUMBERS, "cat", "dog", "Cat", "¿", "a b")
    assert entries.sources["a"] == {"added": 2, "empty": 1, "punctuation": 1, "repeated": 1}
    assert entries.sources["b"] == {"added": 3, "repeated": 1}
    assert not set(entries.texts) & set(string.punctuation)


def test_a_full_list_leaves_the_rest_and_counts_it() -> None:
    entries = build_entries({"a": ["x", "y", "z", "x"]}, max_entries=102)
    assert entries.texts[100:] == ("x", "y")
    assert entries.sources["a"] == {"added": 2, "left": 1, "repeated": 1}
    with pytest.raises(ConfigError, match="max_entries"):
        build_entries({}, max_entries=0)


def test_entries_with_a_mark_at_a_character_are_dead_and_others_are_not() -> None:
    assert count_dead(["U.S.", "St. Louis", "a\tb", "a\n", "what?", "a`", ", ,"]) == 7
    assert count_dead([",  ,", "a ,  . b", "cat", "a , b", ",", "(cat)", "cat's", "a  b", "AC/DC", ""]) == 0


def test_a_list_is_read_as_it_was_written_and_the_same_list_has_the_same_bytes(tmp_path: Path) -> None:
    entries = build_entries({"a": ['"quoted"', "猫", "line\nbreak", "\u2028", "a\\b"]}, language="ja")
    write_entries(tmp_path / "one.json", entries)
    write_entries(tmp_path / "two.json", entries)
    assert read_entries(tmp_path / "one.json") == entries
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    head = json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))
    assert (head["count"], head["dead"], head["sha256"]) == (105, 1, entries.digest)


def test_a_plain_list_of_strings_is_a_metadata_list(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('["photo", "cat"]')
    entries = read_entries(tmp_path / "list.json")
    assert entries.texts == ("photo", "cat")
    assert entries.digest == digest_of(["photo", "cat"]) != digest_of(["cat", "photo"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"entries": 3}', "no list of entries"),
        ("[1]", "no list of entries"),
        ("[", "JSON"),
        ('["a", "b", "a"]', "'a' more than once"),
        ('{"entries": ["a"], "sha256": "0"}', "does not fit the hash"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(DataError, match=words):
        read_entries(tmp_path / "list.json")
