"""What a batch of pairs is scored by: softmax or sigmoid contrast, several positives, a teacher.

With s the scale and b the bias, the logit of picture i and text j is s * <image_i, text_j> + b.

* softmax (arXiv:2103.00020, figure 3): picture i must choose its texts among all texts, and text j its
  pictures among all pictures; the mean of both cross-entropies. b is 0.
* sigmoid (arXiv:2303.15343): every pair is a yes-no question of its own; the sum over texts, the mean
  over pictures.
* a teacher (arXiv:2312.00473): cross-entropy between the teacher's choice and the student's, both ways.

Each process scores its own rows against the rows of all processes, and the mean over processes is the
loss of the whole batch. Rows are taken some at a time and the gradients are made at once, so that the
square of all logits never exists: at 32,768 pairs and 512 rows a time, 64 MiB instead of 4 GiB.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipworks.train.config import Loss, SharedCaptions
from clipworks.train.distributed import Processes

NO_CAPTION = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """How a batch is scored."""

    kind: Loss = "softmax"
    """Softmax or sigmoid contrast."""
    shared_captions: SharedCaptions = "leave_out"
    """What captions that two pairs share count as."""
    distillation: float = 0.0
    """Weight of agreeing with the teacher, 0 or more."""
    rows_at_a_time: int = 512
    """Rows of logits that exist at a time, 1 or more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Captions:
    """Which texts describe which pictures, by number; equal numbers are equal texts."""

    of_image_BK: Tensor
    """int64 [B, K], all captions of a picture, `NO_CAPTION` where it has fewer than K."""
    chosen_B: Tensor
    """int64 [B], 0 or more, the caption that stands in the batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Temperature:
    """From cosines to logits."""

    scale: Tensor
    """Float scalar, the factor itself and not its logarithm."""
    bias: Tensor | None = None
    """Float scalar that is added; None adds nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Teaching:
    """What a teacher made of the same rows."""

    image_BE: Tensor
    """Float [B, F], unit rows; F need not be the student's."""
    text_BE: Tensor
    """Float [B, F], unit rows."""
    scale: float
    """The teacher's factor on cosines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """The outcome for the rows of one process."""

    loss: Tensor
    """Float scalar, nats."""
    accuracy: Tensor
    """Float scalar without gradient: share of pictures whose best text is their own."""


def contrast(
    image_BE: Tensor,
    text_BE: Tensor,
    temperature: Temperature,
    objective: Objective,
    *,
    processes: Processes,
    captions: Captions | None = None,
    teaching: Teaching | None = None,
) -> Score:
    """Score this process's rows of a batch of pairs.

    Args:
        image_BE: float [B, E], unit rows.
        text_BE: float [B, E], unit rows.
        temperature: from cosines to logits.
        objective: which loss.
        processes: who holds the other rows.
        captions: None takes every text for a caption of its own picture alone.
        teaching: the teacher's features of the same rows, where the objective weighs them.
    """
    images, texts = processes.gather(image_BE), processes.gather(text_BE)
    image_ids = text_ids = all_image_ids = all_text_ids = None
    if captions is not None and objective.shared_captions != "negative":
        image_ids, text_ids = captions.of_image_BK, captions.chosen_B[:, None]
        all_image_ids, all_text_ids = _gather_ragged(image_ids, processes), processes.gather(text_ids)
    is_softmax = objective.kind == "softmax"
    to_texts, to_images = _teach(teaching, objective, processes)
    first = processes.rank * len(image_BE)
    weight = 0.5 if is_softmax else 1.0
    direction = _Direction(objective, first, weight, image_ids, all_text_ids, to_texts)
    loss, accuracy = _Rows.apply(  # type: ignore[no-untyped-call]
        image_BE, texts, temperature.scale, temperature.bias, direction
    )
    if is_softmax or to_images is not None:
        weight = 0.5 if is_softmax else 0.0
        direction = _Direction(objective, first, weight, text_ids, all_image_ids, to_images)
        other, _ = _Rows.apply(  # type: ignore[no-untyped-call]
            text_BE, images, temperature.scale, temperature.bias, direction
        )
        loss = loss + other
    return Score(loss=loss, accuracy=accuracy)


def pad_captions(texts: Sequence[tuple[int, ...]]) -> NDArray[np.int64]:
    """int64 [B, K]: the numbers of each picture's captions, `NO_CAPTION` where it has fewer."""
    padded = np.full((len(texts), max(map(len, texts))), NO_CAPTION, dtype=np.int64)
    for row, own in zip(padded, texts, strict=True):
        row[: len(own)] = own
    return padded


