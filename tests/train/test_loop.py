"""Runs: what they leave behind, and that an interruption changes nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clipworks.errors import DataError
from clipworks.files import sha256_file
from clipworks.model.weights import read_checkpoint
from clipworks.train.checkpoint import cut_evaluations, open_run
from clipworks.train.config import TrainConfig
from clipworks.train.folders import held
from clipworks.train.loop import train
from clipworks.train.loss import Score
from clipworks.train.metrics import EVALUATIONS, METRICS, Step
from clipworks.train.recipes import tiny
from clipworks.train.signals import Caught, catch_signals
from clipworks.train.sources import identify
from clipworks.train.states import list_states
from clipworks.train.step import Learner


def config() -> TrainConfig:
    return replace(tiny(), steps=8, batch_size=16, save_every_steps=3, patch_dropout=0.5, unmasked_steps=2)


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / METRICS).read_text().splitlines()]


@pytest.fixture(scope="module")
def whole_run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    return train(config(), shards, tmp_path_factory.mktemp("runs") / "whole")


def test_a_run_ends_as_a_checkpoint(whole_run: Path) -> None:
    checkpoint = read_checkpoint(whole_run)
    assert checkpoint.config == tiny().model
    assert checkpoint.tensors["text.token_embedding.weight"].shape == (49408, 64)
    assert len(losses(whole_run)) == 8


@pytest.mark.slow
def test_the_loss_falls_on_forty_drawings(shards: Path, tmp_path: Path) -> None:
    long = replace(tiny(), steps=60, learning_rate=3e-3, recolour=False, first_text_prob=1.0)
    run = train(long, shards, tmp_path / "run")
    assert sum(losses(run)[-5:]) / 5 < 0.5 * losses(run)[0]


def interrupted(shards: Path, out: Path, settings: dict[str, Any], number: int, at: int) -> int:
    """Train in a process of its own that sends itself a signal after a step; how it ended."""
    program = (
        "import json, os, sys; from dataclasses import replace; from pathlib import Path\n"
        "from clipworks.train.loop import train; from clipworks.train.recipes import tiny\n"
        "send = lambda step: step.step == int(sys.argv[5]) and os.kill(os.getpid(), int(sys.argv[4]))\n"
        "config = replace(tiny(), **json.loads(sys.argv[3]))\n"
        "train(config, Path(sys.argv[1]), Path(sys.argv[2]), on_step=send)\n"
    )
    arguments = [str(shards), str(out), json.dumps(settings), str(number), str(at)]
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], check=False, stderr=subprocess.DEVNULL
    ).returncode


LONG: dict[str, Any] = {
    "steps": 56,
    "batch_size": 16,
    "save_every_steps": 8,
    "patch_dropout": 0.5,
    "unmasked_steps": 2,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"matrix_learning_rate": 2e-3, "loss": "sigmoid", "accumulation": 3}],
    ids=["plain", "Muon, sigmoid, in parts"],
)
def test_whatever_stops_a_run_it_goes_on_to_the_same_bytes(
    shards: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Ctrl-C and SIGTERM after the 6th step, kill -9 after the next, and 50 steps as if nothing had been."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(replace(tiny(), **LONG, **settings), shards, whole)
    assert interrupted(shards, cut, {**LONG, **settings}, signal.SIGTERM, 4) == 128 + signal.SIGTERM
    assert len(losses(cut)) == int(list_states(cut)[-1].name) == 5
    assert interrupted(shards, cut, {**LONG, **settings}, signal.SIGINT, 5) != 0
    assert len(losses(cut)) == int(list_states(cut)[-1].name) == 6
    assert interrupted(shards, cut, {**LONG, **settings}, signal.SIGKILL, 9) == -signal.SIGKILL
    assert int(list_states(cut)[-1].name) == 8
    train(replace(tiny(), **LONG, **settings), shards, cut)
    assert len(losses(cut)) == 56 and losses(cut) == losses(whole)
    assert sha256_file(cut / "model.safetensors") == sha256_file(whole / "model.safetensors")


@pytest.mark.slow
def test_states_are_saved_by_time_and_the_newest_are_kept(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def tick(_: Step) -> None:
        nonlocal now
        now += 10

    clock = SimpleNamespace(perf_counter=lambda: now, monotonic=lambda: now)
    monkeypatch.setattr("clipworks.train.loop.time", clock)
    timed = replace(config(), save_every_steps=1000, save_every_seconds=30.0, keep_states=3)
    train(timed, shards, tmp_path, on_step=tick)
    assert [int(state.name) for state in list_states(tmp_path)] == [3, 6, 8]


@pytest.mark.slow
def test_settings_that_change_nothing_but_how_may_differ_when_a_run_goes_on(
    shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config(), shards, tmp_path, on_step=lambda _: os.kill(os.getpid(), signal.SIGINT))
    train(replace(config(), save_every_steps=5, accumulation=2, loss_rows=3), shards, tmp_path)
    assert len(losses(tmp_path)) == 8


def test_evaluations_are_written_when_they_are_due_and_cut_when_a_run_goes_back(
    shards: Path, tmp_path: Path
) -> None:
    def count(learner: Learner, step: int) -> dict[str, float]:
        assert learner.config.eval_every_steps == 3
        return {"seen": float(step)}

    chosen = replace(config(), eval_every_steps=3, save_every_steps=2)
    train(chosen, shards, tmp_path, on_eval=count)
    lines = [json.loads(line) for line in (tmp_path / EVALUATIONS).read_text().splitlines()]
    assert lines == [{"step": 3, "seen": 3.0}, {"step": 6, "seen": 6.0}, {"step": 8, "seen": 8.0}]
    cut_evaluations(tmp_path, 6)
    assert len((tmp_path / EVALUATIONS).read_text().splitlines()) == 2


def test_more_parts_than_pairs_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="16 pairs of a batch, which make no 17 parts"):
        train(replace(config(), accumulation=17), shards, tmp_path)


@pytest.mark.slow
def test_a_teacher_is_repeated_in_parts_as_in_one_piece(
    shards: Path, whole_run: Path, tmp_path: Path
) -> None:
    taught = replace(config(), steps=3, teacher=str(whole_run), distillation=2.0)
    one = train(taught, shards, tmp_path / "one")
    parts = train(replace(taught, accumulation=3), shards, tmp_path / "parts")
    assert losses(one) == pytest.approx(losses(parts), rel=1e-5)
    assert losses(one)[0] > 2 * losses(whole_run)[0]


@pytest.mark.slow
@pytest.mark.skipif("CLIPWORKS_TEST_COMPILED" not in os.environ, reason="minutes of a C++ compiler's work")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch looks at it while it compiles
def test_compiled_blocks_train_the_same(shards: Path, whole_run: Path, tmp_path: Path) -> None:
    run = train(replace(config(), steps=8, compiled=True), shards, tmp_path)
    assert losses(run) == pytest.approx(losses(whole_run), rel=1e-4)


def test_a_complete_run_is_left_alone(shards: Path, whole_run: Path) -> None:
    before = (whole_run / "model.safetensors").stat().st_mtime_ns
    train(config(), shards, whole_run, on_step=lambda _: pytest.fail("a step was made"))
    assert (whole_run / "model.safetensors").stat().st_mtime_ns == before


def test_another_configuration_in_the_same_folder_is_refused(shards: Path, whole_run: Path) -> None:
    with pytest.raises(DataError, match="differs in steps"):
        train(replace(config(), steps=9), shards, whole_run)


@pytest.mark.parametrize("content", ["manifest.json", "00000.tar"])
def test_a_folder_of_something_else_is_refused(shards: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / content).write_text("{}")
    with pytest.raises(DataError, match=f"holds {content} and no train.json"):
        train(config(), shards, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [content]


def test_a_file_in_the_place_of_the_run_folder_is_refused(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(DataError, match="run is a file"):
        train(config(), shards, tmp_path / "run")


def test_a_run_that_was_killed_at_its_first_write_starts_again(shards: Path, tmp_path: Path) -> None:
    (tmp_path / ".train.json.part").write_text("{")
    open_run(tmp_path, config(), lambda: "0" * 64)
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]


def test_ctrl_c_at_any_moment_of_a_step_saves_before_it_stops(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flag is raised right after a look at it."""
    looks = iter([False, *[True] * 20])

    class Late(list[int]):
        def __bool__(self) -> bool:
            return next(looks)

    @contextmanager
    def flag() -> Iterator[Caught]:
        yield Caught(numbers=Late([signal.SIGINT]))

    monkeypatch.setattr("clipworks.train.loop.catch_signals", flag)
    with pytest.raises(KeyboardInterrupt):
        train(config(), shards, tmp_path)
    assert int(list_states(tmp_path)[-1].name) == len(losses(tmp_path)) == 2


