"""Image towers on a graphics card, ours beside open_clip's; writes benchmarks/results/gpu.json.

Both in bfloat16 on the same seeded random weights of full width and the same pixels, in turns; ours from
uint8 pixels in memory to float32 features in memory, as `embed_pixels` works, open_clip's with its
float32 pixels and its features left on the card. Needs benchmarks/requirements-peers.txt.

Run: python -m benchmarks.gpu [--device cuda]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import open_clip
import torch

from benchmarks.inference import SHAPES, image_gflop
from benchmarks.machine import write_result
from benchmarks.peers import random_weights
from clipworks.model import catalogue, formats
from clipworks.model.config import ClipConfig
from clipworks.model.fidelity import compare
from clipworks.model.network import NetworkExecutor

PEAK_SIDE = 8192


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the image towers on a graphics card.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the program out")
    parser.add_argument("--batch", type=int, default=256, help="pictures at once")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    peak = _peak_tflops(device)
    results: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "peak_tflops_bf16": round(peak, 1),
        "batch": arguments.batch,
    }
    for shape in arguments.shapes:
        results[shape] = _measure(shape, device, arguments.batch, arguments.rounds, peak)
        print(shape, results[shape], flush=True)
    write_result("gpu", results)


def _measure(shape: str, device: torch.device, batch: int, rounds: int, peak: float) -> dict[str, Any]:
    architecture, known = SHAPES[shape]
    row = catalogue.find(known).config
    assert row is not None
    config = ClipConfig(vision=row.vision, text=row.text, embed_dim=row.embed_dim, activation="gelu")
    weights = random_weights(config)
    side = config.vision.image_size
    pixels = np.random.default_rng(1).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    ours = NetworkExecutor(
        config, weights, device=str(device), precision="bf16", is_compiled=device.type == "cuda"
    )
    exact = NetworkExecutor(config, weights, device=str(device), precision="f32")
    theirs = _open_clip(architecture, config, weights, device, pixels)
    calls: dict[str, Callable[[], Any]] = {
        "clipworks bf16": lambda: ours.encode_images(pixels),
        "open_clip bf16": theirs,
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 2):  # the first two compile and warm up
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            _wait(device)
            if number >= 2:
                seconds[name].append(time.perf_counter() - start)
    gflop = batch * image_gflop(config)
    fidelity = compare(ours.encode_images(pixels[:32]), exact.encode_images(pixels[:32]))
    result: dict[str, Any] = {"fidelity_to_f32": fidelity.to_json(), "n": rounds}
    for name, values in seconds.items():
        median = statistics.median(values)
        result[name] = {
            "images_per_s": round(batch / median, 1),
            "min_ms": round(1000 * min(values), 2),
            "median_ms": round(1000 * median, 2),
            "share_of_peak": round(gflop / median / 1000 / peak, 3),
        }
    ratios = [b / a for a, b in zip(seconds["clipworks bf16"], seconds["open_clip bf16"], strict=True)]
    result["ratio"] = round(statistics.median(ratios), 2)
    return result


def _open_clip(
    architecture: str,
    config: ClipConfig,
    weights: formats.Tensors,
    device: torch.device,
    pixels: np.ndarray[Any, np.dtype[np.uint8]],
) -> Callable[[], torch.Tensor]:
    model = open_clip.create_model(architecture).eval()
    state = formats.from_native(weights, config, "open_clip")
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    model.to(device)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (config.preprocess.mean, config.preprocess.std))
    floats = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std

    def run() -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            features: torch.Tensor = model.encode_image(floats.to(device))
        return features

    return run


def _peak_tflops(device: torch.device) -> float:
    """The best rate of one large bfloat16 matrix product, 10^12 operations per second."""
    side = PEAK_SIDE if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        a @ a
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best / 1e12


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
