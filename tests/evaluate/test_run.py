"""From files to results: equal to plain loops, computed once, whole or not there."""

import json
from pathlib import Path

import numpy as np
import pytest
from evaluation_sets import labelled, npy, picture, write_published, write_set, write_sugar_crepe

from clipworks.errors import DataError
from clipworks.evaluate.results import find_results, read_result
from clipworks.evaluate.run import RunConfig, evaluate, plan_run
from clipworks.evaluate.tasks import find_task
from clipworks.evaluate.wording import known_classes, known_templates
from clipworks.model.engine import Engine
from tests.evaluate import reference

pytestmark = pytest.mark.slow


def quiet(done: int, total: int, what: str) -> None:
    pass


def run(
    engine: Engine, suite: str, data: Path, out: Path, config: RunConfig | None = None
) -> dict[str, dict]:
    plan = plan_run(suite, data, config or RunConfig())
    folder = evaluate(engine, plan, out, machine="a test", show=quiet)
    return {result["task"]: result for _, result in find_results([folder])}


def vectors_of(engine: Engine, numbers: range) -> np.ndarray:
    return engine.embed_images([picture(n) for n in numbers])


def test_classification_equals_a_plain_reference_of_the_same_vectors(engine: Engine, tmp_path: Path) -> None:
    write_set(tmp_path / "data" / "cifar10", labelled(30, 10), per_shard=7)
    result = run(engine, "cifar10", tmp_path / "data", tmp_path / "out")["cifar10"]
    classes, templates = known_classes("cifar10"), known_templates("cifar10")
    prompts = [template.replace("{c}", name) for name in classes for template in templates]
    head = reference.classes_of(engine.embed_texts(prompts), len(templates))
    scores = vectors_of(engine, range(30)).astype(np.float64) @ head.T
    labels = [n % 10 for n in range(30)]
    found = {name: row["value"] for name, row in result["metrics"].items()}
    assert found["acc1"] == pytest.approx(reference.accuracy_at(scores, labels, 1), abs=1e-6)
    assert found["acc5"] == pytest.approx(reference.accuracy_at(scores, labels, 5), abs=1e-6)
    assert found["mean_per_class_recall"] == pytest.approx(found["acc1"], abs=1e-6)  # 3 of each class
    assert result["n"] == 30 and result["fingerprint"] == engine.fingerprint and result["precision"] == "f32"
    low, high = result["interval_95"]
    assert low <= result["value"] <= high
    assert sum(count for _, _, count in result["confusion"]) == 30
    assert [row["n"] for row in result["per_class"]] == [3] * 10
    assert result["prompts"]["templates"] == 18 and result["prompts"]["source"] == "published"


