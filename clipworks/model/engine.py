"""The engine: pictures and texts in, unit vectors and scores out, whatever computes them.

`load` turns a name or path into an Engine. An Engine prepares inputs, cuts them into batches and
asks an executor for features: `executor.GraphExecutor` (OpenVINO) or `network.NetworkExecutor`
(PyTorch), each imported only when it is asked for. An Engine is safe to use from several threads.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import CheckpointError, ConfigError, InputError, MissingExtraError
from clipworks.model import buckets, pull
from clipworks.model.config import Activation, ClipConfig
from clipworks.model.heads import HeadCache, Vectors
from clipworks.model.preprocess import ImageInput, PreprocessMode, prepare
from clipworks.model.published import read_config
from clipworks.model.tokenizer import VOCAB_SIZE, tokenize
from clipworks.model.weights import Checkpoint, read_checkpoint

Precision = Literal["auto", "f32", "bf16", "int8"]

MAX_BATCH_SIZE = 1024

_PROMPTS_PER_CALL = 8192
_SMALLEST_NORM = 1e-12


class Executor(Protocol):
    """What computes a tower's features; both executors have these two methods."""

    def encode_images(self, pixels_BSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [B, S, S, 3] RGB -> float32 [B, D], not of unit length."""

    def encode_text_batches(self, batches: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """int64 [B, T] each -> float32 [B, D] each, not of unit length."""


def load(
    name: str,
    *,
    precision: Precision = "auto",
    device: str = "cpu",
    preprocess: PreprocessMode = "standard",
    config: ClipConfig | None = None,
    activation: Activation | None = None,
) -> "Engine":
    """Load a model.

    Args:
        name: `pictogram` (built in), a name of the catalogue, a Hugging Face id, or the path of a
            checkpoint folder or weights file.
        precision: arithmetic of the towers; `auto` is the fastest that keeps a cosine of 0.999 to f32 on
            pictures and captions of the package, measured once per checkpoint and kept.
        device: `cpu` (OpenVINO); `cuda`, `cuda:1`, ... or `torch-cpu` (PyTorch).
        preprocess: `standard`, or `reference` for the exact pixels behind published scores.
        config: only for files that do not come with one.
        activation: only for files that do not say it.

    Raises:
        ConfigError: an unknown name, device, precision or preprocess mode.
        CheckpointError: the files are missing, damaged, ambiguous or not of a CLIP model.
        MissingExtraError: PyTorch is needed and not installed.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"precision is {precision!r}; it must be one of {', '.join(get_args(Precision))}.")
    if preprocess not in get_args(PreprocessMode):
        modes = ", ".join(get_args(PreprocessMode))
        raise ConfigError(f"preprocess is {preprocess!r}; it must be one of {modes}.")
    checkpoint = open_checkpoint(name, config=config, activation=activation)
    executor, resolved, note = _start_executor(checkpoint, device, precision)
    called = pull.public_name(name)
    return Engine(
        checkpoint, executor, name=called, precision=resolved, precision_note=note, preprocess=preprocess
    )


