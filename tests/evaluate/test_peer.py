"""CLIP_benchmark itself on the same checkpoint and files: every metric that it prints is ours.

Needs a Python with clip-benchmark, webdataset and open_clip in CLIPWORKS_PEER_PYTHON; skipped without it.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from evaluation_sets import labelled, npy, picture, write_set
from tiny_clip import TinyClip

from clipworks.model.engine import Engine
from tests.evaluate.test_run import run

PEER = os.environ.get("CLIPWORKS_PEER_PYTHON", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PEER, reason="CLIPWORKS_PEER_PYTHON names no Python with clip-benchmark"),
]


def test_every_metric_of_the_peer_is_ours(engine: Engine, tiny_clip: TinyClip, tmp_path: Path) -> None:
    data = tmp_path / "data"
    names = ["a red square", "a green one", "blue", "a cat", "a dog", "a house", "rain"]
    classes, templates = names[:6], ["a photo of {c}.", "{c} in the dark"]
    write_set(data / "one", labelled(48, 6), classes=classes, templates=templates, per_shard=12)
    several = [{"png": picture(n), "npy": npy([int((n + c) % 3 == 0) for c in range(6)])} for n in range(24)]
    write_set(data / "two", several, classes=classes, templates=templates, kind="multilabel", per_shard=12)
    pairs = [
        {"png": picture(n), "txt": "\n".join(f"{name} {n}" for name in names[: 1 + n % 4]).encode()}
        for n in range(30)
    ]
    write_set(data / "three", pairs, kind="retrieval", per_shard=15)
    mine = {name: run(engine, name, data, tmp_path / "out")[name] for name in ("one", "two", "three")}
    model = f"local-dir:{tiny_clip.folders['open_clip']}"
    places = ["--dataset_root", str(data / "{dataset_cleaned}"), "--output", str(tmp_path / "{dataset}.json")]
    options = "--no_amp --num_workers 1 --batch_size 16 --recall_k 1 5 10".split()
    command = [
        PEER,
        "-m",
        "clip_benchmark.cli",
        "eval",
        *options,
        "--model",
        model,
        "--pretrained",
        "",
        *places,
    ]
    for names_of, task in (
        (["wds/one", "wds/two"], "zeroshot_classification"),
        (["wds/three"], "zeroshot_retrieval"),
    ):
        done = subprocess.run(
            [*command, "--dataset", *names_of, "--task", task], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
    count = 0
    for name, result in mine.items():
        found = json.loads(next(tmp_path.glob(f"*{name}.json")).read_text())["metrics"]
        assert not result.get("tied_top1") and not result.get("tied_texts") and not result.get("tied_images")
        for metric, value in found.items():
            assert result["metrics"][metric]["value"] == pytest.approx(value, abs=1e-6), (name, metric)
            count += 1
    assert count == 3 + 1 + 6
