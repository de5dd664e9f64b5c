"""How fast the towers are on this processor, beside other packages; writes benchmarks/results/inference.json.

All engines of a section have the same seeded random weights of full width and the same inputs, and take
turns: a round times each once, so that other load on the machine meets all of them. Ratios are taken
round by round, and their median is reported. Needs benchmarks/requirements-peers.txt.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import RESULTS, describe_commit, describe_machine, write_result
from benchmarks.peers import OPEN_CLIP, Engine, Floats, own_engines, peer_engines, random_weights
from clipworks.model import buckets, catalogue, formats
from clipworks.model.calibration import GALLERY, read_calibration
from clipworks.model.config import ClipConfig
from clipworks.model.engine import Engine as ClipEngine
from clipworks.model.executor import GraphExecutor, compile_graph
from clipworks.model.fidelity import compare
from clipworks.model.graph import openvino
from clipworks.model.pipeline import num_cores
from clipworks.model.quantize import Plan, make_plan
from clipworks.model.tokenizer import tokenize
from clipworks.model.weights import Checkpoint

SHAPES = {
    "b32": ("ViT-B-32", "datacomp-b32"),
    "b16": ("ViT-B-16", "openai-b16"),
    "l14": ("ViT-L-14", "datacomp-l14"),
}
"""Section -> open_clip's name and the catalogue's; all with exact GELU here."""
SECTIONS = ("b32", "text", "head", "b16", "l14")

PEAK_SIDES = (768, 1024, 2048)
PEAK_LAYERS = 8
PEAK_TRIES = 30
PAUSE_SECONDS = 0.05
"""Before each timed call: threads of other engines go on spinning for a while after their work."""
HEAD_LABELS = 40
HEAD_LABELS_OF_PEER = 4
HEAD_TEMPLATES = 80

Timed = Mapping[str, Callable[[], Any]]
Result = dict[str, Any]


def main() -> None:
    arguments = _arguments()
    path = RESULTS / "inference.json"
    results: Result = json.loads(path.read_text())["results"] if arguments.only and path.is_file() else {}
    for section in arguments.only or SECTIONS:
        _say(f"{section}: peak of the processor")
        started = time.perf_counter()
        peaks = {precision: _peak_gflops(precision) for precision in ("f32", "bf16", "int8")}
        run = {"text": measure_texts, "head": measure_head}.get(section)
        found = run(peaks, arguments) if run else measure_images(section, peaks, arguments)
        about = {"machine": describe_machine(), "commit": describe_commit(), "peak_gflops": peaks}
        results[section] = {**about, "seconds": round(time.perf_counter() - started), **found}
        write_result("inference", results)


def measure_images(section: str, peaks: Result, arguments: argparse.Namespace) -> Result:
    """The image tower of a shape on pictures of the gallery, one by one and 32 together."""
    architecture, config, weights, plan = _model(section)
    pixels = read_calibration(config).held_out.pixels
    mean, std = (np.array(v, dtype=np.float32) for v in (config.preprocess.mean, config.preprocess.std))
    floats = np.ascontiguousarray(((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))
    gflop = image_gflop(config)
    result: Result = {"gflop_per_image": round(gflop, 2), "int8_plan": plan.sentence}
    with tempfile.TemporaryDirectory(prefix="clipworks-inference-") as folder:
        own = own_engines("vision", config, weights, plan)
        peers = (
            {} if arguments.no_peers else peer_engines("vision", architecture, config, weights, Path(folder))
        )
        result["fidelity"] = _fidelity(own, pixels) | _fidelity(peers, floats)
        for batch in (1, 32):
            inputs = {name: pixels[:batch] for name in own} | {name: floats[:batch] for name in peers}
            calls = {name: _bind(call, inputs[name]) for name, call in (own | peers).items()}
            rounds = _rounds(batch * gflop, arguments)
            times = _take_turns(calls, rounds, f"{section} batch {batch}")
            result[f"batch_{batch}"] = _rows(times, batch, "images/s", batch * gflop, peaks)
    return result


def measure_texts(peaks: Result, arguments: argparse.Namespace) -> Result:
    """The text tower of ViT-B/32 on captions: others on 77 tokens, as they do, ours cut and sorted."""
    architecture, config, weights, plan = _model("b32")
    tokens = tokenize(captions(256), context_length=77)
    lengths = tokens.argmax(axis=1) + 1
    result: Result = {"mean_tokens": round(float(lengths.mean()), 2), "int8_plan": plan.sentence}
    with tempfile.TemporaryDirectory(prefix="clipworks-inference-") as folder:
        own = {name: _bucketed(call) for name, call in own_engines("text", config, weights, plan).items()}
        peers = (
            {} if arguments.no_peers else peer_engines("text", architecture, config, weights, Path(folder))
        )
        result["fidelity"] = _fidelity(own, tokens) | _fidelity(peers, tokens[:32], own["clipworks f32"])
        for batch in (1, 32, 256):
            some = peers if batch < 256 else {name: call for name, call in peers.items() if name == OPEN_CLIP}
            calls = {name: _bind(call, tokens[:batch]) for name, call in (own | some).items()}
            gflop = text_gflop(config, lengths[:batch])
            rounds = _rounds(batch * 6.0, arguments)
            times = _take_turns(calls, rounds, f"text batch {batch}")
            result[f"batch_{batch}"] = _rows(times, batch, "texts/s", gflop, peaks)
    return result


def measure_head(peaks: Result, arguments: argparse.Namespace) -> Result:
    """Building a zero-shot head, tokenizing included; rates on a part of 1,000 labels x 80 templates."""
    import open_clip

    architecture, config, weights, plan = _model("b32")
    names = [text.split(".")[0] for text in captions(HEAD_LABELS, is_plain=True)]
    checkpoint = Checkpoint(
        config=config, tensors=weights, fingerprint="0" * 64, family="native", path=Path("random")
    )
    engines = {}
    for name, precision, scales in (
        ("clipworks f32", "f32", None),
        ("clipworks bf16", "bf16", None),
        ("clipworks int8", plan.precision, plan.scales),
    ):
        executor = GraphExecutor(config, weights, precision=precision, scales=scales)  # type: ignore[arg-type]
        engines[name] = ClipEngine(checkpoint, executor, name="random", precision=name.split()[1])
    fresh = iter(range(10**6))  # another template each time: heads that were asked for before are kept

    def own(engine: ClipEngine) -> Floats:
        return engine.label_head(names, [f"{template} {next(fresh)}" for template in templates()])

    with tempfile.TemporaryDirectory(prefix="clipworks-inference-") as folder:
        peer = peer_engines("text", architecture, config, weights, Path(folder))[OPEN_CLIP]

    def theirs() -> list[Floats]:
        vectors = []
        for name in names[:HEAD_LABELS_OF_PEER]:
            rows = open_clip.tokenize([template.replace("{}", name) for template in templates()]).numpy()
            features = peer(rows)
            vectors.append((features / np.linalg.norm(features, axis=1, keepdims=True)).mean(axis=0))
        return vectors

    calls: dict[str, Callable[[], Any]] = {OPEN_CLIP: theirs}
    calls |= {name: _bind(own, engine) for name, engine in engines.items()}
    prompts = {name: HEAD_TEMPLATES * HEAD_LABELS for name in engines}
    prompts[OPEN_CLIP] = HEAD_TEMPLATES * HEAD_LABELS_OF_PEER
    times = _take_turns(calls, 1 if arguments.quick else 3, "head")
    rates = {name: [prompts[name] / seconds for seconds in times[name]] for name in calls}
    rows = {
        name: {
            "prompts_per_s": round(statistics.median(values), 1),
            "n": len(values),
            "prompts_timed": prompts[name],
            "ratio": _ratio(values, rates[OPEN_CLIP]),
            "whole_head_s": round(80_000 / statistics.median(values), 1),
        }
        for name, values in rates.items()
    }
    return {"whole_head": "1,000 labels x 80 templates, from the rate of a part", "engines": rows}


def image_gflop(config: ClipConfig) -> float:
    """Multiplications and additions of one picture, in 10^9, with all rows of the last block."""
    vision = config.vision
    per_token = 2 * vision.width * (4 * vision.width + 2 * vision.mlp_width)
    attention = 4 * vision.tokens**2 * vision.width
    patches = 2 * vision.grid**2 * 3 * vision.patch_size**2 * vision.width
    return (vision.layers * (vision.tokens * per_token + attention) + patches) / 1e9


def text_gflop(config: ClipConfig, lengths: NDArray[np.int64]) -> float:
    """The same for texts of these many tokens, without any padding."""
    text = config.text
    per_token = 2 * text.width * (4 * text.width + 2 * text.mlp_width)
    attention = 4 * (lengths.astype(np.float64) ** 2).sum() * text.width
    return float(text.layers * (lengths.sum() * per_token + attention) / 1e9)


def captions(count: int, *, is_plain: bool = False) -> list[str]:
    """Captions of the gallery, alone and in sentences such as people write under pictures."""
    rows = [
        json.loads(line) for line in (GALLERY / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    found = [rows[i * len(rows) // count]["caption"] for i in range(count)]
    if is_plain:
        return found
    sentences = (
        "a photo of {} on a wooden table in the kitchen.",
        "{} standing in a field next to a road",
        "{}",
        "two people are looking at {} while a dog is sleeping on the floor",
    )
    return [sentences[i % len(sentences)].format(caption) for i, caption in enumerate(found)]


def templates() -> list[str]:
    """80 sentences with the lengths of those that are used for ImageNet."""
    kinds = (
        "photo",
        "bad photo",
        "drawing",
        "painting",
        "sculpture",
        "rendering",
        "tattoo",
        "close-up photo",
    )
    frames = (
        "a {k} of a {{}}.",
        "a {k} of the {{}}.",
        "a {k} of many {{}}.",
        "the {k} of one {{}}.",
        "my {k}: {{}}.",
    )
    endings = ("", " in a video game")
    return [frame.format(k=kind) + end for kind in kinds for frame in frames for end in endings]


def _model(section: str) -> tuple[str, ClipConfig, formats.Tensors, Plan]:
    architecture, known = SHAPES[section]
    row = catalogue.find(known).config
    assert row is not None
    config = ClipConfig(vision=row.vision, text=row.text, embed_dim=row.embed_dim, activation="gelu")
    _say(f"{section}: weights")
    weights = random_weights(config)
    _say(f"{section}: int8")
    return architecture, config, weights, make_plan(config, weights, read_calibration(config), "int8")


def _bucketed(engine: Engine) -> Engine:
    def run(tokens: NDArray[np.int64]) -> Floats:
        groups = list(buckets.cut(tokens, 64))
        rows = engine([group.tokens for group in groups])
        features = np.empty_like(rows)
        features[np.concatenate([group.places for group in groups])] = rows
        return features

    return run


def _bind(call: Callable[[Any], Any], argument: Any) -> Callable[[], Any]:
    return lambda: call(argument)


def _fidelity(engines: Mapping[str, Engine], batch: NDArray[Any], exact: Engine | None = None) -> Result:
    """Cosines to f32: to our own for our engines, which the peers' f32 must equal."""
    if not engines:
        return {}
    reference = (exact or next(iter(engines.values())))(batch)
    return {name: compare(call(batch), reference).to_json() for name, call in engines.items()}


