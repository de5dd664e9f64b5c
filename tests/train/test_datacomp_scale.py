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
    """12,800 samples seen instead of 12.8 million; the gallery's pictures instead of the web's.

    As published: the crop, AdamW's betas, epsilon and decay, the cosine, the share of warm-up in the steps,
    shards drawn with replacement. Scaled with the samples: the batch, 4096 to 64, so that 200 steps remain;
    the model, to 64 pixels and 128 features; the rate, which a small model wants higher. Not as published:
    Muon for the matrices, as pictogram has it (AdamW alone reaches 12 times chance, Muon 22 times), and
    f32, for processors. Every 10th caption is held out with all pictures that have it; what is found is the
    mean of both ways.
    """
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "cache"))
    everything = list(_samples())
    distinct = {one.texts[0].lower(): one for one in reversed(everything)}
    held_out = dict(sorted(distinct.items())[::10])
    write_shards(
        (one for one in everything if one.texts[0].lower() not in held_out),
        tmp_path / "pool",
        samples_per_shard=300,
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
        matrix_learning_rate=2e-3,
        precision="f32",
        recompute=False,
    )
    task = captioned_task("held_out", [(one.image, text) for text, one in held_out.items()], config)
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
    found = (scores["held_out/image_to_text_r1"] + scores["held_out/text_to_image_r1"]) / 2
    assert found > 10 * chance


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
