"""Texts matched and pairs balanced per second: sections of the curation benchmark.

Run: python -m benchmarks.curation_match [match] [balance]; writes benchmarks/results/curation_match.json.
`match` needs `pip install pyahocorasick wordfreq`, Debian's wordnet-base and openclipart's captions
(CAPTIONS, by default ../shared/data/openclipart_captions.jsonl).
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import md5
from pathlib import Path
from typing import Any

import ahocorasick
import numpy as np
import pyarrow as pa

from benchmarks.curation_entries import CAPTIONS, WORDNET, make_entries, make_texts
from benchmarks.machine import RESULTS, write_result
from clipworks.curate.balance import BalanceConfig, balance_pairs, expected_texts
from clipworks.curate.match import build_matcher, match_texts, space_text
from clipworks.curate.matches import COUNTS_SUFFIX, count_matches, read_counts, save_counts
from clipworks.curate.metadata import build_entries, write_entries
from clipworks.stage import Made, Source, run_stage
from clipworks.tables import write_table

NUM_TEXTS = 200_000
NUM_REFERENCE = 20_000
ROUNDS = 5
NUM_ROWS, NUM_PARTS = 10_000_000, 40

WORKER = """
import sys
import pyarrow as pa
from pathlib import Path
from clipworks.curate.match import build_matcher, match_texts
from clipworks.curate.metadata import read_entries
from clipworks.processes import peak_memory_bytes
matcher = build_matcher(read_entries(Path(sys.argv[1])).texts)
texts = pa.array(Path(sys.argv[2]).read_text(encoding="utf-8").splitlines(), pa.large_string())
for begin in range(0, len(texts), 16_384):
    match_texts(matcher, texts[begin:begin + 16_384])
print(peak_memory_bytes() / 2**20)
"""


def main() -> None:
    chosen = sys.argv[1:] or ["match", "balance"]
    path = RESULTS / "curation_match.json"
    results = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else {}
    sections = {"match": match_section, "balance": balance_section}
    write_result("curation_match", results | {name: sections[name]() for name in chosen})


def match_section() -> dict[str, Any]:
    """Against pyahocorasick, in turns, on the same texts; wall time of one core, and ours of two."""
    captions = Path(os.environ.get("CAPTIONS", CAPTIONS))
    entries, texts = make_entries(captions, WORDNET), make_texts(captions, NUM_TEXTS)
    start = time.perf_counter()
    matcher = build_matcher(entries)
    build_seconds = time.perf_counter() - start
    strings, few = pa.array(texts, pa.large_string()), texts[:NUM_REFERENCE]
    automaton = ahocorasick.Automaton()
    for number, entry in enumerate(entries):
        automaton.add_word(f" {entry} ", number)
    automaton.make_automaton()
    theirs = [sorted({number for _, number in automaton.iter(space_text(text))}) for text in few]
    ends, ids = match_texts(matcher, strings)
    ours = [part.tolist() for part in np.split(ids, ends[1:-1])[:NUM_REFERENCE]]
    runs: dict[str, tuple[Callable[[], object], int]] = {
        "pyahocorasick": (
            lambda: [{n for _, n in automaton.iter(space_text(t))} for t in few],
            NUM_REFERENCE,
        ),
        "one_core": (lambda: match_texts(matcher, strings), NUM_TEXTS),
        "two_cores": (lambda: match_texts(matcher, strings, threads=2), NUM_TEXTS),
    }
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, (run, count) in runs.items():
            start = time.perf_counter()
            run()
            rates[name].append(count / (time.perf_counter() - start))
    median = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "entries": len(entries),
        "texts": len(texts),
        "mean_characters": round(statistics.mean(map(len, texts)), 1),
        "matches_per_text": round(len(ids) / len(texts), 2),
        "texts_with_other_matches": sum(one != other for one, other in zip(ours, theirs, strict=True)),
        "build_seconds": round(build_seconds, 2),
        "table_mib": round(matcher.trie.num_bytes / 2**20, 1),
        "unit": "texts/s",
        **{name: round(value) for name, value in median.items()},
        "ratio_per_core": round(median["one_core"] / median["pyahocorasick"], 1),
        "ratio_two_cores": round(median["two_cores"] / median["pyahocorasick"], 1),
        "worker_mib": round(_worker_mib(entries, texts), 0),
    }


def balance_section() -> dict[str, Any]:
    """Counting and balancing 10M rows with four to five matches each, in two processes."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_entries(place / "entries.json", build_entries({"words": map(str, range(500_000))}))
        config = {"mode": "metaclip", "metadata": [{"language": "", "sha256": "", "count": 500_000}]}
        sources = [Source(name=f"{n:05}", path=str(n), digest=str(n)) for n in range(NUM_PARTS)]
        run_stage(_write_pairs, sources, place / "pairs", stage="pairs", config={}, workers=2)
        manifest = json.loads((place / "pairs" / "manifest.json").read_text())
        hashes = {
            part["name"]: part["files"][f"{part['name']}.parquet"]["sha256"] for part in manifest["parts"]
        }
        sources = [Source(name=n, path=str(int(n)), digest=digest) for n, digest in hashes.items()]
        run_stage(_write_matches, sources, place / "matches", stage="match", config=config, workers=2)
        start = time.perf_counter()
        count_matches(place / "matches", place / "counts")
        counted = time.perf_counter()
        folders = (place / "pairs", place / "matches", place / "counts", place / "balanced")
        made = balance_pairs(*folders, config=BalanceConfig(), workers=2)
        end = time.perf_counter()
        expected, deviation = expected_texts(place / "balanced")
        counts, drawn = read_counts(place / "counts"), _expected_counts()
        inner = drawn > 100
        distance = np.abs(counts[inner] - drawn[inner]) / np.sqrt(drawn[inner])
        return {
            "rows": NUM_ROWS,
            "matches": int(counts.sum()),
            "t": made["config"]["t"][""],
            "count_seconds": round(counted - start, 1),
            "balance_seconds": round(end - counted, 1),
            "seconds": round(end - start, 1),
            "kept_texts": made["counts"]["kept_texts"],
            "expected_texts": round(expected, 1),
            "standard_deviation": round(deviation, 1),
            "deviations_off": round((made["counts"]["kept_texts"] - expected) / deviation, 2),
            "mean_count_deviations": round(float(distance.mean()), 3),
            "mean_of_normal_deviations": round(math.sqrt(2 / math.pi), 3),
        }


