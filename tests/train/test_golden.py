"""Fifty steps against open_clip's trainer."""

import json
from pathlib import Path

import numpy as np
import pytest
from training_steps import VOCABULARY, training_batches, training_config, training_model

from clipworks.train.distributed import Processes
from clipworks.train.loader import Batch
from clipworks.train.step import build_learner, take_step

GOLDEN = Path(__file__).parents[1] / "golden" / "training_open_clip.json"


@pytest.mark.slow
def test_fifty_losses_are_those_of_open_clip() -> None:
    """From the same weights, batches and settings; their texts have 77 tokens, ours end with the longest."""
    golden = json.loads(GOLDEN.read_text())
    learner = build_learner(training_config(), np.arange(VOCABULARY), Processes(), training_model())
    steps = []
    for number, (images, tokens) in enumerate(training_batches()):
        batch = Batch(images_BCHW=images, tokens_BT=tokens, captions=None, kept_BT=None)
        steps.append(take_step(learner, batch, number, 0.0))
    losses = np.array([step.loss for step in steps])
    assert losses[-1] < 0.7 * losses[0]
    assert np.abs(losses / golden["losses"] - 1).max() < 1e-4
    assert np.allclose([step.learning_rate for step in steps], golden["rates"], rtol=1e-12)
    # open_clip reports the scale that a step found, we the one that it left.
    assert np.allclose([step.logit_scale for step in steps][:-1], golden["scales"][1:], rtol=1e-4)
