"""The contrastive loss."""

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(
    image_BE: Tensor, text_BE: Tensor, logit_scale: Tensor, excluded_BB: Tensor | None = None
) -> Tensor:
    """Mean of the two softmax cross-entropies of a batch of pairs (arXiv:2103.00020, figure 3).

    With s the scale, the logit of picture i and text j is s * <image_i, text_j>; picture i must
    choose text i among all texts, and text j must choose picture j among all pictures.

    Args:
        image_BE: float [B, E], unit rows.
        text_BE: float [B, E], unit rows.
        logit_scale: float scalar, the factor itself and not its logarithm.
        excluded_BB: bool [B, B], true where text j describes picture i too, so that the pair is
            no negative: its logit is left out. The diagonal is never left out.

    Returns:
        float scalar.
    """
    logits_BB = logit_scale * image_BE @ text_BE.T
    targets_B = torch.arange(len(logits_BB), device=logits_BB.device)
    if excluded_BB is not None:
        off_diagonal_BB = ~torch.eye(len(logits_BB), dtype=torch.bool, device=logits_BB.device)
        logits_BB = logits_BB.masked_fill(excluded_BB & off_diagonal_BB, float("-inf"))
    return (F.cross_entropy(logits_BB, targets_B) + F.cross_entropy(logits_BB.T, targets_B)) / 2
