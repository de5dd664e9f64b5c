import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from tiny_clip import FAMILIES, TinyClip, tiny_config, tiny_weights

from clipworks.errors import CheckpointError
from clipworks.model.config import TextConfig
from clipworks.model.formats import Family, from_native
from clipworks.model.weights import fingerprint, read_checkpoint, write_checkpoint


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_read_back_as_it_was_written(any_tiny_clip: TinyClip, family: Family) -> None:
    activation = any_tiny_clip.config.activation if family == "openai" else None
    checkpoint = read_checkpoint(any_tiny_clip.folders[family], activation=activation)
    assert checkpoint.family == family
    assert checkpoint.config == any_tiny_clip.config
    assert all(np.array_equal(checkpoint.tensors[k], v) for k, v in any_tiny_clip.weights.items())


def test_the_fingerprint_is_the_same_in_every_family(tiny_clip: TinyClip) -> None:
    expected = fingerprint(tiny_clip.config, tiny_clip.weights)
    for family, folder in tiny_clip.folders.items():
        activation = "gelu" if family == "openai" else None
        assert read_checkpoint(folder, activation=activation).fingerprint == expected
    assert len(expected) == 64


def test_the_fingerprint_tells_weights_and_activations_apart(
    tiny_clip: TinyClip, tiny_clip_quick: TinyClip
) -> None:
    one = fingerprint(tiny_clip.config, tiny_clip.weights)
    other = {**tiny_clip.weights, "vision.ln_pre.bias": tiny_clip.weights["vision.ln_pre.bias"] + 1}
    assert one != fingerprint(tiny_clip.config, other)
    assert one != fingerprint(tiny_clip_quick.config, tiny_clip_quick.weights)


def test_a_native_file_leaves_empty_token_rows_out(tiny_clip: TinyClip) -> None:
    stored = safetensors.numpy.load_file(tiny_clip.folders["native"] / "model.safetensors")
    assert stored["text.token_embedding.weight"].shape == (8194, 64)
    assert stored["text.token_embedding.rows"].dtype == np.int32


def test_a_table_with_few_empty_rows_is_kept_whole(tmp_path: Path) -> None:
    config = replace(
        tiny_config("gelu"), text=TextConfig(width=64, layers=2, heads=1, mlp_width=256, vocab_size=9000)
    )
    weights = tiny_weights(config)
    write_checkpoint(tmp_path, config, weights)
    stored = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    assert stored["text.token_embedding.weight"].shape == (9000, 64)
    assert np.array_equal(
        read_checkpoint(tmp_path).tensors["text.token_embedding.weight"],
        weights["text.token_embedding.weight"],
    )


def test_half_precision_rounds_and_is_named_by_what_is_read_back(tiny_clip: TinyClip, tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path, tiny_clip.config, tiny_clip.weights, dtype="f16")
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.fingerprint == written != fingerprint(tiny_clip.config, tiny_clip.weights)
    for name, array in tiny_clip.weights.items():
        np.testing.assert_allclose(checkpoint.tensors[name], array, rtol=1e-3, atol=1e-6)


def test_rows_that_half_precision_makes_zero_are_read_back(tiny_clip: TinyClip, tmp_path: Path) -> None:
    table = np.zeros_like(tiny_clip.weights["text.token_embedding.weight"])
    table[:3] = [[1.0], [-1e-9], [1e-9]]
    weights = {**tiny_clip.weights, "text.token_embedding.weight": table}
    written = write_checkpoint(tmp_path, tiny_clip.config, weights, dtype="f16")
    assert read_checkpoint(tmp_path).fingerprint == written


def test_values_beyond_half_precision_are_refused(tiny_clip: TinyClip, tmp_path: Path) -> None:
    weights = {**tiny_clip.weights, "vision.ln_pre.bias": np.full(128, 1e6, dtype=np.float32)}
    with pytest.raises(CheckpointError, match="vision.ln_pre.bias has values that f16 cannot hold"):
        write_checkpoint(tmp_path, tiny_clip.config, weights, dtype="f16")
    assert not list(tmp_path.iterdir())


