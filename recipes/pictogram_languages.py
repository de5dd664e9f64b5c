"""Teach a trained model the names of emoji in other languages, and what phrases are about.

    python -m recipes.pictogram_languages MODEL OUT --emojibase DIR --wordnet DIR --tables DIR

The text tower learns to give a name in another language the vector that it gives to the English one, and to
keep its own vectors of English (Reimers and Gurevych, arXiv:2004.09813, with one tower in both parts). The
image tower is not touched. Sentences: labels and tags of emojibase-data, which stand for the same emoji in
every language. English that is kept: those names, captions of the pool's tables, and words, definitions and
examples of WordNet, most of which no picture shows: without them the tower forgets that they are far from
pictures. English that is moved: phrases, most of the way to the word that they are about.
"""

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipworks.model.network import TextTower
from clipworks.model.tokenizer import tokenize
from clipworks.model.weights import Checkpoint, read_checkpoint, write_checkpoint
from clipworks.tables import read_batches
from clipworks.train.arithmetic import autocast_processor
from recipes.pictogram_phrases import make_phrases
from recipes.pictogram_towers import TABLE, cut_tokens, embed_tokens, read_text_tower
from recipes.pool_captions import sentences

STEPS = 3000
GROUPS = {"translations": 192, "names": 64, "captions": 128, "phrases": 128, "words": 192}
"""Sentences of each group in a batch; all but the first are English."""
MAX_TOKENS = 24
"""Longer sentences are left out: they would make a whole batch long."""
MAX_CAPTIONS = 60_000
"""English captions of the pool, those that training draws most."""
MAX_WORDS = 150_000
"""Words, definitions and examples of WordNet, by chance."""
MIN_SENTENCES = 2
"""Translations that a token has to stand in for a row in the model, where it had none before."""
HEAD_SHARE = 0.7
"""Of the vector that a phrase shall get, how much is that of its head; the rest is its own."""
RATE = 1e-3
WARMUP_STEPS = 100
SCALE = 30.0
"""Factor on cosines in the choice among the sentences of a batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Tokens of all sentences, as rows of the token table that is trained."""

    tokens: NDArray[np.int64]
    """int64 [S, T]: translations first, then English sentences, in the order of GROUPS."""
    wanted: NDArray[np.int64]
    """int64 [S]: the English sentence whose vector a sentence shall get; its own index for an English one."""
    heads: NDArray[np.int64]
    """int64 [S]: the sentence that names what a phrase is; its own index for all that are no phrases."""
    ends: tuple[int, ...]
    """Where each group of sentences ends."""
    token_rows: NDArray[np.int64]
    """int64 [K]: ids of the vocabulary that occur, ascending."""
    uses: NDArray[np.int64]
    """int64 [K]: in how many translations each of them stands."""


def gather(emojibase: Path, wordnet: Path, tables: Path, context_length: int) -> Material:
    """All pairs of translations and their English names, the English captions of the pool, and WordNet."""
    pairs = sentences(emojibase)
    short = set(_short([text for text, _ in pairs], context_length))
    pairs = [pair for pair in pairs if pair[0] in short]
    foreign = {text for text, _ in pairs}
    drawn = defaultdict[str, float](float)
    for text, share in _captions(tables):
        drawn[text] += share
    often = sorted((text for text in drawn if drawn[text] > 0), key=lambda text: (-drawn[text], text))
    english = dict.fromkeys(name for _, name in pairs)
    ends = [len(pairs), len(pairs) + len(english)]
    phrases = make_phrases(wordnet, often, MAX_CAPTIONS)
    for group in (often[:MAX_CAPTIONS], [phrase for phrase, _ in phrases], read_words(wordnet)):
        english |= dict.fromkeys(text for text in _short(group, context_length) if text not in foreign)
        ends.append(len(pairs) + len(english))
    place = {text: len(pairs) + number for number, text in enumerate(english)}
    heads = np.arange(len(pairs) + len(english))
    for phrase, head in phrases:
        if ends[2] <= place.get(phrase, -1) < ends[3] and head in place:
            heads[place[phrase]] = place[head]
    tokens = tokenize([*(text for text, _ in pairs), *english], context_length=context_length)
    token_rows, places = np.unique(tokens, return_inverse=True)
    places = places.reshape(tokens.shape)
    used = np.concatenate([np.unique(row) for row in places[: len(pairs)]])
    return Material(
        tokens=places,
        wanted=np.array([*(place[name] for _, name in pairs), *place.values()]),
        heads=heads,
        ends=tuple(ends),
        token_rows=token_rows,
        uses=np.bincount(used, minlength=len(token_rows)),
    )


def read_words(wordnet: Path, count: int = MAX_WORDS) -> list[str]:
    """Words of every part of speech, their definitions and examples, in an order of chance."""
    found = dict[str, None]()
    for path in sorted(wordnet.glob("data.*")):
        for line in path.read_text("latin-1").splitlines():
            if line[:1] != " ":
                facts, _, gloss = line.partition("|")
                found[facts.split()[4].replace("_", " ").partition("(")[0]] = None
                found |= dict.fromkeys(part.strip(' "') for part in gloss.split(";"))
    shuffled = sorted(found)
    random.Random(0).shuffle(shuffled)
    return shuffled[:count]


