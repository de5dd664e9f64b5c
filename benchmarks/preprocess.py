"""From picture files to pixels, and from files to vectors; writes benchmarks/results/preprocess.json.

One thread, JPEG bytes to pixels: each preprocess mode against open_clip's `image_transform`, in turns.
All cores, files to vectors: the rate of `embed_files` as a share of the rate of the model alone on
pixels that lie ready, in turns, for two published shapes with random weights.
Needs `pip install open_clip_torch`, which nothing else here needs.

Run: python -m benchmarks.preprocess
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from open_clip.transform import image_transform
from PIL import Image

import clipworks
from benchmarks.machine import summarise, write_result
from clipworks.model.config import ClipConfig, TextConfig, VisionConfig
from clipworks.model.engine import Engine
from clipworks.model.formats import native_shapes
from clipworks.model.preprocess import PreprocessMode, prepare
from clipworks.model.weights import write_checkpoint
from clipworks.search.bulk import embed_files

SIDE = 224
SIZES = {"640x480": (640, 480), "4000x3000": (4000, 3000)}
ROUNDS = {"640x480": 61, "4000x3000": 7}
TEXT = TextConfig(width=64, layers=1, heads=1, mlp_width=64)
"""Small, as no text is embedded here."""
MODELS = {
    "ViT-B-16": ClipConfig(
        vision=VisionConfig(image_size=SIDE, patch_size=16, width=768, layers=12, heads=12, mlp_width=3072),
        text=TEXT,
        embed_dim=512,
        activation="quick_gelu",
    ),
    "ViT-L-14": ClipConfig(
        vision=VisionConfig(image_size=SIDE, patch_size=14, width=1024, layers=24, heads=16, mlp_width=4096),
        text=TEXT,
        embed_dim=768,
        activation="gelu",
    ),
}
BATCHES = {"ViT-B-16": (16, 4), "ViT-L-14": (4, 5)}
"""Pictures per batch, and batches per run."""
PAIRS = 3

Pixels = npt.NDArray[np.uint8]


def main() -> None:
    files = {name: [_jpeg(*size, seed) for seed in range(3)] for name, size in SIZES.items()}
    results: dict[str, Any] = {"one_thread": {}, "files_to_vectors": {}}
    for name, pictures in files.items():
        results["one_thread"][name] = _one_thread(pictures, ROUNDS[name])
    with tempfile.TemporaryDirectory(prefix="clipworks-preprocess-") as folder:
        for shape in MODELS:
            results["files_to_vectors"][shape] = _files_to_vectors(Path(folder), shape, files)
    write_result("preprocess", results)


def _jpeg(width: int, height: int, seed: int) -> bytes:
    """A JPEG with detail on every scale, as photographs have it, quality 85."""
    random = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), dtype=np.float32)
    cells = 4
    while cells < width:
        noise = random.integers(0, 256, (max(1, cells * height // width), cells, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(layer, dtype=np.float32) - 128) / cells**0.6
        cells *= 2
    total = 128 + 50 * total / total.std()
    buffer = io.BytesIO()
    Image.fromarray(total.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _one_thread(pictures: Sequence[bytes], rounds: int) -> dict[str, Any]:
    transform = image_transform(SIDE, is_train=False)
    ways: dict[str, Callable[[bytes], object]] = {
        "open_clip": lambda data: transform(Image.open(io.BytesIO(data))),
        **{mode: partial(prepare, size=SIDE, mode=mode) for mode in get_args(PreprocessMode)},
        "standard, compiled": partial(prepare, size=SIDE, compiled=True),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, run in ways.items():
            seconds = _seconds(partial(run, pictures[number % len(pictures)]))
            if number:  # the first round warms the caches
                times[way].append(1000 * seconds)
    result: dict[str, Any] = {"mean_kilobytes": round(statistics.mean(map(len, pictures)) / 1000)}
    peer = statistics.median(times["open_clip"])
    for way, values in times.items():
        result[way] = {
            **summarise(values, "ms"),
            "ratio_to_open_clip": round(peer / statistics.median(values), 2),
        }
    for mode in get_args(PreprocessMode):
        result[mode] |= _difference(pictures, mode, transform)
    return result


def _difference(pictures: Sequence[bytes], mode: PreprocessMode, transform: Any) -> dict[str, Any]:
    """How far pixels are from open_clip's before these become floats."""
    levels = []
    for data in pictures:
        reference = Image.open(io.BytesIO(data))
        for step in transform.transforms[:3]:  # resize, centre crop, RGB
            reference = step(reference)
        levels.append(prepare(data, SIDE, mode=mode).astype(int) - np.asarray(reference))
    difference = np.stack(levels)
    square = float((difference**2).mean())
    psnr = round(10 * float(np.log10(255**2 / square)), 1) if square else None
    return {"largest_difference": int(abs(difference).max()), "psnr_db": psnr}


def _files_to_vectors(folder: Path, shape: str, files: dict[str, list[bytes]]) -> dict[str, Any]:
    batch_size, num_batches = BATCHES[shape]
    _write_random(folder / shape, MODELS[shape])
    result: dict[str, Any] = {"batch_size": batch_size, "pictures": batch_size * num_batches}
    cases: list[tuple[str, PreprocessMode]] = [
        ("640x480", "standard"),
        ("4000x3000", "standard"),
        ("4000x3000", "scaled"),
    ]
    for size, mode in cases:
        engine = clipworks.load(str(folder / shape), preprocess=mode)
        result["precision"] = engine.precision
        paths = _written(folder / size, files[size], batch_size * num_batches)
        result[f"{size}@{mode}"] = _share(engine, paths, batch_size)
    return result


def _share(engine: Engine, paths: list[Path], batch_size: int) -> dict[str, Any]:
    pixels = np.stack([engine.prepare_image(path) for path in paths[:batch_size]])
    engine.embed_pixels(pixels)  # compiles the graph
    runs = len(paths) // batch_size
    alone, whole = [], []
    for _ in range(PAIRS):
        alone.append(len(paths) / _seconds(lambda: [engine.embed_pixels(pixels) for _ in range(runs)]))
        whole.append(len(paths) / _seconds(lambda: list(embed_files(engine, paths, batch_size=batch_size))))
    shares = [file / model for file, model in zip(whole, alone, strict=True)]
    return {
        "model_alone": summarise(alone, "pictures/s"),
        "from_files": summarise(whole, "pictures/s"),
        "share": round(statistics.median(shares), 3),
        "smallest_share": round(min(shares), 3),
    }


def _write_random(folder: Path, config: ClipConfig) -> None:
    random = np.random.default_rng(0)
    weights: dict[str, npt.NDArray[np.float32]] = {
        name: np.asarray(random.standard_normal(shape) / max(shape, default=1) ** 0.5, dtype=np.float32)
        for name, shape in native_shapes(config).items()
    }
    weights["logit_scale"] = np.array(3.0, dtype=np.float32)
    write_checkpoint(folder, config, weights, family="native")


def _written(folder: Path, pictures: Sequence[bytes], count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:04d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(pictures[number % len(pictures)])
    return paths


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