def test_bfloat16_files_are_read(tiny_clip: TinyClip, tmp_path: Path) -> None:
    foreign = from_native(tiny_clip.weights, tiny_clip.config, "open_clip")
    specs, kept = {}, []
    for name, array in foreign.items():
        upper = (np.ascontiguousarray(array).view(np.uint32) >> 16).astype(np.uint16)
        kept.append(upper)
        specs[name] = safetensors.TensorSpec(
            dtype="bfloat16", shape=array.shape, data_ptr=upper.ctypes.data, data_len=upper.nbytes
        )
    safetensors.serialize_file(specs, tmp_path / "open_clip_model.safetensors")
    tensors = read_checkpoint(tmp_path, activation="gelu").tensors
    for name, array in tiny_clip.weights.items():
        np.testing.assert_allclose(tensors[name], array, rtol=1e-2, atol=1e-6)


def test_an_activation_that_nothing_states_is_asked_for(tiny_clip: TinyClip) -> None:
    with pytest.raises(CheckpointError, match="gelu or quick_gelu") as caught:
        read_checkpoint(tiny_clip.folders["openai"])
    assert "activation='quick_gelu'" in caught.value.remedy


def test_a_config_can_be_given_for_files_without_one(tiny_clip: TinyClip) -> None:
    assert read_checkpoint(tiny_clip.folders["openai"], config=tiny_clip.config).config == tiny_clip.config


@pytest.mark.parametrize("family", ["native", "open_clip", "hf"])
def test_an_argument_that_contradicts_the_file_is_refused(tiny_clip: TinyClip, family: Family) -> None:
    with pytest.raises(CheckpointError, match="contradict each other: activation gelu or quick_gelu"):
        read_checkpoint(tiny_clip.folders[family], activation="quick_gelu")
    with pytest.raises(CheckpointError, match="contradict each other: embed_dim"):
        read_checkpoint(tiny_clip.folders[family], config=replace(tiny_clip.config, embed_dim=99))


def test_a_config_beside_a_weights_file_is_used(tiny_clip_quick: TinyClip) -> None:
    file = tiny_clip_quick.folders["hf"] / "model.safetensors"
    assert read_checkpoint(file).config == tiny_clip_quick.config


def test_a_config_of_another_shape_names_file_and_tensors(tiny_clip: TinyClip, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_clip.folders["open_clip"], tmp_path / "m")
    values = json.loads((folder / "open_clip_config.json").read_text())
    values["model_cfg"]["embed_dim"] = 64
    (folder / "open_clip_config.json").write_text(json.dumps(values))
    with pytest.raises(
        CheckpointError, match=r"open_clip_model\.safetensors: 2 tensors of another shape"
    ) as caught:
        read_checkpoint(folder)
    assert "visual.proj is [128, 32] instead of [128, 64]" in caught.value.message


def test_the_weights_of_open_clip_come_before_those_of_transformers(
    tiny_clip: TinyClip, tmp_path: Path
) -> None:
    for family in ("hf", "open_clip"):
        shutil.copytree(tiny_clip.folders[family], tmp_path, dirs_exist_ok=True)
    assert read_checkpoint(tmp_path).family == "open_clip"


def _drop_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _drop_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def _swap_weights(folder: Path) -> None:
    config = tiny_config("gelu")
    write_checkpoint(folder / "other", config, tiny_weights(config, seed=1))
    (folder / "other" / "model.safetensors").replace(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_drop_manifest, "so it is unfinished"),
        (_drop_config, "so it is unfinished"),
        (_cut_weights, "is damaged or no safetensors file"),
        (_swap_weights, "is not what its manifest.json describes"),
    ],
)
def test_a_damaged_native_folder_is_refused(
    tiny_clip: TinyClip, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    folder = shutil.copytree(tiny_clip.folders["native"], tmp_path / "m")
    damage(folder)
    with pytest.raises(CheckpointError, match=said):
        read_checkpoint(folder)


def test_rows_of_a_sparse_table_must_be_in_the_vocabulary(tiny_clip: TinyClip, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_clip.folders["native"], tmp_path / "m")
    stored = safetensors.numpy.load_file(folder / "model.safetensors")
    stored["text.token_embedding.rows"][-1] = 60000
    safetensors.numpy.save_file(stored, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="names rows outside of 0..49407"):
        read_checkpoint(folder)


def test_a_place_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no model at .*nowhere"):
        read_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_checkpoint(tmp_path)
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"model\.h5 is no weights file"):
        read_checkpoint(tmp_path / "model.h5")


def test_writing_the_same_model_twice_gives_the_same_bytes(tiny_clip: TinyClip, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_checkpoint(tmp_path / name, tiny_clip.config, tiny_clip.weights)
    for file in ("config.json", "model.safetensors", "manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
