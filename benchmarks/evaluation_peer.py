"""CLIP_benchmark's linear probe on a processor without CUDA: run by evaluation.py in the peer's environment.

    python benchmarks/evaluation_peer.py MODEL DATA SCRATCH

Its own program insists on CUDA; the device that it is given here calls itself so and is the processor.
Nothing else of it is changed: AdamW, ten passes, nineteen values of weight decay searched on validation.
"""

import json
import sys
from pathlib import Path

import open_clip
import torch
from clip_benchmark.datasets.builder import build_dataset
from clip_benchmark.metrics import linear_probe

BATCH, WORKERS = 64, 0


class Processor(str):
    """`cpu` that passes for `cuda` where that is asked."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return other == "cuda" or str.__eq__(self, str(other))


def main() -> None:
    model_name, data, scratch = sys.argv[1:4]
    model, _, transform = open_clip.create_model_and_transforms(model_name)
    for kind in (torch.nn.Module, torch.Tensor):
        setattr(kind, "cuda", lambda self, *_, **__: self)  # noqa: B010
    loaders = []
    for split in ("train", "val", "test"):
        found = build_dataset(
            f"wds/{Path(data).name}", root=data, split=split, transform=transform, task="linear_probe"
        )
        loaders.append(
            torch.utils.data.DataLoader(found.batched(BATCH), batch_size=None, num_workers=WORKERS)
        )
    result = linear_probe.evaluate(
        model,
        loaders[0],
        loaders[2],
        -1,
        BATCH,
        WORKERS,
        0.1,
        10,
        Path(data).name,
        0,
        scratch,
        Processor("cpu"),
        val_dataloader=loaders[1],
        normalize=True,
        amp=False,
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
