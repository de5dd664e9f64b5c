"""Teach a trained model the names of emoji in other languages.

    python -m recipes.pictogram_languages MODEL OUT --emojibase DIR --tables DIR
    python -m recipes.pictogram_languages MODEL OUT2 --student OUT --english 384 --steps 300 …

The text tower learns to give a name in another language the vector that it gives to the English one, and to
keep its own vectors of English captions (Reimers and Gurevych, arXiv:2004.09813, with one tower in both
parts). The image tower is not touched. The second command goes on from what the first one made, with more
English, since that has forgotten some. Sentences: labels and tags of emojibase-data, which stand for the
same emoji in every language; English captions: the tables of the pool.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from recipes.pool_captions import sentences

STEPS = 900
BATCH_SIZE, ENGLISH = 512, 128
"""Sentences of a batch, and how many of them are English."""
MAX_TOKENS = 24
"""Longer sentences are left out: they would make a whole batch long."""
MAX_CAPTIONS = 60_000
"""English captions of the pool, those that training draws most."""
RATE = 1e-3
WARMUP_STEPS = 100
SCALE = 30.0
"""Factor on cosines in the choice among the sentences of a batch."""
_TABLE = "text.token_embedding.weight"


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Tokens of all sentences, as rows of the token table that is trained."""

    tokens: NDArray[np.int64]
    """int64 [S, T]: translations first, then English sentences."""
    wanted: NDArray[np.int64]
    """int64 [S]: the English sentence whose vector a sentence shall get; its own index for an English one."""
    num_translations: int
    token_rows: NDArray[np.int64]
    """int64 [K]: ids of the vocabulary that occur, ascending."""


def gather(emojibase: Path, tables: Path, context_length: int) -> Material:
    """All pairs of translations and their English names, and the English captions of the pool."""
    pairs = _short(sentences(emojibase), context_length)
    foreign = {text for text, _ in pairs}
    drawn = defaultdict[str, float](float)
    for text, share in _captions(tables):
        drawn[text] += share if text not in foreign else 0.0
    often = sorted(drawn, key=lambda text: (-drawn[text], text))[:MAX_CAPTIONS]
    english = dict.fromkeys([*(name for _, name in pairs), *(text for text in often if drawn[text] > 0)])
    place = {text: len(pairs) + number for number, text in enumerate(english)}
    tokens = tokenize([*(text for text, _ in pairs), *english], context_length=context_length)
    token_rows, places = np.unique(tokens, return_inverse=True)
    wanted = [*(place[name] for _, name in pairs), *place.values()]
    return Material(
        tokens=places.reshape(tokens.shape),
        wanted=np.array(wanted),
        num_translations=len(pairs),
        token_rows=token_rows,
    )


