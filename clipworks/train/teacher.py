"""A finished model whose choices another one learns to repeat."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipworks.model.config import PreprocessConfig
from clipworks.model.network import Clip
from clipworks.model.pull import resolve
from clipworks.model.weights import read_checkpoint
from clipworks.train.augment import normalise
from clipworks.train.loss import Teaching

Teach = Callable[[Tensor, Tensor], Teaching]
"""The student's pixels, float [B, 3, H, W], and tokens, int64 [B, T] -> what the teacher makes of them."""


def read_teacher(
    name: str, preprocess: PreprocessConfig, token_rows: NDArray[np.int64], device: torch.device
) -> Teach:
    """Load a teacher; any form of checkpoint does.

    Args:
        name: what `clipworks.load` takes: a name, a Hub id or a path.
        preprocess: how the student's pixels are normalised. The teacher sees the same pictures, scaled
            to its own size.
        token_rows: int64 [K], the token id that each of the student's tokens stands for.
        device: where it computes.

    Raises:
        CheckpointError: the files are missing, damaged or not of a CLIP model.
    """
    checkpoint = read_checkpoint(resolve(name))
    with torch.device("meta"):
        model = Clip(checkpoint.config)
    model.load_state_dict(
        {key: torch.from_numpy(np.array(value)).to(device) for key, value in checkpoint.tensors.items()},
        assign=True,
    )
    model.eval().requires_grad_(False)
    size = checkpoint.config.vision.image_size
    ids = torch.from_numpy(token_rows).to(device)
    scale = model.logit_scale.exp().item()
    mean, std = (torch.tensor(x, device=device)[:, None, None] for x in (preprocess.mean, preprocess.std))

    def teach(images_BCHW: Tensor, tokens_BT: Tensor) -> Teaching:
        with torch.no_grad():
            pixels = images_BCHW * std + mean
            if pixels.shape[-1] != size:
                pixels = F.interpolate(pixels, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
            image_BE, text_BE = model(normalise(pixels, checkpoint.config.preprocess), ids[tokens_BT])
        return Teaching(image_BE=image_BE, text_BE=text_BE, scale=scale)

    return teach
