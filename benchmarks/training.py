"""Training steps, ours beside open_clip's own; writes benchmarks/results/training.json, or training_gpu.json.

Whole steps on the same random weights, synthetic pictures and captions: features, loss, gradients, clipping,
AdamW. open_clip's step is its `train_one_epoch` over one batch; it pads captions to 77 tokens, ours are cut
at the longest of the batch. Both take turns. The share of peak (MFU) counts only the operations that were
done: three forward passes, with captions as long as they were, and of the last blocks the row that is read.

Needs benchmarks/requirements-peers.txt (open_clip with its trainer).

Run: python -m benchmarks.training [--shapes b32 b16 l14] [--batch 32] [--rounds 2] [--device cuda]

With --shards a run of `clipworks train` reads real shards, and the share of its time that went by waiting for
data is added to the results as `shards`; nothing else is measured then, and no peer is needed:

python -m benchmarks.training --shards FOLDER [--precision bf16] [--steps 12] [--workers 0]
"""

import argparse
import gc
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.inference import SHAPES
from benchmarks.machine import RESULTS, describe_commit, write_result
from clipworks.files import read_json
from clipworks.model import catalogue, formats
from clipworks.model.config import ClipConfig
from clipworks.model.costs import operation_count
from clipworks.model.network import Clip, initialise
from clipworks.shards import read_shards
from clipworks.train import recipes
from clipworks.train.config import TrainConfig
from clipworks.train.distributed import Processes
from clipworks.train.flops import peak_flops, step_flops
from clipworks.train.loader import Batch
from clipworks.train.loop import train
from clipworks.train.metrics import METRICS, read_lines
from clipworks.train.step import build_learner, take_step

CAPTION_TOKENS = (6, 20)
"""Shortest and longest caption with its two end tokens: about 4 to 14 words."""

OPEN_CLIP = "open_clip"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training steps.")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["b32"])
    parser.add_argument("--batch", type=int, default=32, help="pairs a step")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--compiled", action="store_true", help="our blocks under torch.compile")
    parser.add_argument("--no-peer", action="store_true", help="only ours")
    parser.add_argument("--shards", type=Path, help="train on these instead, and measure the wait for data")
    parser.add_argument("--steps", type=int, default=12, help="with --shards")
    parser.add_argument("--workers", type=int, default=0, help="with --shards: processes that decode")
    parser.add_argument("--precision", default="bf16", choices=["f32", "bf16"], help="with --shards")
    arguments = parser.parse_args()
    if arguments.shards is not None:
        _add_shards(arguments)
        return
    device = torch.device(arguments.device)
    logging.disable(logging.INFO)  # open_clip's line per step
    results: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "batch": arguments.batch,
        "accumulation": arguments.accumulation,
        "compiled": arguments.compiled,
    }
    for shape in arguments.shapes:
        results[shape] = _measure(shape, device, arguments)
        print(shape, results[shape], flush=True)
        gc.collect()
    name = "training" if device.type == "cpu" else "training_gpu"
    write_result(name, results | {key: old for key, old in _known(name).items() if key == "shards"})


def _add_shards(arguments: argparse.Namespace) -> None:
    """Put the measurement of a run beside what is in the file, which belongs to its own commit."""
    name = "training_gpu" if torch.cuda.is_available() else "training"
    found = _measure_shards(arguments)
    path = RESULTS / f"{name}.json"
    if not path.exists():
        write_result(name, {})
    document = read_json(path)
    shards = document["results"].setdefault("shards", {})
    workers = f" {arguments.workers} processes" if arguments.workers else ""
    shards[arguments.precision + workers] = found
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


def _measure_shards(arguments: argparse.Namespace) -> dict[str, Any]:
    """A short run of the trainer in a published shape, from its own `metrics.jsonl`."""
    config = replace(
        recipes.datacomp_small(),
        steps=arguments.steps,
        batch_size=arguments.batch,
        precision=arguments.precision,
        recompute=False,
    )
    with tempfile.TemporaryDirectory() as scratch:
        train(config, arguments.shards, Path(scratch) / "run", workers=arguments.workers)
        rows = read_lines(Path(scratch) / "run" / METRICS)
    later = rows[1:]  # the first one waits for its data, whatever the speed
    seconds, waited = (sum(row[name] for row in later) for name in ("seconds", "wait_seconds"))
    sizes = [len(sample.image) for sample in read_shards(arguments.shards)]
    return {
        "commit": describe_commit(),
        "threads": torch.get_num_threads(),
        "model": "ViT-B/32",
        "batch": arguments.batch,
        "n": len(later),
        "samples": len(sizes),
        "mean_picture_bytes": round(statistics.mean(sizes)),
        "pairs_per_s": round(arguments.batch * len(later) / seconds, 2),
        "data_wait_share": round(waited / seconds, 5),
        "longest_wait_s": round(max(row["wait_seconds"] for row in later), 4),
        "first_wait_s": round(rows[0]["wait_seconds"], 4),
        "skipped": sum(row["skipped"] for row in rows),
    }


