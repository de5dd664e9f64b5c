"""Make tests/golden/training_open_clip.json: the losses of open_clip's own trainer over fifty steps.

Run it by hand, in an environment that has `open_clip_torch` (with `open_clip_train`) beside clipworks:

    python scripts/golden_training.py

open_clip's model gets the weights of tests/training_steps.py and its `train_one_epoch` the batches, with its
loss, its cosine schedule and its clamp of the scale. AdamW and which weights decay are set up as in its
`main`, which cannot be called for that alone.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import torch
from open_clip_train.scheduler import cosine_lr
from open_clip_train.train import train_one_epoch

ROOT = Path(__file__).parent.parent

sys.path.insert(0, str(ROOT / "tests"))

from training_steps import training_batches, training_config, training_model  # noqa: E402

from clipworks.files import write_json  # noqa: E402
from clipworks.model.formats import from_native  # noqa: E402


class Losses:
    """Takes the place of a TensorBoard writer."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add_scalar(self, name: str, value: float, _: int) -> None:
        self.values.setdefault(name, []).append(value)


class Batches(list[Any]):
    """A data loader over batches that are there."""

    num_samples = 0

    @property
    def num_batches(self) -> int:
        return len(self)


def main() -> None:
    config = training_config()
    shape = config.model
    model = open_clip.CLIP(
        embed_dim=shape.embed_dim,
        vision_cfg={"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 64},
        text_cfg={
            "context_length": 77,
            "vocab_size": shape.text.vocab_size,
            "width": 64,
            "heads": 1,
            "layers": 2,
        },
        output_dict=True,
    )
    weights = {name: p.detach().numpy() for name, p in training_model().named_parameters()}
    theirs = {
        name: torch.from_numpy(array) for name, array in from_native(weights, shape, "open_clip").items()
    }
    missing, unexpected = model.load_state_dict(theirs, strict=False)
    assert set(missing) <= {"attn_mask"} and not unexpected, (missing, unexpected)

    def decays(name: str, parameter: torch.Tensor) -> bool:
        parts = ("bn", "ln", "bias", "logit_scale")
        return parameter.ndim >= 2 and not any(part in name for part in parts)

    named = list(model.named_parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0.0},
            {"params": [p for n, p in named if decays(n, p)], "weight_decay": config.weight_decay},
        ],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
    )
    arguments = SimpleNamespace(
        **{"device": "cpu", "precision": "fp32", "distill": False, "accum_freq": 1, "skip_scheduler": False},
        **{"horovod": False, "grad_clip_norm": config.clip_norm, "rank": 0, "world_size": 1, "wandb": False},
        **{"log_every_n_steps": 1, "batch_size": config.batch_size},
    )
    batches = Batches(training_batches())
    batches.num_samples = config.steps * config.batch_size
    data = {"train": SimpleNamespace(dataloader=batches, set_epoch=lambda _: None)}
    losses = Losses()
    schedule = cosine_lr(optimizer, config.learning_rate, config.warmup_steps, config.steps)
    loss = open_clip.loss.ClipLoss()
    train_one_epoch(model, data, loss, 0, optimizer, None, schedule, None, arguments, losses)
    made_by = f"scripts/golden_training.py, open_clip {open_clip.__version__}, torch {torch.__version__}"
    found = losses.values
    write_json(
        ROOT / "tests" / "golden" / "training_open_clip.json",
        {
            "made_by": made_by,
            "losses": found["train/loss"],
            "scales": found["train/scale"],
            "rates": found["train/lr"],
        },
    )


if __name__ == "__main__":
    main()