def teach(
    checkpoint: Checkpoint, material: Material, *, steps: int, seed: int
) -> dict[str, NDArray[np.float32]]:
    """The weights with a text tower that knows translations and phrases."""
    torch.manual_seed(seed)
    teacher, student = (read_text_tower(checkpoint, material.token_rows) for _ in range(2))
    known = np.any(checkpoint.tensors[TABLE], axis=1)[material.token_rows]
    _begin_rows(student, known, material.uses >= MIN_SENTENCES)
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    first_english = material.ends[0]
    own = embed_tokens(teacher, material.tokens[first_english:])
    heads = own[torch.from_numpy(material.heads[first_english:] - first_english)]
    targets = F.normalize((1 - HEAD_SHARE) * own + HEAD_SHARE * heads, dim=-1)
    for step, rows in enumerate(_batches(material, steps, seed)):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARMUP_STEPS, 1 - step / steps)
        targets_BE = targets[torch.from_numpy(material.wanted[rows] - first_english)]
        with autocast_processor("bf16"):
            features_BE = student(cut_tokens(material.tokens[rows]))
        vectors_BE = F.normalize(features_BE.float(), dim=-1)
        loss = _loss(vectors_BE, targets_BE, material.wanted[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            _report(step, loss, (vectors_BE * targets_BE).sum(dim=-1))
    learned = {f"text.{name}": value.detach().numpy() for name, value in student.state_dict().items()}
    table = checkpoint.tensors[TABLE].copy()
    table[material.token_rows] = learned[TABLE]
    return {**checkpoint.tensors, **learned, TABLE: table}


def _report(step: int, loss: Tensor, cosines_B: Tensor) -> None:
    means = [part.mean().item() for part in torch.split(cosines_B, list(GROUPS.values()))]
    told = "  ".join(f"{name} {mean:.3f}" for name, mean in zip(GROUPS, means, strict=True))
    sys.stderr.write(f"step {step}  loss {loss.item():.3f}  cosines to the wanted vectors: {told}\n")


def _loss(vectors_BE: Tensor, targets_BE: Tensor, wanted: NDArray[np.int64]) -> Tensor:
    """Distance to the wanted vector, and the choice of it among all wanted ones of the batch."""
    _, first, inverse = np.unique(wanted, return_index=True, return_inverse=True)
    logits = SCALE * vectors_BE @ targets_BE[torch.from_numpy(first)].T
    distance = 1 - (vectors_BE * targets_BE).sum(dim=-1).mean()
    return distance + 0.1 * F.cross_entropy(logits, torch.from_numpy(inverse))


def _batches(material: Material, steps: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Random sentences of about one length, so that little of a batch is padding."""
    chance = np.random.default_rng(seed)
    lengths = material.tokens.argmax(axis=1)
    by_length = [
        start + np.argsort(lengths[start:end], kind="stable") for start, end in pairwise((0, *material.ends))
    ]
    for _ in range(steps):
        at, chosen = chance.random(), list[NDArray[np.int64]]()
        for ordered, count in zip(by_length, GROUPS.values(), strict=True):
            width = max(count, len(ordered) // 10)
            first = int(at * max(0, len(ordered) - width))
            chosen.append(chance.choice(ordered[first : first + width], count))
        yield np.concatenate(chosen)


def _begin_rows(student: TextTower, known: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> None:
    """Random rows, as wide as the known ones, for wanted tokens without one; all others stay empty."""
    table = student.token_embedding.weight
    rows = torch.from_numpy(~known & wanted)
    with torch.no_grad():
        spread = table[torch.from_numpy(known)].std()
        table[rows] = torch.randn(int(rows.sum()), table.shape[1]) * spread
    is_taught = torch.from_numpy(known | wanted).float()[:, None]
    table.register_hook(lambda gradient: gradient * is_taught)  # type: ignore[no-untyped-call]


def _short(texts: Sequence[str], context_length: int) -> list[str]:
    """Without those of many tokens: some scripts take several for a letter."""
    lengths = tokenize(texts, context_length=context_length).argmax(axis=1)
    return [text for text, length in zip(texts, lengths, strict=True) if length < MAX_TOKENS]


def _captions(tables: Path) -> Iterator[tuple[str, float]]:
    """Every caption of every picture, and how often training draws it."""
    for path in sorted(tables.glob("*.parquet")):
        for batch in read_batches(path, ["probs", "weight"]):
            for probs, weight in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield from ((one["text"], one["prob"] * weight) for one in probs)


def main() -> None:
    """Train and write the model."""
    options = _parse_arguments()
    checkpoint = read_checkpoint(options.model)
    material = gather(
        options.emojibase, options.wordnet, options.tables, checkpoint.config.text.context_length
    )
    counts = [end - start for start, end in pairwise((0, *material.ends))]
    sys.stderr.write(f"{dict(zip(GROUPS, counts, strict=True))}, {len(material.token_rows)} tokens.\n")
    tensors = teach(checkpoint, material, steps=options.steps, seed=options.seed)
    sys.stdout.write(write_checkpoint(options.out, checkpoint.config, tensors) + "\n")


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the trained model")
    parser.add_argument("out", type=Path, help="folder of the new one")
    parser.add_argument("--emojibase", type=Path, required=True, help="npm's emojibase-data, unpacked")
    parser.add_argument("--wordnet", type=Path, required=True, help="folder of WordNet's database")
    parser.add_argument("--tables", type=Path, required=True, help="folder with the pool's tables")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
