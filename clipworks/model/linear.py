"""Linear heads: a classifier over a model's features, in a file beside the checkpoint.

`clipworks probe` and `clipworks finetune` write them, `clipworks classify --head FILE` reads them. A head
knows the checkpoint it was fitted on by its fingerprint and refuses any other.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import CheckpointError
from clipworks.files import atomic_write
from clipworks.model.tensorfiles import read_safetensors, safetensors_bytes

if TYPE_CHECKING:
    from clipworks.model.engine import Engine
    from clipworks.model.preprocess import ImageInput

Tap = Literal["before", "after"]
"""Where features are read: `before` the projection into the space of texts, not of unit length, as
OpenAI's probes do; or `after` it, unit vectors as everything else of this package reads them."""

TAPS: tuple[Tap, ...] = get_args(Tap)

FORMAT = "clipworks linear head 1"


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearHead:
    """Scores of classes as a linear function of a picture's features."""

    classes: tuple[str, ...]
    """Names, in the order of the rows of `weight`; at least two."""
    weight: NDArray[np.float32]
    """float32 [classes, width of the features]."""
    bias: NDArray[np.float32]
    """float32 [classes]."""
    tap: Tap
    """Which features it reads."""
    model: str
    """Name of the model it was fitted on, for people."""
    fingerprint: str
    """Fingerprint of that model, 64 hex characters."""

    def read_features(self, engine: "Engine", images: "Sequence[ImageInput]") -> NDArray[np.float32]:
        """What `scores` reads, float32 [N, width].

        Raises:
            CheckpointError: `engine` is another model.
            InputError: a picture cannot be used.
        """
        self.require_model(engine)
        return engine.embed_images(images) if self.tap == "after" else engine.features.pooled_images(images)

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of the classes: float32 [N, width] -> float32 [N, classes], rows sum to 1."""
        logits = (features @ self.weight.T + self.bias).astype(np.float64)
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
        return shares.astype(np.float32)

    def classify(self, engine: "Engine", images: "Sequence[ImageInput]") -> NDArray[np.float32]:
        """Probabilities of the classes for pictures, float32 [len(images), classes]; errors as above."""
        return self.scores(self.read_features(engine, images))

    def require_model(self, engine: "Engine") -> None:
        """Refuse another model than the one that the head was fitted on.

        Raises:
            CheckpointError: the fingerprints differ.
        """
        if engine.fingerprint != self.fingerprint:
            raise CheckpointError(
                f"The head was fitted on {self.model} (fingerprint {self.fingerprint[:12]}…), "
                f"not on {engine.name} ({engine.fingerprint[:12]}…).",
                f"Pass that model: --model {self.model}.",
            )


def write_head(path: Path, head: LinearHead) -> None:
    """Write a head as a safetensors file, atomically; equal heads give equal bytes."""
    about = {
        "format": FORMAT,
        "classes": list(head.classes),
        "tap": head.tap,
        "model": head.model,
        "fingerprint": head.fingerprint,
    }
    text = np.frombuffer(json.dumps(about, ensure_ascii=False, sort_keys=True).encode(), dtype=np.uint8)
    with atomic_write(path) as file:
        file.write(safetensors_bytes({"weight": head.weight, "bias": head.bias, "about": text}))


def read_head(path: Path) -> LinearHead:
    """Read a head that `write_head` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist.", "Name a head.safetensors of probe or finetune.")
    tensors = read_safetensors(path)
    try:
        about: dict[str, Any] = json.loads(tensors["about"].tobytes())
        if about["format"] != FORMAT or about["tap"] not in TAPS:
            raise ValueError(f"its format is {about['format']!r}")
        head = LinearHead(
            classes=tuple(map(str, about["classes"])),
            weight=tensors["weight"].astype(np.float32),
            bias=tensors["bias"].astype(np.float32),
            tap=about["tap"],
            model=str(about["model"]),
            fingerprint=str(about["fingerprint"]),
        )
        count = len(head.classes)
        if head.weight.ndim != 2 or len(head.weight) != count or head.bias.shape != (count,):
            raise ValueError("its tensors have another number of classes than it names")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no linear head: {error}.", "Name a head.safetensors of probe or finetune."
        ) from error
    return head
