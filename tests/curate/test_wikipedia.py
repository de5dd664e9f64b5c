import bz2
import gzip
import math
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipworks.curate.sources import MetadataConfig, MetadataFiles, gather_entries
from clipworks.curate.tally import MAX_RUNS, Tally, joined
from clipworks.curate.wikipedia import collocations, count_words, read_pages, strip_markup, viewed_titles
from clipworks.errors import ConfigError, DataError

PAGE = "<page><title>T</title><ns>{ns}</ns>{more}<revision><text>{text}</text></revision></page>"
DUMP = (
    "<mediawiki xmlns='http://www.mediawiki.org/xml/export-0.11/'><siteinfo/>"
    + PAGE.format(ns=0, more="", text="'''Red panda''' is a [[mammal|small mammal]]. &amp;lt;ref&amp;gt;")
    + PAGE.format(ns=1, more="", text="talk")
    + PAGE.format(ns=0, more="<redirect title='X'/>", text="#REDIRECT [[X]]")
    + PAGE.format(ns=0, more="", text="Red panda, red.")
    + "</mediawiki>"
)


@pytest.fixture
def tallies(tmp_path: Path) -> Iterator[tuple[Tally, Tally]]:
    with Tally(tmp_path, distinct=3) as words, Tally(tmp_path, distinct=3) as pairs:
        yield words, pairs


@pytest.mark.parametrize("suffix", [".xml", ".xml.bz2", ".xml.gz"])
def test_a_dump_gives_its_articles_and_no_redirects_or_talk(tmp_path: Path, suffix: str) -> None:
    pack = {".xml": bytes, ".xml.bz2": bz2.compress, ".xml.gz": gzip.compress}[suffix]
    path = tmp_path / f"dump{suffix}"
    path.write_bytes(pack(DUMP.encode()))
    first, second = read_pages(path)
    assert first.startswith("Red panda is a small mammal. ")
    assert second == "Red panda, red."


def test_plain_text_is_read_in_pieces_of_whole_lines(tmp_path: Path) -> None:
    lines = "".join(f"line {n}\n" for n in range(2500))
    (tmp_path / "text.txt").write_text(lines)
    pieces = list(read_pages(tmp_path / "text.txt"))
    assert len(pieces) == 3
    assert "".join(pieces) == lines


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("a {{b|{{c}}|d}} e", "a e"),
        ("a {| class=x\n| {{y}}\n|-\n| {| z |} |} b", "a b"),
        ("a<ref name=b>c [[d]]</ref> e<ref name=b /> f", "a e f"),
        ("a <!-- b\nc --> d", "a d"),
        ("[[File:A.jpg|thumb|a [[cat]] here]] b [[Category:C]] [[:de:D]]", "b"),
        ("[[cat]]s and [[dog|hounds]]", "cats and hounds"),
        ("[[Star Trek: Voyager]]", "Star Trek: Voyager"),
        ("see [https://a.org/b the page] https://c.org", "see the page"),
        ("''a'' '''b''' don't", "a b don't"),
        ("== Head ==\n* one\n# two", "Head one two"),
        ("a&nbsp;b &amp; c <b>d</b><br/>e", "a b & c d e"),
        ("<math>x^2</math> y __TOC__", "y"),
        ("{{" * 5 + "a", "{{{{{{{{{{a"),
    ],
)
def test_markup_is_taken_away(wikitext: str, text: str) -> None:
    assert " ".join(strip_markup(wikitext).split()) == text


def test_words_keep_their_case_and_pairs_have_only_spaces_between(tallies: tuple[Tally, Tally]) -> None:
    words, pairs = tallies
    count_words("The cat's well-known 3 cats, The  cat's\u00a0x (y) z\nw", words, pairs)
    assert dict(words.sorted_counts()) == Counter("The cat's well-known 3 cats The cat's x y z w".split())
    assert dict(pairs.sorted_counts()) == Counter(
        ["The cat's", "cat's well-known", "well-known 3", "3 cats", "The cat's", "cat's x"]
    )


