"""What a device multiplies matrices in."""

from functools import cache

import torch

from clipworks.train.config import TrainPrecision


def autocast_type(precision: TrainPrecision, device: torch.device) -> torch.dtype | None:
    """What the matrix products of a run are in besides float32; None for that alone.

    A processor without bfloat16 instructions takes float32 for `bf16`: it would need tens of times longer.
    """
    if precision == "bf16":
        return torch.bfloat16 if has_bfloat16(device) else None
    return torch.float16 if precision == "fp16" else None


def autocast_processor(precision: TrainPrecision) -> torch.autocast:
    """What is computed in it on the processor has its matrix products in that arithmetic."""
    kind = autocast_type(precision, torch.device("cpu"))
    return torch.autocast("cpu", kind, enabled=kind is not None)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; each but a processor is taken to."""
    return device.type != "cpu" or _processor_has_bfloat16()


@cache
def _processor_has_bfloat16() -> bool:
    return any(known for name, known in torch.cpu.get_capabilities().items() if name.endswith("bf16"))
