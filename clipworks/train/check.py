"""Before a run: whether its data, the memory and one step of it are as they should be."""

import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from clipworks.errors import DataError
from clipworks.model.costs import parameter_count
from clipworks.train.config import TrainConfig
from clipworks.train.distributed import Processes
from clipworks.train.feed import Feed, open_feed
from clipworks.train.flops import peak_flops, step_flops
from clipworks.train.guards import require_sane_rate
from clipworks.train.meter import memory_bytes
from clipworks.train.reader import BALANCED_OUT, Reader
from clipworks.train.start import read_start
from clipworks.train.step import build_learner, take_step

SAMPLES = 800
"""Samples that are looked at, in as many shards as there are: a share of bad ones is then known to 3 %."""

SHARDS = 200
"""Shards that are looked at, evenly spread over all; in each four samples or more."""

_NUMBERS_PER_WEIGHT = 4
"""float32 numbers per weight: itself, its gradient and what AdamW remembers of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What a check found."""

    samples: int
    """In the data."""
    shards: int
    """In the data; 0 where it is held in memory."""
    looked_at: int
    """Samples that were opened."""
    problems: dict[str, int]
    """Of those, how many could not be used, by cause."""
    captions: tuple[str, ...]
    """Some of the captions that were read, as they come."""
    distinct_captions: int
    """Different captions among those looked at."""
    parameters: int
    """Weights of the model."""
    estimated_bytes: int
    """Weights, gradients, optimizer and, roughly, what a step keeps for its backward pass."""
    available_bytes: int
    """Memory that is free now, 0 where that is not known."""
    peak_bytes: int
    """Most memory in use after one step."""
    loss: float
    """Of the first step; near ln(batch) for random weights."""
    chance_loss: float
    """ln(batch)."""
    first_seconds: float
    """Of the first step with its data."""
    step_seconds: float
    """Of the second one."""
    mfu: float | None
    """Of the second one."""
    total_hours: float
    """What all steps would take at that speed."""


def check_run(config: TrainConfig, data: Path) -> Findings:
    """Open the data, look at some samples of each shard, and take two steps that are thrown away.

    Nothing is written. What a run would stop at is an error here too.

    Raises:
        ConfigError: as in `loop.train`.
        DataError: as in `loop.train`; or too many of the samples cannot be used; or memory will not do.
    """
    require_sane_rate(config)
    feed = open_feed(data, config)
    looked_at, problems, captions = _look_at_samples(feed, config)
    share = sum(problems.values()) / max(1, looked_at)
    if share > config.most_skipped:
        causes = ", ".join(f"{cause} {count}" for cause, count in sorted(problems.items()))
        raise DataError(
            f"{share:.0%} of {looked_at} samples cannot be used: {causes}; the limit is "
            f"{config.most_skipped:.0%}.",
            "Mend or filter the shards; or --set most_skipped=1.",
        )
    estimate, available = estimate_bytes(config, len(feed.token_rows)), _available_bytes()
    if available and estimate > available:
        raise DataError(
            f"A step needs about {estimate / 2**30:.1f} GiB; {available / 2**30:.1f} GiB are free.",
            "Raise accumulation, set recompute=true, or lower batch_size.",
        )
    return _try_steps(
        feed,
        config,
        Findings(
            samples=feed.samples,
            shards=sum(len(source.shards) for source in feed.sources),
            looked_at=looked_at,
            problems=dict(problems),
            captions=tuple(captions[:5]),
            distinct_captions=len(set(captions)),
            parameters=parameter_count(config.model).total,
            estimated_bytes=estimate,
            available_bytes=available,
            peak_bytes=0,
            loss=0.0,
            chance_loss=float(np.log(config.batch_size)),
            first_seconds=0.0,
            step_seconds=0.0,
            mfu=None,
            total_hours=0.0,
        ),
    )


def estimate_bytes(config: TrainConfig, vocabulary: int) -> int:
    """Memory of one step, roughly: four numbers per weight, and what the blocks keep of the largest part.

    A block keeps about 14 numbers per row and channel (its norms, q, k and v, what the MLP needs) and the
    softmax; half of them in 16 bits with a 16-bit precision. With `recompute` a block keeps its input alone.
    """
    model = replace(config.model, text=replace(config.model.text, vocab_size=vocabulary))
    weights = parameter_count(model).total * (_NUMBERS_PER_WEIGHT + (1 if config.ema_decay else 0))
    vision, text = config.model.vision, config.model.text
    patches = round(vision.grid**2 * (1 - config.patch_dropout))
    kept = 0
    for tower, tokens in ((vision, 1 + patches), (text, text.context_length // 2)):
        inside = tokens * (6 * tower.width + 2 * tower.mlp_width) + 2 * tower.heads * tokens**2
        kept += tokens * tower.width * tower.layers + inside * (1 if config.recompute else tower.layers)
    pairs = -(-config.batch_size // config.accumulation)
    pixels = 3 * vision.image_size**2 * config.batch_size * 3
    width = 4 if config.precision == "f32" else 3
    return weights * 4 + kept * pairs * width + pixels * 4


def _look_at_samples(feed: Feed, config: TrainConfig) -> tuple[int, Counter[str], list[str]]:
    if feed.dataset is not None:
        skipped = feed.dataset.skipped  # all have been decoded, and a share that is too large been refused
        return len(feed.dataset.weights) + skipped.total(), skipped, []
    reader = Reader(feed.sources, config)
    shards = [shard for source in feed.sources for shard in source.shards]
    problems = Counter[str]()
    captions: list[str] = []
    looked_at = 0
    rng = np.random.default_rng(config.seed)
    numbers = sorted({round(n) for n in np.linspace(0, len(shards) - 1, min(SHARDS, len(shards)))})
    each = -(-SAMPLES // len(numbers))
    for number in numbers:
        count = shards[number].samples
        for place in sorted({round(p) for p in np.linspace(0, count - 1, min(each, count))}):
            looked_at += 1
            captions += reader.texts(number, place)
            found = reader.try_sample(number, place, rng)
            if isinstance(found, str) and found != BALANCED_OUT:
                problems[found] += 1
    return looked_at, problems, captions


def _try_steps(feed: Feed, config: TrainConfig, findings: Findings) -> Findings:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    processes = Processes(device=device)
    start = read_start(config, feed.token_rows)
    with torch.random.fork_rng():
        learner = build_learner(config, feed.token_rows, processes, None if start is None else start.model)
        steps = []
        tokens = 0
        started = time.perf_counter()
        for number, batch in enumerate(feed.batches(config, device=device)):
            steps.append(take_step(learner, batch, number, started))
            tokens = batch.tokens_BT.shape[1]
            started = time.perf_counter()
            if number == 1:
                break
    patches = round(config.model.vision.grid**2 * (1 - config.patch_dropout))
    peak = peak_flops(device, config.precision)
    flops = step_flops(config, text_tokens=tokens, image_patches=patches)
    seconds = steps[-1].seconds
    return replace(
        findings,
        peak_bytes=memory_bytes(device),
        loss=steps[0].loss,
        first_seconds=steps[0].seconds,
        step_seconds=seconds,
        mfu=flops / seconds / peak if peak else None,
        total_hours=seconds * config.steps / 3600,
    )


def _available_bytes() -> int:
    """Memory that is free: of the graphics card, else of the machine."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
