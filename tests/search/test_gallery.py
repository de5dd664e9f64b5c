"""The gallery that comes with the package: real pictures, each with its caption, licence and source."""

import json
from pathlib import Path
from typing import Any

import pytest

import clipworks
from benchmarks.relevance import UNSEEN
from clipworks.files import sha256_file
from clipworks.search.answer import Ask
from clipworks.search.library import Library
from clipworks.search.opening import open_index
from clipworks.search.query import search, search_terms
from clipworks.search.terms import Term

GALLERY = Path(clipworks.__file__).parent / "gallery"
LICENCES = {"MIT", "Apache-2.0", "public-domain", "CC0-1.0", "CC-BY-2.0", "CC-BY-4.0"}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    lines = (GALLERY / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def store() -> Library:
    return open_index(GALLERY / "index")


def test_it_holds_at_least_5000_pictures_of_four_kinds(rows: list[dict[str, Any]]) -> None:
    assert len(rows) >= 5000
    assert {row["kind"] for row in rows} == {"emoji", "clipart", "icon", "photo"}


def test_every_picture_has_a_file_and_every_file_a_row(rows: list[dict[str, Any]]) -> None:
    files = {f"images/{path.name}" for path in (GALLERY / "images").iterdir()}
    assert {row["file"] for row in rows} == files and len(files) == len(rows)


def test_every_picture_says_what_it_is_and_whose(rows: list[dict[str, Any]]) -> None:
    assert {row["licence"] for row in rows} <= LICENCES
    assert [row for row in rows if not row["caption"] or not row["author"]] == []
    assert [row["file"] for row in rows if row["licence"].startswith("CC-BY") and not row["source"]] == []


def test_no_picture_is_there_twice(rows: list[dict[str, Any]]) -> None:
    hashes = [sha256_file(GALLERY / row["file"]) for row in rows]
    assert len(set(hashes)) == len(hashes)


def test_the_attribution_names_every_photograph_and_every_set_of_icons(rows: list[dict[str, Any]]) -> None:
    text = (GALLERY / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert [row["file"] for row in rows if row["kind"] == "photo" and row["file"] not in text] == []
    assert {row["author"] for row in rows if row["kind"] == "icon" and row["author"] not in text} == set()


def test_the_whole_gallery_fits_in_20_mb() -> None:
    assert sum(path.stat().st_size for path in GALLERY.rglob("*") if path.is_file()) <= 20_000_000


def test_its_index_holds_exactly_its_pictures_with_their_captions(
    store: Library, rows: list[dict[str, Any]]
) -> None:
    found = {item.id: (item.caption, stamp.sha256) for item, stamp in store.entries()}
    assert found == {row["file"]: (row["caption"], sha256_file(GALLERY / row["file"])) for row in rows}


@pytest.mark.slow
def test_its_index_was_made_by_the_built_in_model_and_finds_its_own_pictures(store: Library) -> None:
    engine = clipworks.load("pictogram")
    assert (store.header.model, store.fingerprint) == ("pictogram", engine.fingerprint)
    for name in ("images/emoji-1f34e.webp", "images/photo-g034.webp"):
        result = search(store, engine, image=GALLERY / name, limit=1)
        assert (result.hits[0].id, result.is_relevant) == (name, True)


@pytest.mark.slow
def test_joined_questions_are_cut_off_where_plain_ones_are(
    store: Library, rows: list[dict[str, Any]]
) -> None:
    engine = clipworks.load("pictogram")
    names = sorted({row["caption"] for row in rows if row["kind"] == "emoji"})  # not trained on

    def relevant(pairs: list[tuple[str, str]], weight: float) -> float:
        asked = ([Term(text=one), Term(text=two, weight=weight)] for one, two in pairs)
        found = [search_terms(store, engine, terms, Ask(limit=10)) for terms in asked]
        return sum(one.is_relevant for one in found) / len(found)

    sample = names[::40]
    others = sample[1:] + sample[:1]
    for weight in (1.0, -0.5, -1.0):
        assert relevant(list(zip(sample, others, strict=True)), weight) > 0.55
        against = [*UNSEEN[1:], UNSEEN[0]] if weight > 0 else sample
        assert relevant(list(zip(UNSEEN, against, strict=False)), weight) <= 0.15
