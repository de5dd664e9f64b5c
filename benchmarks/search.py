"""How fast a library is searched and built, beside faiss and rclip; writes benchmarks/results/search.json.

    python -m benchmarks.search [exact] [ann] [folder] [rclip] [second] [query]     all parts without a name

Vectors are invented: 2,000 clusters in 512 dimensions, unit length. Every row is measured in turns with its
peer, so that other load meets both; ratios are of neighbours in time, medians of n. The parts `folder` and
`rclip` are in `search_folder.py`; rclip is used where --rclip names the program of an environment of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

import clipworks
from benchmarks.machine import RESULTS, summarise, write_result
from benchmarks.search_folder import folder, in_turns, jpeg_files, rclip
from clipworks.model.pipeline import num_cores
from clipworks.search.answer import Ask
from clipworks.search.build import update_index
from clipworks.search.exact import exactly_nearest
from clipworks.search.exif import PictureFacts
from clipworks.search.ivf import IvfStore
from clipworks.search.matrix import Matrix
from clipworks.search.opening import open_index
from clipworks.search.query import search_terms
from clipworks.search.signs import SignStore
from clipworks.search.store import Change, Halves, IndexHeader, Relevance, Vectors
from clipworks.search.terms import Term
from clipworks.search.writer import Batch, Record, open_writer

DIM = 512
CLUSTERS = 2000
BATCH = 256
LIMIT = 10


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure searching and indexing.")
    parser.add_argument("parts", nargs="*", help=" ".join(PARTS))
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rclip", help="the program rclip; RCLIP_DATADIR says where its model lies")
    parser.add_argument("--model", default="pictogram", help="for `folder` and `rclip`")
    parser.add_argument("--pictures", type=int, default=10_000, help="at most, for `folder` and `rclip`")
    parser.add_argument("--photos", type=Path, help="a folder of further JPEG files, taken as they are")
    arguments = parser.parse_args()
    path = RESULTS / "search.json"
    results: dict[str, Any] = json.loads(path.read_text())["results"] if path.exists() else {}
    for name in arguments.parts or [name for name in PARTS if name != "rclip" or arguments.rclip]:
        results[name] = PARTS[name](arguments)
        write_result("search", results)


def exact(arguments: argparse.Namespace) -> dict[str, Any]:
    """One query and many against every vector, with faiss' flat index over float32."""
    vectors, queries = _vectors(arguments.count), _vectors(BATCH, seed=1)
    halves = vectors.astype(np.float16)
    matrix, mask = Matrix(None, DIM, halves), np.ones(len(vectors), dtype=np.bool_)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(vectors)
    del vectors
    signs = SignStore(DIM, matrix)
    signs.apply(_all(halves))
    faiss.omp_set_num_threads(num_cores())
    true = flat.search(queries, LIMIT)[1]
    found = {
        "exact": exactly_nearest(halves, mask, queries, LIMIT)[0],
        "signs": signs.nearest(queries, LIMIT)[0],
    }
    numbers = iter(range(10**9))

    def one() -> Vectors:
        number = next(numbers) % BATCH
        return queries[number : number + 1]

    single = {
        "flat": lambda: flat.search(one(), LIMIT),
        "exact": lambda: exactly_nearest(halves, mask, one(), LIMIT),
        "signs": lambda: signs.nearest(one(), LIMIT),
    }
    many = {
        "flat": lambda: flat.search(queries, LIMIT),
        "exact": lambda: exactly_nearest(halves, mask, queries, LIMIT),
    }
    return {
        "count": arguments.count,
        "recall": {name: _recall(slots, true) for name, slots in found.items()},
        "single_ms": in_turns(single, arguments.rounds),
        f"batch_of_{BATCH}_ms": in_turns(many, max(2, arguments.rounds // 2)),
    }


def ann(arguments: argparse.Namespace) -> dict[str, Any]:
    """Inverted lists with exact ranking: built on all cores, asked on one."""
    vectors, queries = _vectors(arguments.count), _vectors(200, seed=1)
    halves = vectors.astype(np.float16)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(vectors)
    true = flat.search(queries, LIMIT)[1]
    del vectors, flat
    with tempfile.TemporaryDirectory() as folder:
        matrix = Matrix(None, DIM, halves)
        store = IvfStore(Path(folder), DIM, matrix)
        start = time.perf_counter()
        store.apply(_all(halves))
        build = time.perf_counter() - start
        start = time.perf_counter()
        again = IvfStore(Path(folder), DIM, matrix)
        reopen = time.perf_counter() - start
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        faiss.omp_set_num_threads(1)
        rows = {}
        for lists in dict.fromkeys((store.lists_searched, 2, 4, 8, 16)):
            again = IvfStore(Path(folder), DIM, matrix, lists)
            found = again.nearest(queries, LIMIT)[0]
            seconds = []
            for query in queries:
                start = time.perf_counter()
                again.nearest(query[None], LIMIT)
                seconds.append(time.perf_counter() - start)
            rows[str(lists)] = {
                "recall_at_10": _recall(found, true),
                "queries_per_second_one_core": round(1 / statistics.median(seconds), 1),
                "n": len(seconds),
            }
    return {
        "count": arguments.count,
        "build_s": round(build, 1),
        "reopen_s": round(reopen, 3),
        "file_mb": round(size / 1e6, 1),
        "with_vectors_mb": round((size + halves.nbytes) / 1e6, 1),
        "lists_searched_by_default": store.lists_searched,
        "by_lists_searched": rows,
    }


def second(arguments: argparse.Namespace) -> dict[str, Any]:
    """A second run over files that have not changed."""
    count = min(arguments.count, 100_000)
    with tempfile.TemporaryDirectory() as place:
        source, out = Path(place) / "pictures", Path(place) / "index"
        _unchanged(source, out, count)

        def none() -> Any:
            raise AssertionError("nothing has changed")

        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            report = update_index(source, out, none, model="none", trusts_name=True)
            seconds.append(time.perf_counter() - start)
        assert report.count == count and not report.embedded
    return {"pictures": count, "seconds": summarise(seconds, "s")}


def query(arguments: argparse.Namespace) -> dict[str, Any]:
    """A text against 100,000 pictures, text tower included, alone and while pictures are indexed."""
    engine = clipworks.load("pictogram")
    count = min(arguments.count, 100_000)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "index"
        rng = np.random.default_rng(0)
        rows = rng.standard_normal((count, engine.dim), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        _write(out, rows, engine.fingerprint)
        library = open_index(out)
        words = [f"a photo of {name}" for name in ("a dog", "a red car", "snow", "two cups", "a city")]

        def ask(number: int) -> float:
            start = time.perf_counter()
            search_terms(library, engine, [Term(text=f"{words[number % 5]} {number}")], Ask(is_folded=True))
            return 1000 * (time.perf_counter() - start)

        ask(0)
        alone = [ask(number) for number in range(100)]
        paths = jpeg_files(Path(place) / "pictures")
        command = [sys.executable, "-c", _ENDLESS, str(Path(place) / "pictures"), str(Path(place) / "other")]
        worker = subprocess.Popen(["nice", "-n", "5", *command])
        try:
            time.sleep(8)
            meanwhile = [ask(number) for number in range(200)]
        finally:
            worker.kill()
            worker.wait()
    return {
        "pictures": count,
        "dim": engine.dim,
        "indexed_meanwhile_from": len(paths),
        "alone_ms": summarise(alone, "ms"),
        "while_indexing_ms": summarise(meanwhile, "ms"),
    }


_ENDLESS = """
import shutil, sys
from pathlib import Path
import clipworks
from clipworks.search.build import build_index
engine = clipworks.load("pictogram")
while True:
    shutil.rmtree(sys.argv[2], ignore_errors=True)
    build_index(Path(sys.argv[1]), Path(sys.argv[2]), engine)
"""


def _vectors(count: int, seed: int = 0) -> Vectors:
    centres = np.random.default_rng(42).standard_normal((CLUSTERS, DIM), dtype=np.float32)
    random = np.random.default_rng(seed)
    vectors = np.empty((count, DIM), dtype=np.float32)
    for start in range(0, count, 50_000):
        some = min(50_000, count - start)
        block = centres[random.integers(0, CLUSTERS, some)]
        block = block + random.standard_normal((some, DIM), dtype=np.float32)
        vectors[start : start + some] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def _all(halves: Halves) -> Change:
    slots, none = np.arange(len(halves)), np.empty(0, dtype=np.int64)
    return Change(revision=1, slots=slots, vectors=halves, facts=(), gone=none)


def _recall(found: Any, true: Any) -> float:
    shares = [len(set(a.tolist()) & set(b.tolist())) / len(b) for a, b in zip(found, true, strict=True)]
    return round(float(np.mean(shares)), 4)


def _record(number: int, path: Path | None = None) -> Record:
    status = path.stat() if path is not None else None
    return Record(
        id=f"{number // 1000:03d}/{number:06d}.jpg",
        sha256=number.to_bytes(32, "big"),
        size_bytes=status.st_size if status else 1,
        mtime_ns=status.st_mtime_ns if status else number,
        said=0,
        facts=PictureFacts(width=640, height=480, taken=number * 86_400),
        columns={"caption": f"picture {number}"},
    )


def _write(out: Path, vectors: Vectors, fingerprint: str, source: Path | None = None) -> None:
    header = IndexHeader(
        model="none",
        fingerprint=fingerprint,
        precision="f32",
        preprocess="standard",
        dim=vectors.shape[1],
        root="../pictures",
        relevance=Relevance(text_threshold=None, image_threshold=None, alike_threshold=0.98),
    )
    halves = vectors.astype(np.float16)
    with open_writer(out) as writer:
        writer.begin(header)
        writer.put({"model": "none"})
        for start in range(0, len(halves), 10_000):
            rows = []
            for number in range(start, min(start + 10_000, len(halves))):
                path = None if source is None else source / f"{number // 1000:03d}/{number:06d}.jpg"
                rows.append((_record(number, path), halves[number]))
            writer.write(Batch(new=rows))
        writer.end(header)


def _unchanged(source: Path, out: Path, count: int) -> None:
    for number in range(count):
        path = source / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    vectors = np.zeros((count, DIM), dtype=np.float32)
    vectors[:, 0] = 1
    _write(out, vectors, "f" * 64, source)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "exact": exact,
    "ann": ann,
    "folder": folder,
    "rclip": rclip,
    "second": second,
    "query": query,
}

if __name__ == "__main__":
    main()
