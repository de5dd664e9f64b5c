"""DataComp's small scale at a thousandth: its recipe on the gallery's pictures learns what it never saw."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clipworks.model.config import ClipConfig, TextConfig, VisionConfig
from clipworks.shards import Sample, write_shards
from clipworks.train.held_out import captioned_task, score_tasks
from clipworks.train.loop import train
from clipworks.train.metrics import METRICS
from clipworks.train.recipes import find

GALLERY = Path(__file__).parents[2] / "clipworks" / "gallery"
SAMPLES_SEEN = 12_800
BATCH = 64


@pytest.mark.slow
def test_a_thousandth_of_the_small_scale_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """12,800 samples seen of 2,127; the schedule in proportion, a model of a few million weights."""
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "cache"))
    everything = list(_samples())
    held_out = everything[::10]
    write_shards(
        (one for n, one in enumerate(everything) if n % 10), tmp_path / "pool", samples_per_shard=300
    )
    published = find("datacomp-small")
    steps = SAMPLES_SEEN // BATCH
    config = replace(
        published,
        model=ClipConfig(
            vision=VisionConfig(image_size=64, patch_size=16, width=128, layers=3, heads=2, mlp_width=512),
            text=TextConfig(width=128, layers=2, heads=2, mlp_width=512),
            embed_dim=128,
            activation="gelu",
        ),
        batch_size=BATCH,
        steps=steps,
        warmup_steps=round(steps * published.warmup_steps / published.steps),
        learning_rate=2e-3,
        precision="f32",
        recompute=False,
    )
    task = captioned_task("held_out", [(one.image, one.texts[0]) for one in held_out], config)
    scores: dict[str, float] = {}
    run = train(
        config,
        tmp_path / "pool",
        tmp_path / "run",
        on_eval=lambda learner, _: scores.update(score_tasks(learner, [task])) or scores,
    )
    losses = [json.loads(line)["loss"] for line in (run / METRICS).read_text().splitlines()]
    assert len(losses) == steps
    assert sum(losses[-20:]) / 20 < math.log(BATCH) / 2
    chance = 1 / len(held_out)
    # Nine times chance so far; ten is the aim (issue 6), which these settings miss by one picture.
    assert scores["held_out/image_to_text_r1"] > 5 * chance


def _samples() -> Iterator[Sample]:
    """The gallery's captioned pictures in the order of their names."""
    rows = [
        json.loads(line) for line in (GALLERY / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    for row in sorted(rows, key=lambda row: str(row["file"])):
        path = GALLERY / row["file"]
        if row["caption"]:
            yield Sample(
                key=path.stem, image=path.read_bytes(), extension=path.suffix[1:], texts=(row["caption"],)
            )
