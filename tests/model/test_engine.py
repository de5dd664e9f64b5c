import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_clip import FAMILIES, TinyClip, tiny_pixels, tiny_tokens

import clipworks
from clipworks.errors import CheckpointError, ConfigError, InputError
from clipworks.model.config import Activation, ClipConfig
from clipworks.model.engine import Engine
from clipworks.model.formats import Family
from clipworks.model.loading import load
from clipworks.model.weights import write_checkpoint

GOLDEN = Path(__file__).parent.parent / "golden"
TEXTS = ["a photo of a cat", "a dog", "", "one two three four five six seven eight nine ten", "a cat " * 60]

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch comes with clipworks[train]")
both_executors = pytest.mark.parametrize("device", ["cpu", pytest.param("torch-cpu", marks=needs_torch)])


@pytest.fixture(scope="module")
def engine(tiny_clip: TinyClip) -> Engine:
    return load(tiny_clip.native, precision="f32")


def pictures() -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in tiny_pixels(7)]


# --- the same numbers as the anchors, in every file form, on both executors -----------------------


@pytest.mark.slow
@both_executors
@pytest.mark.parametrize("package", ["transformers", "open_clip"])
def test_features_are_those_of_the_reference_packages(
    any_tiny_clip: TinyClip, device: str, package: str
) -> None:
    golden = json.loads((GOLDEN / f"clip_{package}.json").read_text())[any_tiny_clip.config.activation]
    engine = load(any_tiny_clip.native, precision="f32", device=device)
    images = engine.embed_pixels(tiny_pixels())
    texts = engine._encode_tokens(tiny_tokens(), 2)
    np.testing.assert_allclose(images[:, :8], golden["images"], atol=1e-5)
    np.testing.assert_allclose(texts[:, :8], golden["texts"], atol=1e-5)


def test_the_two_activations_differ_by_far_more_than_the_tolerance() -> None:
    for package in ("transformers", "open_clip"):
        golden = json.loads((GOLDEN / f"clip_{package}.json").read_text())
        for kind in ("images", "texts"):
            difference = np.abs(np.array(golden["gelu"][kind]) - np.array(golden["quick_gelu"][kind]))
            assert difference.max(axis=1).min() > 100 * 1e-5


@pytest.mark.slow
@needs_torch
def test_both_executors_agree_in_f32(any_tiny_clip: TinyClip) -> None:
    one, other = (load(any_tiny_clip.native, precision="f32", device=d) for d in ("cpu", "torch-cpu"))
    np.testing.assert_allclose(one.embed_images(pictures()), other.embed_images(pictures()), atol=1e-5)
    np.testing.assert_allclose(one.embed_texts(TEXTS), other.embed_texts(TEXTS), atol=1e-5)


@pytest.mark.slow
@both_executors
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_same_vectors(
    engine: Engine, tiny_clip: TinyClip, family: Family, device: str
) -> None:
    activation: Activation | None = "gelu" if family == "openai" else None
    path = str(tiny_clip.folders[family])
    other = load(path, precision="f32", device=device, activation=activation)
    assert other.fingerprint == engine.fingerprint
    np.testing.assert_allclose(other.embed_texts(TEXTS), engine.embed_texts(TEXTS), atol=1e-5)
    np.testing.assert_allclose(
        other.embed_pixels(tiny_pixels()), engine.embed_pixels(tiny_pixels()), atol=1e-5
    )


# --- batches, order, threads ----------------------------------------------------------------------


@both_executors
def test_batched_equals_single(tiny_clip: TinyClip, device: str) -> None:
    engine = load(tiny_clip.native, precision="f32", device=device)
    images, texts = pictures(), TEXTS * 3
    single = np.concatenate([engine.embed_images([image]) for image in images])
    np.testing.assert_allclose(engine.embed_images(images, batch_size=3), single, atol=1e-5)
    single = np.concatenate([engine.embed_texts([text]) for text in texts])
    for batch_size in (1, 4, 64):
        np.testing.assert_allclose(engine.embed_texts(texts, batch_size=batch_size), single, atol=1e-5)


def test_batched_equals_single_in_bf16_too(tiny_clip: TinyClip) -> None:
    engine = load(tiny_clip.native)
    images = pictures()
    texts = [f"{'word ' * n}{word}" for n in range(12) for word in ("cat", "dog", "house")]
    single = np.concatenate([engine.embed_images([image]) for image in images])
    np.testing.assert_allclose(engine.embed_images(images), single, atol=1e-5)
    single = np.concatenate([engine.embed_texts([text]) for text in texts])
    np.testing.assert_allclose(engine.embed_texts(texts), single, atol=1e-5)


def test_rows_have_unit_length_and_the_order_of_the_input(engine: Engine) -> None:
    vectors = engine.embed_texts(TEXTS)
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(TEXTS), engine.dim))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(engine.embed_texts(TEXTS[::-1]), vectors[::-1], atol=1e-5)


