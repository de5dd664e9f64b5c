"""`clipworks finetune`: the result loads, converts and serves like any checkpoint."""

import json
from pathlib import Path

import pytest
from own_pictures import write_captions, write_classes
from starlette.testclient import TestClient

import clipworks
from clipworks.serve.app import create_app
from clipworks.serve.settings import ServeSettings
from clipworks.train import kept
from tests.cli.conftest import Run
from tests.conftest import TinyClip

QUICK = ("--set", "epochs=1", "--set", "batch_size=8", "--set", "num_alphas=2")


@pytest.fixture
def tiny_model(tiny_clip: TinyClip) -> str:
    return tiny_clip.native


@pytest.fixture(autouse=True)
def few_kept_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "NUM_PICTURES", 4)


def test_a_dry_run_prints_the_settings_that_the_data_ask_for(
    run: Run, tmp_path: Path, tiny_model: str
) -> None:
    def plan(data: Path, *more: str) -> dict[str, object]:
        arguments = ("finetune", tiny_model, "--data", data, "--out", tmp_path / "run", "--dry-run", "--json")
        found: dict[str, object] = json.loads(run(*arguments, *more).stdout)["settings"]
        return found

    labelled = write_classes(tmp_path / "classes", per_class=3)
    assert plan(labelled)["objective"] == "classification"
    assert plan(write_captions(tmp_path / "captions"))["objective"] == "contrastive"
    assert plan(labelled, "--objective", "contrastive", "--lora", "4")["lora_rank"] == 4
    assert plan(labelled)["learning_rate"] == "3e-05 * 768 / width"
    assert plan(labelled, "--set", "learning_rate=1e-5")["learning_rate"] == 1e-5
    assert not (tmp_path / "run").exists()
    arguments = ("finetune", tiny_model, "--data", labelled, "--out", tmp_path / "run", "--dry-run")
    assert "0 is not in the range x>=1" in run(*arguments, "--lora", "0", status=2).stderr


def test_a_rate_that_is_too_high_is_one_sentence(run: Run, tmp_path: Path, tiny_model: str) -> None:
    data = write_classes(tmp_path / "classes", per_class=3)
    arguments = ("finetune", tiny_model, "--data", data, "--out", tmp_path / "run")
    error = run(*arguments, "--set", "learning_rate=0.5", status=1).stderr
    assert "learning_rate is 0.5; it must be above 0 and at most 0.001" in error and error.count("\n") == 1


@pytest.mark.slow
def test_the_result_loads_converts_and_serves_like_any_checkpoint(
    run: Run, tmp_path: Path, tiny_model: str
) -> None:
    data = write_classes(tmp_path / "classes", per_class=6)
    out = tmp_path / "run"
    printed = run("finetune", tiny_model, "--data", data, "--out", out, "--lora", "2", *QUICK)
    assert "is a checkpoint" in printed.stderr and "exported" in printed.stdout
    picture = data / "red" / "00.png"
    engine = clipworks.load(str(out), precision="f32")
    vector = engine.embed_images([picture])

    for family in ("hf", "open_clip", "openai"):
        run("convert", out, tmp_path / family, "--to", family)
        more = {"activation": engine.config.activation} if family == "openai" else {}
        again = clipworks.load(str(tmp_path / family), precision="f32", **more)  # type: ignore[arg-type]
        assert again.embed_images([picture]) == pytest.approx(vector, abs=1e-5)

    app = create_app(ServeSettings(), {"run": engine}, None)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        answer = client.post("/v1/embeddings", json={"model": "run", "input": ["a red square"]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["data"][0]["embedding"] == pytest.approx(
            engine.embed_texts(["a red square"])[0].tolist(), abs=1e-3
        )
