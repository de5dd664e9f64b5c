"""Train the image tower of a model on all captions of each picture at once; the texts' vectors stay.

    python -m recipes.pictogram_pictures MODEL OUT --data SHARDS

A step of `clipworks train` asks of a picture one of its captions, among those of 256 pictures. Where the
text tower stays (as the image tower does in LiT, arXiv:2111.07991), its vectors are made once for all
captions of the pool: then each picture is asked for all its captions, with their probabilities, among
thousands that are drawn often. The other way, one caption of each picture chooses among the pictures.

The logit of picture i and text t is scale * cosine, to which the first way adds log q(t), how often t is
drawn: that is what a choice among the captions of a large batch comes to, so cosines mean what they meant.
This holds for the texts that are drawn often. Another one (a fifth of the draws) stands among the wrong
answers only where a picture of the batch asks for it; what keeps it from other pictures is the other way.
A state is saved every 250 steps; the same command goes on from it.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from clipworks.errors import InputError
from clipworks.files import atomic_write
from clipworks.model.network import VisionTower
from clipworks.model.weights import Checkpoint, read_checkpoint, write_checkpoint
from clipworks.train import recipes
from clipworks.train.arithmetic import autocast_processor
from clipworks.train.augment import composite, draw_kept_patches, draw_moves, move, normalise
from clipworks.train.config import TrainConfig
from clipworks.train.loader import Dataset, ahead, read_dataset
from clipworks.train.optim import build_optimizers, set_rates
from recipes.pictogram_shading import shade
from recipes.pictogram_towers import embed_tokens, read_text_tower, read_vision_tower

STEPS = 3000
BANK = 16_384
"""Captions that every picture is asked among: those that are drawn most."""
LEAST_PROB = 0.005
"""Rarer captions of a picture are not asked: names in other languages, whose vectors are near the English.
Nor are they wrong answers."""
SAVE_EVERY_STEPS = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """The captions of a pool of N pictures and U texts, ready to be asked."""

    texts: tuple[NDArray[np.int64], ...]
    """Per picture the numbers of its captions, int64 [k]."""
    probs: tuple[NDArray[np.float32], ...]
    """Per picture how likely each is asked, float32 [k], adding up to 1; 0 for one that is not."""
    bank: NDArray[np.int64]
    """int64 [M], rising: the texts that are drawn most."""
    log_shares: NDArray[np.float32]
    """float32 [U]: log of how often a text is drawn, of all draws; -inf for one that never is."""
    vectors_UE: Tensor
    """float32 [U, E], unit rows."""


class Learner(nn.Module):
    """What trains: the image tower and the temperature."""

    def __init__(self, vision: VisionTower, logit_scale: float) -> None:
        super().__init__()
        self.vision = vision
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale))


def gather(dataset: Dataset, vectors_UE: Tensor) -> Questions:
    """What is asked of each picture, and how often each text is drawn by weights and probabilities."""
    texts, probs = list[NDArray[np.int64]](), list[NDArray[np.float32]]()
    for own, shares in zip(dataset.texts, dataset.probs, strict=True):
        prob = np.array(shares or [1.0] * len(own), dtype=np.float32)
        prob[(prob < LEAST_PROB) & (prob < prob.max())] = 0
        texts.append(np.array(own))
        probs.append(prob / prob.sum())
    shares_U = np.bincount(
        np.concatenate(texts),
        weights=np.concatenate([w * p for w, p in zip(dataset.weights, probs, strict=True)]),
        minlength=len(vectors_UE),
    )
    with np.errstate(divide="ignore"):
        log_shares = np.log(shares_U / shares_U.sum()).astype(np.float32)
    bank = np.sort(np.argsort(-shares_U, kind="stable")[: min(BANK, int((shares_U > 0).sum()))])
    return Questions(
        texts=tuple(texts), probs=tuple(probs), bank=bank, log_shares=log_shares, vectors_UE=vectors_UE
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A batch: B pictures, the C texts that are asked, and which of them are true."""

    pixels: NDArray[np.float32]
    """float32 [B, S, S, 3], 0..1."""
    moves: NDArray[np.float32]
    kept: NDArray[np.int64] | None
    """The patches that are shown; None for all."""
    columns: NDArray[np.int64]
    """int64 [C], rising: numbers of texts."""
    wanted: NDArray[np.float32]
    """float32 [B, C]: how likely each is asked of each picture; a row adds up to 1."""
    is_true: NDArray[np.bool_]
    """bool [B, C]: whether each is a caption of each picture, asked or not."""
    drawn: NDArray[np.int64]
    """int64 [B]: for each picture the column of one of its captions."""


