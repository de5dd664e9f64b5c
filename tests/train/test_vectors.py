"""Features by content: a picture that was read once is not read by the model again, whatever it is called."""

from pathlib import Path

import numpy as np
import pytest
from own_pictures import drawn, write_classes

import clipworks
from clipworks.errors import DataError
from clipworks.model.engine import Engine
from clipworks.model.weights import read_checkpoint
from clipworks.train.examples import read_examples
from clipworks.train.vectors import read_features
from tests.conftest import TinyClip


@pytest.fixture(scope="module")
def engine(tiny_clip: TinyClip) -> Engine:
    return clipworks.load(tiny_clip.native, precision="f32")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def projection_of(tiny_clip: TinyClip) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return read_checkpoint(Path(tiny_clip.native)).tensors["vision.projection.weight"]


def test_both_taps_are_what_the_engine_gives_and_the_second_time_nothing_is_computed(
    engine: Engine, tiny_clip: TinyClip, tmp_path: Path, own_cache: Path
) -> None:
    examples = read_examples(write_classes(tmp_path / "data", per_class=3))
    first = read_features(engine, projection_of(tiny_clip), examples)
    paths = [tmp_path / "data" / e.name for e in examples]
    assert first.num_computed == 9
    assert first.before == pytest.approx(engine.features.pooled_images(paths), abs=1e-4)
    assert (first.after * engine.embed_images(paths)).sum(axis=1) == pytest.approx(1, abs=1e-5)

    (tmp_path / "data" / "red").rename(tmp_path / "data" / "crimson")
    (tmp_path / "data" / "blue" / "00.png").write_bytes(drawn("blue", 99))
    again = read_features(engine, projection_of(tiny_clip), read_examples(tmp_path / "data"))
    assert again.num_computed == 1
    assert sorted(map(bytes, first.before[1:])) == sorted(map(bytes, again.before[1:]))


def test_a_damaged_part_of_the_cache_is_made_again(
    engine: Engine, tiny_clip: TinyClip, tmp_path: Path, own_cache: Path
) -> None:
    examples = read_examples(write_classes(tmp_path / "data", per_class=2))
    first = read_features(engine, projection_of(tiny_clip), examples)
    (part,) = own_cache.rglob("*.npz")
    part.write_bytes(part.read_bytes()[:100])
    again = read_features(engine, projection_of(tiny_clip), examples)
    assert again.num_computed == 6 and np.array_equal(first.before, again.before)


def test_a_picture_that_cannot_be_read_is_skipped_and_many_are_an_error(
    engine: Engine, tiny_clip: TinyClip, tmp_path: Path, own_cache: Path
) -> None:
    data = write_classes(tmp_path / "data", per_class=10)
    (data / "red" / "00.png").write_bytes(b"no picture")
    found = read_features(engine, projection_of(tiny_clip), read_examples(data))
    assert [one.name for one in found.skipped] == ["red/00.png"]
    assert "red/00.png" in found.skipped[0].reason
    assert len(found.examples) == len(found.before) == 29
    for number in range(5):
        (data / "blue" / f"{number:02d}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="6 of 30 pictures cannot be used; the first: .*blue/00.png"):
        read_features(engine, projection_of(tiny_clip), read_examples(data))
