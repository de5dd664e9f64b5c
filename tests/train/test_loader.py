"""Batches are a pure function of data, seed and step."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipworks.errors import DataError
from clipworks.model.preprocess import prepare_rgba
from clipworks.model.tokenizer import EOT, tokenize
from clipworks.shards import Sample, read_shards, write_shards
from clipworks.train import loader
from clipworks.train.config import TrainConfig
from clipworks.train.loader import Dataset, read_batches, read_dataset
from clipworks.train.recipes import tiny

from .conftest import draw, drawings


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return replace(tiny(), batch_size=16, steps=9, patch_dropout=0.5, unmasked_steps=2, zoom=0.1, shift=0.1)


@pytest.fixture(scope="module")
def dataset(shards: Path, config: TrainConfig) -> Dataset:
    return read_dataset(shards, config)


def test_tokens_stand_for_the_rows_that_occur(dataset: Dataset) -> None:
    ids = dataset.token_rows[dataset.tokens]
    number = dataset.texts[0][0]
    assert (ids[number] == tokenize(["red circle"])[0]).all()
    assert dataset.token_rows[0] == 0 and dataset.token_rows[-1] == EOT


def test_a_batch_does_not_depend_on_where_the_run_began(dataset: Dataset, config: TrainConfig) -> None:
    resumed = list(read_batches(dataset, config, first_step=5))
    whole = list(read_batches(dataset, config))[5:]
    assert len(resumed) == len(whole) == 4
    for one, other in zip(resumed, whole, strict=True):
        assert torch.equal(one.images_BCHW, other.images_BCHW)
        assert torch.equal(one.tokens_BT, other.tokens_BT)


def test_the_last_steps_see_all_patches(dataset: Dataset, config: TrainConfig) -> None:
    kept = [batch.kept_BT for batch in read_batches(dataset, config)]
    assert all(k is not None and k.shape == (16, 8) for k in kept[:7])
    assert kept[7] is None and kept[8] is None


def test_a_finished_run_has_no_batch_left(dataset: Dataset, config: TrainConfig) -> None:
    assert list(read_batches(dataset, config, first_step=9)) == []


def test_a_batch_says_which_texts_describe_which_pictures(dataset: Dataset, config: TrainConfig) -> None:
    batch = next(read_batches(dataset, replace(config, first_text_prob=0.0)))
    assert batch.captions is not None
    own, chosen = batch.captions.of_image_BK, batch.captions.chosen_B
    assert (own == chosen[:, None]).any(dim=1).all()
    same = (batch.tokens_BT[:, None] == batch.tokens_BT[None]).all(-1)
    assert torch.equal((own[:, :, None] == chosen).any(dim=1), same)


@pytest.mark.slow
def test_parts_of_a_batch_are_the_rows_of_the_whole(dataset: Dataset, config: TrainConfig) -> None:
    moving = replace(config, zoom=0.2, shift=0.1, jitter=0.2)
    whole = list(read_batches(dataset, moving))
    for rows in (slice(0, 8), slice(8, 16)):
        for part, batch in zip(read_batches(dataset, moving, rows=rows), whole, strict=True):
            assert torch.equal(part.images_BCHW, batch.images_BCHW[rows])
            assert torch.equal(part.tokens_BT, batch.tokens_BT[rows, : part.tokens_BT.shape[1]])
            assert part.captions is not None and batch.captions is not None
            assert torch.equal(part.captions.of_image_BK, batch.captions.of_image_BK[rows])
            if part.kept_BT is not None and batch.kept_BT is not None:
                assert torch.equal(part.kept_BT, batch.kept_BT[rows])


@given(
    weights=st.lists(st.floats(0.1, 10), min_size=1, max_size=50),
    seed=st.integers(0, 100),
    epoch=st.integers(0, 3),
)
def test_an_epoch_visits_each_sample_as_its_weight_says(weights: list[float], seed: int, epoch: int) -> None:
    shares = np.array(weights) / sum(weights) * len(weights)
    counts = Counter(loader._epoch_order(np.array(weights), seed, epoch).tolist())
    assert sum(counts.values()) == len(weights)
    for number, share in enumerate(shares):
        assert np.floor(share - 1e-9) <= counts[number] <= np.ceil(share + 1e-9)


def test_fewer_samples_than_a_batch_is_an_error(shards: Path) -> None:
    with pytest.raises(DataError, match="40 samples, fewer than one batch of 64"):
        read_dataset(shards, replace(tiny(), batch_size=64))


def test_more_pictures_than_memory_is_an_error(
    shards: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "LARGEST_DATASET_BYTES", 1000)
    monkeypatch.setattr(loader, "read_shards", lambda *_, **__: pytest.fail("the pictures were read"))
    with pytest.raises(DataError, match="GiB of memory"):
        read_dataset(shards, config)


def test_pictures_are_decoded_while_others_are_read(
    shards: Path, config: TrainConfig, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_read = num_decoded = most_waiting = 0

    def count_decoded(*arguments: Any, **options: Any) -> Any:
        nonlocal num_decoded
        pixels = prepare_rgba(*arguments, **options)
        num_decoded += 1
        return pixels

    def count_read(folder: Path, *, check_hashes: bool) -> Iterator[Sample]:
        nonlocal num_read, most_waiting
        for sample in read_shards(folder, check_hashes=check_hashes):
            num_read += 1
            most_waiting = max(most_waiting, num_read - num_decoded)
            yield sample

    monkeypatch.setattr(loader, "READ_AHEAD_SAMPLES", 3)
    monkeypatch.setattr(loader, "ThreadPoolExecutor", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(loader, "prepare_rgba", count_decoded)
    monkeypatch.setattr(loader, "read_shards", count_read)
    again = read_dataset(shards, config)
    assert num_read == num_decoded == 40 and most_waiting <= 4
    assert np.array_equal(again.pictures, dataset.pictures)
    assert np.array_equal(again.weights, dataset.weights) and again.texts == dataset.texts


def test_a_picture_that_cannot_be_decoded_is_left_out_and_told(
    tmp_path: Path, config: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    samples = drawings()[:31]
    damaged = [replace(one, image=b"no picture") if n in (3, 30) else one for n, one in enumerate(samples)]
    write_shards(damaged, tmp_path / "damaged")
    write_shards([one for n, one in enumerate(samples) if n not in (3, 30)], tmp_path / "whole")
    found, whole = (read_dataset(tmp_path / name, config) for name in ("damaged", "whole"))
    assert np.array_equal(found.pictures, whole.pictures) and np.array_equal(found.weights, whole.weights)
    first, second = (
        [one.token_rows[one.tokens[own[0]]].tolist() for own in one.texts] for one in (found, whole)
    )
    assert first == second
    assert found.skipped == {"invalid_image": 2}
    assert "2 of the 31 samples" in caplog.text and "sample red-bar" in caplog.text
    with pytest.raises(DataError, match=r"2 of the 31 samples .* The limit is 5%"):
        read_dataset(tmp_path / "damaged", replace(config, most_skipped=0.05))
    with pytest.raises(DataError, match="29 samples, fewer than one batch of 30"):
        read_dataset(tmp_path / "damaged", replace(config, batch_size=30))


def test_a_weight_that_is_no_number_is_named() -> None:
    sample = Sample(
        key="bad", image=draw("red", "bar"), extension="png", texts=("a",), details={"weight": "heavy"}
    )
    with pytest.raises(DataError, match="Sample bad has the weight 'heavy'"):
        loader._weight(sample)