def test_nothing_is_read_on_once_a_run_has_stopped(shards: Path, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    streamed = replace(config(), reading="stream", recolour=False)
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(streamed, shards, tmp_path, on_step=lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert stopped.tb is not None and set(threading.enumerate()) <= before


def test_a_second_ctrl_c_ends_a_step_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 5.0])
    monkeypatch.setattr("clipworks.train.signals.time", SimpleNamespace(monotonic=lambda: next(now)))
    with catch_signals() as caught:
        for _ in range(2):  # what follows at once is the same Ctrl-C, as torchrun passes it on
            os.kill(os.getpid(), signal.SIGINT)
        assert caught.numbers == [signal.SIGINT] * 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_folder_that_another_process_writes_is_refused(shards: Path, tmp_path: Path) -> None:
    open_run(tmp_path, config(), lambda: identify(shards))
    with held(tmp_path), pytest.raises(DataError, match="is being written by another process"):
        train(config(), shards, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["train.json"]


def test_another_configuration_is_refused_before_the_data_are_read(shards: Path, tmp_path: Path) -> None:
    open_run(tmp_path, config(), lambda: "0" * 64)
    with pytest.raises(DataError, match="differs in steps"):
        open_run(tmp_path, replace(config(), steps=9), lambda: pytest.fail("the shards were hashed"))
    with pytest.raises(DataError, match="differs in the data"):
        open_run(tmp_path, config(), lambda: identify(shards))


def test_the_seconds_of_a_step_leave_out_saving(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def save(*_: Any, **__: Any) -> None:
        nonlocal now
        now += 100

    clock = SimpleNamespace(perf_counter=lambda: now, monotonic=lambda: now)
    monkeypatch.setattr("clipworks.train.loop.time", clock)
    monkeypatch.setattr("clipworks.train.step.time", clock)
    monkeypatch.setattr("clipworks.train.loop.save_state", save)
    seconds: list[float] = []
    train(config(), shards, tmp_path, on_step=lambda step: seconds.append(step.seconds))
    assert seconds == [0.0] * 8


def test_shards_that_were_changed_are_refused(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    path = tmp_path / "shards" / "00001.tar"
    path.write_bytes(path.read_bytes().replace(b"pink", b"grey"))
    with pytest.raises(DataError, match=r"00001\.tar has the sha256"):
        train(config(), tmp_path / "shards", tmp_path / "run")


def test_a_damaged_state_is_refused_with_the_remedy(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config(), shards, tmp_path, on_step=lambda _: os.kill(os.getpid(), signal.SIGINT))
    (state,) = list_states(tmp_path)
    (state / "part-0-of-1.safetensors").write_bytes(b"not a state")
    with pytest.raises(DataError, match=r"can be resumed: .*part-0-of-1.safetensors is not what was written"):
        train(config(), shards, tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "clipworks.train.step.contrast",
        lambda image, *_, **__: Score(loss=(image * float("nan")).sum(), accuracy=torch.zeros(())),
    )
    with pytest.raises(DataError, match="The loss of step 0 is nan") as stopped:
        train(config(), shards, tmp_path)
    assert "when this folder is deleted" in stopped.value.remedy


@pytest.mark.parametrize("words", ["CUDA", "can't allocate memory", "another fault"])
def test_memory_that_has_run_out_is_one_sentence(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    def fail(*_: Any, **__: Any) -> Score:
        raise torch.OutOfMemoryError(words) if words == "CUDA" else RuntimeError(words)

    monkeypatch.setattr("clipworks.train.step.contrast", fail)
    is_other = words == "another fault"
    with pytest.raises(RuntimeError if is_other else DataError, match=words if is_other else "more memory"):
        train(config(), shards, tmp_path)


def test_a_full_disk_is_one_sentence_with_its_place_and_what_is_left(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clipworks.train.states.safetensors.torch.save_file", full)
    with pytest.raises(DataError, match=r"part-0-of-1.safetensors cannot be written: No space") as stopped:
        train(config(), shards, tmp_path)
    assert "What was saved before stays" in stopped.value.remedy and not list((tmp_path / "states").iterdir())


def test_a_folder_without_shards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no .tar file"):
        train(config(), tmp_path, tmp_path / "run")


@pytest.mark.slow
def test_bfloat16_stays_close_to_float32(shards: Path, whole_run: Path, tmp_path: Path) -> None:
    run = train(replace(config(), precision="bf16"), shards, tmp_path)
    assert torch.allclose(torch.tensor(losses(run)), torch.tensor(losses(whole_run)), rtol=0.02)
