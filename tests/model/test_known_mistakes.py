"""The mistakes that ports of CLIP are known to make in the towers and with tokens, one test each.

Each test shows two things on the tiny CLIP: what this package computes is right, and the mistake would be
noticed, since it moves every vector by a hundred times the tolerance. `plain_clip` computes both; that it is
right itself is shown against transformers' and open_clip's own numbers. Those with pixels are in
test_known_pixel_mistakes.py.
"""

import json
import shutil
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from plain_clip import Port, plain_images, plain_texts, unit
from tiny_clip import FAMILIES, TinyClip, tiny_config, tiny_pixels, tiny_tokens, tiny_weights

from clipworks.model.config import ClipConfig
from clipworks.model.engine import Engine
from clipworks.model.formats import Family, Tensors
from clipworks.model.loading import load
from clipworks.model.tokenizer import EOT, SOT, encode, tokenize
from clipworks.model.weights import read_checkpoint, write_checkpoint

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parent.parent / "golden"
TOLERANCE = 1e-5
NOTICED = 100 * TOLERANCE

Array = NDArray[Any]

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch comes with clipworks[train]")


@pytest.fixture(params=["cpu", pytest.param("torch-cpu", marks=needs_torch)])
def device(request: pytest.FixtureRequest) -> str:
    """Each of the two executors."""
    return str(request.param)


@cache
def loaded(path: Path, device: str) -> Engine:
    return load(str(path), precision="f32", device=device)


def written(folder: Path, config: ClipConfig, weights: Tensors) -> Path:
    write_checkpoint(folder, config, weights)
    return folder


def assert_right(found: Array, right: Array) -> None:
    np.testing.assert_allclose(found, unit(right), atol=TOLERANCE)


def assert_noticed(right: Array, wrong: Array) -> None:
    """Every row of the wrong features lies farther from the right one than any tolerance."""
    assert np.abs(unit(right) - unit(wrong)).max(axis=1).min() > NOTICED


def check_both_towers(clip: TinyClip, device: str, wrong: Port, path: Path | None = None) -> None:
    engine = loaded(clip.folders["native"] if path is None else path, device)
    pixels, tokens = tiny_pixels(), tiny_tokens()
    right = plain_images(clip.config, clip.weights, pixels)
    assert_right(engine.embed_pixels(pixels), right)
    assert_noticed(right, plain_images(clip.config, clip.weights, pixels, wrong))
    right = plain_texts(clip.config, clip.weights, tokens)
    assert_right(engine._encode_tokens(tokens, 2), right)
    assert_noticed(right, plain_texts(clip.config, clip.weights, tokens, wrong))


def check_texts(clip: TinyClip, device: str, wrong: Port, tokens: NDArray[np.int64]) -> None:
    right = plain_texts(clip.config, clip.weights, tokens)
    assert_right(loaded(clip.folders["native"], device)._encode_tokens(tokens, 2), right)
    assert_noticed(right, plain_texts(clip.config, clip.weights, tokens, wrong))


@pytest.mark.parametrize("package", ["transformers", "open_clip"])
def test_the_oracle_gives_what_the_reference_packages_give(any_tiny_clip: TinyClip, package: str) -> None:
    config, weights = any_tiny_clip.config, any_tiny_clip.weights
    golden = json.loads((GOLDEN / f"clip_{package}.json").read_text())[config.activation]
    images = unit(plain_images(config, weights, tiny_pixels()))
    texts = unit(plain_texts(config, weights, tiny_tokens()))
    np.testing.assert_allclose(images[:, :8], golden["images"], atol=2e-6)
    np.testing.assert_allclose(texts[:, :8], golden["texts"], atol=2e-6)


# --- inside the towers ----------------------------------------------------------------------------


def test_gelu_is_not_quick_gelu(tiny_clip: TinyClip, device: str) -> None:
    check_both_towers(tiny_clip, device, Port(activation="quick_gelu"))


def test_quick_gelu_is_not_gelu(tiny_clip_quick: TinyClip, device: str) -> None:
    check_both_towers(tiny_clip_quick, device, Port(activation="gelu"))


def test_gelu_is_the_exact_one_and_not_the_tanh_form(
    tiny_clip: TinyClip, device: str, tmp_path: Path
) -> None:
    # The two forms differ by 5e-4 at most, where their input is about -2.2: the MLPs are moved there.
    random = np.random.default_rng(0)
    weights = dict(tiny_clip.weights)
    for name, array in weights.items():
        if name.endswith("up.bias"):
            weights[name] = random.uniform(-3.2, -1.6, array.shape).astype(np.float32)
        elif name.endswith(("up.weight", "down.weight")):
            weights[name] = array * np.float32(0.1 if "up" in name else 8)
    path = written(tmp_path / "moved", tiny_clip.config, weights)
    check_both_towers(replace(tiny_clip, weights=weights), device, Port(activation="tanh_gelu"), path)


