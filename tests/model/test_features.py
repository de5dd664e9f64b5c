"""What is read inside the towers equals the tensors of transformers, on both executors."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny_clip import TinyClip, tiny_pixels, tiny_tokens

from clipworks.errors import CheckpointError, ConfigError, InputError
from clipworks.model.engine import Engine
from clipworks.model.executor import ReadingExecutor
from clipworks.model.features import Features
from clipworks.model.loading import load
from clipworks.model.readings import Reading
from clipworks.model.weights import write_checkpoint

GOLDEN = Path(__file__).parent.parent / "golden" / "features_transformers.json"
TEXTS = ["a photo of a cat", "a dog", "", "a cat " * 60]
SHOWN = 8

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch comes with clipworks[train]")


@pytest.fixture(scope="module", params=["cpu", pytest.param("torch-cpu", marks=needs_torch)])
def engine(request: pytest.FixtureRequest, tiny_clip: TinyClip) -> Engine:
    """The tiny CLIP in f32, on each of the two executors."""
    return load(tiny_clip.native, precision="f32", device=request.param)


@pytest.fixture
def features(engine: Engine) -> Features:
    return engine.features


def pictures() -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in tiny_pixels()]


def padded() -> NDArray[np.int64]:
    rows = tiny_tokens()
    rows[np.arange(77) > rows.argmax(axis=1)[:, None]] = 49407
    return rows


def compare(found: NDArray[np.float32], name: str) -> None:
    """Equal to the golden tensor of this name: its shape, and the leading numbers of some rows.

    The tolerance is 1e-5 of the size of the numbers: the residual stream of the tiny CLIP reaches 20.
    """
    golden = json.loads(GOLDEN.read_text())[name]
    assert (found.dtype, list(found.shape)) == (np.float32, golden["shape"])
    rows = found[:2] if found.ndim == 2 else found[:2][:, [0, 1, -1]].reshape(6, -1)
    size = max(1.0, float(np.sqrt(np.mean(np.square(golden["rows"])))))
    np.testing.assert_allclose(rows[:, :SHOWN], golden["rows"], atol=1e-5 * size, rtol=0)


# --- the tensors of transformers ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("padding", ["text", "text_zeros"])
def test_text_states_of_each_layer_are_the_hidden_states(
    features: Features, layer: int, padding: str
) -> None:
    rows = padded() if padding == "text" else tiny_tokens()
    found = features._reader.read(Reading(tower="text", layer=layer), rows)
    compare(found, f"{padding} hidden {layer}")


def test_the_last_and_the_penultimate_state_with_the_norm(features: Features) -> None:
    read = features._reader.read
    compare(read(Reading(tower="text", layer=2, is_normed=True), padded()), "text last")
    compare(read(Reading(tower="text", layer=1, is_normed=True), padded()), "text penultimate normed")


def test_pooled_texts_are_the_pooler_output_whatever_stands_behind_them(features: Features) -> None:
    reading = Reading(tower="text", layer=2, is_normed=True, is_pooled=True)
    for rows in (padded(), tiny_tokens()):
        compare(features._reader.read(reading, rows), "text pooled")


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_image_states_of_each_layer_are_the_hidden_states(features: Features, layer: int) -> None:
    compare(features.image_hidden_states(pictures(), layer=layer), f"vision hidden {layer}")


def test_the_last_image_state_is_without_the_norm(features: Features) -> None:
    compare(features.image_hidden_states(pictures()), "vision last")


def test_pooled_images_are_the_pooler_output(features: Features) -> None:
    compare(features.pooled_images(pictures()), "vision pooled")


def test_patch_features_are_normed_and_projected_where_asked(features: Features) -> None:
    compare(features.patch_features(pictures()), "patches")
    compare(features.patch_features(pictures(), is_projected=True), "patches projected")


# --- against the vectors of the engine ------------------------------------------------------------


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    normed: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return normed


@pytest.mark.slow
def test_pooled_features_projected_are_the_vectors(engine: Engine, tiny_clip: TinyClip) -> None:
    for tower, pooled, vectors in (
        ("vision", engine.features.pooled_images(pictures()), engine.embed_images(pictures())),
        ("text", engine.features.pooled_texts(TEXTS), engine.embed_texts(TEXTS)),
    ):
        projection = tiny_clip.weights[f"{tower}.projection.weight"]
        np.testing.assert_allclose(unit(pooled @ projection.T), vectors, atol=1e-5)


def test_the_states_at_the_end_of_a_text_are_its_pooled_features(features: Features) -> None:
    ends = features.tokens(TEXTS).argmax(axis=1)
    for padding_token in (49407, 0):
        states = features.text_hidden_states(TEXTS, padding_token=padding_token)
        assert states.shape == (4, 77, 64)
        np.testing.assert_allclose(states[np.arange(4), ends], features.pooled_texts(TEXTS), atol=1e-5)


def test_what_stands_behind_a_text_changes_only_the_rows_behind_it(features: Features) -> None:
    (one,) = features.text_hidden_states(TEXTS[:1])
    (other,) = features.text_hidden_states(TEXTS[:1], padding_token=0)
    end = int(features.tokens(TEXTS[:1])[0].argmax())
    np.testing.assert_allclose(one[: end + 1], other[: end + 1], atol=1e-5)
    assert np.abs(one[end + 1 :] - other[end + 1 :]).max() > 0.1


def test_tokens_are_padded_with_the_end_token_or_as_asked(features: Features) -> None:
    assert features.tokens(["a"])[0, :4].tolist() == [49406, 320, 49407, 49407]
    assert features.tokens(["a"], padding_token=0)[0, :4].tolist() == [49406, 320, 49407, 0]


def test_negative_layers_count_from_the_last(features: Features) -> None:
    for layer in (0, 1, 2):
        one = features.text_hidden_states(["a"], layer=layer, is_normed=False)
        other = features.text_hidden_states(["a"], layer=layer - 3, is_normed=False)
        assert np.array_equal(one, other)


@pytest.mark.slow
def test_batched_equals_single_and_keeps_the_order(features: Features) -> None:
    calls: list[tuple[Callable[..., NDArray[np.float32]], list[Any]]] = [
        (features.pooled_texts, TEXTS * 2),
        (features.text_hidden_states, TEXTS),
        (features.pooled_images, pictures()),
        (features.patch_features, pictures()),
        (features.image_hidden_states, pictures()),
    ]
    for call, inputs in calls:
        single = np.concatenate([call([one]) for one in inputs])
        np.testing.assert_allclose(call(inputs, batch_size=3), single, atol=1e-4)


def test_nothing_in_gives_nothing_out(features: Features) -> None:
    assert features.tokens([]).shape == (0, 77)
    assert features.text_hidden_states([]).shape == (0, 77, 64)
    assert features.pooled_texts([]).shape == (0, 64)
    assert features.image_hidden_states([]).shape == (0, 17, 128)
    assert features.pooled_images([]).shape == (0, 128)
    assert features.patch_features([]).shape == (0, 16, 128)
    assert features.patch_features([], is_projected=True).shape == (0, 16, 32)


@pytest.mark.slow
def test_bf16_is_close_to_f32(tiny_clip: TinyClip) -> None:
    rough, exact = load(tiny_clip.native), load(tiny_clip.native, precision="f32")
    for call in ("pooled_texts", "text_hidden_states"):
        one, other = (getattr(engine.features, call)(TEXTS) for engine in (rough, exact))
        assert (unit(one) * unit(other)).sum(axis=-1).min() > 0.999


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda f: f.text_hidden_states(["a"], layer=3), "layer is 3; it must be in -3..2"),
        (lambda f: f.image_hidden_states([], layer=-4), "layer is -4"),
        (lambda f: f.tokens(["a"], padding_token=49408), "padding_token is 49408"),
        (lambda f: f.pooled_texts([], batch_size=0), "batch_size is 0"),
        (lambda f: f.text_hidden_states([], batch_size=1025), "batch_size is 1025"),
        (lambda f: f.patch_features([], batch_size=0), "batch_size is 0"),
    ],
)
def test_a_number_out_of_range_is_refused(
    features: Features, call: Callable[[Features], Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        call(features)


def test_a_bad_picture_is_named(features: Features) -> None:
    with pytest.raises(InputError, match=r"images\[1\]"):
        features.pooled_images([pictures()[0], b"no picture"])
    with pytest.raises(InputError, match="images is a single picture"):
        features.pooled_images("a.png")


def test_files_that_changed_since_the_model_was_loaded_are_refused(
    tiny_clip: TinyClip, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, tiny_clip.config, tiny_clip.weights)
    engine = load(str(tmp_path), precision="f32")
    bias = tiny_clip.weights["text.ln_final.bias"]
    write_checkpoint(tmp_path, tiny_clip.config, {**tiny_clip.weights, "text.ln_final.bias": bias + 1})
    with pytest.raises(CheckpointError, match="has changed since it was loaded. Load it again."):
        engine.features.pooled_texts(["a"])


def test_no_more_than_two_readings_stay_compiled(tiny_clip: TinyClip) -> None:
    opened: list[int] = []

    def open_weights() -> Any:
        opened.append(1)
        return tiny_clip.weights

    executor = ReadingExecutor(tiny_clip.config, open_weights, precision="f32")
    for layer, compiled in ((0, 1), (1, 2), (0, 2), (2, 3), (0, 3), (1, 4)):
        executor.read(Reading(tower="text", layer=layer), tiny_tokens())
        assert len(opened) == compiled


def test_a_model_of_another_vocabulary_is_refused_before_anything_is_measured(
    tiny_clip: TinyClip, tmp_path: Path
) -> None:
    config = replace(tiny_clip.config, text=replace(tiny_clip.config.text, vocab_size=1000))
    table = "text.token_embedding.weight"
    weights = {**tiny_clip.weights, table: tiny_clip.weights[table][:1000].copy()}
    write_checkpoint(tmp_path, config, weights, family="native")
    with pytest.raises(CheckpointError, match=r"vocabulary of 1000 tokens.*49408"):
        load(str(tmp_path))
