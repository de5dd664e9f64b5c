"""`clipworks embed`: files with vectors of pictures and texts."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import clipworks
from tests.cli.conftest import Run
from tests.conftest import TinyClip


def test_pictures_are_written_as_unit_vectors_with_their_names(
    run: Run, folder: Path, tmp_path: Path, tiny_clip: TinyClip
) -> None:
    out = tmp_path / "vectors.npz"
    result = run("embed", folder, "--out", out)
    assert (result.stdout, result.stderr) == ("", f"3 pictures embedded into {out}, 0 skipped.\n")
    engine = clipworks.load(tiny_clip.native)
    with np.load(out) as file:
        paths = [folder / "a.png", folder / "b.jpg", folder / "deep" / "c.webp"]
        assert file["items"].tolist() == [str(path) for path in paths]
        assert file["vectors"].dtype == np.float32
        assert file["vectors"] == pytest.approx(engine.embed_images(paths), abs=1e-5)
        assert (str(file["model"]), str(file["fingerprint"])) == (engine.name, engine.fingerprint)
        assert set(file["kinds"]) == {"image"}


def test_texts_of_captions_files_are_embedded_too(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a dog\n\na cat, asleep\n")
    out = tmp_path / "vectors.npz"
    result = run(
        "embed", folder / "a.png", tmp_path / "texts.txt", folder / "captions.jsonl", "--out", out, "--json"
    )
    values = json.loads(result.stdout)
    assert (values["images"], values["texts"], values["skipped"]) == (1, 4, 0)
    with np.load(out) as file:
        assert file["items"].tolist()[1:] == ["a dog", "a cat, asleep", "stripes", "dots"]
        assert file["kinds"].tolist() == ["image", "text", "text", "text", "text"]


def test_a_bad_file_is_skipped_and_the_status_is_1(run: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "bad.png").write_bytes(b"")
    out = tmp_path / "vectors.npz"
    result = run("embed", folder, "--out", out, status=1)
    assert result.stderr.splitlines()[-1] == f"3 pictures embedded into {out}, 1 skipped."
    with np.load(out) as file:
        assert len(file["items"]) == 3


def test_nothing_usable_writes_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    for source in (tmp_path / "bad.png", tmp_path / "none.png"):
        run("embed", source, "--out", tmp_path / "vectors.npz", status=1)
    assert not (tmp_path / "vectors.npz").exists()


def test_another_ending_is_refused_before_any_work(run: Run, folder: Path) -> None:
    assert "must end in .npz or .parquet" in run("embed", folder, "--out", "vectors.csv", status=1).stderr


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_without_pyarrow_names_the_install(run: Run, folder: Path) -> None:
    assert "pip install" in run("embed", folder, "--out", "vectors.parquet", status=1).stderr


def test_a_captions_file_that_is_missing_or_wrong_is_one_sentence(run: Run, tmp_path: Path) -> None:
    assert "does not exist" in run("embed", tmp_path / "x.jsonl", "--out", "v.npz", status=1).stderr
    (tmp_path / "x.jsonl").write_text("nonsense\n")
    assert "line 1 is not JSON" in run("embed", tmp_path / "x.jsonl", "--out", "v.npz", status=1).stderr
