"""The five published models at full width against open_clip's and transformers' own numbers.

The weights are drawn (tests/full_width.py), the numbers were made by scripts/golden_full_width.py, which
needs the two packages; these tests do not, but for the last two. One model is in memory at a time.
"""

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from full_width import CAPTIONS, checksum, full_width_pixels, full_width_weights, published_rows
from numpy.typing import NDArray
from other_libraries import open_clip_of, transformers_of
from PIL import Image

from clipworks.model.catalogue import find
from clipworks.model.config import Activation, ClipConfig
from clipworks.model.engine import Engine, Executor
from clipworks.model.executor import GraphExecutor
from clipworks.model.formats import Tensors
from clipworks.model.loading import load
from clipworks.model.tokenizer import tokenize
from clipworks.model.weights import Checkpoint

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parent.parent / "golden"
TOLD = json.loads((GOLDEN / "full_width.json").read_text())["models"]
PACKAGES = ("open_clip", "transformers")
FEATURES = 1e-5
LOGITS = 1e-3
NOTICED = 300 * FEATURES
OTHER: dict[Activation, Activation] = {"gelu": "quick_gelu", "quick_gelu": "gelu"}

Array = NDArray[Any]

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch comes with clipworks[train]")
both_devices = pytest.mark.parametrize("device", ["cpu", pytest.param("torch-cpu", marks=needs_torch)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """One of the five with its drawn weights, and what the packages make of it."""

    id: str
    config: ClipConfig
    weights: Tensors = field(repr=False)
    golden: dict[tuple[str, str], Array] = field(repr=False)
    """(package, `images` or `texts`) -> unit vectors."""


@pytest.fixture(scope="module", params=[row.id for row in published_rows()])
def drawn(request: pytest.FixtureRequest) -> Iterator[Drawn]:
    """Each model in turn; pytest runs all tests of one before it draws the next."""
    row = next(row for row in published_rows() if row.id == request.param)
    assert row.config is not None
    with np.load(GOLDEN / "full_width.npz", allow_pickle=False) as arrays:
        golden = {
            (package, kind): arrays[f"{row.id}/{package}/{kind}"]
            for package in PACKAGES
            for kind in ("images", "texts")
        }
    yield Drawn(id=row.id, config=row.config, weights=full_width_weights(row.config, row.id), golden=golden)


def engine_of(drawn: Drawn, device: str, activation: Activation | None = None) -> Engine:
    config = replace(drawn.config, activation=activation or drawn.config.activation)
    checkpoint = Checkpoint(
        config=config, tensors=drawn.weights, fingerprint="", family="native", path=Path(drawn.id)
    )
    return Engine(checkpoint, executor_of(config, drawn.weights, device), name=drawn.id, precision="f32")


def executor_of(config: ClipConfig, weights: Tensors, device: str) -> Executor:
    if device == "cpu":
        return GraphExecutor(config, weights, precision="f32")
    from clipworks.model.network import NetworkExecutor

    return NetworkExecutor(config, weights, device="cpu", precision="f32")


def embedded(engine: Engine) -> tuple[Array, Array]:
    """Unit vectors of the pictures and of the captions; these in batches cut at different lengths."""
    return engine.embed_pixels(full_width_pixels()), engine.embed_texts(list(CAPTIONS), batch_size=2)


def farthest(one: Array, other: Array) -> float:
    return float(np.abs(one - other).max())


def test_the_weights_are_those_that_the_packages_got(drawn: Drawn) -> None:
    assert checksum(drawn.weights) == TOLD[drawn.id]["checksum"]
    assert drawn.config.activation == TOLD[drawn.id]["activation"]


def test_vectors_and_logits_of_the_packages_are_spread_and_agree(drawn: Drawn) -> None:
    logits = {package: np.array(TOLD[drawn.id]["logits"][package]) for package in PACKAGES}
    assert farthest(*logits.values()) < LOGITS / 5
    for package in PACKAGES:
        images, texts = drawn.golden[package, "images"], drawn.golden[package, "texts"]
        np.testing.assert_allclose(100 * images @ texts.T, logits[package], atol=LOGITS / 5)
        assert logits[package].std() > 5
        for vectors in (images, texts):
            assert (vectors @ vectors.T - 2 * np.eye(len(vectors))).max() < 0.9  # no two are alike
    for kind in ("images", "texts"):
        assert farthest(*(drawn.golden[package, kind] for package in PACKAGES)) < FEATURES / 5


@both_devices
def test_vectors_and_logits_equal_those_of_open_clip_and_transformers(drawn: Drawn, device: str) -> None:
    engine = engine_of(drawn, device)
    images, texts = embedded(engine)
    for package in PACKAGES:
        assert farthest(images, drawn.golden[package, "images"]) < FEATURES
        assert farthest(texts, drawn.golden[package, "texts"]) < FEATURES
        logits = engine.logit_scale * images @ texts.T
        assert farthest(logits, np.array(TOLD[drawn.id]["logits"][package])) < LOGITS


def test_the_other_activation_would_be_noticed(drawn: Drawn) -> None:
    vectors = embedded(engine_of(drawn, "cpu", OTHER[drawn.config.activation]))
    for kind, wrong in zip(("images", "texts"), vectors, strict=True):
        right = drawn.golden["open_clip", kind]
        assert np.abs(wrong - right).max(axis=1).min() > NOTICED


@pytest.mark.filterwarnings("ignore")
def test_a_training_checkpoint_of_open_clip_is_computed_as_open_clip_does(tmp_path: Path) -> None:
    open_clip = open_clip_of("at full width, what is loaded was saved by")
    import torch

    name = "ViT-B-16-quickgelu"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    own = open_clip.get_model_config(name)
    saving = importlib.import_module("open_clip.push_to_hf_hub")
    saving.save_config_for_hf(model, tmp_path / "open_clip_config.json", model_config=own)
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / "open_clip_pytorch_model.bin")
    pixels = torch.stack([preprocess(Image.fromarray(picture)) for picture in full_width_pixels()])
    tokens = open_clip.get_tokenizer(name)(list(CAPTIONS))
    with torch.inference_mode():
        images, texts, scale = model.eval()(pixels, tokens)
    engine = load(str(tmp_path), precision="f32")
    assert engine.config == find("ViT-B-16/openai").config
    assert engine.logit_scale == pytest.approx(float(scale))
    assert_equal(embedded(engine), (images.numpy(), texts.numpy()))


@pytest.mark.filterwarnings("ignore")
def test_shards_that_transformers_saved_are_computed_as_transformers_does(tmp_path: Path) -> None:
    transformers = transformers_of("at full width, what is loaded was saved by")
    import torch

    # What is left out has transformers' own defaults: OpenAI's widths and activation.
    model = transformers.CLIPModel(transformers.CLIPConfig(vision_config={"patch_size": 16}))
    model.save_pretrained(tmp_path, max_shard_size="200MB")
    processor = transformers.CLIPImageProcessor()
    processor.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors.index.json").exists()
    pixels = processor(list(full_width_pixels()), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        out = model.eval()(input_ids=torch.from_numpy(tokenize(list(CAPTIONS))), pixel_values=pixels)
    engine = load(str(tmp_path), precision="f32")
    assert engine.config == find("ViT-B-16/openai").config
    assert_equal(embedded(engine), (out.image_embeds.numpy(), out.text_embeds.numpy()))


def assert_equal(found: tuple[Array, Array], right: tuple[Array, Array]) -> None:
    for one, other in zip(found, right, strict=True):
        assert farthest(one, other) < FEATURES
