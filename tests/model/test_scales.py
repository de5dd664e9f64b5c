import numpy as np
import pytest
from numpy.typing import NDArray

from clipworks.model.scales import LEVELS, LinearScale, fit, quantised_rows

Floats = NDArray[np.float32]


def layer(outlier: float = 1.0, seed: int = 3) -> tuple[Floats, Floats]:
    """Inputs [200, 64] of which two channels are `outlier` times as large, and weights [32, 64]."""
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((200, 64)).astype(np.float32)
    inputs[:, [5, 40]] *= outlier
    weight = random.standard_normal((32, 64)).astype(np.float32) / 8
    weight[:, [5, 40]] /= outlier
    return inputs, weight


def fitted(inputs: Floats, weight: Floats) -> LinearScale:
    return fit(inputs, np.abs(inputs).max(axis=0), weight)


def test_zero_is_one_of_the_values_of_every_range() -> None:
    inputs, weight = layer()
    for some in (inputs, np.maximum(inputs, -0.17), np.abs(inputs), -np.abs(inputs)):
        scale = fitted(some, weight)
        step = (scale.high - scale.low) / (LEVELS - 1)
        assert scale.low / step == pytest.approx(round(scale.low / step), abs=1e-6)
        assert scale.low <= 0 <= scale.high


def test_a_range_about_zero_is_that_of_a_signed_byte() -> None:
    scale = fitted(*layer())
    assert scale.low / scale.high == pytest.approx(-128 / 127)


def test_inputs_without_spread_have_a_scale_all_the_same() -> None:
    scale = fit(np.zeros((4, 8), np.float32), np.zeros(8, np.float32), np.zeros((3, 8), np.float32))
    assert scale.error == 0
    assert scale.high > scale.low
    assert np.isfinite(scale.smooth).all()


def test_the_rows_of_the_weights_use_the_whole_range_of_a_byte() -> None:
    inputs, weight = layer()
    scale = fitted(inputs, weight)
    rows, steps = quantised_rows(weight, scale)
    assert (rows.dtype, rows.shape, steps.shape) == (np.int8, (32, 64), (32, 1))
    assert (np.abs(rows).max(axis=1) == 127).all()
    np.testing.assert_allclose(rows * steps, weight * scale.smooth, atol=steps.max() / 2 + 1e-7)


def test_weights_keep_the_limit_that_a_processor_needs() -> None:
    inputs, weight = layer()
    wide, narrow = fitted(inputs, weight), fit(inputs, np.abs(inputs).max(axis=0), weight, limit=64)
    rows, steps = quantised_rows(weight, narrow)
    assert (np.abs(rows).max(axis=1) == 64).all()
    np.testing.assert_allclose(rows * steps, weight * narrow.smooth, atol=steps.max() / 2 + 1e-7)
    assert wide.error < narrow.error < 2 * wide.error


def test_smoothing_saves_inputs_with_outliers() -> None:
    calm = fitted(*layer())
    wild_inputs, wild_weight = layer(outlier=50)
    wild = fitted(wild_inputs, wild_weight)
    assert calm.error < 0.012
    assert wild.error < 0.02
    plain = LinearScale(
        smooth=np.ones(64, dtype=np.float32), low=-1.0, high=1.0, limit=127, error=0.0
    )  # what is left without smoothing
    step = np.abs(wild_inputs).max() / 127
    rows, steps = quantised_rows(wild_weight, plain)
    true = wild_inputs @ wild_weight.T
    rough = (np.round(wild_inputs / step) * step) @ (rows * steps).T
    assert np.sqrt(np.square(rough - true).mean() / np.square(true).mean()) > 5 * wild.error


def test_the_channels_with_outliers_are_divided_most() -> None:
    scale = fitted(*layer(outlier=50))
    assert set(np.argsort(scale.smooth)[-2:]) == {5, 40}