def teach(
    checkpoint: Checkpoint,
    material: Material,
    *,
    steps: int,
    seed: int,
    begun: Checkpoint | None = None,
    num_english: int = ENGLISH,
) -> dict[str, NDArray[np.float32]]:
    """The weights with a text tower that knows the translations; `begun` is what an earlier call has made."""
    torch.manual_seed(seed)
    begun = begun or checkpoint
    teacher = _tower(checkpoint, material)
    student = _tower(begun, material)
    _begin_unknown(student, material.token_rows[~_known(begun)[material.token_rows]], material)
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    english = np.arange(material.num_translations, len(material.tokens))
    targets = torch.cat(
        [_vectors(teacher, material, rows) for rows in np.array_split(english, -(-len(english) // 512))]
    )
    for step, rows in enumerate(_batches(material, steps, seed, num_english)):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARMUP_STEPS, 1 - step / steps)
        targets_BE = targets[torch.from_numpy(material.wanted[rows] - material.num_translations)]
        with autocast_processor("bf16"):
            features_BE = student(_cut(material, rows))
        vectors_BE = F.normalize(features_BE.float(), dim=-1)
        loss = _loss(vectors_BE, targets_BE, material.wanted[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            cosine = (vectors_BE * targets_BE).sum(dim=-1).mean().item()
            sys.stderr.write(
                f"step {step}  loss {loss.item():.3f}  cosine to the English vector {cosine:.3f}\n"
            )
    learned = {f"text.{name}": value.detach().numpy() for name, value in student.state_dict().items()}
    table = begun.tensors[_TABLE].copy()
    table[material.token_rows] = learned[_TABLE]
    return {**checkpoint.tensors, **learned, _TABLE: table}


def _loss(vectors_BE: Tensor, targets_BE: Tensor, wanted: NDArray[np.int64]) -> Tensor:
    """Distance to the wanted vector, and the choice of it among all wanted ones of the batch."""
    _, first, inverse = np.unique(wanted, return_index=True, return_inverse=True)
    logits = SCALE * vectors_BE @ targets_BE[torch.from_numpy(first)].T
    distance = 1 - (vectors_BE * targets_BE).sum(dim=-1).mean()
    return distance + 0.1 * F.cross_entropy(logits, torch.from_numpy(inverse))


def _batches(material: Material, steps: int, seed: int, num_english: int) -> Iterator[NDArray[np.int64]]:
    """Random sentences of about one length, so that little of a batch is padding."""
    random = np.random.default_rng(seed)
    split = material.num_translations
    lengths = material.tokens.argmax(axis=1)
    by_length = [
        np.argsort(lengths[:split], kind="stable"),
        split + np.argsort(lengths[split:], kind="stable"),
    ]
    for _ in range(steps):
        at, chosen = random.random(), list[NDArray[np.int64]]()
        for ordered, count in zip(by_length, (BATCH_SIZE - num_english, num_english), strict=True):
            width = max(count, len(ordered) // 10)
            first = int(at * max(0, len(ordered) - width))
            chosen.append(random.choice(ordered[first : first + width], count))
        yield np.concatenate(chosen)


def _vectors(tower: TextTower, material: Material, rows: NDArray[np.int64]) -> Tensor:
    """Unit vectors of some sentences, float32 [B, E]."""
    with torch.no_grad(), autocast_processor("bf16"):
        return F.normalize(tower(_cut(material, rows)).float(), dim=-1)


def _cut(material: Material, rows: NDArray[np.int64]) -> Tensor:
    """Tokens of some sentences, as many columns as the longest has."""
    tokens = material.tokens[rows]
    return torch.from_numpy(tokens[:, : int(tokens.argmax(axis=1).max()) + 1])


def _tower(checkpoint: Checkpoint, material: Material) -> TextTower:
    config = checkpoint.config
    tower = TextTower(
        replace(config.text, vocab_size=len(material.token_rows)), config.embed_dim, config.activation
    )
    weights = {
        name.removeprefix("text."): torch.from_numpy(value)
        for name, value in checkpoint.tensors.items()
        if name.startswith("text.")
    }
    weights["token_embedding.weight"] = weights["token_embedding.weight"][
        torch.from_numpy(material.token_rows)
    ]
    tower.load_state_dict(weights)
    return tower


def _known(checkpoint: Checkpoint) -> NDArray[np.bool_]:
    """bool [vocabulary]: tokens that the model was trained with."""
    known: NDArray[np.bool_] = np.any(checkpoint.tensors[_TABLE], axis=1)
    return known


def _begin_unknown(student: TextTower, ids: NDArray[np.int64], material: Material) -> None:
    """Random rows for tokens that the model has never seen, as wide as those that it has."""
    places = torch.from_numpy(np.searchsorted(material.token_rows, ids))
    table = student.token_embedding.weight
    with torch.no_grad():
        seen = torch.ones(len(table), dtype=torch.bool)
        seen[places] = False
        table[places] = torch.randn(len(places), table.shape[1]) * table[seen].std()


def _short(pairs: list[tuple[str, str]], context_length: int) -> list[tuple[str, str]]:
    """Without those of many tokens: some scripts take several for a letter."""
    lengths = tokenize([text for text, _ in pairs], context_length=context_length).argmax(axis=1)
    return [pair for pair, length in zip(pairs, lengths, strict=True) if length < MAX_TOKENS]


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
    material = gather(options.emojibase, options.tables, checkpoint.config.text.context_length)
    sys.stderr.write(
        f"{material.num_translations} translations, {len(material.token_rows)} tokens, "
        f"{len(material.tokens) - material.num_translations} English sentences.\n"
    )
    begun = read_checkpoint(options.student) if options.student is not None else None
    tensors = teach(
        checkpoint,
        material,
        steps=options.steps,
        seed=options.seed,
        begun=begun,
        num_english=options.english,
    )
    sys.stdout.write(write_checkpoint(options.out, checkpoint.config, tensors) + "\n")


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the trained model")
    parser.add_argument("out", type=Path, help="folder of the new one")
    parser.add_argument("--emojibase", type=Path, required=True, help="npm's emojibase-data, unpacked")
    parser.add_argument("--tables", type=Path, required=True, help="folder with the pool's tables")
    parser.add_argument("--student", type=Path, help="go on with this model, which an earlier call has made")
    parser.add_argument("--english", type=int, default=ENGLISH, help=f"English sentences of {BATCH_SIZE}")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
