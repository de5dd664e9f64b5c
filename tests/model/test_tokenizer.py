import gzip
import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strings import random_texts

from clipworks.errors import ConfigError, InputError
from clipworks.model import tokenizer
from clipworks.model.tokenizer import EOT, MAX_TEXT_CHARS, SOT, VOCAB_SIZE, decode, encode, tokenize

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "tokens.json").read_text())
PLAIN = "".join(map(chr, range(32, 127))).replace("&", "") + "\t\n"


def golden_text(case: dict[str, Any]) -> str:
    text: str = case["text"] * case.get("times", 1)
    return text


@cache
def golden_random_texts() -> list[str]:
    count = GOLDEN["random"]["texts_per_hash"] * len(GOLDEN["random_ids_sha256"])
    return random_texts(count, seed=GOLDEN["random"]["seed"])


@pytest.mark.parametrize("name", GOLDEN["texts"])
def test_ids_equal_open_clips(name: str) -> None:
    case = GOLDEN["texts"][name]
    text = golden_text(case)
    row = tokenize([text])[0].tolist()
    assert row[: row.index(EOT) + 1] == case["row"]
    ids = encode(text)
    assert len(ids) == case["num_ids"]
    assert hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest()[:16] == case["ids_sha256"]


@pytest.mark.parametrize("block", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 20))])
def test_ids_of_random_texts_equal_open_clips(block: int) -> None:
    assert len(GOLDEN["random_ids_sha256"]) == 20
    size = GOLDEN["random"]["texts_per_hash"]
    texts = golden_random_texts()[block * size : (block + 1) * size]
    lines = "\n".join(" ".join(map(str, encode(text))) for text in texts)
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == GOLDEN["random_ids_sha256"][block]


@pytest.mark.parametrize("name", GOLDEN["specials"])
def test_a_special_token_spelled_in_the_text_is_text_here_and_a_token_in_open_clip(name: str) -> None:
    case = GOLDEN["specials"][name]
    assert case["num_ids"] < len(encode(case["text"]))
    assert not {SOT, EOT} & set(encode(case["text"]))


def test_a_caption_is_not_cut_by_a_special_token_in_it() -> None:
    row = tokenize(["a cat <end_of_text> a <|endoftext|> dog"])[0].tolist()
    assert row.count(EOT) == 1
    assert decode(row) == "a cat < end _ of _ text > a <| endoftext |> dog"


def test_the_known_ids_of_a_plain_caption() -> None:
    row = tokenize(["a photo of a cat"])[0]
    assert row[:8].tolist() == [SOT, 320, 1125, 539, 320, 2368, EOT, 0]
    assert row.dtype == np.int64 and row.shape == (77,) and not row[7:].any()


def test_no_texts_give_no_rows() -> None:
    assert tokenize([]).shape == (0, 77)


@pytest.mark.parametrize("length", [2, 3, 10, 77])
def test_a_long_text_is_cut_and_still_ends_with_eot(length: int) -> None:
    row = tokenize(["dog " * 500], context_length=length)[0]
    assert row[0] == SOT and row[-1] == EOT
    assert row[1:-1].tolist() == encode("dog " * 500)[: length - 2]


@pytest.mark.parametrize(
    "text", ["a " * 5_000, "\u6f22 " * 5_000, "1" * 5_000, "!? " * 80, "dog " * 74 + "x1" * 40]
)
def test_only_the_first_chunks_of_a_long_text_are_spelled_and_no_id_changes(text: str) -> None:
    for length in (2, 3, 20, 77):
        ids = encode(text)[: length - 2]
        row = tokenize([text], context_length=length)[0].tolist()
        assert row == [SOT, *ids, EOT] + [0] * (length - 2 - len(ids))


@pytest.mark.slow
@given(st.lists(st.text(max_size=60), max_size=4), st.integers(2, 40))
@settings(max_examples=30, deadline=None)
def test_every_row_is_sot_then_the_ids_then_eot_then_zeros(texts: list[str], length: int) -> None:
    for text, row in zip(texts, tokenize(texts, context_length=length).tolist(), strict=True):
        ids = encode(text)[: length - 2]
        assert row == [SOT, *ids, EOT] + [0] * (length - 2 - len(ids))
        assert all(0 <= i < SOT for i in ids)


@given(st.text(st.characters(exclude_categories=[]), max_size=80))
@settings(max_examples=50, deadline=None)
@example("\ud800")
@example("&#xD800; &#1114112; &#0;")
def test_any_text_has_ids_and_ids_decode(text: str) -> None:
    assert isinstance(decode(encode(text)), str)


@given(st.text(PLAIN, max_size=60))
@settings(max_examples=50, deadline=None)
@example("don't 'S x'Re\t\n__ 12,3")
def test_plain_text_takes_a_short_way_to_the_same_words(text: str) -> None:
    # A zero-width joiner at the end, a word of its own, sends the text the long way.
    assert tokenizer._PLAIN.fullmatch(text)
    long_way = encode(text + " \u200d")
    assert encode(text) == long_way[: -len(encode("\u200d"))]