def open_checkpoint(
    name: str, *, config: ClipConfig | None = None, activation: Activation | None = None
) -> Checkpoint:
    """Find a model's files, fetch them if they are not here, and read them; arguments as in `load`.

    Raises:
        ConfigError: an unknown name.
        CheckpointError: the files are missing, damaged, ambiguous or not of a CLIP model.
        MissingExtraError: the weights are pickled and PyTorch is not installed.
    """
    path = pull.resolve(name)
    row = pull.known_row(name)
    if row is not None and config is None and read_config(path if path.is_dir() else path.parent) is None:
        config = row.config
    return read_checkpoint(path, config=config, activation=activation, read_pickle=_read_pickle)


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
        if isinstance(images, str | bytes | Path):
            raise InputError("images is a single picture.", "Give a list: [picture].")
        _require_batch_size(batch_size)
        vectors = np.empty((len(images), self.dim), dtype=np.float32)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for places in _cut(range(len(images)), batch_size):
                batch = [images[i] for i in places]
                names = ["" if isinstance(images[i], str | Path) else f"images[{i}]" for i in places]
                pixels = list(pool.map(self.prepare_image, batch, names))
                vectors[places] = self._encode_pixels(np.stack(pixels))
        return vectors

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

        Texts of like length go through together, cut behind the longest of them, which changes no
        result since attention is causal.

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

    def label_head(self, labels: Sequence[str], templates: Sequence[str] | None = None) -> Vectors:
        """One vector per label: each filled template embedded, averaged and normalised again.

        Heads are kept and found again by their content, so asking twice costs nothing.

        Args:
            labels: class names.
            templates: sentences with `{}` where the label goes; None is the label alone.

        Returns:
            float32 [len(labels), dim], rows of unit L2 norm; read-only.

        Raises:
            InputError: no labels, no templates, a template without `{}`, or an item that is no string.
        """
        prompts = _require_strings("templates", ["{}"] if templates is None else templates)
        names = _require_strings("labels", labels)
        for template in prompts:
            if "{}" not in template:
                raise InputError(f"The template {template[:80]!r} has no '{{}}' for the label.")
        key = hashlib.sha256(json.dumps([names, prompts]).encode()).hexdigest()
        head = self._heads.get(key)
        if head is None:
            head = np.concatenate(
                [
                    self._average_prompts([names[i] for i in places], prompts)
                    for places in _cut(range(len(names)), max(1, _PROMPTS_PER_CALL // len(prompts)))
                ]
            )
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
        groups = list(buckets.cut(tokens, batch_size))
        features = self._executor.encode_text_batches([group.tokens for group in groups])
        for group, rows in zip(groups, features, strict=True):
            vectors[group.places] = _unit(rows)
        return vectors

    def _average_prompts(self, labels: list[str], templates: list[str]) -> Vectors:
        texts = [template.replace("{}", label) for label in labels for template in templates]
        vectors = self.embed_texts(texts).reshape(len(labels), len(templates), self.dim)
        return _unit(vectors.mean(axis=1))


def _start_executor(checkpoint: Checkpoint, device: str, precision: Precision) -> tuple[Executor, str, str]:
    """An executor on `device`, the precision that it has, and what was measured of it."""
    config, tensors = checkpoint.config, checkpoint.tensors
    if device == "cpu":
        from clipworks.model import executor, quantize

        if precision == "f32" or precision == "bf16":
            return executor.GraphExecutor(config, tensors, precision=precision), precision, ""
        plan = quantize.find_plan(config, tensors, checkpoint.fingerprint, precision)
        started = executor.GraphExecutor(config, tensors, precision=plan.precision, scales=plan.scales)
        return started, plan.name, plan.sentence
    if device != "torch-cpu" and not device.startswith("cuda"):
        raise ConfigError(f"device is {device!r}; it must be cpu, cuda, cuda:N or torch-cpu.")
    if precision == "int8":
        raise ConfigError(f"precision='int8' does not run on device={device!r}.", "Use device='cpu'.")
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "f32"
    network = _import_network()
    place = device.removeprefix("torch-")
    return network.NetworkExecutor(config, tensors, device=place, precision=precision), precision, ""


def _import_network() -> Any:
    try:
        from clipworks.model import network
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("torch", "train") from error
    return network


def _read_pickle(file: Path) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = _import_network().read_pickle(file)
    return arrays


def _require_batch_size(batch_size: int) -> None:
    if not 1 <= batch_size <= MAX_BATCH_SIZE:
        raise ConfigError(f"batch_size is {batch_size}; it must be in 1..{MAX_BATCH_SIZE}.")


def _require_strings(name: str, values: Sequence[str]) -> list[str]:
    if isinstance(values, str):
        raise InputError(f"{name} is the single string {values[:40]!r}.", "Give a list: [text].")
    if not values:
        raise InputError(f"{name} is empty.", "Give at least one.")
    for i, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(f"{name}[{i}] is {type(value).__name__}; it must be a string.")
    return list(values)


def _cut(places: Iterable[int], size: int) -> Iterator[list[int]]:
    listed = [int(place) for place in places]
    yield from (listed[start : start + size] for start in range(0, len(listed), size))


def _unit(features: NDArray[np.float32]) -> Vectors:
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    if not np.isfinite(norms).all():
        raise CheckpointError(
            "The model gives features that are not finite numbers; its weights are damaged."
        )
    unit: Vectors = features / np.maximum(norms, np.float32(_SMALLEST_NORM))
    return unit
