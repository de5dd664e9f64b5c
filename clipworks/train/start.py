"""A checkpoint that training starts from."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from clipworks.errors import ConfigError
from clipworks.model.network import Clip
from clipworks.model.pull import resolve
from clipworks.model.weights import read_checkpoint
from clipworks.train.config import TrainConfig

_TABLE = "text.token_embedding.weight"


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What was read of the checkpoint."""

    model: Clip
    """Its weights; of the token table, the rows that are trained."""
    table: NDArray[np.float32]
    """The whole token table, float32 [vocabulary, D]."""


def with_start(config: TrainConfig, name: str) -> TrainConfig:
    """The same run from a checkpoint, whose shape, activation and normalisation it takes over.

    Raises:
        CheckpointError: the files are missing, damaged or not of a CLIP model.
        ConfigError: an unknown name.
    """
    return replace(config, start=name, model=read_checkpoint(resolve(name)).config)


def read_start(config: TrainConfig, token_rows: NDArray[np.int64]) -> Start | None:
    """The model that `config.start` names; None where training starts from random weights.

    Args:
        config: of the run.
        token_rows: int64 [K], the token ids whose rows of the table are trained.

    Raises:
        CheckpointError: as in `with_start`.
        ConfigError: the checkpoint has another shape than the run.
    """
    if config.start is None:
        return None
    checkpoint = read_checkpoint(resolve(config.start))
    if checkpoint.config != config.model:
        raise ConfigError(
            f"{config.start} is of another shape than this run.", "Use --from, which takes the shape over."
        )
    table = np.asarray(checkpoint.tensors[_TABLE], np.float32)
    text = replace(config.model.text, vocab_size=len(token_rows))
    with torch.device("meta"):
        model = Clip(replace(config.model, text=text))
    tensors = {**checkpoint.tensors, _TABLE: table[token_rows]}
    model.load_state_dict({key: torch.from_numpy(np.array(x)) for key, x in tensors.items()}, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return Start(model=model, table=table)