def test_a_tally_on_disk_counts_as_one_in_memory(tmp_path: Path) -> None:
    chance = random.Random(0)
    strings = [
        chance.choice("abcdefghij") + chance.choice(["", " é", " \U0001f600", "z"]) for _ in range(3000)
    ]
    with Tally(tmp_path, distinct=5) as tally:
        for begin in range(0, len(strings), 4):
            tally.add(strings[begin : begin + 4])
        assert len(tally._runs) < MAX_RUNS
        expected = sorted(Counter(strings).items())
        assert list(tally.sorted_counts()) == expected == list(tally.sorted_counts())
        assert tally.total == 3000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_different_words(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        with Tally(tmp_path, distinct=50) as tally:
            for n in range(count):
                tally.add([f"word{n}"])
            assert sum(number for _, number in tally.sorted_counts()) == count
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(60_000) < 2 * peak(15_000)


def test_items_are_joined_with_the_counts_of_their_first_words() -> None:
    items = [("a x", 1), ("b y", 2), ("b z", 3), ("d", 4), ("é q", 5)]
    assert list(joined(items, [("b", 10), ("c", 11), ("é", 12)])) == [
        ("b y", 2, 10),
        ("b z", 3, 10),
        ("é q", 5, 12),
    ]
    assert list(joined(items, [])) == []


def test_pairs_are_ranked_by_mutual_information_in_bits(tmp_path: Path, tallies: tuple[Tally, Tally]) -> None:
    words, pairs = tallies
    counts = {"a": 4, "b": 8, "c": 2, "d": 2, "e": 1008}
    found = {("a", "b"): 4, ("c", "d"): 2, ("a", "e"): 1, ("d", "missing"): 2, ("e", "e"): 1000}
    for word, count in counts.items():
        words.add_count(word, count)
    for (first, second), count in found.items():
        pairs.add_count(f"{first} {second}", count)

    def pmi(first: str, second: str) -> float:
        return math.log2(found[first, second] * 1024 / (counts[first] * counts[second]))

    assert (pmi("a", "b"), pmi("c", "d")) == (7, 9)

    def kept(min_pmi: float, most: int = 10) -> list[str]:
        return collocations(words, pairs, min_pmi=min_pmi, most=most, scratch=tmp_path, distinct=2)

    assert kept(7) == ["c d", "a b"]
    assert kept(7.01) == ["c d"]
    assert kept(-100, most=3) == ["c d", "a b", "e e"]
    assert kept(-100) == ["c d", "a b", "e e", "a e"]


def test_titles_count_hours_with_enough_views_of_the_project(tmp_path: Path) -> None:
    hours = [
        "en Cat 50 0\nen Dog 49 0\nen.m Cat 500 0\nde Katze 90 0\nen Special:Search 900 0\n"
        "en Red_panda 69 0\n",
        "en Cat 49 0\nen Dog 80 0\nen  5 0\nen Bird x 0\nen Red_panda 69 0\nen Fish 70 0\n",
    ]
    paths = [tmp_path / f"pageviews-{n}.gz" for n in range(2)]
    for path, hour in zip(paths, hours, strict=True):
        path.write_bytes(gzip.compress(hour.encode()))
    limits = {"min_hourly_views": 50, "min_views": 70, "most": 10}
    assert viewed_titles(paths, project="en", **limits) == ["Red panda", "Dog", "Fish"]
    assert viewed_titles(paths, project="de", **limits) == ["Katze"]
    assert viewed_titles(paths, project="en", **{**limits, "most": 1}) == ["Red panda"]
    (tmp_path / "words.txt").write_text("cat 3\n")
    with pytest.raises(DataError, match=r"words\.txt holds no page views"):
        viewed_titles([tmp_path / "words.txt"], project="en", **limits)


def test_all_sources_become_one_list_in_the_published_order(tmp_path: Path) -> None:
    (tmp_path / "dump.xml.bz2").write_bytes(bz2.compress(DUMP.encode()))
    (tmp_path / "words.txt").write_text("zebra 3\nRed 1\n")
    (tmp_path / "pairs.txt").write_text("Red zebra 1\n")
    (tmp_path / "views.gz").write_bytes(gzip.compress(b"en Zebra_crossing 100 0\n"))
    files = MetadataFiles(
        wordnet=Path(__file__).parent / "wordnet",
        ngrams=(tmp_path / "words.txt", tmp_path / "pairs.txt"),
        wikipedia=(tmp_path / "dump.xml.bz2",),
        pageviews=(tmp_path / "views.gz",),
    )
    shown: list[tuple[int, int, str]] = []
    entries = gather_entries(
        files,
        MetadataConfig(min_count=2, min_pmi=2, distinct_in_memory=4, language="en"),
        scratch=tmp_path / "scratch",
        show=lambda *one: shown.append(one),
    )
    assert entries.language == "en"
    names = list(entries.sources)
    assert names == ["numbers", "wordnet", "unigrams", "bigrams", "titles"]
    rest = entries.texts[100 + entries.sources["wordnet"]["added"] :]
    assert rest[:3] == ("Red", "zebra", "panda")
    assert "small mammal" in rest
    assert rest[-1] == "Zebra crossing"
    assert shown[-1][2] == "views.gz"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_damaged_and_missing_sources_are_told(tmp_path: Path) -> None:
    (tmp_path / "cut.xml.bz2").write_bytes(bz2.compress(DUMP.encode())[:-20])
    (tmp_path / "cut.xml").write_text(DUMP[:-30])
    (tmp_path / "empty.xml").write_text("")
    (tmp_path / "views.gz").write_text("not gzip")
    (tmp_path / "words.txt").write_text("cat three\n")
    for name in ("cut.xml.bz2", "cut.xml", "empty.xml"):
        with pytest.raises(DataError, match=name):
            list(read_pages(tmp_path / name))
    with pytest.raises(DataError, match=r"views.gz"):
        viewed_titles([tmp_path / "views.gz"], project="en", min_hourly_views=1, min_views=1, most=1)
    packed = bytearray(gzip.compress(b"en Cat 100 0\n" * 9999 + bytes(range(256))))
    packed[40:60] = b"\xff" * 20
    (tmp_path / "bent.gz").write_bytes(packed)
    with pytest.raises(DataError, match=r"bent.gz"):
        viewed_titles([tmp_path / "bent.gz"], project="en", min_hourly_views=1, min_views=1, most=1)
    with pytest.raises(DataError, match="line 1 is not `word count`"):
        gather_entries(MetadataFiles(ngrams=(tmp_path / "words.txt",)), MetadataConfig(), scratch=tmp_path)
    with pytest.raises(DataError, match="missing"):
        gather_entries(MetadataFiles(wikipedia=(tmp_path / "missing",)), MetadataConfig())
    with pytest.raises(ConfigError, match="nothing"):
        gather_entries(MetadataFiles(), MetadataConfig())
    with pytest.raises(ConfigError, match="min_count"):
        MetadataConfig(min_count=0)
