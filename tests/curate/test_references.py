"""The hashes of an evaluation set."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clipworks.cli import main
from clipworks.curate.hashes import perceptual_hash
from clipworks.curate.references import write_hashes
from clipworks.errors import DataError


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8))


def test_hashes_of_files_are_written_once_and_in_order(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name, seed in (("x.png", 1), ("b/y.png", 2), ("b/z.png", 1)):
        picture(seed).save(tmp_path / "a" / name)
    (tmp_path / "a/broken.jpg").write_bytes(b"no picture")
    counts = write_hashes([tmp_path / "a"], tmp_path / "out.npy")
    assert dict(counts) == {"pictures": 3, "unreadable": 1, "hashes": 2}
    found = np.load(tmp_path / "out.npy")
    assert found.dtype == np.uint64 and found.tolist() == sorted(found.tolist()) and len(found) == 2


def test_a_folder_without_a_picture_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no picture that can be read"):
        write_hashes([tmp_path], tmp_path / "out.npy")


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_hashes([tmp_path], tmp_path / "file" / "out.npy")


def test_the_command_tells_what_it_would_do_and_what_it_could_not_read(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    words = ["curate", "hashes", str(tmp_path), "--out", str(tmp_path / "out.npy")]
    planned = CliRunner().invoke(main, [*words, "--dry-run"])
    assert "Would read" in planned.output and not (tmp_path / "out.npy").exists()
    done = CliRunner().invoke(main, [*words, "--json"])
    assert json.loads(done.stdout)["hashes"] == 1 and "1 pictures could not be read" in done.stderr


def test_a_glyph_whose_shape_is_in_its_alpha_has_a_hash_of_its_own() -> None:
    found = set()
    for box in ((0, 0, 20, 40), (10, 5, 30, 35), (0, 0, 40, 10)):
        image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
        image.paste((0, 0, 0, 255), box)
        on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        hashes = set()
        for one in (image, on_white):
            file = io.BytesIO()
            one.save(file, "PNG")
            hashes.add(perceptual_hash(file.getvalue()))
        assert len(hashes) == 1
        found |= hashes
    assert len(found) == 3
