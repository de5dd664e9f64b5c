"""recipes/tiny.sh: the whole road in small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipworks.files import read_manifest

ROOT = Path(__file__).parent.parent.parent
CRAWL = ROOT / "examples" / "crawl" / "scikit.warc.gz"


@pytest.mark.slow
def test_a_crawl_becomes_shards_a_checkpoint_and_answers(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    command = [str(ROOT / "recipes" / "tiny.sh"), str(tmp_path), str(CRAWL)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    counts = {name: read_manifest(tmp_path / name)["counts"] for name in ("pairs", "texts", "images")}
    assert counts["pairs"]["pairs"] == counts["texts"]["pairs"] == sum(counts["images"].values()) == 185
    assert counts["texts"]["language en"] > counts["texts"]["texts"] / 2
    assert counts["images"] == {"archived": 79, "not_archived": 106}
    pictures = len(list((tmp_path / "pictures").glob("*.jpg")))
    assert 16 <= pictures < 79  # many pages show the same few pictures
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 20
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:2])  # so few pictures are soon known by heart
    with np.load(tmp_path / "vectors.npz") as file:
        assert {len(file[name]) for name in file.files if file[name].ndim == 2} == {pictures}
    hits = [json.loads(line) for line in done.stdout.splitlines() if '"hits"' in line]
    assert len(hits[-1]["hits"]) == 3