def test_no_input_gives_no_rows(engine: Engine) -> None:
    assert engine.embed_images([]).shape == (0, 32)
    assert engine.embed_texts([]).shape == (0, 32)
    assert engine.embed_pixels(np.empty((0, 32, 32, 3), dtype=np.uint8)).shape == (0, 32)


def test_all_kinds_of_picture_give_the_same_vector(engine: Engine, tmp_path: Path) -> None:
    picture = pictures()[0]
    file = tmp_path / "a.png"
    picture.save(file)
    data = io.BytesIO()
    picture.save(data, "PNG")
    vectors = engine.embed_images([picture, str(file), file, data.getvalue(), np.asarray(picture)])
    np.testing.assert_allclose(vectors, np.repeat(vectors[:1], 5, axis=0), atol=1e-5)
    pixels = np.stack([engine.prepare_image(file)])
    np.testing.assert_allclose(engine.embed_pixels(pixels), vectors[:1], atol=1e-5)


def test_threads_get_what_one_caller_gets(engine: Engine, tiny_clip: TinyClip) -> None:
    expected = [
        engine.classify([image], ["a cat", text]) for image, text in zip(pictures(), TEXTS, strict=False)
    ]
    fresh = load(tiny_clip.native, precision="f32")
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(fresh.classify, [image], ["a cat", text])
            for image, text in zip(pictures(), TEXTS, strict=False)
        ]
        for call, scores in zip(calls, expected, strict=True):
            np.testing.assert_allclose(call.result(), scores, atol=1e-5)


# --- heads and scores -----------------------------------------------------------------------------


def test_a_head_is_the_normalised_mean_over_templates(engine: Engine) -> None:
    templates = ["a photo of a {}.", "{}"]
    head = engine.label_head(["cat", "dog"], templates)
    for label, row in zip(["cat", "dog"], head, strict=True):
        mean = engine.embed_texts([t.replace("{}", label) for t in templates]).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-5)


def test_a_head_without_templates_is_the_labels_alone(engine: Engine) -> None:
    np.testing.assert_allclose(engine.label_head(["cat"]), engine.embed_texts(["cat"]), atol=1e-5)


def test_a_label_with_braces_is_taken_as_it_is(engine: Engine) -> None:
    expected = engine.embed_texts(["a {0} {x}."])
    np.testing.assert_allclose(engine.label_head(["{0} {x}"], ["a {}."]), expected, atol=1e-5)


def test_heads_are_found_again_by_content(engine: Engine) -> None:
    head = engine.label_head(["cat", "dog"], ["a {}"])
    assert engine.label_head(("cat", "dog"), ("a {}",)) is head
    assert engine.label_head(["dog", "cat"], ["a {}"]) is not head
    assert engine.label_head(["cat", "dog"], ["the {}"]) is not head
    assert not head.flags.writeable


def test_a_large_head_is_the_same_as_its_rows_one_by_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [f"label {i}" for i in range(5)]
    whole = engine.label_head(labels, ["{}", "a {}"])
    monkeypatch.setattr("clipworks.model.heads._PROMPTS_PER_CALL", 4)
    parts = engine.label_head([*labels, "x"], ["{}", "a {}"])
    np.testing.assert_allclose(parts[:-1], whole, atol=1e-5)


def test_the_progress_of_a_new_head_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipworks.model.heads._PROMPTS_PER_CALL", 4)
    told: list[tuple[int, int]] = []
    for _ in range(2):
        engine.label_head(["u", "v", "w"], ["{}", "a {}"], on_progress=lambda *one: told.append(one))
    assert told == [(2, 3), (3, 3)]


def test_scores_are_the_softmax_of_scaled_cosines(engine: Engine) -> None:
    labels = ["a cat", "a dog", "a house"]
    scores = engine.classify(pictures(), labels)
    assert (scores.dtype, scores.shape) == (np.float32, (7, 3))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    logits = np.exp(3.0) * engine.similarity(pictures(), labels)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_an_engine_says_what_it_is(engine: Engine, tiny_clip: TinyClip) -> None:
    assert (engine.name, engine.precision, engine.image_size, engine.dim) == ("native", "f32", 32, 32)
    assert engine.config == tiny_clip.config
    assert engine.logit_scale == pytest.approx(np.exp(3.0))
    assert len(engine.fingerprint) == 64


