"""Questions of several parts, with words, doubles, dates and cut-offs; and terms as people write them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipworks.errors import ConfigError, InputError
from clipworks.model.engine import Engine
from clipworks.search.answer import Ask, Part, answer
from clipworks.search.build import build_index
from clipworks.search.filters import read_filter, words_query
from clipworks.search.library import Library
from clipworks.search.opening import open_index
from clipworks.search.query import search_terms
from clipworks.search.terms import Term, read_region, read_term
from tests.search.libraries import clustered, record, write_library

DIM = 16


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    vectors = clustered(300, DIM, num_clusters=3)
    vectors[11] = vectors[10]
    vectors[12] = vectors[10] + 0.001
    vectors[12] /= np.linalg.norm(vectors[12])
    return write_library(tmp_path_factory.mktemp("library") / "index", vectors)


def part(library: Library, number: int, weight: float = 1.0) -> Part:
    return Part(label=f"#{number}", vector=library.vectors[number], kind="image", weight=weight)


def ids(*numbers: int) -> list[str]:
    return [record(number).id for number in numbers]


def test_nearly_the_same_pictures_are_one_hit_that_names_the_others(library: Library) -> None:
    plain = answer(library, [part(library, 10)], Ask(limit=3))
    assert {hit.id for hit in plain.hits} == set(ids(10, 11, 12))
    folded = answer(library, [part(library, 10)], Ask(limit=3, is_folded=True))
    assert len(folded.hits) == 3
    first = folded.hits[0]
    assert {first.id, *first.alike} == set(ids(10, 11, 12))


def test_what_counts_against_is_pushed_away_and_every_part_is_explained(library: Library) -> None:
    toward, against = part(library, 20), part(library, 200, -0.5)
    plain = answer(library, [toward], Ask(limit=1)).hits[0]
    assert plain.id == record(20).id and plain.explained.keys() == {"cosine"}
    result = answer(library, [toward, against], Ask(limit=5))
    vector = toward.vector - 0.5 * against.vector
    vector /= np.linalg.norm(vector)
    assert [hit.score for hit in result.hits] == pytest.approx(
        np.sort(library.vectors @ vector)[::-1][:5], abs=1e-4
    )
    assert result.hits[0].explained.keys() == {"cosine", "+1 #20", "-0.5 #200"}
    short = Part(label="short", vector=np.ones(3, dtype=np.float32), kind="text", weight=1.0)
    with pytest.raises(ConfigError, match=r"shape \(3,\); the index needs \(16,\)"):
        answer(library, [toward, short], Ask(limit=5))
    with pytest.raises(InputError, match="cancel each other"):
        answer(library, [part(library, 20), part(library, 20, -1)], Ask())


def test_the_newest_of_the_relevant_come_first(library: Library) -> None:
    question = [part(library, 20)]
    good = answer(library, question, Ask(limit=300)).good
    assert 10 < len(good) < 300
    newest = answer(library, question, Ask(limit=5, sort="newest")).hits
    assert [hit.taken for hit in newest] == sorted((hit.taken for hit in good), reverse=True)[:5]
    assert answer(library, question, Ask(limit=1, sort="oldest")).hits[0].taken == min(h.taken for h in good)


def test_a_question_that_fits_nothing_gives_nothing_when_cut(tmp_path: Path) -> None:
    rows = np.eye(DIM, dtype=np.float32)
    library = write_library(tmp_path / "index", rows[:8])
    nonsense = Part(label="nonsense", vector=rows[9], kind="text")
    assert answer(library, [nonsense], Ask(is_cut=True)).hits == ()
    shown = answer(library, [nonsense], Ask(limit=7))
    assert len(shown.hits) == 7 and not shown.is_relevant
    sense = Part(label="sense", vector=rows[3], kind="text")
    assert [hit.id for hit in answer(library, [sense], Ask(is_cut=True)).hits] == ids(3)


def test_a_picture_counts_where_it_would_for_one_wanted_term_alone(tmp_path: Path) -> None:
    rows = np.eye(DIM, dtype=np.float32)
    library = write_library(tmp_path / "index", rows[:8])

    def text(number: int, weight: float = 1.0) -> Part:
        return Part(label=f"#{number}", vector=rows[number], kind="text", weight=weight)

    joined = [text(3), text(9, -20.0)]
    (hit,) = answer(library, joined, Ask(is_cut=True)).hits
    assert (hit.id, hit.score < 0.2, hit.margin) == (record(3).id, True, pytest.approx(0.8, abs=1e-3))
    assert not answer(library, [text(9), text(3, -0.5)], Ask(limit=7)).is_relevant
    mixed = answer(library, [text(3), part(library, 5, 0.3), text(9, 0.3)], Ask(limit=8))
    assert {hit.id for hit in mixed.good} == set(ids(3, 5)) and mixed.threshold == 0.2
    worded = answer(library, [text(9), text(10)], Ask(words="birthday", words_weight=0.5))
    assert [hit.id for hit in worded.good] == ids(0)
    assert answer(library, [text(3, -1.0)], Ask(limit=8)).threshold is None


def test_words_lift_pictures_that_have_them(library: Library) -> None:
    question = [part(library, 20)]
    ask = Ask(limit=7, words="birthday cake", words_weight=1.0)
    lifted = answer(library, question, ask).hits
    assert {hit.id for hit in lifted} == set(ids(0, 20, 50, 100, 150, 200, 250))
    assert lifted[0].score == pytest.approx(lifted[0].explained["cosine"] + lifted[0].explained["words"])
    within = Ask(limit=5, words="birthday cake", words_weight=1.0, filters=(read_filter("folder!=trip 0"),))
    assert all(not hit.explained.get("words") for hit in answer(library, question, within).hits)


def test_without_a_question_what_meets_the_conditions_is_listed(library: Library) -> None:
    newest = answer(library, [], Ask(limit=2, sort="newest", filters=(read_filter("tag=beach"),)))
    assert [hit.id for hit in newest.hits] == ids(294, 287) and newest.threshold is None
    by_words = answer(library, [], Ask(limit=9, words="birthday", words_weight=1.0))
    assert len(by_words.hits) == 6


def test_out_of_range_is_refused(library: Library) -> None:
    for wrong in ({"limit": 0}, {"limit": 10_001}, {"words_weight": 2.0}, {"sort": "size"}):
        with pytest.raises(ConfigError):
            Ask(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="33 parts"):
        answer(library, [part(library, 1)] * 33, Ask())


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("a horse", Term(text="a horse")),
        ("0.5*stripes", Term(text="stripes", weight=0.5)),
        ("2 x zebra", Term(text="zebra", weight=2.0)),
        ("@dog.jpg", Term(image=Path("dog.jpg"))),
        ("0.3*@my dog.jpg[0,0,0.5,1]", Term(image=Path("my dog.jpg"), weight=0.3, region=(0, 0, 0.5, 1))),
        ("id:rome/1.jpg", Term(like="rome/1.jpg")),
        ("0.1*words:birthday cake", Term(words="birthday cake", weight=0.1)),
        ("3 dogs", Term(text="3 dogs")),
        ("-40 degrees", Term(text="-40 degrees")),
        ("2 xylophones", Term(text="2 xylophones")),
    ],
)
def test_terms_are_read(text: str, term: Term) -> None:
    assert read_term(text) == term
    assert read_term(text, -1).weight == -term.weight


@pytest.mark.parametrize(
    "text", ["-1*dog", "nan*dog", "+inf * dog", "1e999*dog", "-.5*@dog.jpg", f"{'9' * 400}*dog"]
)
def test_numbers_that_are_no_weights_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        read_term(text)


@pytest.mark.parametrize("text", ["@", "id:", "0.5*words:"])
def test_a_term_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="names nothing"):
        read_term(text)


@pytest.mark.parametrize("text", ["0,0,1", "0,0,0,1", "0.5,0,0.2,1", "0,0,2,1", "a,b,c,d"])
def test_a_region_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="region"):
        read_region(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("taken", "cannot be read"),
        ("colour=red", "no field 'colour'"),
        ("tag>x", "takes = and != only"),
        ("taken>=soon", "takes a date"),
        ("taken=2024-13", "takes a date"),
        ("width=wide", "takes a whole number"),
        ("bytes<99999999999999999999", "takes a whole number up to 1e15"),
        ("width>=-99999999999999999999", "takes a whole number up to 1e15"),
        ("tag=", "cannot be read"),
    ],
)
def test_conditions_that_are_none_are_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_filter(text)


@pytest.mark.parametrize(
    "text", ['"', "' OR 1=1 --", "NEAR(a b)", "a AND", "caption:x", "-x", "*", "^a", '"a', "", "日本 * \0"]
)
def test_no_words_are_an_error_of_the_database(library: Library, text: str) -> None:
    library.words(text, 5, None)
    assert set(words_query(text)) <= set(words_query(text).replace("\0", ""))


def test_a_region_of_a_picture_is_what_is_looked_for(pictures: Path, engine: Engine, tmp_path: Path) -> None:

    build_index(pictures, tmp_path / "index", engine)
    two = Image.new("RGB", (40, 20), (220, 30, 30))
    two.paste((30, 30, 220), (20, 0, 40, 20))
    two.save(tmp_path / "two.png")
    library = open_index(tmp_path / "index")
    for region, name in (((0.0, 0.0, 0.5, 1.0), "red.png"), ((0.5, 0.0, 1.0, 1.0), "deep/blue.png")):
        terms = [Term(image=tmp_path / "two.png", region=region)]
        assert search_terms(library, engine, terms, Ask(limit=1)).hits[0].id == name
    like = search_terms(library, None, [Term(like="red.png")], Ask(limit=1, except_ids=("red.png",)))
    assert like.hits[0].id != "red.png"
    with pytest.raises(InputError, match="no picture 'none.png'"):
        search_terms(library, None, [Term(like="none.png")], Ask())
    with pytest.raises(ConfigError, match="needs the model"):
        search_terms(library, None, [Term(text="red")], Ask())
    with pytest.raises(ConfigError, match="one of them"):
        search_terms(library, engine, [Term(text="red", like="red.png")], Ask())
