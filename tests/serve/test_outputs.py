"""Every form of a vector against the numbers that it stands for."""

import base64

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipworks.serve.outputs import DTYPES, Form, encode, read_forms, to_dtype
from clipworks.serve.problems import RequestError

DTYPE_OF = {"float": "<f4", "int8": "i1", "uint8": "u1", "binary": "i1", "ubinary": "u1"}


def unit_rows(count: int, dim: int, seed: int = 1) -> npt.NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    rows[:, 0] *= 8  # a few numbers of a CLIP vector are far larger than the others
    normal: npt.NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return normal


@pytest.mark.parametrize("dtype", DTYPES)
def test_base64_holds_the_same_numbers(dtype: str) -> None:
    rows = unit_rows(3, 512)
    plain = encode(rows, Form(dtype=dtype))
    packed = encode(rows, Form(dtype=dtype, is_base64=True))
    for numbers, text in zip(plain, packed, strict=True):
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(text), DTYPE_OF[dtype]), numbers)


def test_floats_are_the_vectors_themselves() -> None:
    rows = unit_rows(2, 16)
    np.testing.assert_array_equal(np.asarray(encode(rows, Form()), dtype=np.float32), rows)


def test_int8_keeps_cosines_and_uses_its_whole_range() -> None:
    rows = unit_rows(50, 512)
    steps = to_dtype(rows, "int8").astype(np.float32)
    assert (np.abs(steps).max(axis=1) == 127).all()
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    assert np.abs(steps @ steps.T - rows @ rows.T).max() < 6e-3
    np.testing.assert_array_equal(to_dtype(rows, "uint8"), to_dtype(rows, "int8").astype(np.int16) + 128)


def test_binary_is_ubinary_moved_by_128_and_bits_are_signs_first_bit_highest() -> None:
    row = np.asarray([[1, -1, 1, 1, -1, 0, -1, -1, 1]], dtype=np.float32) / 3
    assert to_dtype(row, "ubinary").tolist() == [[0b10110000, 0b10000000]]
    assert to_dtype(row, "binary").tolist() == [[0b10110000 - 128, 0]]


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20))
def test_any_numbers_fit(numbers: list[float]) -> None:
    row = np.asarray([numbers], dtype=np.float32)
    for dtype in DTYPES:
        assert np.isfinite(to_dtype(row, dtype).astype(np.float64)).all()
    assert np.abs(to_dtype(row, "int8").astype(int)).max() <= 127


def test_no_vector_at_all_has_every_form() -> None:
    none = np.empty((0, 8), dtype=np.float32)
    assert [encode(none, Form(dtype=dtype)) for dtype in DTYPES] == [[]] * len(DTYPES)


def test_forms_are_read_from_a_name_or_a_list() -> None:
    assert [form.name for form in read_forms({"f": ["int8", "base64", "int8"]}, "f")] == ["int8", "base64"]
    assert [form.name for form in read_forms({"f": "binary"}, "f")] == ["binary"]
    assert read_forms({}, "f") == read_forms({"f": []}, "f") == [Form()]


@pytest.mark.parametrize("value", ["half", ["float", "half"], 7, [["float"]], {"a": 1}])
def test_unknown_forms_are_refused(value: object) -> None:
    with pytest.raises(RequestError, match="a form is float, int8"):
        read_forms({"f": value}, "f")
