"""Fifty batches and the settings of a small training, the same here and for open_clip's trainer."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from clipworks.model.config import ClipConfig, TextConfig, VisionConfig
from clipworks.model.network import Clip, initialise
from clipworks.train.config import TrainConfig

VOCABULARY = 512
_POOL = 160


def training_config() -> TrainConfig:
    """Two layers of 64 channels; a warm-up, half a cosine, a gradient that is clipped in most steps."""
    return TrainConfig(
        model=ClipConfig(
            vision=VisionConfig(image_size=32, patch_size=8, width=64, layers=2, heads=1, mlp_width=256),
            text=TextConfig(width=64, layers=2, heads=1, mlp_width=256, vocab_size=VOCABULARY),
            embed_dim=64,
            activation="gelu",
        ),
        steps=50,
        batch_size=32,
        learning_rate=1e-3,
        warmup_steps=10,
        weight_decay=0.2,
        shared_captions="negative",
        seed=6,
    )


def training_model() -> Clip:
    """The weights that the first step finds."""
    config = training_config()
    model = Clip(config.model)
    initialise(model, config.seed)
    return model


def training_batches() -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels, float32 [32, 3, 32, 32], and tokens, int64 [32, 77], drawn from a small pool."""
    config = training_config()
    rng = np.random.default_rng(config.seed)
    images = rng.standard_normal((_POOL, 3, 32, 32), dtype=np.float32)
    tokens = np.zeros((_POOL, 77), dtype=np.int64)
    for row in tokens:
        length = int(rng.integers(4, 30))
        row[0], row[1 : length - 1], row[length - 1] = 510, rng.integers(1, 500, length - 2), 511
    for _ in range(config.steps):
        chosen = rng.choice(_POOL, config.batch_size, replace=False)
        yield torch.from_numpy(images[chosen]), torch.from_numpy(tokens[chosen])
