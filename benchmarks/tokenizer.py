"""Captions per second of the tokenizers on one core; writes benchmarks/results/tokenizer.json.

Against open_clip's SimpleTokenizer and transformers' CLIPTokenizer, in turns, on the gallery's captions
and on any caption files that are named. Cold: caches empty, the vocabulary loaded. Warm: the same
captions again. Needs `pip install open_clip_torch transformers`, which nothing else here needs.

Run: python -m benchmarks.tokenizer [CAPTIONS.jsonl]...
"""

import gzip
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from open_clip.tokenizer import SimpleTokenizer
from transformers import CLIPTokenizer

from benchmarks.machine import ROOT, write_result
from clipworks.model import tokenizer

ROUNDS = 9
COLD_ROUNDS = 3
MOST_CAPTIONS = 5_000
GALLERY = ROOT / "clipworks" / "gallery" / "metadata.jsonl"

Ids = npt.NDArray[np.int64]
Tokenize = Callable[[list[str]], Ids]


def main() -> None:
    files = [GALLERY, *map(Path, sys.argv[1:])]
    write_result("tokenizer", {_name(file): _compare(_captions(file)) for file in files})


def _name(file: Path) -> str:
    return "gallery" if file == GALLERY else file.stem


def _captions(file: Path) -> list[str]:
    """The captions of a file, or a title and description as one, each once, 5,000 at most."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    texts = [row.get("caption") or f"{row.get('title', '')}. {row.get('description', '')}" for row in rows]
    return list(dict.fromkeys(text for text in texts if len(text) > 3))[:MOST_CAPTIONS]


def _compare(captions: list[str]) -> dict[str, Any]:
    makers: dict[str, Callable[[], Tokenize]] = {
        "clipworks": _ours,
        "open_clip": _open_clips,
        "transformers": _transformers,
    }
    cold: dict[str, list[float]] = {name: [] for name in makers}
    warm: dict[str, list[float]] = {name: [] for name in makers}
    rows: dict[str, Ids] = {}
    for _ in range(COLD_ROUNDS):
        for name, make in makers.items():
            run = make()
            cold[name].append(_rate(run, captions))
    ready = {name: make() for name, make in makers.items()}
    for name, run in ready.items():
        rows[name] = run(captions)
    for _ in range(ROUNDS):
        for name, run in ready.items():
            warm[name].append(_rate(run, captions))
    reference = rows["open_clip"]
    result: dict[str, Any] = {
        "captions": len(captions),
        "mean_characters": round(statistics.mean(map(len, captions)), 1),
        "plain_ascii_share": round(sum(map(_is_plain, captions)) / len(captions), 3),
        "unit": "captions/s",
    }
    for name in makers:
        result[name] = {
            "cold": round(statistics.median(cold[name])),
            "warm": round(statistics.median(warm[name])),
            "warm_ratio_to_open_clip": _ratio(warm, name),
            "cold_ratio_to_open_clip": _ratio(cold, name),
            "rows_other_than_open_clip": int((_until_end(rows[name]) != reference).any(axis=1).sum()),
        }
    return result


def _rate(run: Tokenize, captions: list[str]) -> float:
    start = time.perf_counter()
    run(captions)
    return len(captions) / (time.perf_counter() - start)


def _ratio(rates: dict[str, list[float]], name: str) -> float:
    return round(statistics.median(rates[name]) / statistics.median(rates["open_clip"]), 2)


def _is_plain(caption: str) -> bool:
    return caption.isascii() and "&" not in caption


def _until_end(rows: Ids) -> Ids:
    """Padding differs (zeros here, the end token in transformers) and is never read."""
    kept = np.arange(rows.shape[1]) <= rows.argmax(axis=1)[:, None]
    return np.where(kept, rows, 0)


def _ours() -> Tokenize:
    tokenizer._vocabulary.cache_clear()
    tokenizer.tokenize(["a"])
    return tokenizer.tokenize


def _open_clips() -> Tokenize:
    theirs = SimpleTokenizer()
    theirs(["a"])
    return lambda texts: np.asarray(theirs(texts).numpy())


def _transformers() -> Tokenize:
    make: Any = CLIPTokenizer  # takes pairs, whatever its annotation says
    theirs = make(vocab=_vocabulary(), merges=_merges())
    theirs(["a"])

    def run(texts: list[str]) -> Ids:
        rows = theirs(texts, padding="max_length", truncation=True, max_length=77, return_tensors="np")
        return np.asarray(rows["input_ids"], dtype=np.int64)

    return run


def _merges() -> list[tuple[str, str]]:
    packed = resources.files("clipworks.model").joinpath("vocabulary/bpe_merges.txt.gz").read_bytes()
    pairs = (line.split(" ") for line in gzip.decompress(packed).decode("utf-8").splitlines())
    return [(left, right) for left, right in pairs]


def _vocabulary() -> dict[str, int]:
    symbols = [symbol for _, symbol in tokenizer._byte_symbols()]
    names = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *("".join(pair) for pair in _merges())]
    names += ["<|startoftext|>", "<|endoftext|>"]
    return {name: number for number, name in enumerate(names)}


if __name__ == "__main__":
    main()
