"""The engine: pictures and texts in, unit vectors and scores out, whatever computes them.

An Engine, made by `loading.load`, prepares inputs, cuts them into batches and asks an executor for
features: `executor.GraphExecutor` (OpenVINO) or `network.NetworkExecutor` (PyTorch). It is safe to use
from several threads.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import CheckpointError, InputError
from clipworks.model import buckets
from clipworks.model.bicubic import WORTH_COMPILING
from clipworks.model.config import ClipConfig
from clipworks.model.features import Features
from clipworks.model.heads import (
    HeadCache,
    Vectors,
    build_head,
    check_prompts,
    heat_maps,
    key_of,
    softmax,
)
from clipworks.model.pipeline import computed_ahead, prepared_batches, require_batch_size, stacked
from clipworks.model.preprocess import ImageInput, PreprocessMode, prepare
from clipworks.model.tokenizer import tokenize
from clipworks.model.weights import Checkpoint

_SMALLEST_NORM = 1e-12

_Item = TypeVar("_Item")


class Executor(Protocol):
    """What computes a tower's features; both executors have these two methods."""

    def encode_images(self, pixels_BSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [B, S, S, 3] RGB -> float32 [B, D], not of unit length."""

    def encode_text_batches(self, batches: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """int64 [B, T] each -> float32 [B, D] each, not of unit length."""


class Engine:
    """A model ready to embed pictures and texts."""

    config: ClipConfig
    """Shape, activation and pixel normalisation."""
    name: str
    """What the model is called in answers: a catalogue id, a Hugging Face id or a folder's name."""
    fingerprint: str
    """sha256 of config and weights, 64 hex characters."""
    precision: str
    """`f32`, `bf16` or `int8`; `int8/bf16` where the image tower has one and the text tower another."""
    precision_note: str
    """What a precision that was measured costs, a sentence; empty where none was measured."""
    preprocess: PreprocessMode
    """How pictures become pixels."""
    dim: int
    """Dimensions of a vector."""
    image_size: int
    """Side of the square pixels that the image tower reads."""
    features: Features
    """More than vectors: hidden states of texts and pictures, pooled and patch features."""
    logit_scale: float
    """What cosines are multiplied by before a softmax; at most 100 in published models."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        executor: Executor,
        *,
        name: str,
        precision: str,
        precision_note: str = "",
        preprocess: PreprocessMode = "standard",
    ) -> None:
        """Join a checkpoint and the executor that runs it; `loading.load` has checked that they fit."""
        config = checkpoint.config
        self.config = config
        self.name = name
        self.fingerprint = checkpoint.fingerprint
        self.precision = precision
        self.precision_note = precision_note
        self.preprocess = preprocess
        self.dim = config.embed_dim
        self.image_size = config.vision.image_size
        self.logit_scale = float(np.exp(checkpoint.tensors["logit_scale"]))
        self._executor = executor
        self._heads = HeadCache()

    def embed_images(self, images: Sequence[ImageInput], *, batch_size: int = 32) -> Vectors:
        """Embed pictures with the image tower.

        Args:
            images: any number of paths, bytes of image files, Pillow images or uint8 [H, W, 3] RGB.
            batch_size: pictures per forward pass, 1..1024.

        Returns:
            float32 [len(images), dim], rows of unit L2 norm, in the order of `images`.

        Raises:
            InputError: a picture cannot be used; the message names it.
            ConfigError: batch_size out of range.
        """
        if isinstance(images, str | bytes | Path) or getattr(images, "ndim", 0) == 3:
            raise InputError("images is a single picture.", "Give a list: [picture].")
        require_batch_size(batch_size)
        vectors: list[Vectors] = [np.empty((0, self.dim), dtype=np.float32)]
        named = [(x, "" if isinstance(x, str | Path) else f"images[{i}]") for i, x in enumerate(images)]
        with (
            prepared_batches(
                _cut(named, batch_size),
                lambda x: self.prepare_image(*x, compiled=len(images) >= WORTH_COMPILING),
            ) as batches,
            computed_ahead(batches, lambda batch: self._encode_pixels(stacked(batch))) as computed,
        ):
            vectors += computed
        return np.concatenate(vectors)

    def prepare_image(
        self, image: ImageInput, name: str = "", *, compiled: bool = False
    ) -> NDArray[np.uint8]:
        """Turn one picture into the pixels that `embed_pixels` reads.

        Args:
            image: a path, the bytes of an image file, a Pillow image or uint8 [H, W, 3] RGB.
            name: what error messages call the picture; a path names itself.
            compiled: as in `preprocess.prepare`; worth it from WORTH_COMPILING pictures.

        Returns:
            uint8 [image_size, image_size, 3] RGB.

        Raises:
            InputError: the picture cannot be used.
        """
        return prepare(image, self.image_size, mode=self.preprocess, name=name, compiled=compiled)

    def embed_pixels(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Embed prepared pixels in one forward pass.

        Args:
            pixels: uint8 [N, image_size, image_size, 3] RGB, from `prepare_image`.

        Returns:
            float32 [N, dim], rows of unit L2 norm.

        Raises:
            InputError: another shape or type.
        """
        self._require_pixels(pixels)
        return self._encode_pixels(pixels)

    def embed_patches(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Embed the patches of prepared pixels in one forward pass: what heat maps are made of.

        Args:
            pixels: as in `embed_pixels`.

        Returns:
            float32 [N, rows, columns, dim], `Features.patch_values` at unit length, from the top left.

        Raises:
            InputError: another shape or type.
        """
        self._require_pixels(pixels)
        grid = self.config.vision.grid
        if not len(pixels):
            return np.empty((0, grid, grid, self.dim), dtype=np.float32)
        return _unit(self.features.patch_values(pixels)).reshape(-1, grid, grid, self.dim)

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 64) -> Vectors:
        """Embed texts with the text tower.

        Texts of like length go through together, cut behind their end at the next multiple of eight
        tokens, which changes no result since attention is causal.

        Args:
            texts: any number of strings; what does not fit into the context length is cut off.
            batch_size: texts per forward pass, 1..1024.

        Returns:
            float32 [len(texts), dim], rows of unit L2 norm, in the order of `texts`.

        Raises:
            InputError: an item is not a string or is far too long.
            ConfigError: batch_size out of range.
        """
        require_batch_size(batch_size)
        return self.embed_tokens(
            tokenize(texts, context_length=self.config.text.context_length), batch_size=batch_size
        )

    def embed_tokens(self, tokens: NDArray[np.int64], *, batch_size: int = 64) -> Vectors:
        """Embed texts that are tokens already; as `embed_texts`.

        Args:
            tokens: int64 [N, T] of `tokenizer.tokenize`, T up to the model's context length.
            batch_size: texts per forward pass, 1..1024.

        Returns:
            float32 [N, dim], rows of unit L2 norm.

        Raises:
            InputError: another shape or type.
            ConfigError: batch_size out of range.
        """
        require_batch_size(batch_size)
        longest = self.config.text.context_length
        if tokens.dtype != np.int64 or tokens.ndim != 2 or not 2 <= tokens.shape[1] <= longest:
            raise InputError(
                f"tokens is {tokens.dtype} {list(tokens.shape)}; it must be int64 [N, 2..{longest}]."
            )
        return self._encode_tokens(tokens, batch_size)

    def label_head(
        self,
        labels: Sequence[str],
        templates: Sequence[str] | None = None,
        *,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Vectors:
        """One vector per label: each filled template embedded, averaged and normalised again.

        Heads are kept and found again by their content, so asking twice costs nothing.

        Args:
            labels: class names.
            templates: sentences with `{}` where the label goes; None is the label alone.
            on_progress: called with (labels done, labels in all) while a new head is built.

        Returns:
            float32 [len(labels), dim], rows of unit L2 norm; read-only.

        Raises:
            InputError: no labels, no templates, a template without `{}`, or an item that is no string.
        """
        names, prompts = check_prompts(labels, ["{}"] if templates is None else templates)
        key = key_of(names, prompts)
        head = self._heads.get(key)
        if head is None:
            head = build_head(self.embed_texts, names, prompts, on_progress)
            head.setflags(write=False)
            self._heads.put(key, head)
        return head

    def classify(
        self, images: Sequence[ImageInput], labels: Sequence[str], templates: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """Probability of each label for each picture; arguments as in `embed_images` and `label_head`.

        Returns:
            float32 [len(images), len(labels)], rows sum to 1.

        Raises:
            InputError: a picture, label or template cannot be used.
        """
        head = self.label_head(labels, templates)
        return self.probabilities(self.embed_images(images) @ head.T)

    def similarity(self, images: Sequence[ImageInput], texts: Sequence[str]) -> NDArray[np.float32]:
        """Cosine of each picture with each text.

        Returns:
            float32 [len(images), len(texts)], in -1..1.

        Raises:
            InputError: a picture or text cannot be used.
        """
        cosines: NDArray[np.float32] = self.embed_images(images) @ self.embed_texts(texts).T
        return cosines.clip(-1.0, 1.0)

    def heat_maps(
        self,
        images: Sequence[ImageInput],
        labels: Sequence[str],
        templates: Sequence[str] | None = None,
        *,
        batch_size: int = 16,
    ) -> NDArray[np.float32]:
        """Cosine of each patch of each picture with each label: where in a picture a text is matched.

        The grid lies on the central square of the picture, which is what the model sees. The models were
        trained on whole pictures: a map is a hint, no detector (docs/playground.md says what was measured).

        Args:
            images: as in `embed_images`.
            labels: as in `label_head`.
            templates: as in `label_head`.
            batch_size: pictures per forward pass, 1..1024.

        Returns:
            float32 [len(images), len(labels), rows, columns], in -1..1.

        Raises:
            InputError: a picture, label or template cannot be used.
            ConfigError: batch_size out of range.
        """
        if isinstance(images, str | bytes | Path):
            raise InputError("images is a single picture.", "Give a list: [picture].")
        require_batch_size(batch_size)
        head_LD = self.label_head(labels, templates)
        grid = self.config.vision.grid
        maps = [np.empty((0, len(head_LD), grid, grid), dtype=np.float32)]
        for start in range(0, len(images), batch_size):
            pixels = [
                self.prepare_image(image, "" if isinstance(image, str | Path) else f"images[{start + i}]")
                for i, image in enumerate(images[start : start + batch_size])
            ]
            maps.append(heat_maps(self.embed_patches(np.stack(pixels)), head_LD))
        return np.concatenate(maps)

    def probabilities(self, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """Softmax over the last axis of cosines scaled by `logit_scale`.

        Args:
            cosines: float32 [..., L].

        Returns:
            float32 [..., L], sums of 1 along the last axis.
        """
        return softmax(cosines, self.logit_scale)

    def _require_pixels(self, pixels: NDArray[np.uint8]) -> None:
        side = self.image_size
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (side, side, 3):
            raise InputError(
                f"pixels is {pixels.dtype} {list(pixels.shape)}; it must be uint8 [N, {side}, {side}, 3]."
            )

    def _encode_pixels(self, pixels: NDArray[np.uint8]) -> Vectors:
        if not len(pixels):
            return np.empty((0, self.dim), dtype=np.float32)
        return _unit(self._executor.encode_images(pixels))

    def _encode_tokens(self, tokens: NDArray[np.int64], batch_size: int) -> Vectors:
        """int64 [N, T], each row ended by its largest id -> float32 [N, dim]."""
        vectors = np.empty((len(tokens), self.dim), dtype=np.float32)
        groups = list(buckets.cut(tokens, batch_size))
        features = self._executor.encode_text_batches([group.tokens for group in groups])
        for group, rows in zip(groups, features, strict=True):
            vectors[group.places] = _unit(rows)
        return vectors


def _cut(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    yield from (items[start : start + size] for start in range(0, len(items), size))


def _unit(features: NDArray[np.float32]) -> Vectors:
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    if not np.isfinite(norms).all():
        raise CheckpointError(
            "The model gives features that are not finite numbers; its weights are damaged."
        )
    unit: Vectors = features / np.maximum(norms, np.float32(_SMALLEST_NORM))
    return unit
