"""Which precision a model gets on this processor: measured once on real inputs, then kept.

`int8` turns the inputs and weights of linear layers into eight bits; what loses most stays in the
processor's other precision, layer by layer. `auto` is the fastest precision whose every vector keeps
AIM of cosine to float32. The result is one small file of scales per checkpoint; weights are not
stored again.
"""

import io
import json
import logging
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import CheckpointError, ConfigError
from clipworks.files import NPZ_DAMAGE, atomic_write, cache_folder
from clipworks.model.calibration import Calibration, Samples, read_calibration, samples_hash
from clipworks.model.config import TOWERS, ClipConfig, Tower
from clipworks.model.executor import (
    GraphExecutor,
    GraphPrecision,
    compile_graph,
    describe_processor,
    has_bf16,
    has_int8,
    weight_limit,
)
from clipworks.model.fidelity import Fidelity, compare
from clipworks.model.graph import Weights, tower_graph
from clipworks.model.scales import Floats, LinearScale, fit

AIM = 0.999
"""Cosine to float32 that every held-out input keeps under `auto`."""
FLOOR = 0.99
"""Cosine below which `int8` gives layers back to the other precision."""
SMALLEST_INT8_WIDTH = 512
"""`auto` does not try narrower towers in int8; whether int8 would be faster there is not measured."""

logger = logging.getLogger(__name__)