def test_the_epsilon_of_layer_norm_is_1e_5_and_not_timms_1e_6(
    tiny_clip: TinyClip, device: str, tmp_path: Path
) -> None:
    # Trained token tables are small (a standard deviation of 0.02 or less), and there it matters.
    small = ("token_embedding", "position_embedding", "class_embedding", "patch_embedding")
    weights = {
        name: array * np.float32(0.02) if any(part in name for part in small) else array
        for name, array in tiny_clip.weights.items()
    }
    clip = replace(tiny_clip, weights=weights)
    path = written(tmp_path / "small", clip.config, weights)
    check_both_towers(clip, device, Port(layer_norm_eps=1e-6), path)


def test_the_image_tower_is_normed_before_its_blocks(tiny_clip: TinyClip, device: str) -> None:
    pixels = tiny_pixels()
    right = plain_images(tiny_clip.config, tiny_clip.weights, pixels)
    assert_right(loaded(tiny_clip.folders["native"], device).embed_pixels(pixels), right)
    wrong = plain_images(tiny_clip.config, tiny_clip.weights, pixels, Port(has_ln_pre=False))
    assert_noticed(right, wrong)


@pytest.fixture(scope="module")
def square_clip(tmp_path_factory: pytest.TempPathFactory) -> TinyClip:
    """Widths equal to the shared space: a projection that lies the wrong way fits all the same."""
    config = tiny_config("gelu")
    config = replace(config, embed_dim=128, text=replace(config.text, width=128, heads=2, mlp_width=512))
    weights = tiny_weights(config)
    folder = tmp_path_factory.mktemp("square")
    for family in FAMILIES:
        write_checkpoint(folder / family, config, weights, family=family)
    return TinyClip(config=config, weights=weights, folders={name: folder / name for name in FAMILIES})


@pytest.mark.parametrize("family", ["native", "open_clip", "hf"])
def test_projections_lie_the_right_way_even_where_both_ways_fit(
    square_clip: TinyClip, device: str, family: Family
) -> None:
    wrong = Port(is_projection_transposed=False)
    check_both_towers(square_clip, device, wrong, square_clip.folders[family])


@pytest.mark.parametrize("order", ["kqv", "vkq", "qvk", "kvq", "vqk"])
@pytest.mark.parametrize("family", ["open_clip", "hf"])
def test_the_attention_input_is_query_key_value(
    tiny_clip: TinyClip, device: str, family: Family, order: str
) -> None:
    check_both_towers(tiny_clip, device, Port(qkv_order=order), tiny_clip.folders[family])


def test_later_words_do_not_reach_earlier_ones(tiny_clip: TinyClip, device: str) -> None:
    check_texts(tiny_clip, device, Port(is_causal=False), tiny_tokens())


def test_layer_norm_is_not_computed_in_half_precision(
    tiny_clip: TinyClip, device: str, tmp_path: Path
) -> None:
    # One channel of 300, as trained towers have: its square is beyond float16.
    weights = {name: array.copy() for name, array in tiny_clip.weights.items()}
    weights["vision.class_embedding"][5] = 300
    weights["text.position_embedding"][:, 5] = 300
    weights["vision.ln_pre.weight"][5] = 300
    write_checkpoint(tmp_path, tiny_clip.config, weights, dtype="f16")
    rounded = read_checkpoint(tmp_path).tensors
    clip = replace(tiny_clip, weights=rounded)
    check_both_towers(clip, device, Port(is_layer_norm_half=True), tmp_path)


