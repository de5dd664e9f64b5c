"""Linear heads on disk: read back as written, for one model only."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import clipworks
from clipworks.errors import CheckpointError
from clipworks.model.linear import LinearHead, Tap, read_head, write_head
from clipworks.model.tensorfiles import safetensors_bytes
from tests.conftest import TinyClip
from tests.tiny_clip import tiny_pixels


def head_for(engine: clipworks.Engine, tap: Tap) -> LinearHead:
    width = engine.dim if tap == "after" else engine.config.vision.width
    weight = np.random.default_rng(1).standard_normal((3, width)).astype(np.float32)
    return LinearHead(
        classes=("a fox", "été", "c"),
        weight=weight,
        bias=np.array([0.5, 0, -0.5], dtype=np.float32),
        tap=tap,
        model="tiny",
        fingerprint=engine.fingerprint,
    )


@pytest.mark.parametrize("tap", ["before", "after"])
def test_a_head_is_read_back_as_it_was_written_and_scores_what_its_features_say(
    tiny_clip: TinyClip, tmp_path: Path, tap: Tap
) -> None:
    engine = clipworks.load(tiny_clip.native, precision="f32")
    head = head_for(engine, tap)
    write_head(tmp_path / "head.safetensors", head)
    again = read_head(tmp_path / "head.safetensors")
    assert (again.classes, again.tap, again.fingerprint) == (head.classes, tap, engine.fingerprint)
    pictures = list(tiny_pixels())
    features = engine.embed_images(pictures) if tap == "after" else engine.features.pooled_images(pictures)
    logits = (features @ head.weight.T + head.bias).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert again.classify(engine, pictures) == pytest.approx(expected, abs=1e-5)


def test_equal_heads_give_equal_bytes(tiny_clip: TinyClip, tmp_path: Path) -> None:
    head = head_for(clipworks.load(tiny_clip.native, precision="f32"), "after")
    for name in ("one", "two"):
        write_head(tmp_path / name, head)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_another_model_is_refused_and_the_right_one_named(tiny_clip: TinyClip) -> None:
    engine = clipworks.load(tiny_clip.native, precision="f32")
    head = replace(head_for(engine, "after"), fingerprint="f" * 64, model="runs/mine")
    with pytest.raises(CheckpointError, match="--model runs/mine"):
        head.classify(engine, list(tiny_pixels()))


@pytest.mark.parametrize("content", [None, b"", b"not safetensors", "weights"])
def test_what_is_no_head_is_one_sentence(tmp_path: Path, content: bytes | str | None) -> None:
    file = tmp_path / "head.safetensors"
    if content == "weights":
        file.write_bytes(safetensors_bytes({"weight": np.zeros((2, 3), dtype=np.float32)}))
    elif isinstance(content, bytes):
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"head\.safetensors"):
        read_head(file)
