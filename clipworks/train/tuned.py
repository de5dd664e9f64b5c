"""The model that is fine-tuned: a CLIP, perhaps a classifier on its image tower; and what is measured.

Shape letters: B batch, N pictures, C classes, E shared space, T tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from clipworks.model.config import ClipConfig
from clipworks.model.network import Clip, TextTower, VisionTower
from clipworks.train.arithmetic import autocast_processor
from clipworks.train.augment import draw_moves, move, normalise
from clipworks.train.config import TrainPrecision
from clipworks.train.lora import add_lora
from clipworks.train.tuning import TuneConfig

HEAD = "head"
TOKEN_TABLE = "text.token_embedding.weight"
PICTURES_PER_PASS = 256

Weights = Mapping[str, NDArray[np.float32]]
"""Arrays under native names; the classifier's, float32 [C, E], under `head`."""


class Tuned(nn.Module):
    """A CLIP and a classifier whose rows are the classes' vectors times the temperature."""

    def __init__(self, config: ClipConfig, weights: Weights) -> None:
        """Take native weights, and the classifier's where they have one."""
        super().__init__()
        with torch.device("meta"):
            self.clip = Clip(config)
        tensors = {name: torch.tensor(array) for name, array in weights.items() if name != HEAD}
        self.clip.load_state_dict(tensors, assign=True)
        self.head = nn.Parameter(torch.tensor(weights[HEAD])) if HEAD in weights else None

    def logits(self, images_BCHW: Tensor) -> Tensor:
        """Logits of the classes, float32 [B, C]."""
        assert self.head is not None
        image_BE = F.normalize(self.clip.vision(images_BCHW).float(), dim=-1)
        return image_BE @ self.head.T

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """All weights, low-rank updates merged, under native names and `head`."""
        names = [name.replace(".parametrizations.weight.original", ".weight") for name in _own(self.clip)]
        tensors = {name: _at(self.clip, name) for name in names}
        if self.head is not None:
            tensors[HEAD] = self.head
        return {name: tensor.detach().float().numpy().copy() for name, tensor in tensors.items()}


def prepare_training(tuned: Tuned, config: TuneConfig) -> None:
    """Say what trains: by objective and rank. Text stays as it is where pictures are classified."""
    clip = tuned.clip
    if config.objective == "classification":
        clip.requires_grad_(False)
        clip.vision.requires_grad_(True)
        assert tuned.head is not None
        tuned.head.requires_grad_(config.is_head_trained)
    if config.lora_rank:
        towers: list[VisionTower | TextTower] = [clip.vision]
        if config.objective == "contrastive":
            towers.append(clip.text)
        for number, tower in enumerate(towers):
            add_lora(tower, config.lora_rank, alpha=config.lora_alpha, seed=2 * config.seed + number)


def batch_pixels(
    pixels: NDArray[np.uint8], config: ClipConfig, tune: TuneConfig | None, rng: np.random.Generator | None
) -> Tensor:
    """Normalised float32 [B, 3, S, S] from uint8 [B, S, S, 3], moved at random where `rng` is given."""
    images_BCHW = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    if tune is not None and rng is not None:
        if tune.zoom or tune.shift:
            moves = draw_moves(len(pixels), rng, zoom=tune.zoom, shift=tune.shift)
            images_BCHW = move(images_BCHW, torch.from_numpy(moves))
        if tune.flip_prob:
            is_flipped = torch.from_numpy(rng.random(len(pixels)) < tune.flip_prob)
            images_BCHW = torch.where(is_flipped[:, None, None, None], images_BCHW.flip(-1), images_BCHW)
    return normalise(images_BCHW, config.preprocess).contiguous()


def image_vectors(
    tuned: Tuned, config: ClipConfig, pixels: NDArray[np.uint8], precision: TrainPrecision
) -> Tensor:
    """float32 [N, E], rows of unit length."""
    parts = [torch.empty(0, config.embed_dim)]
    for some in _cut(len(pixels)):
        with _inference(precision):
            features = tuned.clip.vision(batch_pixels(pixels[some], config, None, None))
        parts.append(F.normalize(features.float(), dim=-1))
    return torch.cat(parts)


