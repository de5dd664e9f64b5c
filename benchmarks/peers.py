"""The engines that `benchmarks/inference.py` measures: ours, and others on the same weights and inputs.

Needs benchmarks/requirements-peers.txt. Each engine is a function from a batch to features.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipworks.model import formats, network
from clipworks.model.config import ClipConfig, Tower
from clipworks.model.executor import GraphExecutor
from clipworks.model.published import to_hf_config
from clipworks.model.quantize import Plan
from clipworks.model.scales import Scales

Floats = NDArray[np.float32]
Engine = Callable[[Any], Floats]
"""Prepared inputs -> features, float32 [B, E]."""

OPEN_CLIP = "open_clip eager f32"


def random_weights(config: ClipConfig, seed: int = 7) -> formats.Tensors:
    """Native float32 weights of full width whose activations stay of order 1."""
    random = np.random.default_rng(seed)
    weights: formats.Tensors = {}
    for name, shape in formats.native_shapes(config).items():
        values = random.standard_normal(shape, dtype=np.float32)
        if name == "logit_scale":
            values = np.array(4.6, dtype=np.float32)
        elif ".ln_" in name and name.endswith("weight"):
            values = 1 + 0.2 * values
        elif len(shape) > 1 and "embedding" not in name:
            values /= np.float32(np.sqrt(np.prod(shape[1:])))
        elif name.endswith("patch_embedding.weight"):
            values /= np.float32(np.sqrt(np.prod(shape[1:])))
        else:
            values *= np.float32(0.3)
        weights[name] = values.astype(np.float32)
    return weights


def peer_engines(
    tower: Tower, architecture: str, config: ClipConfig, weights: formats.Tensors, folder: Path
) -> dict[str, Engine]:
    """Other packages' engines for a tower; images as float32 [B, 3, S, S], texts as int64 [B, 77].

    Args:
        tower: which one.
        architecture: open_clip's name of the shape.
        config: the same shape.
        weights: native weights.
        folder: for exported files, a few GB.
    """
    import onnxruntime
    from fastembed.common.onnx_model import OnnxModel

    path = _export(tower, config, weights, folder)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    fast: Any = type("Fast", (OnnxModel,), {"__init__": lambda self: None})()
    fast._load_onnx_model(folder, path.name, threads=None)
    return {
        OPEN_CLIP: _open_clip(tower, architecture, config, weights),
        "transformers sdpa f32": _transformers(tower, config, weights),
        "onnxruntime f32": _session(session),
        "onnxruntime dynamic int8": _session(_dynamic_int8(path)),
        "fastembed's engine": _session(fast.model),
    }


def own_engines(tower: Tower, config: ClipConfig, weights: formats.Tensors, plan: Plan) -> dict[str, Engine]:
    """Our executor in each precision; images as uint8 [B, S, S, 3], texts as a list of int64 [B, T]."""

    def engine(precision: Any, scales: Scales | None = None) -> Engine:
        executor = GraphExecutor(config, weights, precision=precision, scales=scales)
        if tower == "vision":
            return executor.encode_images
        return lambda batches: np.concatenate(executor.encode_text_batches(batches))

    return {
        "clipworks f32": engine("f32"),
        "clipworks bf16": engine("bf16"),
        "clipworks int8": engine(plan.precision, plan.scales),
    }


def _open_clip(tower: Tower, architecture: str, config: ClipConfig, weights: formats.Tensors) -> Engine:
    import open_clip

    model = open_clip.create_model(architecture).eval()
    state = formats.from_native(weights, config, "open_clip")
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    if tower == "vision":
        return _eager(model.visual)
    return _eager(model.encode_text)


def _transformers(tower: Tower, config: ClipConfig, weights: formats.Tensors) -> Engine:
    from transformers import CLIPConfig, CLIPModel

    values = to_hf_config(config)
    make: Any = CLIPModel._from_config
    model = make(CLIPConfig(**values), attn_implementation="sdpa").eval()
    state = formats.from_native(weights, config, "hf")
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    model.load_state_dict(tensors, strict=False)

    def features(batch: torch.Tensor) -> torch.Tensor:
        found = model.get_image_features(batch) if tower == "vision" else model.get_text_features(batch)
        result: torch.Tensor = found if isinstance(found, torch.Tensor) else found.pooler_output
        return result

    return _eager(features)


def _eager(function: Any) -> Engine:
    def run(batch: NDArray[Any]) -> Floats:
        with torch.inference_mode():
            features: Floats = function(torch.from_numpy(batch)).numpy()
        return features

    return run


def _export(tower: Tower, config: ClipConfig, weights: formats.Tensors, folder: Path) -> Path:
    """The tower as an ONNX file with any number of rows, from our PyTorch network."""
    path = folder / f"{tower}.onnx"
    model = network.Clip(config).eval()
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    module = model.vision if tower == "vision" else model.text
    side = config.vision.image_size
    sample = torch.zeros(2, 3, side, side) if tower == "vision" else _sample_tokens(config)
    with _quiet(), torch.inference_mode():
        torch.onnx.export(
            module,
            (sample,),
            str(path),
            input_names=["input"],
            output_names=["features"],
            dynamic_axes={"input": {0: "batch"}, "features": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    return path


def _sample_tokens(config: ClipConfig) -> torch.Tensor:
    tokens = torch.zeros(2, config.text.context_length, dtype=torch.int64)
    tokens[:, 0], tokens[:, 5] = 49406, 49407
    return tokens


def _dynamic_int8(path: Path) -> Any:
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = path.with_suffix(".int8.onnx")
    with _quiet():
        # Without its convolution, which onnxruntime has in int8 for other layouts only.
        quantize_dynamic(path, small, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
    return onnxruntime.InferenceSession(str(small), providers=["CPUExecutionProvider"])


def _session(session: Any) -> Engine:
    def run(batch: NDArray[Any]) -> Floats:
        features: Floats = session.run(None, {"input": batch})[0]
        return features

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