def draw(dataset: Dataset, questions: Questions, config: TrainConfig, step: int) -> Asked:
    """The batch of a step, a function of data, seed and step alone; PyTorch is not touched."""
    rng = np.random.default_rng([config.seed, step])
    edges = dataset.weights.cumsum()
    picked = edges.searchsorted(rng.random(config.batch_size) * edges[-1], side="right")
    texts, probs = [questions.texts[i] for i in picked], [questions.probs[i] for i in picked]
    columns = np.union1d(questions.bank, np.concatenate(texts)[np.concatenate(probs) > 0])
    wanted = np.zeros((len(picked), len(columns)), dtype=np.float32)
    is_true = np.zeros(wanted.shape, dtype=np.bool_)
    drawn = np.empty(len(picked), dtype=np.int64)
    for row, (own, prob) in enumerate(zip(texts, probs, strict=True)):
        found = columns.searchsorted(own).clip(max=len(columns) - 1)
        is_true[row, found[columns[found] == own]] = True
        places = columns.searchsorted(own[prob > 0])
        wanted[row, places] = shares = prob[prob > 0]
        drawn[row] = places[min(int(shares.cumsum().searchsorted(rng.random())), len(places) - 1)]
    dropout = config.patch_dropout if step < config.steps - config.unmasked_steps else 0.0
    pictures, is_glyph = dataset.pictures[picked], dataset.is_glyph[picked]
    pictures[~is_glyph] = shade(pictures[~is_glyph], rng)
    return Asked(
        pixels=composite(pictures, is_glyph, rng, recolour=config.recolour, jitter=config.jitter),
        moves=draw_moves(len(picked), rng, zoom=config.zoom, shift=config.shift),
        kept=draw_kept_patches(len(picked), config.model.vision.grid**2, dropout, rng) if dropout else None,
        columns=columns,
        wanted=wanted,
        is_true=is_true,
        drawn=drawn,
    )


def score(image_BE: Tensor, asked: Asked, questions: Questions, scale: Tensor) -> Tensor:
    """Half the cross-entropy of pictures choosing texts, half that of texts choosing pictures; nats.

    What is true of a picture and not asked is no wrong answer, either way.
    """
    text_CE = questions.vectors_UE[torch.from_numpy(asked.columns)]
    drawn_B, wanted_BC = torch.from_numpy(asked.drawn), torch.from_numpy(asked.wanted)
    is_true_BC, log_shares_C = torch.from_numpy(asked.is_true), torch.from_numpy(questions.log_shares)
    logits_BC = scale * image_BE @ text_CE.T + log_shares_C[torch.from_numpy(asked.columns)]
    chosen_BC = logits_BC.masked_fill(is_true_BC & (wanted_BC == 0), -math.inf).log_softmax(dim=1)
    to_texts = -(wanted_BC * chosen_BC.masked_fill(wanted_BC == 0, 0)).sum(dim=1).mean()
    own_BB = torch.eye(len(drawn_B), dtype=torch.bool)
    shared_BB = is_true_BC.T[drawn_B] & ~own_BB
    to_images = (scale * text_CE[drawn_B] @ image_BE.T).masked_fill(shared_BB, -math.inf)
    return 0.5 * (to_texts + F.cross_entropy(to_images, torch.arange(len(drawn_B))))


