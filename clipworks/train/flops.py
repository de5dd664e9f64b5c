"""The arithmetic of a training step, and what the processor could do in that time.

Counted is only what is done and needed: texts up to the longest of the batch, patches that are shown, the
last block for the one row that is read, causal attention over the tokens before, no gradient of what is
locked or of pixels. What `recompute` does a second time is not counted.
"""

import time

import torch

from clipworks.model.config import TextConfig, VisionConfig
from clipworks.train.arithmetic import autocast_type
from clipworks.train.config import TrainConfig, TrainPrecision

PEAKS = {
    **{"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "V100": 125e12},
    **{"L40S": 362e12, "L40": 181e12, "A10": 125e12},
}
"""Dense 16-bit operations a second, by the first that is in the card's name (makers' data sheets)."""

F32_PEAKS = {
    **{"H200": 67e12, "H100 PCIe": 51e12, "H100": 67e12, "A100": 19.5e12, "V100": 15.7e12},
    **{"L40S": 91.6e12, "L40": 90.5e12, "A10": 31.2e12},
}

_PROBE = 1024
_PROBE_ROUNDS = 6


def step_flops(config: TrainConfig, *, text_tokens: int, image_patches: int) -> int:
    """Floating-point operations of one step, forward and backward.

    Args:
        config: shape, batch size, and what is locked.
        text_tokens: length of the batch's texts.
        image_patches: patches that each picture shows.
    """
    model = config.model
    vision, text = model.vision, model.text
    image = _tower(vision, 1 + image_patches, model.embed_dim, is_causal=False)
    words = _tower(text, text_tokens, model.embed_dim, is_causal=True)
    patches = vision.grid**2 * 3 * vision.patch_size**2 * vision.width
    pairs = config.batch_size * (
        image * _passes(config.lock_image, config.image_unlocked, vision.layers)
        + words * _passes(config.lock_text, config.text_unlocked, text.layers)
        + patches * (1 if config.lock_image else 2)
    )
    logits = 3 * config.batch_size**2 * model.embed_dim
    return round(2 * (pairs + logits))


def peak_flops(device: torch.device, precision: TrainPrecision) -> float | None:
    """Operations a second that the device can do at most in a precision.

    From data sheets for graphics cards, None for an unknown one; a CPU is measured with one large matrix
    product, some tens of milliseconds.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        table = F32_PEAKS if precision == "f32" else PEAKS
        return next((peak for part, peak in table.items() if part in name), None)
    kind = autocast_type(precision, device) or torch.float32
    a = torch.ones(_PROBE, _PROBE, dtype=kind)
    best = float("inf")
    for _ in range(_PROBE_ROUNDS):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    return 2 * _PROBE**3 / best


def _passes(is_locked: bool, unlocked: int, layers: int) -> float:
    """Forward is one pass, backward two over what is trained."""
    share = min(1.0, max(0.0, (unlocked - 1) / layers)) if is_locked else 1.0
    return 1 + 2 * share


def _tower(tower: VisionConfig | TextConfig, tokens: int, embed_dim: int, *, is_causal: bool) -> int:
    """Multiplications of one forward pass without the patch filter."""
    width = tower.width
    last = 2 * tokens * width**2 + 2 * width**2 + 2 * width * tower.mlp_width + 2 * tokens * width
    return (tower.layers - 1) * _block(tower, tokens, is_causal=is_causal) + last + width * embed_dim


def _block(tower: VisionConfig | TextConfig, tokens: int, *, is_causal: bool) -> int:
    linear = tokens * (4 * tower.width**2 + 2 * tower.width * tower.mlp_width)
    pairs = tokens * (tokens + 1) // 2 if is_causal else tokens**2
    return linear + 2 * pairs * tower.width