def _worker_mib(entries: list[str], texts: list[str]) -> float:
    """Peak memory of a fresh process that matches, whose machine code was compiled before."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_entries(place / "list.json", build_entries({"all": entries}, max_entries=len(entries)))
        (place / "texts.txt").write_text("\n".join(texts[:50_000]), encoding="utf-8")
        command = [sys.executable, "-c", WORKER, str(place / "list.json"), str(place / "texts.txt")]
        subprocess.run(command, check=True, capture_output=True)
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _chances() -> np.ndarray[Any, np.dtype[np.float64]]:
    """How likely an entry is drawn: as one over its rank."""
    weights = 1.0 / np.arange(1, 400_001)
    return np.asarray(weights / weights.sum(), np.float64)


def _expected_counts() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Texts that hold each entry, of five draws per text."""
    counts = np.zeros(500_000)
    counts[:400_000] = NUM_ROWS * -np.expm1(5 * np.log1p(-_chances()))
    return counts


def _write_pairs(source: Source, folder: Path) -> Made:
    rows, number = NUM_ROWS // NUM_PARTS, int(source.path)
    urls = [f"https://host{n % 997}.example.org/pictures/{number}/{n}.jpg" for n in range(rows)]
    texts = [f"a photo of thing {n} in the place {number}, with some words more" for n in range(rows)]
    values = pa.StructArray.from_arrays([pa.array(["alt"] * rows), pa.array(texts)], ["key", "text"])
    table = pa.table(
        {
            "uid": [md5(url.encode()).hexdigest() for url in urls],
            "image_url": urls,
            "page_url": [f"https://host{n % 997}.example.org/page/{n // 7}" for n in range(rows)],
            "texts": pa.ListArray.from_arrays(pa.array(np.arange(rows + 1), pa.int32()), values),
        }
    )
    write_table(folder / f"{source.name}.parquet", table)
    return Made(rows=rows, files=[f"{source.name}.parquet"])


def _write_matches(source: Source, folder: Path) -> Made:
    rows = NUM_ROWS // NUM_PARTS
    chance = np.random.default_rng(int(source.path))
    drawn = np.sort(chance.choice(400_000, (rows, 5), p=_chances()).astype(np.uint32), axis=1)
    is_new = np.ones(drawn.shape, np.bool_)
    is_new[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
    ids, ends = drawn[is_new], np.concatenate([[0], np.cumsum(is_new.sum(1))])
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(ids))
    numbers = pa.array(np.arange(rows), pa.uint32())
    names = [f"{source.name}.parquet", f"{source.name}{COUNTS_SUFFIX}"]
    zeros = pa.array(np.zeros(rows), pa.uint32())
    write_table(folder / names[0], pa.table({"row": numbers, "text": zeros, "ids": lists}))
    save_counts(folder / names[1], ids)
    return Made(rows=rows, counts={"matched_texts": rows, "matches": len(ids)}, files=names)


if __name__ == "__main__":
    main()
