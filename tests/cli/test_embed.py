"""`clipworks embed`: files with vectors of pictures and texts."""

import json
import subprocess
import sys
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
    assert result.stdout == ""
    precision, summary = result.stderr.splitlines()
    assert summary == f"3 pictures embedded into {out}, 0 skipped."
    assert precision.startswith("Computed in ") and "smallest cosine to f32" in precision
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


def test_parquet_holds_the_same_rows(run: Run, folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow comes with clipworks[search]")
    for name in ("v.npz", "v.parquet"):
        run("embed", folder, "--out", tmp_path / name, "--precision", "f32")
    table = parquet.read_table(tmp_path / "v.parquet")
    with np.load(tmp_path / "v.npz") as file:
        assert table["item"].to_pylist() == file["items"].tolist()
        assert np.array_equal(np.array(table["vector"].to_pylist(), dtype=np.float32), file["vectors"])
        assert table.schema.metadata[b"fingerprint"].decode() == str(file["fingerprint"])


def test_parquet_without_pyarrow_names_the_install(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "clipworks.search.parquet", raising=False)
    result = run("embed", folder, "--out", "vectors.parquet", status=1)
    assert result.stderr.endswith('Run: pip install "clipworks[search]"\n')


def test_half_precision_and_the_settings_stand_in_the_file(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.npz"
    options = ("--dtype", "f16", "--precision", "f32", "--preprocess", "reference", "--device", "cpu")
    run("embed", folder, "--out", out, *options)
    with np.load(out) as file:
        assert file["vectors"].dtype == np.float16
        assert (str(file["precision"]), str(file["preprocess"])) == ("f32", "reference")


def test_failures_are_listed_in_a_file_beside_it(run: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "bad.png").write_bytes(b"")
    (tmp_path / "texts.jsonl").write_text('{"caption": "a dog"}\nnonsense\n')
    out = tmp_path / "v.npz"
    result = run("embed", folder, tmp_path / "texts.jsonl", "--out", out, "--json", status=1)
    values = json.loads(result.stdout)
    assert (values["images"], values["texts"], values["skipped"], values["reused"]) == (3, 1, 2, 0)
    rows = [json.loads(line) for line in Path(values["failed_file"]).read_text().splitlines()]
    assert [row["item"] for row in rows] == [str(folder / "bad.png"), f"{tmp_path / 'texts.jsonl'}, line 2"]
    assert [line for line in result.stderr.splitlines() if line.startswith("Skipped: ")] == [
        f"Skipped: {row['reason']}" for row in rows
    ]


def test_an_unfinished_output_of_other_settings_is_refused(run: Run, folder: Path, tmp_path: Path) -> None:
    parts = tmp_path / "v.npz.parts"
    parts.mkdir()
    (parts / "job.json").write_text('{"format": "clipworks vectors 1", "model": "another"}')
    result = run("embed", folder, "--out", tmp_path / "v.npz", status=1)
    assert "was begun with model 'another', not 'native'" in result.stderr


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_texts(tiny_clip: TinyClip, tmp_path: Path) -> None:
    program = (
        "import sys; from clipworks.cli import main; from clipworks.processes import peak_memory_bytes\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(peak_memory_bytes())"
    )
    peaks = []
    for count in (10_000, 100_000):
        texts = tmp_path / f"{count}.txt"
        texts.write_text("".join(f"text {i} of many\n" for i in range(count)))
        command = ["embed", str(texts), "--out", str(tmp_path / f"{count}.npz"), "--model", tiny_clip.native]
        done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, check=True)
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 20e6


def test_a_captions_file_that_is_missing_or_wrong_is_one_sentence(run: Run, tmp_path: Path) -> None:
    assert "does not exist. Check" in run("embed", tmp_path / "x.jsonl", "--out", "v.npz", status=1).stderr
    (tmp_path / "x.jsonl").write_text("nonsense\n")
    assert "line 1 is not JSON" in run("embed", tmp_path / "x.jsonl", "--out", "v.npz", status=1).stderr
