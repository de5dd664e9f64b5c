"""Pictures that are not trained on, and how well a model in training does on them.

With class names it is zero-shot classification, with captions retrieval both ways. What `clipworks evaluate`
measures at the end with all that belongs to it is seen here on the way, in seconds.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from clipworks.errors import DataError, InputError
from clipworks.model.preprocess import ImageInput, prepare
from clipworks.model.prompts import template_set
from clipworks.model.tokenizer import tokenize
from clipworks.train.augment import normalise
from clipworks.train.config import TrainConfig
from clipworks.train.distributed import Processes, compute_shared
from clipworks.train.step import Learner

logger = logging.getLogger(__name__)

BATCH = 64

ROWS = 1024
"""Rows of cosines that exist at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Prepared pictures and what is asked of them."""

    name: str
    """Stands in front of its scores."""
    pixels: NDArray[np.uint8]
    """uint8 [N, S, S, 3]."""
    texts: tuple[str, ...]
    """The captions, one per picture; or the class names."""
    classes: NDArray[np.int64] | None
    """int64 [N], the class of each picture; None for captions."""


def captioned_task(name: str, pairs: Sequence[tuple[ImageInput, str]], config: TrainConfig) -> Task:
    """Pictures with a caption each, for retrieval.

    Raises:
        DataError: fewer than two pairs, or too many pictures that cannot be used.
    """
    if len(pairs) < 2:
        raise DataError(f"--eval {name} holds {len(pairs)} captioned pictures; retrieval needs two or more.")
    pixels, texts = _prepare(name, pairs, config)
    return Task(name=name, pixels=pixels, texts=tuple(texts), classes=None)


def class_task(name: str, pictures: Sequence[tuple[ImageInput, str]], config: TrainConfig) -> Task:
    """Pictures with a class each, for zero-shot classification.

    Raises:
        DataError: fewer than two classes, or too many pictures that cannot be used.
    """
    names = sorted({label for _, label in pictures})
    if len(names) < 2:
        raise DataError(f"--eval {name} holds {len(names)} classes; classification needs two or more.")
    pixels, labels = _prepare(name, pictures, config)
    return Task(
        name=name,
        pixels=pixels,
        texts=tuple(names),
        classes=np.array([names.index(label) for label in labels]),
    )


def _prepare(
    name: str, pictures: Sequence[tuple[ImageInput, str]], config: TrainConfig
) -> tuple[NDArray[np.uint8], list[str]]:
    """The pictures that can be used, uint8 [N, S, S, 3], and their texts; others are left out, and told."""
    pixels: list[NDArray[np.uint8]] = []
    texts: list[str] = []
    faults: list[InputError] = []
    for image, text in pictures:
        try:
            pixels.append(prepare(image, config.model.vision.image_size))
            texts.append(text)
        except InputError as error:
            faults.append(error)
    if faults:
        count = f"{len(faults)} of {len(pictures)}"
        told = f"{count} pictures of --eval {name} cannot be used; the first: {faults[0]}"
        if len(faults) > config.most_skipped * len(pictures) or len(pixels) < 2:
            raise DataError(told, "Remove or repair them.")
        logger.warning("%s", told)
    return np.stack(pixels), texts


def score_tasks(learner: Learner, tasks: Sequence[Task]) -> dict[str, float]:
    """The scores of all tasks by name; every process has to call this, and each does its part.

    Of the weights as they are, or of their running mean where one is kept.

    Returns:
        `NAME/top1` of a task with classes; of one with captions `NAME/image_to_text_r1`, `…_r5`,
        `NAME/text_to_image_r1`, `…_r5`. All are shares, 0..1.
    """
    scores: dict[str, float] = {}
    with torch.no_grad(), _MeanInPlace(learner):
        for task in tasks:
            scores |= {f"{task.name}/{name}": value for name, value in _score(learner, task).items()}
    return scores


class _MeanInPlace:
    """Within: the model has the running mean of its weights, where one is kept."""

    def __init__(self, learner: Learner) -> None:
        self._mean = {} if learner.mean is None else learner.mean.tensors
        self._weights = dict(learner.model.named_parameters())

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()

    def _swap(self) -> None:
        for name, mean in self._mean.items():
            weight = self._weights[name].detach()
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)


def _score(learner: Learner, task: Task) -> dict[str, float]:
    device = learner.processes.device
    preprocess = learner.config.model.preprocess

    def encode_images(pixels_BHWC: Tensor) -> Tensor:
        images_BCHW = pixels_BHWC.to(device).permute(0, 3, 1, 2).float() / 255
        return F.normalize(learner.towers[0](normalise(images_BCHW, preprocess)).float(), dim=-1)

    image_NE = compute_shared(encode_images, torch.from_numpy(task.pixels), BATCH, learner.processes)
    encode_texts = _text_encoder(learner)
    if task.classes is not None:
        templates = template_set("simple")
        prompts = [template.format(name) for name in task.texts for template in templates]
        prompt_PE = encode_texts(prompts, learner.processes)
        class_CE = F.normalize(prompt_PE.reshape(len(task.texts), -1, prompt_PE.shape[1]).mean(dim=1), dim=-1)
        best = (image_NE @ class_CE.T).argmax(dim=1).cpu().numpy()
        return {"top1": float((best == task.classes).mean())}
    text_NE = encode_texts(task.texts, learner.processes)
    _, same = np.unique(task.texts, return_inverse=True)
    return {
        **{f"image_to_text_r{k}": share for k, share in _recalls(image_NE, text_NE, same).items()},
        **{f"text_to_image_r{k}": share for k, share in _recalls(text_NE, image_NE, same).items()},
    }


def _text_encoder(learner: Learner) -> Callable[[Sequence[str], Processes], Tensor]:
    """Texts -> unit features, float [N, E], as the exported checkpoint gives them.

    A token that no caption of the training held has its row of the table there that training started from,
    or zeros (`checkpoint.whole_weights`).
    """
    rows = learner.token_rows
    device = learner.processes.device

    def encode(texts: Sequence[str], processes: Processes) -> Tensor:
        tokens = tokenize(texts, context_length=learner.config.model.text.context_length)
        tokens = tokens[:, : int(tokens.argmax(axis=1).max()) + 1]

        def run(ids_BT: Tensor) -> Tensor:
            ids = ids_BT.numpy()
            places = np.minimum(rows.searchsorted(ids), len(rows) - 1)
            is_unknown = rows[places] != ids
            places[is_unknown] = 0  # any but the largest, by which the end of a text is found
            with _embedded(learner, ids, is_unknown):
                features = learner.towers[1](torch.from_numpy(places).to(device))
            return F.normalize(features.float(), dim=-1)

        return compute_shared(run, torch.from_numpy(tokens), BATCH, processes)

    return encode


@contextmanager
def _embedded(
    learner: Learner, ids_BT: NDArray[np.int64], is_unknown_BT: NDArray[np.bool_]
) -> Iterator[None]:
    """Within: tokens that are not trained are embedded as in the exported checkpoint."""

    def put(_module: nn.Module, _tokens: tuple[Tensor], x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD.clone()
        table = learner.table
        x_BTD[unknown_BT] = 0 if table is None else torch.from_numpy(table[ids_BT[is_unknown_BT]]).to(x_BTD)
        return x_BTD

    if not is_unknown_BT.any():
        yield
        return
    unknown_BT = torch.from_numpy(is_unknown_BT).to(learner.processes.device)
    handle = learner.model.text.token_embedding.register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def _recalls(row_NE: Tensor, column_NE: Tensor, same: NDArray[np.int64]) -> dict[int, float]:
    """By k, the share of rows whose best k columns hold one with the same text; ties count as lost.

    Some rows at a time: the square of all cosines never exists.
    """
    same_N = torch.from_numpy(same).to(row_NE.device)
    better: list[Tensor] = []
    for start in range(0, len(row_NE), ROWS):
        cosines_CN = row_NE[start : start + ROWS] @ column_NE.T
        is_right_CN = same_N[start : start + ROWS, None] == same_N
        best_C = cosines_CN.masked_fill(~is_right_CN, -2.0).amax(dim=1)
        better.append(((cosines_CN >= best_C[:, None]) & ~is_right_CN).sum(dim=1))
    ranks_N = torch.cat(better)
    return {k: (ranks_N < k).double().mean().item() for k in (1, 5)}
