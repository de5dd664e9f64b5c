import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_clip import TinyClip, tiny_pixels, tiny_tokens

from clipworks.errors import ConfigError
from clipworks.model import executor as executors
from clipworks.model.executor import GraphExecutor, compile_graph, has_bf16, weight_limit
from clipworks.model.graph import largest_sum_graph, tower_graph

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


def test_much_work_is_cut_into_pieces_whose_order_is_restored(
    tiny_clip: TinyClip, executor: GraphExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = tiny_pixels(13)
    whole = executor.encode_images(pixels)
    rows = [tiny_tokens()[n : n + 1, :width] for n, width in ((0, 8), (1, 4), (2, 77), (1, 6), (0, 77))]
    single = [executor.encode_texts(row) for row in rows]
    monkeypatch.setattr(executors, "_PIECE_TOKENS", 17)
    monkeypatch.setattr(executors, "num_cores", lambda: 3)
    shared = GraphExecutor(tiny_clip.config, tiny_clip.weights, precision="f32")
    np.testing.assert_allclose(shared.encode_images(pixels), whole, atol=2e-5)
    for found, expected in zip(shared.encode_text_batches(rows), single, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)
    assert list(shared._pools) == [("vision", True), ("text", True)]


@pytest.mark.parametrize(("count", "pieces"), [(1, 1), (3, 1), (4, 2), (5, 2), (9, 4), (400, 200)])
def test_pieces_are_as_many_for_each_core(monkeypatch: pytest.MonkeyPatch, count: int, pieces: int) -> None:
    monkeypatch.setattr(executors, "_PIECE_TOKENS", 100)
    monkeypatch.setattr(executors, "num_cores", lambda: 2)
    rows = np.arange(count)
    cut = executors._cut(rows, 50)
    assert len(cut) == pieces
    assert np.concatenate(cut).tolist() == rows.tolist()


def test_a_row_is_the_only_thing_that_the_last_block_computes(tiny_clip: TinyClip) -> None:
    model = tower_graph("vision", tiny_clip.config, tiny_clip.weights)
    widths = {"vision.blocks.0": 17, "vision.blocks.1": 1}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Gelu":
            assert node.get_output_partial_shape(0)[1] == list(widths.values())[0]
            widths.pop(next(iter(widths)))
    assert not widths


def test_openvino_is_imported_without_its_usage_reporter() -> None:
    code = (
        "import sys, clipworks.model.executor\n"
        "loaded = [name for name in sys.modules if name.startswith('openvino_telemetry.')]\n"
        "sys.exit(1 if loaded or sys.modules['openvino_telemetry'] is not None else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ctrl_c_reaches_python_after_the_processor_was_asked() -> None:
    has_bf16()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_int8_weights_are_smaller_where_the_largest_products_are_cut_off() -> None:
    request = compile_graph(largest_sum_graph(8), "f32").create_infer_request()
    request.infer([np.array([[255.0] * 8, [255.0, 0.0] * 4], dtype=np.float32)])
    pairs, singles = request.get_output_tensor(0).data[:, 0].tolist()
    assert singles == 4 * 255 * 127  # one product of each pair is zero, which every processor holds
    assert (pairs == 8 * 255 * 127) == (weight_limit() == 127)