def train(
    checkpoint: Checkpoint, dataset: Dataset, questions: Questions, config: TrainConfig, state: Path
) -> dict[str, NDArray[np.float32]]:
    """The weights with the trained image tower and temperature; a line on stderr every 50 steps.

    Args:
        checkpoint: what training begins from.
        dataset: pictures.
        questions: their captions.
        config: rates, steps, augmentation.
        state: a file; if it is there, training goes on from it.

    Raises:
        InputError: the state is of another model, pool or schedule.
    """
    learner = Learner(read_vision_tower(checkpoint), float(checkpoint.tensors["logit_scale"]))
    optimizers = build_optimizers(learner, config)
    origin = _origin(checkpoint, dataset, config)
    first = restore_state(state, learner, optimizers, origin) if state.is_file() else 0
    started, losses = time.perf_counter(), list[float]()
    batches = ahead(lambda step: draw(dataset, questions, config, step), range(first, config.steps))
    for step, asked in enumerate(batches, start=first):
        set_rates(optimizers, step, config)
        images = normalise(
            move(torch.from_numpy(asked.pixels).permute(0, 3, 1, 2), torch.from_numpy(asked.moves)),
            config.model.preprocess,
        ).contiguous()
        with autocast_processor("bf16"):
            features = learner.vision(images, None if asked.kept is None else torch.from_numpy(asked.kept))
        loss = score(F.normalize(features.float(), dim=-1), asked, questions, learner.logit_scale.exp())
        learner.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        assert config.clip_norm is not None
        torch.nn.utils.clip_grad_norm_(learner.parameters(), config.clip_norm)
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            learner.logit_scale.clamp_(0, math.log(config.largest_scale))
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            seconds = (time.perf_counter() - started) / len(losses)
            mean, scale = np.mean(losses[-50:]), learner.logit_scale.exp().item()
            sys.stderr.write(f"step {step + 1}  loss {mean:.3f}  scale {scale:.1f}  {seconds:.2f} s a step\n")
        if (step + 1) % SAVE_EVERY_STEPS == 0:
            save_state(state, learner, optimizers, {**origin, "taken": step + 1})
    learned = {name: value.detach().numpy() for name, value in learner.state_dict().items()}
    return {**checkpoint.tensors, **learned}


def save_state(
    state: Path, learner: Learner, optimizers: Sequence[torch.optim.Optimizer], facts: dict[str, Any]
) -> None:
    """Write what training goes on from: what it was made of and `taken`, the number of steps."""
    values = {"learner": learner.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
    with atomic_write(state) as file:
        torch.save({"facts": facts, **values}, file)


def restore_state(
    state: Path, learner: Learner, optimizers: Sequence[torch.optim.Optimizer], origin: dict[str, Any]
) -> int:
    """Load what was saved; how many steps had been taken.

    Raises:
        InputError: it was made of something else.
    """
    found = torch.load(state, weights_only=True)
    taken = int(found["facts"].pop("taken"))
    for name, value in origin.items():
        if found["facts"].get(name) != value:
            raise InputError(
                f"{state} was saved with {name} {found['facts'].get(name)}, not {value}.",
                "Take another folder, or delete the file to begin anew.",
            )
    learner.load_state_dict(found["learner"])
    for optimizer, values in zip(optimizers, found["optimizers"], strict=True):
        optimizer.load_state_dict(values)
    return taken


def _origin(checkpoint: Checkpoint, dataset: Dataset, config: TrainConfig) -> dict[str, Any]:
    return {
        "model": checkpoint.fingerprint,
        "pictures": len(dataset.texts),
        "texts": len(dataset.tokens),
        "seed": config.seed,
        "steps": config.steps,
    }


def main() -> None:
    """Train and write the model."""
    options = _parse_arguments()
    checkpoint = read_checkpoint(options.model)
    config = replace(
        recipes.pictogram(),
        model=checkpoint.config,
        steps=options.steps,
        seed=options.seed,
        learning_rate=5e-4,
        matrix_learning_rate=1e-3,
        patch_dropout=0.75,
        unmasked_steps=200,
    )
    dataset = read_dataset(options.data, config)
    tower = read_text_tower(checkpoint, dataset.token_rows)
    questions = gather(dataset, embed_tokens(tower, dataset.tokens))
    sys.stderr.write(f"{len(dataset.texts)} pictures, {len(dataset.tokens)} texts.\n")
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        tensors = train(checkpoint, dataset, questions, config, options.out / "state.pt")
    except InputError as error:
        sys.exit(f"{error} {error.remedy}")
    sys.stdout.write(write_checkpoint(options.out, checkpoint.config, tensors) + "\n")
    (options.out / "state.pt").unlink(missing_ok=True)


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the trained model")
    parser.add_argument("out", type=Path, help="folder of the new one")
    parser.add_argument("--data", type=Path, required=True, help="folder of the pool's shards")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
