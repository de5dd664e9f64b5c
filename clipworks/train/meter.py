"""What is measured around a step and added to what it reports."""

from dataclasses import dataclass, replace

import torch

from clipworks.processes import peak_memory_bytes
from clipworks.train.config import TrainConfig
from clipworks.train.flops import peak_flops, step_flops
from clipworks.train.loader import Batch
from clipworks.train.metrics import Step


@dataclass(frozen=True, kw_only=True, slots=True)
class Meter:
    """Speed and memory of a run."""

    config: TrainConfig
    device: torch.device
    peak: float | None
    """Operations a second of all processes together at most; None where it is not known."""

    def complete(self, step: Step, batch: Batch, wait_seconds: float) -> Step:
        """The step with speed, share of the peak, waiting and memory."""
        patches = self.config.model.vision.grid**2 if batch.kept_BT is None else batch.kept_BT.shape[1]
        flops = step_flops(self.config, text_tokens=batch.tokens_BT.shape[1], image_patches=patches)
        seconds = step.seconds
        return replace(
            step,
            wait_seconds=wait_seconds,
            pairs_per_second=self.config.batch_size / seconds if seconds else 0.0,
            mfu=flops / seconds / self.peak if self.peak and seconds else None,
            memory_bytes=memory_bytes(self.device),
        )


def start_meter(config: TrainConfig, device: torch.device, world: int) -> Meter:
    """Measure or look up what the processors can do."""
    peak = peak_flops(device, config.precision)
    return Meter(config=config, device=device, peak=None if peak is None else peak * world)


def memory_bytes(device: torch.device) -> int:
    """Most memory that this process has used so far, on a graphics card that of PyTorch."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory_bytes()
