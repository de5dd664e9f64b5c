"""Training steps, ours beside open_clip's own; writes benchmarks/results/training.json, or training_gpu.json.

Whole steps on the same random weights, synthetic pictures and captions: features, loss, gradients, clipping,
AdamW. open_clip's step is its `train_one_epoch` over one batch; it pads captions to 77 tokens, ours are cut
at the longest of the batch. Both take turns. The share of peak (MFU) counts only the operations that were
done: three forward passes, with captions as long as they were, and of the last blocks the row that is read.

Needs benchmarks/requirements-peers.txt (open_clip with its trainer).

Run: python -m benchmarks.training [--shapes b32 b16 l14] [--batch 32] [--rounds 2] [--device cuda]
"""

import argparse
import gc
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.inference import SHAPES
from benchmarks.machine import write_result
from clipworks.model import catalogue, formats
from clipworks.model.config import ClipConfig
from clipworks.model.costs import operation_count
from clipworks.model.network import Clip, initialise
from clipworks.train.config import TrainConfig
from clipworks.train.distributed import Processes
from clipworks.train.loader import Batch
from clipworks.train.step import build_learner, take_step

PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0}
"""Dense bfloat16 products, 10^12 operations a second, by NVIDIA's data sheets; by part of a card's name."""

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
    arguments = parser.parse_args()
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
    write_result("training" if device.type == "cpu" else "training_gpu", results)


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
    done = {name: _operations(model, longest) for name in ours}
    done[OPEN_CLIP] = 3.0 * operation_count(model).pair
    peak = next((tflops for part, tflops in PEAK_TFLOPS.items() if part in _name(device)), None)
    found: dict[str, Any] = {"longest_caption": longest, "n": arguments.rounds}
    for name, values in seconds.items():
        rate = arguments.batch / statistics.median(values)
        found[name] = {
            "pairs_per_s": round(rate, 2),
            "min_s": round(min(values), 4),
            "median_s": round(statistics.median(values), 4),
            "tflops": round(rate * done[name] / 1e12, 3),
            "mfu": None if peak is None else round(rate * done[name] / 1e12 / peak, 3),
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


def _operations(config: ClipConfig, tokens: int) -> float:
    """Per pair in our step: a forward pass and twice that backward, but no gradient of the pixels."""
    vision = config.vision
    patches = 2 * vision.grid**2 * 3 * vision.patch_size**2 * vision.width
    return 3.0 * operation_count(config, text_tokens=tokens, is_last_pooled=True).pair - patches


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
