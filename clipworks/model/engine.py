"""The engine: pictures and texts in, unit vectors and scores out, whatever computes them.

`load` turns a name or path into an Engine. An Engine prepares inputs, cuts them into batches and
asks an executor for features: `graph.GraphExecutor` (OpenVINO) or `network.NetworkExecutor`
(PyTorch), each imported only when it is asked for. An Engine is safe to use from several threads.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import CheckpointError, ConfigError, InputError, MissingExtraError
from clipworks.model import pull
from clipworks.model.config import Activation, ClipConfig
from clipworks.model.features import Features, Reader
from clipworks.model.heads import HeadCache, Vectors, build_head, check_prompts
from clipworks.model.pipeline import prepared_batches, stacked
from clipworks.model.preprocess import ImageInput, PreprocessMode, prepare
from clipworks.model.published import read_config
from clipworks.model.tokenizer import VOCAB_SIZE, tokenize
from clipworks.model.weights import Checkpoint, read_checkpoint

Precision = Literal["auto", "f32", "bf16", "int8"]

MAX_BATCH_SIZE = 1024

_SMALLEST_NORM = 1e-12

_Item = TypeVar("_Item")


class Executor(Protocol):
    """What computes a tower's features; both executors have these two methods."""

    def encode_images(self, pixels_BSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [B, S, S, 3] RGB -> float32 [B, D], not of unit length."""

    def encode_texts(self, tokens_BT: NDArray[np.int64]) -> NDArray[np.float32]:
        """int64 [B, T] -> float32 [B, D], not of unit length."""


def load(
    name: str,
    *,
    precision: Precision = "auto",
    device: str = "cpu",
    preprocess: PreprocessMode = "standard",
    config: ClipConfig | None = None,
    activation: Activation | None = None,
    image_size: int | None = None,
) -> "Engine":
    """Load a model.

    Args:
        name: `pictogram` (built in), a name of the catalogue, a Hugging Face id, or the path of a
            checkpoint folder or weights file.
        precision: arithmetic of the towers; `auto` is bf16 where the processor has it, else f32.
        device: `cpu` (OpenVINO); `cuda`, `cuda:1`, ... or `torch-cpu` (PyTorch).
        preprocess: `standard`; `reference` for the exact pixels behind published scores; `scaled` to
            decode large JPEG files at a fraction of their size.
        config: only for files that do not come with one.
        activation: only for files that do not say it.
        image_size: side of the pictures in pixels, where it shall be another than the model's own; the
            image tower's table of places is interpolated to it.

    Raises:
        ConfigError: an unknown name, device, precision or preprocess mode, or no multiple of the patch.
        CheckpointError: the files are missing, damaged, ambiguous or not of a CLIP model.
        MissingExtraError: PyTorch is needed and not installed.
    """
    if not isinstance(name, str):
        raise ConfigError(f"name is {name!r}; it must be a model's name or path, as text.")
    if precision not in get_args(Precision):
        raise ConfigError(f"precision is {precision!r}; it must be one of {', '.join(get_args(Precision))}.")
    if precision == "int8":
        raise ConfigError("precision='int8' is not built yet.", "Use precision='bf16'.")
    if preprocess not in get_args(PreprocessMode):
        modes = ", ".join(get_args(PreprocessMode))
        raise ConfigError(f"preprocess is {preprocess!r}; it must be one of {modes}.")
    checkpoint = open_checkpoint(name, config=config, activation=activation, image_size=image_size)
    executor, resolved = _start_executor(checkpoint, device, precision)
    engine = Engine(
        checkpoint, executor, name=pull.public_name(name), precision=resolved, preprocess=preprocess
    )
    fingerprint = checkpoint.fingerprint  # the tensors themselves must not be kept

    def reopen() -> Checkpoint:
        again = open_checkpoint(name, config=config, activation=activation, image_size=image_size)
        if again.fingerprint != fingerprint:
            raise CheckpointError(f"{again.path} has changed since it was loaded.", "Load it again.")
        return again

    reader = _start_reader(engine, reopen) if device == "cpu" else cast(Reader, executor)
    engine.features = Features(reader, engine.config, engine.prepare_image)
    return engine


def open_checkpoint(
    name: str,
    *,
    config: ClipConfig | None = None,
    activation: Activation | None = None,
    image_size: int | None = None,
) -> Checkpoint:
    """Find a model's files, fetch them if they are not here, and read them; arguments as in `load`.

    Raises:
        ConfigError: an unknown name, or an image_size that is no multiple of the patch.
        CheckpointError: the files are missing, damaged, ambiguous or not of a CLIP model.
    """
    path = pull.resolve(name)
    row = pull.known_row(name)
    if row is not None and config is None and read_config(path if path.is_dir() else path.parent) is None:
        config = row.config
    return read_checkpoint(path, config=config, activation=activation, image_size=image_size)


class Engine:
    """A model ready to embed pictures and texts."""

    config: ClipConfig
    """Shape, activation and pixel normalisation."""
    name: str
    """What the model is called in answers: a catalogue id, a Hugging Face id or a folder's name."""
    fingerprint: str
    """sha256 of config and weights, 64 hex characters."""
    precision: str
    """`f32` or `bf16`; never `auto`."""
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
        preprocess: PreprocessMode = "standard",
    ) -> None:
        """Join a checkpoint and the executor that runs it.

        Raises:
            CheckpointError: the text tower has another vocabulary than CLIP's 49,408 tokens.
        """
        config = checkpoint.config
        if config.text.vocab_size != VOCAB_SIZE:
            raise CheckpointError(
                f"{checkpoint.path} has a vocabulary of {config.text.vocab_size} tokens.",
                f"Only CLIP's own of {VOCAB_SIZE} tokens can be read.",
            )
        self.config = config
        self.name = name
        self.fingerprint = checkpoint.fingerprint
        self.precision = precision
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
        _require_batch_size(batch_size)
        vectors: list[Vectors] = [np.empty((0, self.dim), dtype=np.float32)]
        named = [(x, "" if isinstance(x, str | Path) else f"images[{i}]") for i, x in enumerate(images)]
        with prepared_batches(_cut(named, batch_size), lambda x: self.prepare_image(*x)) as batches:
            vectors += [self._encode_pixels(stacked(batch)) for batch in batches]
        return np.concatenate(vectors)

    def prepare_image(self, image: ImageInput, name: str = "") -> NDArray[np.uint8]:
        """Turn one picture into the pixels that `embed_pixels` reads.

        Args:
            image: a path, the bytes of an image file, a Pillow image or uint8 [H, W, 3] RGB.
            name: what error messages call the picture; a path names itself.

        Returns:
            uint8 [image_size, image_size, 3] RGB.

        Raises:
            InputError: the picture cannot be used.
        """
        return prepare(image, self.image_size, mode=self.preprocess, name=name)

    def embed_pixels(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Embed prepared pixels in one forward pass.

        Args:
            pixels: uint8 [N, image_size, image_size, 3] RGB, from `prepare_image`.

        Returns:
            float32 [N, dim], rows of unit L2 norm.

        Raises:
            InputError: another shape or type.
        """
        side = self.image_size
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (side, side, 3):
            raise InputError(
                f"pixels is {pixels.dtype} {list(pixels.shape)}; it must be uint8 [N, {side}, {side}, 3]."
            )
        return self._encode_pixels(pixels)

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 64) -> Vectors:
        """Embed texts with the text tower.

        Texts of like length go through together (in bf16: of equal length) and rows are cut at the
        longest end token among them, which changes no result since attention is causal.

        Args:
            texts: any number of strings; what does not fit into the context length is cut off.
            batch_size: texts per forward pass, 1..1024.

        Returns:
            float32 [len(texts), dim], rows of unit L2 norm, in the order of `texts`.

        Raises:
            InputError: an item is not a string or is far too long.
            ConfigError: batch_size out of range.
        """
        _require_batch_size(batch_size)
        return self._encode_tokens(
            tokenize(texts, context_length=self.config.text.context_length), batch_size
        )

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
        key = hashlib.sha256(json.dumps([names, prompts]).encode()).hexdigest()
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

    def probabilities(self, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """Softmax over the last axis of cosines scaled by `logit_scale`.

        Args:
            cosines: float32 [..., L].

        Returns:
            float32 [..., L], sums of 1 along the last axis.
        """
        logits = self.logit_scale * cosines.astype(np.float64)
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        scores: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
        return scores.astype(np.float32)

    def _encode_pixels(self, pixels: NDArray[np.uint8]) -> Vectors:
        if not len(pixels):
            return np.empty((0, self.dim), dtype=np.float32)
        return _unit(self._executor.encode_images(pixels))

    def _encode_tokens(self, tokens: NDArray[np.int64], batch_size: int) -> Vectors:
        """int64 [N, T], each row ended by its largest id -> float32 [N, dim]."""
        vectors = np.empty((len(tokens), self.dim), dtype=np.float32)
        lengths = tokens.argmax(axis=1) + 1
        order = np.argsort(lengths, kind="stable")
        groups = [order]
        if self.precision != "f32":
            # The number of masked places behind a text can turn a rounding in bfloat16 (1e-3 in the
            # result, measured), so only texts of equal length share a batch: batched equals single.
            groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
        for places in (places for group in groups for places in _cut(group, batch_size)):
            rows = np.ascontiguousarray(tokens[places, : lengths[places].max()])
            vectors[places] = _unit(self._executor.encode_texts(rows))
        return vectors


def _start_executor(
    checkpoint: Checkpoint, device: str, precision: Literal["auto", "f32", "bf16"]
) -> tuple[Executor, str]:
    """An executor on `device`, and the precision that it has."""
    config, tensors = checkpoint.config, checkpoint.tensors
    if device == "cpu":
        from clipworks.model import graph

        if precision == "auto":
            precision = "bf16" if graph.has_bf16() else "f32"
        return graph.GraphExecutor(config, tensors, precision=precision), precision
    if device != "torch-cpu" and not device.startswith("cuda"):
        raise ConfigError(f"device is {device!r}; it must be cpu, cuda, cuda:N or torch-cpu.")
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "f32"
    place = device.removeprefix("torch-")
    return _import_network().NetworkExecutor(config, tensors, device=place, precision=precision), precision


def _start_reader(engine: Engine, reopen: Callable[[], Checkpoint]) -> Reader:
    from clipworks.model import graph

    precision: Literal["f32", "bf16"] = "bf16" if engine.precision == "bf16" else "f32"
    return graph.ReadingExecutor(engine.config, lambda: reopen().tensors, precision=precision)


def _import_network() -> Any:
    try:
        from clipworks.model import network
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("torch", "train") from error
    return network


def _require_batch_size(batch_size: int) -> None:
    if not 1 <= batch_size <= MAX_BATCH_SIZE:
        raise ConfigError(f"batch_size is {batch_size}; it must be in 1..{MAX_BATCH_SIZE}.")


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
