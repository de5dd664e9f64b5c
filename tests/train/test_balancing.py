"""From the counts of `clipworks curate` to what is drawn while training."""

import json
from collections import Counter
from math import prod
from pathlib import Path

import numpy as np
import pytest

from clipworks.curate.balance import BalanceConfig, balance_pairs
from clipworks.curate.matches import count_matches, match_pairs
from clipworks.shards import Sample, write_shards
from clipworks.train.captions import Captions
from clipworks.train.sources import read_sources
from tests.curate.pools import make_rows, write_metadata, write_pairs

T = 20


@pytest.mark.slow
def test_texts_are_drawn_as_often_as_the_counts_of_curation_say(tmp_path: Path) -> None:
    """Pairs -> matches -> counts -> probabilities -> a source, against the published formula."""
    rows = make_rows(300)
    pairs = write_pairs(tmp_path / "pairs", rows)
    match_pairs(pairs, tmp_path / "matches", metadata=[write_metadata(tmp_path / "entries.json")])
    count_matches(tmp_path / "matches", tmp_path / "counts")
    config = BalanceConfig(t=T, texts="all")
    balance_pairs(pairs, tmp_path / "matches", tmp_path / "counts", tmp_path / "probs", config=config)
    samples = [
        Sample(
            key=row["uid"],
            image=b"",
            extension="jpg",
            texts=tuple(text["text"] for text in row["texts"]),
            details={"uid": row["uid"]},
        )
        for row in rows
    ]
    write_shards(samples, tmp_path / "shards")
    (tmp_path / "mix.json").write_text('{"sources": [{"data": "shards", "balance": "probs"}]}')
    made = Captions(read_sources(tmp_path / "mix.json")[0], 1.0)

    entries = set(json.loads((tmp_path / "entries.json").read_text())["entries"])
    texts = [text for sample in samples for text in sample.texts]
    counts = Counter(word for text in texts for word in entries & set(text.split()))
    rng = np.random.default_rng(0)
    wanted, variance, drawn = Counter[str](), Counter[str](), Counter[str]()
    for sample in samples:
        details = json.dumps({"texts": sample.texts, **sample.details}).encode()
        found = Counter(made.choose(None, details, rng) for _ in range(100))
        for text in sample.texts:
            words = entries & set(text.split())
            kept = 1 - prod(1 - T / max(counts[word], T) for word in words)
            for word in words:
                wanted[word] += 100 * kept / len(sample.texts)
                variance[word] += 100
                drawn[word] += found[text] / sample.texts.count(text)
            assert words or not found[text]
    assert counts["photo"] > 5 * T > 0 < min(counts.values()) < T
    assert all(abs(drawn[word] - wanted[word]) < 2 * variance[word] ** 0.5 for word in counts)