def _known(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = read_json(path)["results"] if path.exists() else {}
    return found


def _measure(shape: str, device: torch.device, arguments: argparse.Namespace) -> dict[str, Any]:
    architecture, known = SHAPES[shape]
    row = catalogue.find(known).config
    assert row is not None
    model = ClipConfig(vision=row.vision, text=row.text, embed_dim=row.embed_dim, activation="gelu")
    config = TrainConfig(
        model=model,
        steps=1000,
        learning_rate=1e-6,
        batch_size=arguments.batch,
        warmup_steps=100,
        shared_captions="negative",
        accumulation=arguments.accumulation,
        compiled=arguments.compiled,
    )
    weights = _weights(model)
    images, tokens = _batch(model, arguments.batch, device)
    ours, longest = _our_steps(config, weights, images, tokens, device)
    calls = dict(ours)
    if not arguments.no_peer:
        precision = "fp32" if device.type == "cpu" else "amp_bf16"
        calls[OPEN_CLIP] = _open_clip_step(architecture, config, weights, (images, tokens), precision)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(arguments.rounds + 1):  # the first compiles and warms up
        for name, call in calls.items():
            _wait(device)
            start = time.perf_counter()
            call()
            _wait(device)
            if number:
                seconds[name].append(time.perf_counter() - start)
    counted = step_flops(config, text_tokens=longest, image_patches=model.vision.grid**2)
    done = {name: counted / config.batch_size for name in ours}
    done[OPEN_CLIP] = 3.0 * operation_count(model).pair
    peak = None if device.type == "cpu" else peak_flops(device, "bf16")
    found: dict[str, Any] = {"longest_caption": longest, "n": arguments.rounds}
    for name, values in seconds.items():
        rate = arguments.batch / statistics.median(values)
        found[name] = {
            "pairs_per_s": round(rate, 2),
            "min_s": round(min(values), 4),
            "median_s": round(statistics.median(values), 4),
            "tflops": round(rate * done[name] / 1e12, 3),
            "mfu": None if peak is None else round(rate * done[name] / peak, 3),
        }
        if OPEN_CLIP in seconds and name != OPEN_CLIP:
            ratios = [theirs / mine for theirs, mine in zip(seconds[OPEN_CLIP], values, strict=True)]
            found[name]["ratio"] = round(statistics.median(ratios), 2)
    if device.type == "cuda":
        found["memory_gib"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 1)
    return found


def _weights(config: ClipConfig) -> formats.Tensors:
    model = Clip(config)
    initialise(model, 7)
    return {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}


def _batch(config: ClipConfig, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixels, float32 [B, 3, S, S], and tokens, int64 [B, 77], padded with 0."""
    rng = np.random.default_rng(1)
    side = config.vision.image_size
    images = rng.standard_normal((batch, 3, side, side), dtype=np.float32)
    tokens = np.zeros((batch, config.text.context_length), dtype=np.int64)
    last = config.text.vocab_size - 1
    for row in tokens:
        length = int(rng.integers(CAPTION_TOKENS[0], CAPTION_TOKENS[1] + 1))
        row[0], row[1 : length - 1], row[length - 1] = last - 1, rng.integers(1, 40000, length - 2), last
    return torch.from_numpy(images).to(device), torch.from_numpy(tokens).to(device)


def _our_steps(
    config: TrainConfig, weights: formats.Tensors, images: Tensor, tokens: Tensor, device: torch.device
) -> tuple[dict[str, Callable[[], Any]], int]:
    """A step in float32 and one in bfloat16, of the same learner; and the longest caption."""
    with torch.device("meta"):
        model = Clip(config.model)
    own = {name: torch.nn.Parameter(torch.tensor(array)) for name, array in weights.items()}
    model.load_state_dict(own, assign=True)
    rows = np.arange(config.model.text.vocab_size)
    learner = build_learner(config, rows, Processes(device=device), model)
    longest = int(tokens.argmax(dim=1).max()) + 1
    batch = Batch(images_BCHW=images, tokens_BT=tokens[:, :longest], captions=None, kept_BT=None)
    half = replace(learner, config=replace(config, precision="bf16"))
    calls: dict[str, Callable[[], Any]] = {"clipworks bf16": lambda: take_step(half, batch, 50, 0.0)}
    if device.type == "cpu":
        calls["clipworks f32"] = lambda: take_step(learner, batch, 50, 0.0)
    return calls, longest


def _open_clip_step(
    architecture: str,
    config: TrainConfig,
    weights: formats.Tensors,
    batch: tuple[Tensor, Tensor],
    precision: str,
) -> Callable[[], Any]:
    import open_clip
    from open_clip_train.scheduler import cosine_lr
    from open_clip_train.train import train_one_epoch

    device = batch[0].device
    model = open_clip.create_model(architecture, output_dict=True)
    state = formats.from_native(weights, config.model, "open_clip")
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    model.to(device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        ],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
    )
    options = SimpleNamespace(
        **{"device": str(device), "precision": precision, "distill": False, "accum_freq": 1, "rank": 0},
        **{"horovod": False, "grad_clip_norm": config.clip_norm, "world_size": 1, "wandb": False},
        **{"log_every_n_steps": 1, "batch_size": config.batch_size, "skip_scheduler": False},
    )

    class One(list[Any]):
        num_batches, num_samples = 1, config.batch_size

    data = {"train": SimpleNamespace(dataloader=One([batch]), set_epoch=lambda _: None)}
    schedule = cosine_lr(optimizer, config.learning_rate, config.warmup_steps, config.steps)
    loss = open_clip.loss.ClipLoss()
    return lambda: train_one_epoch(model, data, loss, 0, optimizer, None, schedule, None, options)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