@needs_torch
def test_inference_is_not_left_in_training_mode(tiny_clip: TinyClip) -> None:
    engine = loaded(tiny_clip.folders["native"], "torch-cpu")
    model: Any = engine._executor._model  # type: ignore[attr-defined]
    assert not any(module.training for module in model.modules())
    once, again = (engine.embed_pixels(tiny_pixels()) for _ in range(2))
    assert np.array_equal(once, again)
    # What training does on purpose, looking at half of the patches, would be noticed.
    import torch

    mean, std = (np.array(x) for x in (tiny_clip.config.preprocess.mean, tiny_clip.config.preprocess.std))
    images = torch.from_numpy(((tiny_pixels() / 255 - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        dropped = model.vision(images, torch.arange(8).expand(len(images), -1)).numpy()
    assert_noticed(once, dropped)


# --- where a text is read, and what is padding ----------------------------------------------------


def test_a_text_is_read_at_its_first_end_token_and_not_at_the_last_place(
    tiny_clip: TinyClip, device: str
) -> None:
    check_texts(tiny_clip, device, Port(reading="last place"), tiny_tokens()[:2])
    ended = tiny_tokens()[:2]
    for row in ended:
        row[int(row.argmax()) :] = EOT
    check_texts(tiny_clip, device, Port(reading="last place"), ended)
    engine = loaded(tiny_clip.folders["native"], device)
    np.testing.assert_allclose(
        engine._encode_tokens(ended, 2), engine._encode_tokens(tiny_tokens()[:2], 2), atol=TOLERANCE
    )


BANG = "wow!\u2602 a cat"
"""`!` in front of a sign that no merge joins it with: its id is 0, the padding's."""


def test_id_0_is_the_exclamation_mark_wherever_it_stands_before_the_end(
    tiny_clip: TinyClip, device: str
) -> None:
    tokens = tokenize([BANG])
    assert 0 in encode(BANG)
    check_texts(tiny_clip, device, Port(masked_id=0), tokens)
    check_texts(tiny_clip, device, Port(reading="before first 0"), tokens)


def test_padding_with_zeros_with_end_tokens_or_not_at_all_is_the_same(
    tiny_clip: TinyClip, device: str
) -> None:
    zeros = tokenize(["a photo of a cat", BANG])
    ends = np.where(np.arange(77) > zeros.argmax(axis=1)[:, None], EOT, zeros)
    cut = zeros[:, : int(zeros.argmax(axis=1).max()) + 1]
    right = plain_texts(tiny_clip.config, tiny_clip.weights, zeros)
    for tokens in (zeros, ends, cut):
        assert_right(loaded(tiny_clip.folders["native"], device)._encode_tokens(tokens, 2), right)
        np.testing.assert_allclose(plain_texts(tiny_clip.config, tiny_clip.weights, tokens), right)


def test_the_end_token_of_old_transformers_configs_is_not_believed(
    tiny_clip: TinyClip, device: str, tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    shutil.copytree(tiny_clip.folders["hf"], folder)
    values = json.loads((folder / "config.json").read_text())
    values["text_config"] |= {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    (folder / "config.json").write_text(json.dumps(values))
    tokens = tiny_tokens()
    right = plain_texts(tiny_clip.config, tiny_clip.weights, tokens)
    assert_right(loaded(folder, device)._encode_tokens(tokens, 2), right)
    wrong = plain_texts(tiny_clip.config, tiny_clip.weights, tokens, Port(reading="first 2"))
    assert_noticed(right, wrong)
    np.testing.assert_allclose(unit(wrong), np.repeat(unit(wrong[:1]), 3, axis=0), atol=TOLERANCE)


def test_a_text_that_is_too_long_keeps_its_end_token(tiny_clip: TinyClip, device: str) -> None:
    text = "a cat and a dog on a mat " * 20
    tokens = tokenize([text])
    assert (tokens[0, 0], tokens[0, -1]) == (SOT, EOT)
    right = plain_texts(tiny_clip.config, tiny_clip.weights, tokens)
    assert_right(loaded(tiny_clip.folders["native"], device).embed_texts([text]), right)
    without_end = np.array([[SOT, *encode(text)[:76]]])
    assert_noticed(right, plain_texts(tiny_clip.config, tiny_clip.weights, without_end))


# --- what is made of the features -----------------------------------------------------------------


def test_features_are_those_behind_the_projection(
    tiny_clip: TinyClip, square_clip: TinyClip, device: str
) -> None:
    check_both_towers(square_clip, device, Port(is_projected=False))
    before = plain_images(tiny_clip.config, tiny_clip.weights, tiny_pixels(), Port(is_projected=False))
    after = loaded(tiny_clip.folders["native"], device).embed_pixels(tiny_pixels())
    assert (before.shape[1], after.shape[1]) == (128, tiny_clip.config.embed_dim)


def test_vectors_have_unit_length_and_scores_are_scaled_once(tiny_clip: TinyClip, device: str) -> None:
    engine = loaded(tiny_clip.folders["native"], device)
    pixels, labels = tiny_pixels(), ["a cat", "a dog", "a house"]
    images = plain_images(tiny_clip.config, tiny_clip.weights, pixels)
    texts = plain_texts(tiny_clip.config, tiny_clip.weights, tokenize(labels))
    scale = float(np.exp(tiny_clip.weights["logit_scale"]))
    cosines = unit(images) @ unit(texts).T
    pictures = list(pixels)
    np.testing.assert_allclose(engine.similarity(pictures, labels), cosines, atol=TOLERANCE)
    right = softmax(scale * cosines)
    np.testing.assert_allclose(engine.classify(pictures, labels), right, atol=scale * TOLERANCE)
    for wrong in (images @ texts.T, 100 * scale * cosines, scale**2 * cosines, cosines):
        assert np.abs(softmax(wrong) - right).max(axis=1).min() > 100 * scale * TOLERANCE


def softmax(logits: Array) -> Array:
    shares: Array = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)