def text_vectors(tuned: Tuned, tokens_UT: NDArray[np.int64], precision: TrainPrecision) -> Tensor:
    """float32 [U, E], rows of unit length."""
    parts: list[Tensor] = []
    for some in _cut(len(tokens_UT)):
        batch = tokens_UT[some]
        batch = batch[:, : int(batch.argmax(axis=1).max()) + 1]
        with _inference(precision):
            features = tuned.clip.text(torch.from_numpy(np.ascontiguousarray(batch)))
        parts.append(F.normalize(features.float(), dim=-1))
    return torch.cat(parts)


def class_head(vectors_PE: Tensor, num_templates: int, logit_scale: float) -> NDArray[np.float32]:
    """The zero-shot classifier: prompts, classes by templates -> float32 [C, E], times the temperature."""
    means = vectors_PE.reshape(-1, num_templates, vectors_PE.shape[1]).mean(dim=1)
    head: NDArray[np.float32] = (logit_scale * F.normalize(means, dim=-1)).numpy()
    return head


def retrieval(
    image_NE: Tensor, text_UE: Tensor, texts: Sequence[tuple[int, ...]], logit_scale: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], float]:
    """How pictures find their captions and first captions their pictures, among all of a part.

    Args:
        image_NE: vectors of the part's pictures.
        text_UE: vectors of all texts of the material.
        texts: per picture the numbers of its captions.
        logit_scale: for the loss.

    Returns:
        bool [N], whether the first text found is one of the picture's; bool [N], whether the first
        picture found has the text; the contrastive loss over the whole part, nats.
    """
    own = np.array([one[0] for one in texts])
    pool = np.unique(own)
    cosines_NU = image_NE @ text_UE[torch.from_numpy(pool)].T
    is_own_NU = np.stack([np.isin(pool, one) for one in texts])
    found_text = is_own_NU[np.arange(len(texts)), cosines_NU.argmax(dim=1).numpy()]
    columns = np.searchsorted(pool, own)
    found_picture = is_own_NU[cosines_NU.argmax(dim=0).numpy()[columns], columns]
    return found_text, found_picture, _retrieval_loss(logit_scale * cosines_NU, is_own_NU, columns)


def _retrieval_loss(logits_NU: Tensor, is_own_NU: NDArray[np.bool_], columns: NDArray[np.int64]) -> float:
    """Softmax over texts and over pictures; other true matches are left out of the denominators."""
    rows = torch.arange(len(columns))
    own = torch.from_numpy(columns)
    is_other = torch.from_numpy(is_own_NU).clone()
    is_other[rows, own] = False
    over_texts = F.cross_entropy(logits_NU.masked_fill(is_other, float("-inf")), own)
    logits_NN = logits_NU[:, own].T  # a row per example's text, a column per picture
    is_own_NN = torch.from_numpy(is_own_NU)[:, own].T.clone()
    is_own_NN.fill_diagonal_(False)
    over_pictures = F.cross_entropy(logits_NN.masked_fill(is_own_NN, float("-inf")), rows)
    return float((over_texts + over_pictures) / 2)


@contextmanager
def _inference(precision: TrainPrecision) -> Iterator[None]:
    """No gradients, and the run's arithmetic."""
    with torch.inference_mode(), autocast_processor(precision):
        yield


def _own(clip: nn.Module) -> Iterator[str]:
    """Names of the parameters without those of low-rank updates."""
    yield from (name for name, _ in clip.named_parameters() if ".parametrizations.weight.0." not in name)


def _at(module: nn.Module, name: str) -> Tensor:
    *path, last = name.split(".")
    for part in path:
        module = getattr(module, part)
    tensor: Tensor = getattr(module, last)
    return tensor


def _cut(count: int) -> Sequence[slice]:
    return [
        slice(start, min(start + PICTURES_PER_PASS, count)) for start in range(0, count, PICTURES_PER_PASS)
    ]
