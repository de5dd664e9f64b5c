import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_clip import TinyClip, tiny_pixels, tiny_tokens

from clipworks.errors import ConfigError
from clipworks.model.graph import GraphExecutor, has_bf16

Vectors = NDArray[np.float32]


@pytest.fixture(scope="module")
def executor(tiny_clip: TinyClip) -> GraphExecutor:
    return GraphExecutor(tiny_clip.config, tiny_clip.weights, precision="f32")


def cosines(one: Vectors, other: Vectors) -> Vectors:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    result: Vectors = (one * other).sum(axis=1) / lengths
    return result


def test_features_have_one_row_per_input(executor: GraphExecutor) -> None:
    images = executor.encode_images(tiny_pixels(3))
    texts = executor.encode_texts(tiny_tokens())
    assert (images.shape, images.dtype) == ((3, 32), np.float32)
    assert (texts.shape, texts.dtype) == ((3, 32), np.float32)


def test_what_stands_behind_the_end_token_does_not_matter(executor: GraphExecutor) -> None:
    zeros = tiny_tokens()[:2]
    ends, noise = zeros.copy(), zeros.copy()
    for row in (0, 1):
        end = int(zeros[row].argmax())
        ends[row, end + 1 :] = 49407
        noise[row, end + 1 :] = 1000
    expected = executor.encode_texts(zeros)
    for rows in (ends, noise, zeros[:, :7]):
        np.testing.assert_allclose(executor.encode_texts(rows), expected, atol=2e-5)


def test_a_word_before_the_end_token_does_matter(executor: GraphExecutor) -> None:
    rows = tiny_tokens()[:1].repeat(2, axis=0)
    rows[1, 1] = 1000
    one, other = executor.encode_texts(rows)
    assert np.abs(one - other).max() > 0.01


def test_the_order_of_words_matters(executor: GraphExecutor) -> None:
    rows = tiny_tokens()[:1].repeat(2, axis=0)
    rows[1, 1:6] = rows[0, 5:0:-1]
    one, other = executor.encode_texts(rows)
    assert np.abs(one - other).max() > 0.01


def test_bf16_is_close_to_f32(tiny_clip: TinyClip, executor: GraphExecutor) -> None:
    if not has_bf16():
        with pytest.raises(ConfigError, match="no bfloat16 instructions"):
            GraphExecutor(tiny_clip.config, tiny_clip.weights, precision="bf16")
        return
    rough = GraphExecutor(tiny_clip.config, tiny_clip.weights, precision="bf16")
    pixels, tokens = tiny_pixels(), tiny_tokens()
    assert cosines(rough.encode_images(pixels), executor.encode_images(pixels)).min() > 0.999
    assert cosines(rough.encode_texts(tokens), executor.encode_texts(tokens)).min() > 0.999
    assert np.abs(rough.encode_images(pixels) - executor.encode_images(pixels)).max() > 1e-4


def test_threads_do_not_disturb_each_other(executor: GraphExecutor) -> None:
    batches = [tiny_pixels(1 + seed % 3, seed=seed) for seed in range(12)]
    expected = [executor.encode_images(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(executor.encode_images, batches))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_later_call_does_not_change_an_earlier_result(executor: GraphExecutor) -> None:
    first = executor.encode_images(tiny_pixels(2, seed=1))
    kept = first.copy()
    executor.encode_images(tiny_pixels(2, seed=2))
    assert np.array_equal(first, kept)


def test_openvino_is_imported_without_its_usage_reporter() -> None:
    code = (
        "import sys, clipworks.model.graph\n"
        "loaded = [name for name in sys.modules if name.startswith('openvino_telemetry.')]\n"
        "sys.exit(1 if loaded or sys.modules['openvino_telemetry'] is not None else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ctrl_c_reaches_python_after_the_processor_was_asked() -> None:
    has_bf16()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
