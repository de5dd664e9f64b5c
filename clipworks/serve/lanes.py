"""The lanes of one model: pictures, texts, and the patches of pictures, each with its batch and its room."""

from collections.abc import Callable, Sequence

from clipworks.model.heads import Vectors
from clipworks.serve.batcher import Lane
from clipworks.serve.metrics import Metrics
from clipworks.serve.settings import ServeSettings
from clipworks.serve.stages import Timed, timed
from clipworks.serve.worker import Pixels, TokenRow

PATCH_BATCH = 4
"""Pictures in one call for patches: each gives a vector per patch, 0.8 MB for a ViT-L/14."""

PixelLane = Lane[Pixels, Timed[Vectors]]
"""Prepared pictures in; a vector each out, float32 [D], or their patches, float32 [rows, columns, D]."""

TokenLane = Lane[TokenRow, Timed[Vectors]]
"""Rows of tokens in, a vector each out, float32 [D]."""


def image_lane(
    name: str, embed: Callable[[Sequence[Pixels]], Vectors], settings: ServeSettings, metrics: Metrics
) -> PixelLane:
    """The lane of a model's pictures.

    Args:
        name: id of the model.
        embed: squares of pixels -> float32 [N, D].
    """
    return Lane(
        f"{name} images",
        timed(lambda pixels: list(embed(pixels)), metrics.watch("inference", name, "image")),
        max_batch=settings.image_batch,
        capacity=settings.max_image_queue,
        capacity_bytes=settings.max_pixel_bytes,
    )


def patch_lane(
    name: str, embed: Callable[[Sequence[Pixels]], Vectors], settings: ServeSettings, metrics: Metrics
) -> PixelLane:
    """The lane of pictures whose patches are wanted, so that heat maps hold up no vectors.

    Args:
        name: id of the model.
        embed: squares of pixels -> float32 [N, rows, columns, D].
    """
    return Lane(
        f"{name} patches",
        timed(lambda pixels: list(embed(pixels)), metrics.watch("inference", name, "image")),
        max_batch=min(PATCH_BATCH, settings.image_batch),
        capacity=settings.max_image_queue,
        capacity_bytes=settings.max_pixel_bytes,
    )


def text_lane(
    name: str, embed: Callable[[Sequence[TokenRow]], Vectors], settings: ServeSettings, metrics: Metrics
) -> TokenLane:
    """The lane of a model's texts.

    Args:
        name: id of the model.
        embed: rows of tokens -> float32 [N, D].
    """
    return Lane(
        f"{name} texts",
        timed(lambda tokens: list(embed(tokens)), metrics.watch("inference", name, "text")),
        max_batch=settings.text_batch,
        capacity=settings.max_text_queue,
    )