def test_groups_several_labels_pairs_and_cues_go_all_the_way(engine: Engine, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("camelyon17", "flickr", "winogavil", "fairface"):
        write_published(find_task(name), data, count=8)
    write_sugar_crepe(data, "swap_att")
    several = [{"png": picture(n), "npy": npy([n % 2, int(n < 3)])} for n in range(6)]
    write_set(data / "two", several, classes=["red", "dark"], templates=["a {c} thing"], kind="multilabel")
    found = run(engine, "camelyon17,flickr,winogavil,fairface,sugar_crepe", data, tmp_path / "out")
    assert set(found) >= {"wilds/camelyon17", "misc/winogavil", "sugar_crepe/swap_att", "fairness/fairface"}
    groups = found["wilds/camelyon17"]["groups"]["slide"]
    assert sum(row["n"] for row in groups) == 8
    flickr = found["retrieval/flickr_1k_test_image_text_retrieval"]
    texts = [t for n in range(8) for t in [f"a picture of number {n}", f"thing {n}, again"][: 1 + n % 2]]
    owners = [n for n in range(8) for _ in range(1 + n % 2)]
    vectors = vectors_of(engine, range(8)), engine.embed_texts(texts)
    for k in (1, 5):
        by_text, by_image = reference.recalls_at(*vectors, owners, k)
        assert flickr["metrics"][f"image_retrieval_recall@{k}"]["value"] == pytest.approx(by_text, abs=1e-6)
        assert flickr["metrics"][f"text_retrieval_recall@{k}"]["value"] == pytest.approx(by_image, abs=1e-6)
    wino = found["misc/winogavil"]
    assert wino["n"] == 3 and wino["unit"] == "cue" and 0 <= wino["value"] <= 1
    faces = found["fairness/fairface"]
    assert faces["value"] is None and "endorses no use" in faces["statement"]
    assert faces["metrics"]["acc_gender_avg"]["value"] is None  # eight pictures are too few to tell
    two = run(engine, "two", data, tmp_path / "out")["two"]
    head = reference.classes_of(engine.embed_texts(["a red thing", "a dark thing"]), 1)
    expected = reference.average_precision(
        vectors_of(engine, range(6)) @ head.T, np.array([[n % 2, int(n < 3)] for n in range(6)])
    )
    assert two["value"] == pytest.approx(expected, abs=1e-6)


def test_equal_class_names_tie_and_the_first_is_said(engine: Engine, tmp_path: Path) -> None:
    write_set(tmp_path / "twins", labelled(12, 3), classes=["red", "red", "blue"], templates=["a {c} thing"])
    result = run(engine, "twins", tmp_path, tmp_path / "out")["twins"]
    said = {name: row["said"] for name, row in zip("abc", result["per_class"], strict=True)}
    assert said["b"] == 0 and result["tied_top1"] == said["a"]
    assert any("both called 'red'" in note for note in result["notes"])


def test_a_label_outside_the_classes_counts_nothing(engine: Engine, tmp_path: Path) -> None:
    write_set(tmp_path / "mine", labelled(6, 3), classes=["red", "blue"], templates=["{c}"])
    with pytest.raises(DataError, match=r"s0000002 in .* has the label 2; the classes are 0..1"):
        run(engine, "mine", tmp_path, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.json"))


def test_a_picture_that_cannot_be_read_counts_nothing(engine: Engine, tmp_path: Path) -> None:
    samples = [*labelled(5, 2), {"png": b"no picture", "cls": b"1"}]
    write_set(tmp_path / "mine", samples, classes=["red", "blue"], templates=["{c}"])
    with pytest.raises(DataError, match="s0000005 in .*1.tar"):
        run(engine, "mine", tmp_path, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.json"))


class Counting:
    """An engine that counts the pictures it embeds, and stops after some of them if told to."""

    def __init__(self, engine: Engine, most: int = 10**9) -> None:
        self._engine, self.embedded, self._most = engine, 0, most

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def embed_pixels(self, pixels: np.ndarray) -> np.ndarray:
        if self.embedded + len(pixels) > self._most:
            raise KeyboardInterrupt
        self.embedded += len(pixels)
        return self._engine.embed_pixels(pixels)


def test_each_picture_is_embedded_once_whatever_number_of_tasks_hold_it(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "cache"))
    for name in ("one", "two", "three"):
        write_set(tmp_path / name, labelled(20, 2), classes=["red", name], templates=["{c}"], per_shard=5)
    counting = Counting(engine)
    for name in ("one", "two", "three"):
        run(counting, name, tmp_path, tmp_path / "out")
    assert counting.embedded == 20
    write_set(tmp_path / "four", labelled(30, 2), classes=["red", "x"], templates=["{c}"], per_shard=30)
    run(counting, "four", tmp_path, tmp_path / "out")  # the same pictures in other shards, and ten new ones
    assert counting.embedded == 30


def test_an_interrupted_run_keeps_what_it_embedded_and_goes_on(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "cache"))
    write_set(tmp_path / "mine", labelled(200, 2), classes=["red", "blue"], templates=["{c}"], per_shard=90)
    with pytest.raises(KeyboardInterrupt):
        run(Counting(engine, 130), "mine", tmp_path, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.json"))
    rest = Counting(engine)
    cut = run(rest, "mine", tmp_path, tmp_path / "out")["mine"]
    assert 0 < rest.embedded < 200
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "other"))
    whole = run(engine, "mine", tmp_path, tmp_path / "again")["mine"]
    assert cut["metrics"] == whole["metrics"] and cut["confusion"] == whole["confusion"]


def test_a_result_is_left_alone_until_something_that_decides_it_changes(
    engine: Engine, tmp_path: Path
) -> None:
    folder = write_set(tmp_path / "mine", labelled(8, 2), classes=["red", "blue"], templates=["{c}"])
    run(engine, "mine", tmp_path, tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("mine.json")
    told: list[bool] = []

    def again() -> bool:
        plan = plan_run("mine", tmp_path, RunConfig())
        take = lambda result, was_there: told.append(was_there)  # noqa: E731
        evaluate(engine, plan, tmp_path / "out", machine="a test", show=quiet, on_result=take)
        return told.pop()

    assert again()
    (folder / "zeroshot_classification_templates.txt").write_text("a {c}\n")
    assert not again() and again()
    outcomes = path.with_suffix(".npz")
    outcomes.write_bytes(outcomes.read_bytes()[:-1])
    assert read_result(path) is None  # half-written: it does not count
    assert not again() and again()
    path.write_text(json.dumps({**json.loads(path.read_text()), "inputs": "others"}))
    assert not again()
    with pytest.raises(DataError, match="holds no complete result"):
        find_results([folder])


def test_a_probe_learns_from_the_train_split_without_the_pictures_of_the_test(
    engine: Engine, tmp_path: Path
) -> None:
    classes, templates = ["red", "green", "blue"], ["a {c} thing"]
    folder = write_set(tmp_path / "mine", labelled(30, 3), classes=classes, templates=templates, per_shard=30)
    write_set(folder, labelled(90, 3, first=24), split="train", per_shard=50)
    config = RunConfig(probe=True, shots="2", draws=2)
    found = run(engine, "mine", tmp_path, tmp_path / "out", config)
    probed = found["mine+probe"]
    assert probed["value"] > 0.8 > found["mine"]["value"]  # colours are easy to learn
    assert probed["probe"]["copies_left_out"] == 6
    assert probed["probe"]["train"] + probed["probe"]["val"] == 84
    assert probed["probe"]["few"][0]["shots"] == 2 and len(probed["probe"]["few"][0]["draws"]) == 2
    with pytest.raises(DataError, match="no picture of class 2"):
        write_set(folder, labelled(20, 2, first=100), split="train", per_shard=10)
        run(engine, "mine", tmp_path, tmp_path / "other", config)
