"""Fine-tuning from pictures to a checkpoint: better, resumable to the bit, and honest when it fails."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_pictures import write_captions, write_classes

import clipworks
from clipworks.errors import ConfigError, DataError, InputError
from clipworks.files import sha256_bytes
from clipworks.model.linear import read_head
from clipworks.model.weights import read_checkpoint
from clipworks.train import kept
from clipworks.train.examples import read_examples
from clipworks.train.finetune import finetune, worse_words
from clipworks.train.interpolation import Score
from clipworks.train.splits import cut_parts
from clipworks.train.tuner import STATE, Epoch, overfitting_words
from clipworks.train.tuning import TuneConfig
from tests.conftest import TinyClip

QUICK = TuneConfig(epochs=3, batch_size=8, learning_rate=1e-3, num_alphas=3, zoom=0, shift=0)


@pytest.fixture(autouse=True)
def few_kept_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "NUM_PICTURES", 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("own"), per_class=12)


def run(tiny: TinyClip, data: Path, out: Path, tune: TuneConfig = QUICK, **more: Any) -> Any:
    checkpoint = read_checkpoint(Path(tiny.native))
    return finetune(checkpoint, read_examples(data), out, tune, name="tiny", **more)


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "rate"), [(0, 1e-3), (4, 1e-2)])
def test_colours_are_learned_and_the_folder_is_a_checkpoint_with_a_head(
    tiny_clip: TinyClip, data: Path, tmp_path: Path, rank: int, rate: float
) -> None:
    tune = replace(QUICK, lora_rank=rank, learning_rate=rate, epochs=8)
    result = run(tiny_clip, data, tmp_path / "run", tune)
    before, after = (result["test"][end]["top1"]["value"] for end in ("before", "exported"))
    assert after > before and after > 0.6
    engine = clipworks.load(str(tmp_path / "run"), precision="f32")
    assert engine.fingerprint == result["fingerprint"] != result["source_fingerprint"]
    head = read_head(tmp_path / "run" / "head.safetensors")
    assert head.classes == ("blue", "green", "red")
    paths = sorted(data.rglob("*.png"))
    said = head.classify(engine, paths).argmax(axis=1)
    assert np.mean([head.classes[i] == p.parent.name for i, p in zip(said, paths, strict=True)]) > 0.6
    assert {p.name for p in (tmp_path / "run").iterdir() if not p.name.startswith(".")} == {
        *("config.json", "model.safetensors", "manifest.json", "head.safetensors", "finetune.json"),
        *("epochs.jsonl", "epochs.svg", "interpolation.svg", "result.json"),
    }
    assert [row["alpha"] for row in result["interpolation"]] == [0, 0.5, 1]
    # Text stays what it was where pictures are classified.
    assert engine.embed_texts(["red"]) == pytest.approx(
        clipworks.load(tiny_clip.native, precision="f32").embed_texts(["red"]), abs=1e-5
    )


def test_the_first_classifier_is_zero_shot(tiny_clip: TinyClip, data: Path, tmp_path: Path) -> None:
    templates = ("{}", "a {} square")
    result = run(tiny_clip, data, tmp_path / "run", replace(QUICK, epochs=1), templates=templates)
    engine = clipworks.load(tiny_clip.native, precision="f32")
    examples = read_examples(data)
    parts = cut_parts(examples, [sha256_bytes(e.read()) for e in examples], seed=0)
    tested = [examples[i] for i in parts.test]
    said = engine.classify([data / e.name for e in tested], ["blue", "green", "red"], templates)
    hits = [("blue", "green", "red")[row.argmax()] == e.label for row, e in zip(said, tested, strict=True)]
    assert result["test"]["before"]["top1"]["value"] == round(np.mean(hits), 4)
    assert np.array(result["test"]["before"]["confusion"]).sum() == len(tested) == result["data"]["test"]


@pytest.mark.slow
def test_captions_are_learned_contrastively(tiny_clip: TinyClip, tmp_path: Path) -> None:
    data = write_captions(tmp_path / "data", per_class=10)
    tune = replace(QUICK, objective="contrastive", epochs=4)
    result = run(tiny_clip, data, tmp_path / "run", tune)
    losses = [row["train_loss"] for row in result["epochs"][1:]]
    assert losses[-1] < losses[0]
    assert set(result["test"]) == {"before", "tuned", "exported"}
    assert result["test"]["exported"]["text_found_first"]["n"] == result["data"]["test"]
    engine = clipworks.load(str(tmp_path / "run"), precision="f32")
    assert engine.config == clipworks.load(tiny_clip.native).config
    unseen = engine.embed_texts(["a violin"])
    assert np.isfinite(unseen).all()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_weights(
    tiny_clip: TinyClip, data: Path, tmp_path: Path
) -> None:
    whole = run(tiny_clip, data, tmp_path / "whole")

    for at, number, error in ((1, signal.SIGTERM, SystemExit), (4, signal.SIGINT, KeyboardInterrupt)):

        def interrupt(done: int, total: int, words: str, at: int = at, number: int = number) -> None:
            assert not words.startswith("steps") or (tmp_path / "cut" / STATE).exists()
            if done == at and "validation" in words:
                os.kill(os.getpid(), number)

        with pytest.raises(error):
            run(tiny_clip, data, tmp_path / "cut", on_progress=interrupt)
        assert not (tmp_path / "cut" / "manifest.json").exists()
    state = (tmp_path / "cut" / STATE).read_bytes()
    (tmp_path / "cut" / STATE).write_bytes(state[:-9])
    with pytest.raises(DataError, match="state.safetensors is damaged.*Delete it"):
        run(tiny_clip, data, tmp_path / "cut")
    (tmp_path / "cut" / STATE).write_bytes(state)
    resumed = run(tiny_clip, data, tmp_path / "cut")
    assert resumed["fingerprint"] == whole["fingerprint"]
    names = ("train_loss", "train_score", "val_loss", "val_score")
    for one, other in zip(whole["epochs"], resumed["epochs"], strict=True):
        assert [one[name] for name in names] == [other[name] for name in names]


def test_a_complete_run_is_left_alone_and_another_is_refused_before_the_pictures_are_read(
    tiny_clip: TinyClip, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune = replace(QUICK, epochs=1)
    first = run(tiny_clip, data, tmp_path / "run", tune)
    time = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    assert run(tiny_clip, data, tmp_path / "run", tune) == json.loads(json.dumps(first))
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == time
    monkeypatch.setattr("clipworks.train.finetune.read_material", lambda *_, **__: pytest.fail("read first"))
    with pytest.raises(DataError, match=r"differs in epochs \(1, not 2\)"):
        run(tiny_clip, data, tmp_path / "run", replace(tune, epochs=2))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"learning_rate": 0.1}, "learning_rate is 0.1; it must be above 0 and at most 0.001"),
        ({"learning_rate": 0.1, "lora_rank": 4}, "at most 0.02 with LoRA"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"epochs": 0}, "epochs is 0"),
        ({"flip_prob": 2}, "flip_prob is 2; it must be from 0 to 1"),
        ({"objective": "regression"}, "objective is 'regression'"),
        ({"zoom": 1}, "zoom and shift must be below 1"),
        ({"lora_alpha": 0}, "lora_alpha is 0"),
        ({"precision": "fp16"}, "precision is 'fp16'; it must be f32 or bf16"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
    ],
)
def test_impossible_settings_are_one_sentence(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TuneConfig(**values)


def test_a_sentence_without_a_place_for_the_class_is_refused_before_the_pictures_are_read(
    tiny_clip: TinyClip, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipworks.train.finetune.read_material", lambda *_, **__: pytest.fail("read first"))
    checkpoint, examples = read_checkpoint(Path(tiny_clip.native)), read_examples(data)
    with pytest.raises(InputError, match="'a photo' has no"):
        finetune(checkpoint, examples, tmp_path / "run", QUICK, name="x", templates=["{}", "a photo"])


def test_the_rate_falls_with_the_width_and_rises_for_lora() -> None:
    assert TuneConfig().rate(768) == pytest.approx(3e-5)
    assert TuneConfig().rate(256) == pytest.approx(9e-5)
    assert TuneConfig(lora_rank=8).rate(768) == pytest.approx(3e-4)
    assert TuneConfig(learning_rate=1e-4).rate(99) == 1e-4


def epoch(number: int, train: float, val: float, val_loss: float = 1.0) -> Epoch:
    return Epoch(epoch=number, train_loss=1, train_score=train, val_loss=val_loss, val_score=val, seconds=1)


def test_training_up_and_validation_down_is_called_overfitting_and_noise_is_not() -> None:
    start, best = epoch(0, 0, 0.3), epoch(1, 0.5, 0.6)
    words = overfitting_words((start, best, epoch(2, 0.9, 0.5, 1.4)), best)
    assert words == (
        "It overfits: from epoch 1 to 2 the training score rose from 50.0% to 90.0% while validation fell "
        "from 60.0% to 50.0%; the weights of epoch 1 are kept."
    )
    assert not overfitting_words((start, best, epoch(2, 0.9, 0.59, 0.9)), best)
    assert not overfitting_words((start, best, epoch(2, 0.4, 0.5, 1.4)), best)
    assert not overfitting_words((start, best), best)


def test_a_model_that_is_worse_on_the_test_part_is_told() -> None:
    first, chosen = (Score(alpha=a, score=s, loss=1.0, kept=1.0) for a, s in ((0.0, 0.5), (0.3, 0.6)))
    before, after = ({"top1": {"value": value, "n": 40}, "confusion": []} for value in (0.7, 0.625))
    said = worse_words({"before": before, "exported": after}, first, chosen, 12)
    assert "62.5% of 40 are right, before 70.0%; on the 12 of validation" in said and "60.0%" in said
    assert worse_words({"before": before, "exported": before}, first, chosen, 12) == ""
    found = [
        {f"{side}_found_first": {"value": v, "n": 9} for side in ("text", "picture")} for v in (0.5, 0.4)
    ]
    assert "40.0% of 9" in worse_words({"before": found[0], "exported": found[1]}, first, chosen, 12)


def test_a_rate_that_destroys_the_model_stops_with_a_lower_one(
    tiny_clip: TinyClip, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tiny CLIP knows no colours by name: give it a start that can be lost.
    monkeypatch.setattr("clipworks.train.tuner.measure", iter_scores([0.9, 0.1]))
    with pytest.raises(DataError, match="learning rate 0.001 destroys.*learning_rate=0.0001"):
        run(tiny_clip, data, tmp_path / "run")


def iter_scores(scores: list[float]) -> Any:
    """A measure that reports these shares of ten pictures, one after the other."""
    left = iter(scores)

    def measure(*_: Any) -> tuple[Any, float]:
        share = next(left)
        return np.arange(10) < 10 * share, 1.0

    return measure


def test_weights_that_overflow_stop_the_run(tiny_clip: TinyClip, data: Path, tmp_path: Path) -> None:
    broken = {name: array.copy() for name, array in tiny_clip.weights.items()}
    broken["vision.ln_post.weight"][:] = np.inf
    checkpoint = replace(read_checkpoint(Path(tiny_clip.native)), tensors=broken)
    with pytest.raises(DataError, match=r"loss of step 0 is nan.*learning_rate below 0\.001"):
        finetune(checkpoint, read_examples(data), tmp_path / "run", QUICK, name="broken")
