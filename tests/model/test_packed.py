"""Weights in eight bits: small, near, and the same however often they are written."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from tiny_clip import TinyClip

from clipworks.errors import CheckpointError
from clipworks.model.outline import outline
from clipworks.model.packed import SCALE, is_packable, pack, scales_among, unpack
from clipworks.model.tensorfiles import read_safetensors
from clipworks.model.weights import read_checkpoint, write_checkpoint

Floats = NDArray[np.float32]
FLOATS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=4, max_side=6),
    elements=st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False),
)


@given(FLOATS)
def test_a_value_is_off_by_half_a_scale_at_most(array: Floats) -> None:
    packed = pack("w", array)
    rows = np.abs(unpack(packed)["w"] - array).reshape(len(array), -1)
    assert (rows <= packed["w" + SCALE][:, None] * np.float32(0.5 + 127 / 4096)).all()


@given(FLOATS)
def test_packing_what_was_unpacked_changes_nothing(array: Floats) -> None:
    once = unpack(pack("w", array))["w"]
    np.testing.assert_array_equal(unpack(pack("w", once))["w"], once)


def test_rows_of_nothing_stay_nothing() -> None:
    array = np.zeros((3, 4), np.float32)
    array[1] = 127
    np.testing.assert_array_equal(unpack(pack("w", array))["w"], array)


def test_only_large_tables_of_float32_are_packed() -> None:
    large = np.zeros((256, 128), np.float32)
    assert is_packable(large)
    assert not is_packable(large.reshape(-1))
    assert not is_packable(large[:255])
    assert not is_packable(large.astype(np.float16))


@pytest.mark.parametrize("scales", [None, np.ones(2, np.float32), np.ones((3, 1), np.float32)])
def test_bytes_without_their_scales_are_refused(scales: Floats | None) -> None:
    tensors = {"w": np.zeros((3, 4), np.int8)} | ({} if scales is None else {"w" + SCALE: scales})
    with pytest.raises(CheckpointError, match="w is stored in eight bits without one scale for each row"):
        unpack(tensors)


def test_what_merely_ends_in_scale_is_left_alone() -> None:
    tensors = {"logit_scale": np.ones((), np.float32), "a": np.ones(2, np.float32), "a.scale": np.ones(2)}
    assert unpack(tensors).keys() == tensors.keys()
    assert scales_among(["logit_scale", "b.scale", "c", "c.scale"]) == ["c.scale"]


def test_a_model_in_eight_bits_is_read_back_as_it_was_written(tmp_path: Path, tiny_clip: TinyClip) -> None:
    written = write_checkpoint(tmp_path / "a", tiny_clip.config, tiny_clip.weights, dtype="i8")
    stored = read_safetensors(tmp_path / "a" / "model.safetensors")
    assert any(array.dtype == np.int8 for array in stored.values())
    read = read_checkpoint(tmp_path / "a")
    assert read.fingerprint == written == outline(tmp_path / "a").fingerprint
    again = write_checkpoint(tmp_path / "b", read.config, read.tensors, dtype="i8")
    assert again == written
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    for name, array in tiny_clip.weights.items():
        assert np.abs(read.tensors[name] - array).max() <= max(np.abs(array).max() / 200, 1e-6)


def test_forms_of_others_have_no_eight_bits(tmp_path: Path, tiny_clip: TinyClip) -> None:
    with pytest.raises(CheckpointError, match="The form of hf has no weights in eight bits"):
        write_checkpoint(tmp_path, tiny_clip.config, tiny_clip.weights, family="hf", dtype="i8")