_FOLDER = "precision"
"""Below the cache folder."""
_VERSION = 3
"""Changes whenever the same checkpoint and samples would give other scales or figures."""
_SHARES_KEPT = (0.0, 0.125, 0.25, 0.5)
"""Tried shares of a tower's linear layers that stay out of int8; those with the largest error."""
_ROWS_PER_LAYER = 256
_FIT_BATCH = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How a checkpoint runs on a processor."""

    precision: GraphPrecision
    """Of everything that is not int8."""
    scales: dict[str, LinearScale] = field(default_factory=dict)
    """The linear layers that run in int8."""
    fidelity: dict[Tower, Fidelity] = field(default_factory=dict)
    """Vectors on inputs that the scales were not fitted to, against float32."""

    @property
    def name(self) -> str:
        """`f32`, `bf16`, `int8`; `int8/bf16` where the image tower has one and the text tower another."""
        found = [self._tower_precision(tower) for tower in TOWERS]
        return "/".join(dict.fromkeys(found))

    @property
    def sentence(self) -> str:
        """What was chosen and what it costs, for people."""
        if not self.fidelity:
            return f"{self.name}."
        layers = f", {len(self.scales)} linear layers in int8" if self.scales else ""
        image, text = (self.fidelity[tower].cosine_min for tower in TOWERS)
        return (
            f"{self.name}{layers}: smallest cosine to f32 {image:.5f} for pictures and {text:.5f} for texts, "
            f"on {self.fidelity['vision'].n} pictures and {self.fidelity['text'].n} texts."
        )

    def _tower_precision(self, tower: Tower) -> str:
        return "int8" if any(name.startswith(f"{tower}.") for name in self.scales) else self.precision


def find_plan(
    config: ClipConfig, weights: Weights, fingerprint: str, precision: Literal["auto", "int8"]
) -> Plan:
    """The plan of a checkpoint, from the cache or measured now and put there.

    A cache that cannot be written to only means that the next start measures again.

    Args:
        config: shape of the model.
        weights: native float32 weights.
        fingerprint: of config and weights.
        precision: `int8`, or `auto` for the fastest that keeps AIM.

    Raises:
        ConfigError: int8 on a processor that does not compute in it.
        DataError: the package's gallery, on which is measured, is damaged.
        CheckpointError: the model gives features that are not finite numbers.
    """
    if precision == "int8" and not has_int8():
        raise ConfigError("This processor does not compute in int8.", "Use precision='auto'.")
    parts = (fingerprint, str(_VERSION), samples_hash(), describe_processor(), precision)
    name = f"{sha256('|'.join(parts).encode()).hexdigest()}.npz"
    plan = _read_plan(name)
    if plan is None:
        if config.vision.width >= SMALLEST_INT8_WIDTH:
            logger.warning("The precisions of this model are measured, once; that takes a minute or more.")
        plan = make_plan(config, weights, read_calibration(config), precision)
        with suppress(OSError), atomic_write(cache_folder() / _FOLDER / name) as file:
            file.write(_to_bytes(plan))
    return plan


def make_plan(
    config: ClipConfig, weights: Weights, calibration: Calibration, precision: Literal["auto", "int8"]
) -> Plan:
    """Measure what `find_plan` keeps; arguments as there."""
    trial = _Trial(config, weights, calibration)
    plan = Plan(precision="f32", fidelity={tower: trial.compare(tower, "f32") for tower in TOWERS})
    if has_bf16():
        found = {tower: trial.compare(tower, "bf16") for tower in TOWERS}
        if precision == "int8" or min(one.cosine_min for one in found.values()) >= AIM:
            plan = Plan(precision="bf16", fidelity=found)
    for tower in TOWERS:
        width = (config.vision if tower == "vision" else config.text).width
        if precision == "int8":
            plan = trial.add_int8(plan, tower, aim=FLOOR, is_forced=True)
        elif has_int8() and width >= SMALLEST_INT8_WIDTH:
            plan = trial.add_int8(plan, tower, aim=AIM, is_forced=False)
    return plan


class _Trial:
    """A checkpoint, the inputs it is measured on and what it makes of them in float32."""

    def __init__(self, config: ClipConfig, weights: Weights, calibration: Calibration) -> None:
        self._config = config
        self._weights = weights
        self._fitted = _by_tower(calibration.fitted)
        self._held_out = _by_tower(calibration.held_out)
        exact = GraphExecutor(config, weights, precision="f32")
        self._exact = {tower: _encode(exact, tower, self._held_out[tower]) for tower in TOWERS}
        if not all(np.isfinite(features).all() for features in self._exact.values()):
            raise CheckpointError(
                "The model gives features that are not finite numbers; its weights are damaged."
            )

    def compare(
        self, tower: Tower, precision: GraphPrecision, scales: dict[str, LinearScale] | None = None
    ) -> Fidelity:
        """A tower in another precision against itself in float32."""
        executor = GraphExecutor(self._config, self._weights, precision=precision, scales=scales)
        return compare(_encode(executor, tower, self._held_out[tower]), self._exact[tower])

    def add_int8(self, plan: Plan, tower: Tower, *, aim: float, is_forced: bool) -> Plan:
        """`plan` with as many layers of a tower in int8 as keep `aim`; where none do, with half if forced."""
        scales = self._fit(tower)
        names = sorted(scales, key=lambda name: scales[name].error)
        for share in _SHARES_KEPT:
            used = {name: scales[name] for name in names[: len(names) - round(share * len(names))]}
            found = self.compare(tower, plan.precision, used)
            is_last = share == _SHARES_KEPT[-1]
            if found.cosine_min >= aim or (is_forced and is_last):
                return replace(plan, scales=plan.scales | used, fidelity=plan.fidelity | {tower: found})
        return plan

    def _fit(self, tower: Tower) -> dict[str, LinearScale]:
        """A scale for each linear layer of a tower."""
        model = tower_graph(tower, self._config, self._weights, is_watched=True)
        names = [next(iter(output.get_names())) for output in model.outputs[1:]]
        request = compile_graph(model, "f32").create_infer_request()
        rows: dict[str, list[Floats]] = {name: [] for name in names}
        peaks: dict[str, Floats] = {}
        batches = [part for batch in self._fitted[tower] for part in _split(batch, _FIT_BATCH)]
        for batch in batches:
            request.infer([batch], share_inputs=True)
            for name, tensor in zip(names, request.output_tensors[1:], strict=True):
                seen = tensor.data.reshape(-1, tensor.shape[-1])
                peak = np.abs(seen).max(axis=0)
                peaks[name] = np.maximum(peaks.get(name, peak), peak)
                rows[name].append(_choose_rows(seen, -(-_ROWS_PER_LAYER // len(batches))))
        limit = weight_limit()
        return {
            name: fit(np.concatenate(rows[name]), peaks[name], self._weights[f"{name}.weight"], limit=limit)
            for name in names
        }


def _by_tower(samples: Samples) -> dict[Tower, list[NDArray[Any]]]:
    return {"vision": [samples.pixels], "text": list(samples.texts)}


def _encode(executor: GraphExecutor, tower: Tower, batches: list[NDArray[Any]]) -> Floats:
    if tower == "vision":
        return np.concatenate([executor.encode_images(batch) for batch in batches])
    return np.concatenate(executor.encode_text_batches(batches))


def _split(batch: NDArray[Any], size: int) -> list[NDArray[Any]]:
    return [np.ascontiguousarray(batch[start : start + size]) for start in range(0, len(batch), size)]


def _choose_rows(seen: Floats, count: int) -> Floats:
    """Evenly spaced rows, and in place of the last the one with the largest value: an outlier token."""
    places = np.linspace(0, len(seen) - 1, count).astype(np.int64)
    places[-1] = int(np.abs(seen).max(axis=1).argmax())
    chosen: Floats = seen[places].copy()
    return chosen


def _to_bytes(plan: Plan) -> bytes:
    """A plan as the bytes of an .npz file."""
    about = {
        "precision": plan.precision,
        "fidelity": {tower: one.to_json() for tower, one in plan.fidelity.items()},
        "scales": {name: [one.low, one.high, one.limit, one.error] for name, one in plan.scales.items()},
    }
    arrays: dict[str, Any] = {name: one.smooth for name, one in plan.scales.items()}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _read_plan(name: str) -> Plan | None:
    """The plan in a file; None where there is none or it is damaged, which measuring again repairs."""
    try:
        content = (cache_folder() / _FOLDER / name).read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            scales = {
                name: LinearScale(smooth=arrays[name], low=low, high=high, limit=limit, error=error)
                for name, (low, high, limit, error) in about["scales"].items()
            }
        fidelity = {tower: Fidelity(**values) for tower, values in about["fidelity"].items()}
        return Plan(precision=about["precision"], scales=scales, fidelity=fidelity)
    except NPZ_DAMAGE:
        return None
