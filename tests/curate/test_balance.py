import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipworks.curate import balance, matches
from clipworks.curate.balance import (
    BalanceConfig,
    balance_pairs,
    entry_probabilities,
    expected_texts,
    keep_probabilities,
    t_of_tail_share,
    tail_share_of,
    thresholds,
)
from clipworks.curate.matches import (
    count_matches,
    describe_metadata,
    match_pairs,
    read_counts,
    table_sources,
)
from clipworks.errors import ConfigError, DataError
from clipworks.stage import part_files
from clipworks.tables import read_table
from tests.curate.pools import HEAD, SCHEMA, make_rows, write_metadata, write_pairs

CONFIG = BalanceConfig(t=40, seed=1)


def counts_of(*values: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.array(values, np.uint64)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [
        row
        for path in part_files(folder, ".parquet")
        if ".counts" not in path.name
        for row in read_table(path).to_pylist()
    ]


def run(
    place: Path,
    rows: Sequence[dict[str, Any]],
    config: BalanceConfig = CONFIG,
    *,
    parts: int = 3,
    workers: int = 1,
) -> dict[str, Any]:
    """Pairs -> matches -> counts -> balanced pairs, all below `place`; the last manifest."""
    pairs = write_pairs(place / "pairs", rows, parts=parts)
    metadata = write_metadata(place / "entries.json")
    match_pairs(pairs, place / "matches", metadata=[metadata], workers=workers)
    count_matches(place / "matches", place / "counts")
    folders = (pairs, place / "matches", place / "counts", place / "balanced")
    return balance_pairs(*folders, config=config, workers=workers)


def test_the_tail_share_leaves_out_the_threshold_and_its_way_back_takes_it_in() -> None:
    counts = counts_of(6, 1, 10, 3)
    assert t_of_tail_share(counts, 0.15) == 3
    assert tail_share_of(counts, 3) == 0.05
    assert [t_of_tail_share(counts, share) for share in (0, 0.05, 0.5, 0.9, 1)] == [1, 1, 6, 10, 10]
    assert [tail_share_of(counts, t) for t in (1, 4, 10, 11)] == [0, 0.2, 0.5, 1]


def test_of_equal_counts_and_equal_distances_the_first_gives_the_threshold() -> None:
    assert t_of_tail_share(counts_of(2, 2, 2, 4), 0.5) == 2
    assert t_of_tail_share(counts_of(1, 1, 2), 0.375) == 1


@pytest.mark.parametrize("counts", [(), (0, 0)])
def test_without_matches_the_threshold_is_one_and_the_share_nothing(counts: tuple[int, ...]) -> None:
    assert t_of_tail_share(counts_of(*counts), 0.06) == 1
    assert tail_share_of(counts_of(*counts), 5) == 0


def test_zero_entries_do_not_make_a_threshold_of_zero() -> None:
    assert t_of_tail_share(counts_of(0, 0, 100), 0.06) == 1
    assert entry_probabilities(counts_of(0, 1, 2), 1).tolist() == [1, 1, 0.5]


def test_an_entry_asks_for_all_its_texts_up_to_t_and_for_t_of_them_above() -> None:
    assert entry_probabilities(counts_of(0, 19, 20, 40, 200), 20).tolist() == [1, 1, 1, 0.5, 0.1]


@given(st.lists(st.lists(st.integers(0, 4), max_size=5, unique=True), max_size=5))
def test_a_text_is_kept_if_any_of_its_entries_asks(texts: list[list[int]]) -> None:
    probs = np.array([1, 0.5, 0.1, 0.001, 1e-9])
    ends = np.cumsum([0, *map(len, texts)])
    ids = np.array([one for text in texts for one in text], np.uint32)
    expected = [1 - np.prod([1 - probs[one] for one in text]) if text else 0 for text in texts]
    assert np.allclose(keep_probabilities(probs, ends, ids), expected, rtol=0, atol=1e-12)


def test_the_closed_form_is_what_independent_draws_give() -> None:
    probs = np.array([0.5, 0.1, 0.02])
    ids, ends = np.array([0, 1, 2, 1, 2], np.uint32), np.array([0, 3, 5])
    draws = np.random.default_rng(0).random((200_000, 3)) < probs
    kept = [draws.any(1).mean(), draws[:, 1:].any(1).mean()]
    deviation = np.sqrt(0.25 / len(draws))
    assert np.abs(keep_probabilities(probs, ends, ids) - kept).max() < 4 * deviation


def test_with_several_languages_each_gets_the_share_of_the_anchor() -> None:
    counts = counts_of(1, 3, 6, 10, 2, 6, 12, 20)
    lists = [{"language": "en", "count": 4}, {"language": "de", "count": 4}]
    assert thresholds(counts, lists, BalanceConfig(t=4)) == {"en": 4, "de": 6}
    assert thresholds(counts, lists, BalanceConfig(t=6, anchor="de")) == {"en": 1, "de": 6}
    assert thresholds(counts, lists, BalanceConfig(tail_share=0.5)) == {"en": 6, "de": 12}
    assert thresholds(counts[:4], lists[:1], BalanceConfig(t=7)) == {"en": 7}
    with pytest.raises(ConfigError, match="anchor"):
        thresholds(counts, lists, BalanceConfig(t=4, anchor="fr"))
    with pytest.raises(ConfigError, match="The anchor is 'fr', but the metadata is for en, de"):
        thresholds(counts, lists, BalanceConfig(tail_share=0.5, anchor="fr"))


@pytest.mark.parametrize("wrong", [{"t": 0}, {"tail_share": 1.5}, {"texts": "some"}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        replace(CONFIG, **wrong)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_is_kept_does_not_depend_on_parts_order_or_workers(tmp_path: Path, workers: int) -> None:
    rows = make_rows(600)
    run(tmp_path / "a", rows)
    shuffled = random.Random(0).sample(rows, len(rows))
    run(tmp_path / "b", shuffled, parts=7, workers=workers)
    key = lambda row: row["uid"]  # noqa: E731
    assert sorted(rows_of(tmp_path / "a" / "balanced"), key=key) == sorted(
        rows_of(tmp_path / "b" / "balanced"), key=key
    )
    assert (read_counts(tmp_path / "a" / "counts") == read_counts(tmp_path / "b" / "counts")).all()


def test_another_seed_keeps_other_texts(tmp_path: Path) -> None:
    rows = make_rows(600)
    run(tmp_path / "a", rows)
    run(tmp_path / "b", rows, replace(CONFIG, seed=2))
    a, b = ({row["uid"] for row in rows_of(tmp_path / one / "balanced")} for one in "ab")
    assert a != b
    assert a & b


def test_the_counts_are_those_of_a_plain_search(tmp_path: Path) -> None:
    rows = make_rows(400)
    run(tmp_path, rows)
    entries = json.loads((tmp_path / "entries.json").read_text())["entries"]
    counts = Counter(entry for row in rows for text in row["texts"] for entry in set(text["text"].split()))
    assert read_counts(tmp_path / "counts").tolist() == [counts[entry] for entry in entries]


@pytest.mark.parametrize("rule", ["each", "one"])
def test_as_many_texts_are_kept_as_the_closed_form_says(tmp_path: Path, rule: str) -> None:
    rows = make_rows(3000)
    manifest = run(tmp_path, rows, replace(CONFIG, texts=rule))
    expected, deviation = expected_texts(tmp_path / "balanced")
    assert 200 < expected < 2500
    assert abs(manifest["counts"]["kept_texts"] - expected) < 4 * deviation
    counts = Counter(word for row in rows for text in row["texts"] for word in set(text["text"].split()))
    kept = Counter(
        w for row in rows_of(tmp_path / "balanced") for t in row["texts"] for w in set(t["text"].split())
    )
    if rule == "each":
        assert all(kept[word] == counts[word] for word in counts if counts[word] <= 40 and word != "xyz")
    assert all(kept[word] < counts[word] for word in HEAD)


@pytest.mark.parametrize("rule", ["each", "one"])
def test_rows_of_one_id_are_kept_together_so_that_the_deviation_grows_as_they_do(
    tmp_path: Path, rule: str
) -> None:
    rows, config = make_rows(200), replace(CONFIG, texts=rule)
    run(tmp_path / "once", rows, replace(config, t=10))
    run(tmp_path / "thrice", rows * 3, replace(config, t=30), parts=4)
    once, thrice = (expected_texts(tmp_path / one / "balanced") for one in ("once", "thrice"))
    assert thrice == pytest.approx((3 * once[0], 3 * once[1]))


def test_the_deviation_of_a_large_pool_is_that_of_a_share_of_its_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(1000)
    run(tmp_path / "whole", rows)
    monkeypatch.setattr(balance, "MOST_DRAWS", 500)
    run(tmp_path / "share", rows)
    whole, share = (expected_texts(tmp_path / one / "balanced") for one in ("whole", "share"))
    assert share[0] == whole[0] and share[1] == pytest.approx(whole[1], rel=0.1) and share[1] != whole[1]


def test_of_two_texts_with_one_draw_both_are_kept_with_the_smaller_probability() -> None:
    pairs = [(1, 1, 0, 0.5), (1, 1, 0, 0.2), (1, 1, 1, 0.5), (2, 1, 0, 0.5)]
    uniform = (np.arange(1000) + 0.5) / 1000
    kept = (uniform < 0.5).astype(float) + (uniform < 0.2)
    expected = kept.var() + 0.25 + 0.25
    assert balance.variance_of(np.array(pairs, balance._DRAW)) == pytest.approx(expected)


def test_each_keeps_the_texts_that_passed_and_one_keeps_one_at_most(tmp_path: Path) -> None:
    rows = make_rows(600)
    run(tmp_path / "each", rows)
    run(tmp_path / "one", rows, replace(CONFIG, texts="one"))
    given_texts = {row["uid"]: [text["text"] for text in row["texts"]] for row in rows}
    lengths = set()
    for row in rows_of(tmp_path / "each" / "balanced"):
        texts = [text["text"] for text in row["texts"]]
        assert texts
        assert set(texts) <= set(given_texts[row["uid"]])
        assert len(row["keep_probs"]) == len(texts)
        lengths.add(len(texts))
    assert {1, 2} <= lengths
    assert {len(row["texts"]) for row in rows_of(tmp_path / "one" / "balanced")} == {1}


def test_all_drops_no_text_that_holds_an_entry_and_gives_each_its_probability(tmp_path: Path) -> None:
    rows = make_rows(600)
    manifest = run(tmp_path / "all", rows, replace(CONFIG, texts="all"))
    assert manifest["counts"]["kept_texts"] == manifest["counts"]["matched_texts"] > 600
    assert expected_texts(tmp_path / "all" / "balanced") == (manifest["counts"]["kept_texts"], 0.0)
    probs = {
        (row["uid"], text["text"]): prob
        for row in rows_of(tmp_path / "all" / "balanced")
        for text, prob in zip(row["texts"], row["keep_probs"], strict=True)
    }
    run(tmp_path / "each", rows)
    for row in rows_of(tmp_path / "each" / "balanced"):
        for text, prob in zip(row["texts"], row["keep_probs"], strict=True):
            assert probs[row["uid"], text["text"]] == prob
    assert min(probs.values()) < 0.2 and max(probs.values()) == 1.0


def test_a_pair_is_kept_once_though_several_of_its_texts_pass(tmp_path: Path) -> None:
    row = {
        "uid": "0" * 32,
        "image_url": "u",
        "texts": [{"key": "alt", "text": "photo"}, {"key": "title", "text": "the"}],
    }
    run(tmp_path, [row], parts=1)
    assert [one["texts"] for one in rows_of(tmp_path / "balanced")] == [row["texts"]]


def test_pairs_without_matches_and_empty_parts_give_empty_tables(tmp_path: Path) -> None:
    texts = [{"key": "alt", "text": "nothing here"}]
    rows = [
        {"uid": "0" * 32, "image_url": "u", "texts": texts},
        {"uid": "1" * 32, "image_url": "v", "texts": None},
    ]
    manifest = run(tmp_path, rows, parts=4)
    assert manifest["rows"] == 0
    assert rows_of(tmp_path / "balanced") == []
    assert next(part_files(tmp_path / "balanced", ".parquet"))


def test_languages_are_matched_and_balanced_apart(tmp_path: Path) -> None:
    schema = SCHEMA.append(pa.field("languages", pa.list_(pa.string())))
    texts = [("en", "the cat"), ("de", "die cat"), ("fr", "le cat"), ("ja", "黒猫です")]
    rows = [
        {
            "uid": f"{number:032x}",
            "image_url": "u",
            "texts": [{"key": "alt", "text": text} for _, text in texts],
            "languages": [language for language, _ in texts],
        }
        for number in range(20)
    ]
    pairs = write_pairs(tmp_path / "pairs", rows, schema=schema)
    lists = [
        write_metadata(tmp_path / f"{code}.json", words, code)
        for code, words in (("en", ["cat"]), ("de", ["cat", "die"]), ("ja", ["猫"]))
    ]
    manifest = match_pairs(pairs, tmp_path / "matches", metadata=lists, mode="metaclip2")
    assert manifest["counts"] == {
        "matched_texts": 60,
        "matches": 80,
        "texts": 80,
        "texts_of_other_languages": 20,
    }
    count_matches(tmp_path / "matches", tmp_path / "counts")
    counts = read_counts(tmp_path / "counts")
    assert [counts[100], *counts[201:203], counts[303]] == [20, 20, 20, 20]
    folders = (pairs, tmp_path / "matches", tmp_path / "counts", tmp_path / "balanced")
    assert balance_pairs(*folders, config=BalanceConfig(t=1))["config"]["t"] == {"en": 1, "de": 1, "ja": 1}
    for row in rows_of(tmp_path / "balanced"):
        assert [
            (code, text["text"]) in texts for code, text in zip(row["languages"], row["texts"], strict=True)
        ]


def test_a_list_that_changed_or_texts_without_a_language_end_the_matching(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs", make_rows(5), parts=1)
    lists = [write_metadata(tmp_path / f"{code}.json", ["cat"], code) for code in ("en", "de")]
    with pytest.raises(ConfigError, match="has no column languages, which tells the list"):
        match_pairs(pairs, tmp_path / "out", metadata=lists)
    with pytest.raises(DataError, match="was changed while it was used"):
        (described,) = describe_metadata(lists[:1])
        (source,) = table_sources(pairs)
        matches._match_part(source, tmp_path, lists=(replace(described, digest="0"),), mode="metaclip")


def test_matches_of_other_pairs_and_counts_of_other_metadata_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "a", make_rows(50))
    other = write_pairs(tmp_path / "b", make_rows(50, seed=9), parts=4)
    matches, counts = tmp_path / "a" / "matches", tmp_path / "a" / "counts"
    with pytest.raises(DataError, match="was not made of"):
        balance_pairs(other, matches, counts, tmp_path / "c", config=CONFIG)
    metadata = write_metadata(tmp_path / "other.json", ["cat"])
    match_pairs(other, tmp_path / "d", metadata=[metadata])
    with pytest.raises(ConfigError, match="different metadata"):
        balance_pairs(other, tmp_path / "d", counts, tmp_path / "c", config=CONFIG)
