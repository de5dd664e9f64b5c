"""Heads and centroids."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from curate_pools import unit

from clipworks.curate.clusters import (
    nearest_centroids,
    read_matrix,
    read_targets,
    target_centroids,
    train_centroids,
)
from clipworks.curate.scorers import open_scorer
from clipworks.errors import CheckpointError, ConfigError, DataError
from clipworks.model.tensorfiles import safetensors_bytes


def write_head(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> Path:
    """A safetensors file with words in its header."""
    plain = safetensors_bytes(tensors)
    size = struct.unpack("<Q", plain[:8])[0]
    header = json.loads(plain[8 : 8 + size]) | {"__metadata__": metadata}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + plain[8 + size :])
    return path


def test_a_head_is_the_network_it_describes(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    w = [chance.standard_normal(shape).astype(np.float32) for shape in ((6, 4), (3, 6), (1, 3))]
    b = [chance.standard_normal(len(one)).astype(np.float32) for one in w]
    mean, variance = chance.random(4).astype(np.float32), chance.random(4).astype(np.float32)
    tensors = {f"layers.{2 * n}.weight": one for n, one in enumerate(w)}
    tensors |= {f"layers.{2 * n}.bias": one for n, one in enumerate(b)} | {"mean": mean, "variance": variance}
    x = chance.standard_normal((5, 4))
    rows = x / np.linalg.norm(x, axis=1, keepdims=True)
    hidden = (rows - mean) / np.sqrt(variance)
    for layer in range(3):
        hidden = (np.maximum(hidden, 0) if layer else hidden) @ w[layer].T + b[layer]
    scorer = open_scorer(write_head(tmp_path / "head.safetensors", tensors, {"features": "b32_img"}))
    assert scorer.features == "b32_img"
    assert scorer.score(x) == pytest.approx(1 / (1 + np.exp(-hidden[:, 0])), rel=1e-4)
    plain = {"activation": "none", "output": "none", "unit": "0"}
    linear = write_head(tmp_path / "linear.safetensors", {"0.weight": w[0][:1], "0.bias": b[0][:1]}, plain)
    assert open_scorer(linear).score(x) == pytest.approx(x @ w[0][0] + b[0][0], rel=1e-4)
    two = write_head(tmp_path / "two.safetensors", {"0.weight": w[0][:2]}, {"output": "softmax", "unit": "0"})
    logits = np.exp(x @ w[0][:2].T)
    assert open_scorer(two).score(x) == pytest.approx(logits[:, 1] / logits.sum(axis=1), rel=1e-4)
    with pytest.raises(DataError, match="reads 4 features; a row has 5"):
        scorer.score(np.zeros((1, 5)))


def test_heads_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    w = np.zeros((2, 4), np.float32)
    wrong = write_head(tmp_path / "a.safetensors", {"0.weight": w, "1.weight": w}, {})
    with pytest.raises(CheckpointError, match="layers do not fit"):
        open_scorer(wrong)
    with pytest.raises(CheckpointError, match="layers do not fit"):
        open_scorer(write_head(tmp_path / "b.safetensors", {"x": w}, {}))
    with pytest.raises(CheckpointError, match="activation 'gelu'"):
        open_scorer(write_head(tmp_path / "c.safetensors", {"0.weight": w}, {"activation": "gelu"}))
    with pytest.raises(CheckpointError):
        open_scorer(tmp_path / "none.safetensors")


def test_k_means_finds_clusters_that_lie_apart_whatever_the_blocks() -> None:
    chance = np.random.default_rng(2)
    centres = 20 * unit(chance, 5, 8)
    rows = (np.repeat(centres, 40, axis=0) + chance.standard_normal((200, 8)))[chance.permutation(200)]

    def cost(found: np.ndarray) -> float:
        return float(((rows[:, None] - found[None]) ** 2).sum(axis=2).min(axis=1).sum())

    one = train_centroids(lambda: [rows], 5, seed=1)
    many = train_centroids(lambda: np.array_split(rows, 7), 5, seed=1)
    assert one == pytest.approx(many, rel=1e-4)
    costs = [cost(train_centroids(lambda: [rows], 5, seed=seed)) for seed in range(6)]
    assert min(costs) < 1.02 * cost(
        np.array([rows[nearest(rows, centres) == k].mean(axis=0) for k in range(5)])
    )
    with pytest.raises(ConfigError, match="300 centroids are wanted of 200 rows"):
        train_centroids(lambda: [rows], 300)
    with pytest.raises(ConfigError, match="num_centroids is 0"):
        train_centroids(lambda: [rows], 0)


def nearest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.asarray(((rows[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1))


def test_a_centroid_without_rows_takes_half_of_the_largest() -> None:
    rows = np.repeat([[1.0, 0.0], [0.0, 1.0]], 10, axis=0)
    centroids = train_centroids(lambda: [rows], 4, seed=0)
    assert np.isfinite(centroids).all()
    assert len(np.unique(nearest(rows, centroids))) == 2


def test_targets_are_the_centroids_nearest_to_some_row(tmp_path: Path) -> None:
    centroids = np.eye(4, dtype=np.float32)
    blocks = [np.array([[0.1, 0.9, 0, 0]]), np.array([[0, 0, 0, 2.0], [0, 5, 0, 4]])]
    assert target_centroids(lambda: blocks, centroids).tolist() == [1, 3]
    assert target_centroids(lambda: [], centroids).tolist() == []
    assert nearest_centroids(np.ones((1, 4)), centroids).tolist() == [0]  # the first of equals
    with pytest.raises(DataError, match="Features have 3 numbers, the centroids 4"):
        nearest_centroids(np.ones((1, 3)), centroids)
    np.save(tmp_path / "ids.npy", np.array([1, 3]))
    assert read_targets(tmp_path / "ids.npy").tolist() == [1, 3]
    for read, name in ((read_matrix, "ids.npy"), (read_targets, "none.npy")):
        with pytest.raises(DataError, match="cannot be read as a table"):
            read(tmp_path / name)