def _take_turns(calls: Timed, rounds: int, title: str) -> dict[str, list[float]]:
    """Seconds of each call in each round, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        _say(f"{title}: round {number} of {rounds}")
        for name, call in calls.items():
            time.sleep(PAUSE_SECONDS)
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: values[1:] for name, values in times.items()}


def _rows(times: dict[str, list[float]], count: int, unit: str, gflop: float, peaks: Result) -> Result:
    rows = {}
    for name, seconds in times.items():
        median = statistics.median(seconds)
        kind = "int8" if "int8" in name else "bf16" if "bf16" in name else "f32"
        rows[name] = {
            unit: round(count / median, 2),
            "median_ms": round(1000 * median, 2),
            "p99_ms": round(1000 * sorted(seconds)[math.ceil(0.99 * len(seconds)) - 1], 2),
            "min_ms": round(1000 * min(seconds), 2),
            "n": len(seconds),
        }
        if OPEN_CLIP in times:
            rows[name]["ratio"] = _ratio([1 / s for s in seconds], [1 / s for s in times[OPEN_CLIP]])
        if "clipworks" in name:
            rows[name]["gflops"] = round(gflop / median)
            rows[name]["share_of_peak"] = round(gflop / median / peaks[kind], 3)
    return rows


def _ratio(rates: Sequence[float], reference: Sequence[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(rates, reference, strict=True)), 2)


def _rounds(gflop: float, arguments: argparse.Namespace) -> int:
    """So many rounds as fit into some seconds a section: 40 of a small call, 3 of a large one."""
    rounds = int(min(40, max(3, 1500 / gflop)))
    return min(3, rounds) if arguments.quick else rounds


def _peak_gflops(precision: str) -> int:
    """The best rate that chains of square matrix products reach in OpenVINO, one chain on each core.

    Small matrices stay in a core's cache, large ones do not; the best of several sides is the peak.
    """
    return max(_chain_gflops(precision, side) for side in PEAK_SIDES)


def _chain_gflops(precision: str, side: int) -> int:
    op = openvino.opset13
    random = np.random.default_rng(1)
    rows = op.parameter([side // 2, side], np.float32)
    x = rows
    limit = op.constant(np.float32(4))
    low = op.constant(np.float32(-4 * 128 / 127))
    for _ in range(PEAK_LAYERS):
        whole = random.integers(-127, 128, (side, side), dtype=np.int8)
        step = np.full((side, 1), 1 / 127 / math.sqrt(side / 3), dtype=np.float32)
        if precision == "int8":
            x = op.fake_quantize(x, low, limit, low, limit, 256)
            weight = op.multiply(op.convert(op.constant(whole), "f32"), op.constant(step))
        else:
            weight = op.constant(whole * step)
        x = op.matmul(x, weight, False, True)
    model = openvino.Model([x], [rows], "peak")
    compiled = compile_graph(model, "f32" if precision == "f32" else "bf16", is_much=True)
    requests = [compiled.create_infer_request() for _ in range(num_cores())]
    batch = random.standard_normal((side // 2, side), dtype=np.float32)
    best = math.inf
    for _ in range(PEAK_TRIES):
        start = time.perf_counter()
        for request in requests:
            request.start_async([batch])
        for request in requests:
            request.wait()
        best = min(best, time.perf_counter() - start)
    return round(len(requests) * PEAK_LAYERS * side**3 / best / 1e9)


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def _arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time the towers beside other packages.")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="sections to measure; the rest is kept")
    parser.add_argument("--quick", action="store_true", help="three rounds of everything at most")
    parser.add_argument("--no-peers", action="store_true", help="our own engines alone, without ratios")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
