"""A probe from pictures to a head: what it finds, what it leaves, and when it does nothing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from own_pictures import write_classes

import clipworks
from clipworks.errors import ConfigError, DataError
from clipworks.model.engine import Engine
from clipworks.model.linear import read_head
from clipworks.train.examples import read_examples
from clipworks.train.probe import ProbeConfig, probe
from tests.conftest import TinyClip

CONFIG = ProbeConfig(shots=(1, 2, 50), draws=2, max_iterations=200)


@pytest.fixture(scope="module")
def engine(tiny_clip: TinyClip) -> Engine:
    return clipworks.load(tiny_clip.native, precision="f32")


def run(engine: Engine, tiny_clip: TinyClip, data: Path, out: Path, config: ProbeConfig = CONFIG) -> Any:
    projection = tiny_clip.weights["vision.projection.weight"]
    return probe(engine, projection, read_examples(data), out, config)


@pytest.fixture(scope="module")
def done(
    engine: Engine, tiny_clip: TinyClip, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Any]:
    folder = tmp_path_factory.mktemp("probe")
    data = write_classes(folder / "data", per_class=12)
    return data, folder / "out", run(engine, tiny_clip, data, folder / "out")


def test_colours_are_told_apart_far_above_chance_and_above_their_names(
    done: tuple[Path, Path, Any],
) -> None:
    _, _, result = done
    best = result["head"]["test"]
    assert best["top1"]["value"] > 0.8 > result["zero_shot"]["test"]["top1"]["value"]
    assert best["top1"]["interval_95"][0] < best["top1"]["value"] <= best["top1"]["interval_95"][1]
    assert [row["class"] for row in best["per_class"]] == ["blue", "green", "red"]
    assert np.array(best["confusion"]).sum() == best["top1"]["n"] == result["data"]["test"] == 6


def test_the_curve_has_the_shots_that_every_class_has(done: tuple[Path, Path, Any]) -> None:
    _, out, result = done
    assert "Left out of the curve: 50 pictures per class, as a class has 8 to train on." in result["words"]
    for tap in ("before", "after"):
        assert [row["shots"] for row in result["taps"][tap]["few"]] == [1, 2]
        assert all(len(row["draws"]) == 2 and "interval_95" in row for row in result["taps"][tap]["few"])
    ElementTree.fromstring((out / "curve.svg").read_text())


def test_the_head_in_the_file_gives_the_accuracy_of_the_result(
    done: tuple[Path, Path, Any], engine: Engine
) -> None:
    data, out, result = done
    head = read_head(out / "head.safetensors")
    assert head.tap == result["head"]["tap"] and head.classes == ("blue", "green", "red")
    paths = sorted(data.rglob("*.png"))
    said = head.classify(engine, paths).argmax(axis=1)
    right = [head.classes[i] == path.parent.name for i, path in zip(said, paths, strict=True)]
    assert np.mean(right) > 0.8


def test_a_repeat_does_nothing_and_other_settings_or_pictures_are_refused(
    done: tuple[Path, Path, Any], engine: Engine, tiny_clip: TinyClip
) -> None:
    data, out, result = done
    before = (out / "result.json").stat().st_mtime_ns
    assert run(engine, tiny_clip, data, out) == json.loads(json.dumps(result))
    assert (out / "result.json").stat().st_mtime_ns == before
    with pytest.raises(DataError, match=r"another run; it differs in seed \(0, not 1\)"):
        run(engine, tiny_clip, data, out, replace(CONFIG, seed=1))
    with pytest.raises(DataError, match="holds 00.png and no probe.json"):
        run(engine, tiny_clip, data, data / "red")


def test_a_probe_that_learns_by_heart_says_so(engine: Engine, tiny_clip: TinyClip, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", per_class=10)
    names = sorted(data.rglob("*.png"))
    contents = [path.read_bytes() for path in names]
    for place, path in enumerate(names):  # labels that the pictures do not show
        path.write_bytes(contents[(7 * place + 3) % len(contents)])
    config = replace(CONFIG, shots=())
    result = run(engine, tiny_clip, data, tmp_path / "out", config)
    assert any(sentence.startswith("It overfits: ") for sentence in result["words"])


@pytest.mark.parametrize(
    ("values", "words"),
    [({"shots": (4, 2)}, "must rise"), ({"shots": (0,)}, "at least 1"), ({"draws": 0}, "draws is 0")],
)
def test_impossible_settings_are_one_sentence(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ProbeConfig(**values)