def test_the_reference_mode_drops_transparency_and_the_standard_mode_lays_it_on_white(
    tiny_clip: TinyClip,
) -> None:
    image = Image.new("RGBA", (32, 32), (200, 0, 0, 0))
    standard, reference = (
        load(tiny_clip.native, precision="f32", preprocess=mode) for mode in ("standard", "reference")
    )
    assert standard.prepare_image(image)[0, 0].tolist() == [255, 255, 255]
    assert reference.prepare_image(image)[0, 0].tolist() == [200, 0, 0]


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_bad_picture_is_named(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "broken.jpg"
    file.write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        engine.embed_images([pictures()[0], str(file)])
    with pytest.raises(InputError, match=r"images\[1\]"):
        engine.embed_images([pictures()[0], b"not a picture"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda e: e.embed_images("a.png"), "images is a single picture"),
        (lambda e: e.embed_images(np.zeros((3, 4, 3), dtype=np.uint8)), "images is a single picture"),
        (lambda e: e.embed_texts("a cat"), "single string"),
        (lambda e: e.embed_texts(["a", 3]), "Text 1"),
        (lambda e: e.label_head([]), "labels is empty"),
        (lambda e: e.label_head("cat"), "labels is the single string 'cat'"),
        (lambda e: e.label_head(["a", None]), r"labels\[1\] is NoneType"),
        (lambda e: e.label_head(["a"], []), "templates is empty"),
        (lambda e: e.label_head(["a"], ["a photo"]), "'a photo' has no '{}'"),
        (lambda e: e.embed_pixels(np.zeros((1, 8, 8, 3), dtype=np.uint8)), r"must be uint8 \[N, 32, 32, 3\]"),
        (lambda e: e.embed_pixels(np.zeros((1, 32, 32, 3), dtype=np.float32)), "pixels is float32"),
    ],
)
def test_an_input_that_cannot_be_used_is_refused(
    engine: Engine, call: Callable[[Any], Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        call(engine)


@pytest.mark.parametrize("batch_size", [0, 1025])
def test_the_batch_size_has_limits(engine: Engine, batch_size: int) -> None:
    with pytest.raises(ConfigError, match=f"batch_size is {batch_size}; it must be in 1..1024"):
        engine.embed_texts(["a"], batch_size=batch_size)
    with pytest.raises(ConfigError, match="batch_size"):
        engine.embed_images([], batch_size=batch_size)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"precision": "int8", "device": "torch-cpu"}, "int8' does not run on device='torch-cpu'"),
        ({"precision": "f64"}, "precision is 'f64'"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"preprocess": "fast"}, "preprocess is 'fast'"),
    ],
)
def test_an_unknown_option_of_load_is_refused(tiny_clip: TinyClip, arguments: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(tiny_clip.native, **arguments)


def test_automatic_precision_is_resolved_and_says_what_it_costs(tiny_clip: TinyClip) -> None:
    engine = load(tiny_clip.native)
    assert engine.precision in ("f32", "bf16")
    assert re.match(rf"{engine.precision}: smallest cosine to f32 \d\.\d+ for pict", engine.precision_note)
    assert load(tiny_clip.native, precision="f32").precision_note == ""


@pytest.mark.slow
def test_int8_is_close_to_f32_and_batched_equals_single(engine: Engine, tiny_clip: TinyClip) -> None:
    small = load(tiny_clip.native, precision="int8")
    assert small.precision == "int8"
    images, texts = pictures(), TEXTS * 3
    for one, other in (
        (small.embed_images(images), engine.embed_images(images)),
        (small.embed_texts(texts), engine.embed_texts(texts)),
    ):
        cosines = (one * other).sum(axis=1)
        assert cosines.min() > 0.97
        assert cosines.min() < 1 - 1e-6
    single = np.concatenate([small.embed_images([image]) for image in images])
    np.testing.assert_allclose(small.embed_images(images), single, atol=1e-5)
    single = np.concatenate([small.embed_texts([text]) for text in texts])
    np.testing.assert_allclose(small.embed_texts(texts), single, atol=1e-5)


def test_another_vocabulary_is_refused(tmp_path: Path, tiny_clip: TinyClip) -> None:
    values = tiny_clip.config.to_json()
    values["text"]["vocab_size"] = 512
    table = tiny_clip.weights["text.token_embedding.weight"][:512]
    weights = {**tiny_clip.weights, "text.token_embedding.weight": table}
    write_checkpoint(tmp_path, ClipConfig.from_json(values), weights)
    with pytest.raises(CheckpointError, match="vocabulary of 512 tokens"):
        load(str(tmp_path))


def test_weights_that_give_no_numbers_are_an_error(tmp_path: Path, tiny_clip: TinyClip) -> None:
    weights = {**tiny_clip.weights, "vision.ln_post.bias": np.full(128, np.nan, dtype=np.float32)}
    write_checkpoint(tmp_path, tiny_clip.config, weights)
    with pytest.raises(CheckpointError, match="not finite numbers"):
        load(str(tmp_path), precision="f32").embed_images(pictures()[:1])


def test_missing_pytorch_is_an_error_with_the_command_that_helps(tiny_clip: TinyClip) -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "import clipworks\n"
        f"clipworks.load({tiny_clip.native!r}).embed_texts(['a cat'])\n"
        "try:\n"
        f"    clipworks.load({tiny_clip.native!r}, device='torch-cpu')\n"
        "except clipworks.MissingExtraError as error:\n"
        "    print(error.remedy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == 'Run: pip install "clipworks[train]"'


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ["numpy", "openvino", "torch", "PIL", "ftfy", "huggingface_hub", "safetensors"]
    code = (
        f"import sys, clipworks; print([name for name in {heavy!r} if name in sys.modules], dir(clipworks))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("[] ")
    assert "load" in done.stdout


def test_a_name_the_package_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        clipworks.lod  # noqa: B018