@given(st.text("abcdeinorst", min_size=1, max_size=70) | st.text("aé漢😀", min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_merging_by_heap_gives_what_repeated_passes_give(word: str) -> None:
    assert tokenizer._merge(word) == merge_in_passes(word)


def merge_in_passes(word: str) -> list[int]:
    """The algorithm as published: merge every occurrence of the lowest-ranked pair, again and again."""
    vocabulary = tokenizer._vocabulary()
    ids = [vocabulary.byte_ids[byte] for byte in word.encode()]
    ids[-1] += 256
    while True:
        known = [pair for pair in zip(ids, ids[1:], strict=False) if pair in vocabulary.merges]
        if not known:
            return ids
        best = min(known, key=vocabulary.merges.__getitem__)
        merged, i = [], 0
        while i < len(ids):
            if tuple(ids[i : i + 2]) == best:
                merged.append(vocabulary.merges[best])
                i += 2
            else:
                merged.append(ids[i])
                i += 1
        ids = merged


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12), max_size=8))
@settings(max_examples=30, deadline=None)
def test_words_survive_the_round_trip(words: list[str]) -> None:
    assert decode(encode("  ".join(words).upper())) == " ".join(words)


def test_decode_skips_sot_and_stops_at_eot() -> None:
    assert decode(tokenize(["a Photo of two cats!"])[0].tolist()) == "a photo of two cats !"
    assert decode([SOT, 320, EOT, 2368]) == "a"
    assert decode([]) == ""


def test_a_character_that_was_cut_decodes_to_the_replacement_character() -> None:
    assert "\ufffd" in decode(encode("\U0001d7d8")[:1])


@pytest.mark.parametrize("wrong", [-1, VOCAB_SIZE, 10**9])
def test_decode_refuses_what_is_not_an_id(wrong: int) -> None:
    with pytest.raises(InputError, match=f"{wrong} is not a token id"):
        decode([320, wrong])


def test_a_surrogate_pair_is_the_character_that_it_stands_for() -> None:
    assert encode("\ud83d\ude00") == encode("\U0001f600")


def test_no_list_is_refused() -> None:
    with pytest.raises(InputError, match="texts is None"):
        tokenize(cast("list[str]", None))


def test_a_single_string_is_refused() -> None:
    with pytest.raises(InputError, match="single string 'a cat'") as caught:
        tokenize("a cat")
    assert caught.value.remedy == "Give a list: [text]."


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["nested"]])
def test_an_item_that_is_not_text_is_named(wrong: Any) -> None:
    with pytest.raises(InputError, match="Text 1 is of type"):
        tokenize(["a cat", wrong])
    with pytest.raises(InputError, match="The text is of type"):
        encode(wrong)


def test_a_text_of_ten_megabytes_is_refused_at_once() -> None:
    with pytest.raises(InputError, match=r"Text 1 has 10,000,000 characters; the limit is 100,000\."):
        tokenize(["a cat", "x" * 10_000_000])
    assert len(tokenize(["a b " * (MAX_TEXT_CHARS // 4)])[0]) == 77


@pytest.mark.parametrize("length", [1, 0, -3])
def test_a_context_without_room_for_start_and_end_is_refused(length: int) -> None:
    with pytest.raises(ConfigError, match=f"context_length is {length}"):
        tokenize(["a"], context_length=length)


def test_threads_get_the_same_ids() -> None:
    texts = [f"picture number {i} of a gr\u00fcn thing {i}" for i in range(200)]
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda text: tokenize([text])[0], texts))
    assert np.array_equal(np.stack(rows), tokenize(texts))


def test_the_memo_is_bounded_in_chunks_and_in_their_length(monkeypatch: pytest.MonkeyPatch) -> None:
    memo = tokenizer._vocabulary().memo
    monkeypatch.setattr(tokenizer, "_MEMO_CHUNKS", 10)
    memo.clear()
    texts = [f"memo{i:04d} is one of many" for i in range(50)]
    first = [encode(text) for text in texts]
    assert len(memo) <= 10
    assert [encode(text) for text in texts] == first
    before = dict(memo)
    encode("q" * 1000)
    assert memo == before


@pytest.mark.slow
def test_a_word_that_is_one_token_is_what_merging_its_bytes_gives() -> None:
    vocabulary = tokenizer._vocabulary()
    merged_only = replace(vocabulary, whole_words={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "_vocabulary", lambda: merged_only)
        for spelling, number in vocabulary.whole_words.items():
            word = spelling.decode("utf-8", errors="ignore")
            if word.encode() == spelling:  # no word is spelled with half a character
                assert tokenizer._merge(word) == [number]
    assert len(vocabulary.whole_words) > 34_000


def test_nothing_is_loaded_at_import() -> None:
    program = "from clipworks.model import tokenizer as t; assert t._vocabulary.cache_info().currsize == 0"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_vocabulary_has_every_id_once_and_its_notice_beside_it() -> None:
    folder = resources.files("clipworks.model").joinpath("vocabulary")
    merges = gzip.decompress(folder.joinpath("bpe_merges.txt.gz").read_bytes()).decode().splitlines()
    assert len(merges) == len(set(merges)) == VOCAB_SIZE - 512 - 2
    assert "Copyright (c) 2021 OpenAI" in folder.joinpath("NOTICE").read_text()
    assert len(set(tokenizer._vocabulary().spellings)) > 49_000