class _Direction:
    """One way of choosing: rows among columns."""

    def __init__(
        self,
        objective: Objective,
        first: int,
        weight: float,
        row_ids: Tensor | None,
        column_ids: Tensor | None,
        teaching: Teaching | None,
    ) -> None:
        self.objective = objective
        self.first = first
        self.weight = weight
        self._row_ids = row_ids
        self._column_ids = column_ids
        self._teaching = teaching

    def score(self, logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """The sum of the losses of some rows, and its gradient with respect to their logits, [C, B]."""
        own = torch.arange(rows.start, rows.stop, device=logits.device) + self.first
        total, gradient = torch.zeros((), dtype=logits.dtype, device=logits.device), torch.zeros_like(logits)
        if self.weight:
            score = _softmax if self.objective.kind == "softmax" else _sigmoid
            total, gradient = score(logits, own, self._related(rows), self.objective.shared_captions)
            total, gradient = self.weight * total, gradient.mul_(self.weight)
        if self._teaching is not None:
            teacher = self._teaching
            wanted = (teacher.scale * teacher.image_BE[rows] @ teacher.text_BE.T).softmax(dim=1)
            chosen = logits.log_softmax(dim=1)
            weight = 0.5 * self.objective.distillation
            total = total - weight * (wanted * chosen).sum()
            gradient = gradient.add_(chosen.exp_().sub_(wanted), alpha=weight)
        return total, gradient

    def _related(self, rows: slice) -> Tensor | None:
        """Bool [C, B]: whether row and column share a caption."""
        if self._row_ids is None or self._column_ids is None:
            return None
        related = None
        for row_id in self._row_ids[rows].unbind(dim=1):
            for column_id in self._column_ids.unbind(dim=1):
                same = (row_id[:, None] == column_id) & (row_id != NO_CAPTION)[:, None]
                related = same if related is None else related.logical_or_(same)
        return related


class _Rows(torch.autograd.Function):
    """The mean loss of rows that choose among columns; the gradients are made with it."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, columns: Tensor, scale: Tensor, bias: Tensor | None, direction: _Direction
    ) -> tuple[Tensor, Tensor]:
        d_rows, d_columns = torch.empty_like(rows), torch.zeros_like(columns)
        loss, correct, d_bias = (torch.zeros((), dtype=rows.dtype, device=rows.device) for _ in range(3))
        step = direction.objective.rows_at_a_time
        for start in range(0, len(rows), step):
            chunk = slice(start, min(start + step, len(rows)))
            logits = rows[chunk] @ columns.T * scale
            if bias is not None:
                logits += bias
            own = torch.arange(chunk.start, chunk.stop, device=rows.device) + direction.first
            correct += (logits.argmax(dim=1) == own).sum()
            value, gradient = direction.score(logits, chunk)
            loss += value
            d_bias += gradient.sum()
            torch.mm(gradient, columns, out=d_rows[chunk])
            d_columns.addmm_(gradient.T, rows[chunk])
        d_scale = (d_rows * rows).sum()
        ctx.save_for_backward(d_rows.mul_(scale), d_columns.mul_(scale), d_scale, d_bias)
        ctx.has_bias = bias is not None
        accuracy = correct / len(rows)
        ctx.mark_non_differentiable(accuracy)
        return loss / len(rows), accuracy

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        d_rows, d_columns, d_scale, d_bias = ctx.saved_tensors
        share = d_loss / len(d_rows)
        return (
            d_rows * share,
            d_columns * share,
            d_scale * share,
            d_bias * share if ctx.has_bias else None,
            None,
        )


def _softmax(
    logits: Tensor, own: Tensor, related: Tensor | None, shared: SharedCaptions
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of rows; where a row has several positives, it shall choose them equally."""
    if related is not None and shared == "leave_out":
        hidden = related.scatter(1, own[:, None], False)
        logits = logits.masked_fill(hidden, float("-inf"))
    chosen = logits.log_softmax(dim=1)
    if related is not None and shared == "positive":
        wanted = related.scatter(1, own[:, None], True).to(logits.dtype)
        wanted /= wanted.sum(dim=1, keepdim=True)
        return -(chosen * wanted).sum(), chosen.exp_().sub_(wanted)
    total = -chosen.gather(1, own[:, None]).sum()
    gradient = chosen.exp_()
    gradient.scatter_add_(1, own[:, None], gradient.new_full((len(own), 1), -1.0))
    return total, gradient


def _sigmoid(
    logits: Tensor, own: Tensor, related: Tensor | None, shared: SharedCaptions
) -> tuple[Tensor, Tensor]:
    """The yes-no question of every pair: +1 own, -1 foreign, 0 not asked."""
    signs = torch.full_like(logits, -1.0)
    if related is not None:
        signs.masked_fill_(related, 1.0 if shared == "positive" else 0.0)
    signs.scatter_(1, own[:, None], 1.0)
    answers = logits * signs
    gradient = torch.sigmoid(-answers).mul_(signs).neg_()
    return -(F.logsigmoid(answers) * signs.abs()).sum(), gradient


def _teach(
    teaching: Teaching | None, objective: Objective, processes: Processes
) -> tuple[Teaching | None, Teaching | None]:
    """The teacher's rows and columns for pictures that choose texts, and for texts that choose pictures."""
    if teaching is None or not objective.distillation:
        return None, None
    images, texts = processes.gather(teaching.image_BE), processes.gather(teaching.text_BE)
    return (
        Teaching(image_BE=teaching.image_BE, text_BE=texts, scale=teaching.scale),
        Teaching(image_BE=teaching.text_BE, text_BE=images, scale=teaching.scale),
    )


def _gather_ragged(ids_BK: Tensor, processes: Processes) -> Tensor:
    """The rows of all processes, as wide as the widest."""
    if processes.world == 1:
        return ids_BK
    width = max(processes.collect(ids_BK.shape[1]))
    return processes.gather(F.pad(ids_BK, (0, width - ids_BK.shape[1]), value=NO_CAPTION))
