"""One tower of a checkpoint alone, to train or to ask."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipworks.model.network import TextTower, VisionTower
from clipworks.model.weights import Checkpoint
from clipworks.train.arithmetic import autocast_processor

TABLE = "text.token_embedding.weight"


def read_text_tower(checkpoint: Checkpoint, token_rows: NDArray[np.int64]) -> TextTower:
    """The text tower with a token table of some rows, int64 [K]."""
    config = checkpoint.config
    tower = TextTower(replace(config.text, vocab_size=len(token_rows)), config.embed_dim, config.activation)
    weights = _weights(checkpoint, "text.")
    weights["token_embedding.weight"] = weights["token_embedding.weight"][torch.from_numpy(token_rows)]
    tower.load_state_dict(weights)
    return tower


def read_vision_tower(checkpoint: Checkpoint) -> VisionTower:
    """The image tower."""
    config = checkpoint.config
    tower = VisionTower(config.vision, config.embed_dim, config.activation)
    tower.load_state_dict(_weights(checkpoint, "vision."))
    return tower


def embed_tokens(tower: TextTower, tokens_ST: NDArray[np.int64]) -> Tensor:
    """Unit vectors of texts, float32 [S, E], in their order; made by length."""
    ordered = np.argsort(tokens_ST.argmax(axis=1), kind="stable")
    found = torch.empty(len(ordered), tower.projection.out_features)
    for rows in np.array_split(ordered, -(-len(ordered) // 512)):
        with torch.no_grad(), autocast_processor("bf16"):
            found[rows] = F.normalize(tower(cut_tokens(tokens_ST[rows])).float(), dim=-1)
    return found


def cut_tokens(tokens_BT: NDArray[np.int64]) -> Tensor:
    """As many columns as the longest text has; the last token of a text is its largest."""
    return torch.from_numpy(tokens_BT[:, : int(tokens_BT.argmax(axis=1).max()) + 1])


def _weights(checkpoint: Checkpoint, prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): torch.from_numpy(value)
        for name, value in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
