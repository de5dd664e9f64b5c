"""The metrics once more, as plain loops over plain numbers: nothing of the package is used."""

import numpy as np


def classes_of(vectors: np.ndarray, num_templates: int) -> np.ndarray:
    """Unit prompt vectors [C * P, D], class by class -> unit class vectors [C, D], in f64."""
    heads = []
    for start in range(0, len(vectors), num_templates):
        mean = vectors[start : start + num_templates].astype(np.float64).mean(axis=0)
        heads.append(mean / np.sqrt((mean**2).sum()))
    return np.stack(heads)


def accuracy_at(scores: np.ndarray, labels: list[int], k: int) -> float:
    hits = 0
    for row, label in zip(scores, labels, strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c))
        hits += label in order[:k]
    return hits / len(labels)


def predictions(scores: np.ndarray) -> list[int]:
    return [max(range(len(row)), key=lambda c: (row[c], -c)) for row in scores]


def mean_recall(said: list[int], labels: list[int]) -> float:
    recalls = []
    for c in sorted(set(labels)):
        own = [s for s, label in zip(said, labels, strict=True) if label == c]
        recalls.append(sum(s == c for s in own) / len(own))
    return sum(recalls) / len(recalls)


def macro_f1(said: list[int], labels: list[int]) -> float:
    scores = []
    for c in sorted(set(labels)):
        true = sum(s == c and label == c for s, label in zip(said, labels, strict=True))
        wrong = sum((s == c) != (label == c) for s, label in zip(said, labels, strict=True))
        scores.append(2 * true / (2 * true + wrong))
    return sum(scores) / len(scores)


def recalls_at(images: np.ndarray, texts: np.ndarray, owners: list[int], k: int) -> tuple[float, float]:
    """Recall of pictures by texts, and of texts by pictures."""
    scores = texts.astype(np.float64) @ images.astype(np.float64).T
    found = 0
    for t, owner in enumerate(owners):
        order = sorted(range(len(images)), key=lambda i: (-scores[t, i], i))
        found += owner in order[:k]
    right = 0
    for i in range(len(images)):
        order = sorted(range(len(texts)), key=lambda t: (-scores[t, i], t))
        right += any(owners[t] == i for t in order[:k])
    return found / len(owners), right / len(images)


def average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean over classes; no interpolation."""
    values = []
    for c in range(scores.shape[1]):
        order = sorted(range(len(scores)), key=lambda i: (-scores[i, c], i))
        hits, total = 0, 0.0
        for rank, i in enumerate(order, start=1):
            if targets[i, c]:
                hits += 1
                total += hits / rank
        values.append(total / max(hits, 1))
    return sum(values) / len(values)


def worst_group(hits: list[int], groups: list[int], without: tuple[int, ...] = ()) -> float:
    shares = []
    for g in sorted(set(groups) - set(without)):
        own = [h for h, group in zip(hits, groups, strict=True) if group == g]
        shares.append(sum(own) / len(own))
    return min(shares)


def jaccard(chosen: set[int], right: set[int]) -> float:
    return len(chosen & right) / len(chosen | right)
