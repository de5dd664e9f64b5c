import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_clip import TinyClip

from clipworks.errors import DataError
from clipworks.model.calibration import GALLERY, read_calibration, samples_hash


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A gallery of its own to damage."""
    return Path(shutil.copytree(GALLERY, tmp_path / "gallery", ignore=shutil.ignore_patterns("index")))


@pytest.mark.parametrize("part", ["fitted", "held_out"])
def test_samples_are_pictures_and_texts_of_many_lengths(tiny_clip: TinyClip, part: str) -> None:
    samples = getattr(read_calibration(tiny_clip.config), part)
    assert samples.pixels.dtype == np.uint8
    assert samples.pixels.shape == (32, 32, 32, 3)
    assert len(np.unique(samples.pixels.reshape(32, -1), axis=0)) == 32
    assert sum(len(batch) for batch in samples.texts) == 64
    lengths = np.concatenate([batch.argmax(axis=1) + 1 for batch in samples.texts])
    assert 9 < lengths.mean() < 18
    assert len(set(lengths)) > 8


def test_no_input_is_both_fitted_to_and_held_out(tiny_clip: TinyClip) -> None:
    calibration = read_calibration(tiny_clip.config)
    parts = (calibration.fitted, calibration.held_out)
    pictures = [picture.tobytes() for part in parts for picture in part.pixels]
    texts = [bytes(ids[: ids.argmax()]) for part in parts for batch in part.texts for ids in batch]
    assert len(set(pictures)) == len(pictures) == 64
    assert len(set(texts)) == len(texts) == 128


@pytest.mark.slow
def test_the_hash_changes_with_the_files_and_with_the_captions(copied: Path) -> None:
    first = samples_hash(gallery=copied)
    assert first == samples_hash()
    rows = [json.loads(line) for line in (copied / "metadata.jsonl").read_text().splitlines()]
    photo = next(row for row in rows if row["kind"] == "photo")
    with (copied / photo["file"]).open("ab") as file:
        file.write(b"\0")
    second = samples_hash(gallery=copied)
    photo["caption"] = "something else"
    (copied / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert len({first, second, samples_hash(gallery=copied)}) == 3


def test_a_gallery_that_lacks_a_picture_is_an_error_that_names_it(copied: Path) -> None:
    shutil.rmtree(copied / "images")
    with pytest.raises(DataError, match=r"photo.*cannot be read: No such file.*Install clipworks again"):
        samples_hash(gallery=copied)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["{", '{"kind": "photo"}', "[]", '{"caption": 1}'])
def test_damaged_metadata_is_an_error(copied: Path, text: str) -> None:
    (copied / "metadata.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"metadata\.jsonl is damaged"):
        samples_hash(gallery=copied)
