"""Training on from a checkpoint, with scores of pictures that were held out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipworks.cli.held_out import read_tasks
from clipworks.errors import ConfigError, DataError
from clipworks.model.loading import load
from clipworks.model.weights import read_checkpoint, write_checkpoint
from clipworks.train import held_out
from clipworks.train.check import check_run, estimate_bytes
from clipworks.train.config import TrainConfig
from clipworks.train.distributed import Processes
from clipworks.train.held_out import captioned_task, class_task, score_tasks
from clipworks.train.loop import train
from clipworks.train.metrics import EVALUATIONS
from clipworks.train.recipes import find, tiny
from clipworks.train.start import read_start, with_start
from clipworks.train.step import Learner, build_learner

from .conftest import draw, drawings
from .pools import sample, write_pool, write_tar

TABLE = "text.token_embedding.weight"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def first_run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    short = replace(tiny(), steps=2, batch_size=8)
    return train(short, shards, tmp_path_factory.mktemp("runs") / "first")


def test_training_goes_on_from_the_weights_of_a_checkpoint(
    shards: Path, first_run: Path, tmp_path: Path
) -> None:
    config = with_start(
        replace(tiny(), steps=1, warmup_steps=0, batch_size=8, learning_rate=1e-7), str(first_run)
    )
    before = read_checkpoint(first_run).tensors
    after = read_checkpoint(train(config, shards, tmp_path / "on")).tensors
    for name, tensor in before.items():
        assert np.abs(tensor - after[name]).max() < 1e-5, name
    assert any((before[name] != after[name]).any() for name in before)
    unseen = np.flatnonzero((before[TABLE] == after[TABLE]).all(axis=1))
    assert len(unseen) > 49_000


def test_a_checkpoint_of_another_shape_is_refused(first_run: Path) -> None:
    other = replace(find("pictogram"), start=str(first_run))
    with pytest.raises(ConfigError, match="another shape"):
        read_start(other, np.arange(10))
    assert read_start(tiny(), np.arange(10)) is None


@pytest.mark.slow
def test_the_built_in_model_starts_fine_tuning_from_a_stream(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", shards=1)
    config = replace(find("finetune"), steps=1, batch_size=4, warmup_steps=0)
    run = train(config, pool, tmp_path / "run")
    assert read_checkpoint(run).config == config.model


def scores_of(config: TrainConfig, tasks: list[Any]) -> dict[str, float]:
    start = read_start(config, np.arange(49_408))
    assert start is not None
    return score_tasks(build_learner(config, np.arange(49_408), Processes(), start.model), tasks)


def test_the_built_in_model_scores_far_above_chance() -> None:
    config = find("finetune")
    pairs = [(one.image, one.texts[0]) for one in drawings()]
    classes = [(draw("red", shape), shape) for shape in ("circle", "square", "triangle")]
    found = scores_of(
        config, [captioned_task("drawings", pairs, config), class_task("shapes", classes, config)]
    )
    assert set(found) == {
        *(f"drawings/{side}_r{k}" for side in ("image_to_text", "text_to_image") for k in (1, 5)),
        "shapes/top1",
    }
    assert found["drawings/image_to_text_r5"] > 3 * 5 / 40


def test_scores_become_lines_of_the_run(shards: Path, tmp_path: Path) -> None:
    config = replace(tiny(), steps=4, batch_size=8, eval_every_steps=2, ema_decay=0.5)
    task = captioned_task("held", [(one.image, one.texts[0]) for one in drawings()[:6]], config)
    train(config, shards, tmp_path / "run", on_eval=lambda learner, _: score_tasks(learner, [task]))
    lines = [json.loads(line) for line in (tmp_path / "run" / EVALUATIONS).read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert all(0 <= line["held/image_to_text_r1"] <= line["held/image_to_text_r5"] <= 1 for line in lines)
    assert "held/image_to_text_r1" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("is_from_one", [False, True])
def test_a_run_is_scored_as_its_checkpoint_is(
    shards: Path, first_run: Path, tmp_path: Path, is_from_one: bool
) -> None:
    """With captions whose words no caption of the training holds."""
    config = replace(tiny(), steps=2, batch_size=8, learning_rate=1e-4)
    if is_from_one:
        whole = read_checkpoint(first_run)
        rng = np.random.default_rng(0)
        table = rng.normal(0, 0.5, whole.tensors[TABLE].shape).astype(np.float32)
        write_checkpoint(tmp_path / "full", whole.config, {**whole.tensors, TABLE: table})
        config = with_start(config, str(tmp_path / "full"))
    texts = ("a zebra in snow", "red circle of wax", "zebra", "green lamp and green zebra")
    told: list[torch.Tensor] = []

    def on_eval(learner: Learner, _: int) -> dict[str, float]:
        with torch.no_grad():
            told[:] = [held_out._text_encoder(learner)(texts, learner.processes)]
        return {}

    run = train(config, shards, tmp_path / "run", on_eval=on_eval)
    vectors = load(str(run), precision="f32", device="torch-cpu").embed_texts(texts)
    assert np.abs(told[0].numpy() - vectors).max() < 1e-5


def test_tasks_are_read_from_captions_classes_and_shards(shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "captioned"
    folder.mkdir()
    rows = []
    for number, one in enumerate(drawings()[:3]):
        (folder / f"{number}.png").write_bytes(one.image)
        rows.append(json.dumps({"file": f"{number}.png", "caption": one.texts[0]}))
    (folder / "captions.jsonl").write_text("\n".join(rows))
    for one in drawings()[:4]:
        path = tmp_path / "classes" / one.texts[1] / f"{one.key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.image)
    paths = [folder, folder / "captions.jsonl", tmp_path / "classes", shards]
    captioned, listed, classes, tarred = read_tasks(paths, tiny())
    assert captioned.texts == listed.texts == ("red circle", "red square", "red triangle")
    assert classes.texts == ("bar", "circle", "square", "triangle") and classes.classes is not None
    assert classes.classes.tolist() == [0, 1, 2, 3]
    assert len(tarred.texts) == 40 and tarred.pixels.shape == (40, 32, 32, 3)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_path_without_a_task_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=name):
        read_tasks([tmp_path / name], tiny())


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "test").mkdir(parents=True)
    with pytest.raises(ConfigError, match="Two of --eval are called 'test'"):
        read_tasks([tmp_path / "a" / "test", tmp_path / "b" / "test"], tiny())


def test_recall_counts_texts_that_stand_twice_and_takes_ties_for_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(held_out, "ROWS", 7)
    rng = np.random.default_rng(0)
    rows, columns = (rng.integers(-2, 3, (40, 3)).astype(np.float32) / 4 for _ in range(2))  # exact products
    same = rng.integers(0, 25, 40)
    found = held_out._recalls(torch.from_numpy(rows), torch.from_numpy(columns), same)
    for k in (1, 5):
        hits = 0
        for cosines, own in zip(rows @ columns.T, same, strict=True):
            right = same == own
            hits += int((cosines[~right] >= cosines[right].max()).sum()) < k
        assert found[k] == pytest.approx(hits / 40)


def test_too_little_to_score_is_named() -> None:
    picture = draw("red", "bar")
    with pytest.raises(DataError, match="1 captioned pictures"):
        captioned_task("one", [(picture, "a")], tiny())
    with pytest.raises(DataError, match="1 classes"):
        class_task("one", [(picture, "a"), (picture, "a")], tiny())


def test_a_picture_that_cannot_be_scored_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    pairs = [(one.image, one.texts[0]) for one in drawings()[:6]]
    task = captioned_task("held", [*pairs, (b"no picture", "x")], tiny())
    assert len(task.pixels) == len(task.texts) == 6 and "x" not in task.texts
    assert "1 of 7 pictures of --eval held cannot be used" in caplog.text
    with pytest.raises(DataError, match="2 of 4 pictures of --eval held"):
        class_task("held", [*pairs[:2], (b"no", "x"), (b"no", "y")], tiny())


def test_a_check_looks_at_data_memory_and_two_steps_and_writes_nothing(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool")
    config = replace(tiny(), reading="stream", recolour=False, batch_size=8)
    before = sorted(path.name for path in pool.iterdir())
    found = check_run(config, pool)
    assert sorted(path.name for path in pool.iterdir()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"pool", "cache"}
    assert (found.samples, found.shards, found.looked_at, found.problems) == (60, 3, 60, {})
    assert found.distinct_captions == 60 and found.captions[0].startswith("caption ")
    assert found.loss == pytest.approx(found.chance_loss, rel=0.3)
    assert found.step_seconds > 0 and found.total_hours > 0 and found.mfu is not None
    assert 10e6 < found.estimated_bytes < found.peak_bytes


def test_a_check_of_data_in_memory_takes_its_steps_too(shards: Path) -> None:
    found = check_run(replace(tiny(), batch_size=8), shards)
    assert (found.samples, found.shards, found.looked_at) == (40, 0, 40)


def test_a_check_of_bad_data_names_what_is_wrong(tmp_path: Path) -> None:
    bad = [(f"bad{n}", {"jpg": b"\xff\xd8\xff", "txt": b"x"}) for n in range(20)]
    write_tar(tmp_path / "pool" / "a.tar", [*map(sample, range(10)), *bad])
    with pytest.raises(DataError, match=r"cannot be used: invalid_image \d"):
        check_run(replace(tiny(), reading="stream", recolour=False, batch_size=8), tmp_path / "pool")


def test_a_check_judges_by_as_many_samples_as_a_run(tmp_path: Path) -> None:
    """The first and the last of eighty are bad, which of four would be half."""
    bad = {"jpg": b"\xff\xd8\xff", "txt": b"x"}
    samples = [("bad0", bad), *map(sample, range(78)), ("bad1", bad)]
    write_tar(tmp_path / "pool" / "a.tar", samples)
    config = replace(tiny(), reading="stream", recolour=False, batch_size=8)
    for reading in (config, replace(config, reading="memory")):
        found = check_run(reading, tmp_path / "pool")
        assert (found.looked_at, found.problems) == (80, {"invalid_image": 2})


def test_a_check_refuses_what_memory_cannot_hold(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipworks.train.check._available_bytes", lambda: 10**6)
    with pytest.raises(DataError, match="GiB are free"):
        check_run(replace(tiny(), batch_size=8), shards)


def test_the_estimate_knows_what_saves_memory() -> None:
    config = find("datacomp-small")
    full = estimate_bytes(replace(config, recompute=False), 49_408)
    assert estimate_bytes(config, 49_408) < 0.5 * full
    assert estimate_bytes(replace(config, recompute=False, accumulation=8), 49_408) < 0.5 * full
