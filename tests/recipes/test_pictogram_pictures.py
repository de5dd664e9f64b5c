"""The image tower learns all captions of a picture; the text tower stays."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_clip import TinyClip

from clipworks.errors import InputError
from clipworks.model.tokenizer import tokenize
from clipworks.model.weights import read_checkpoint
from clipworks.train import recipes
from clipworks.train.config import TrainConfig
from clipworks.train.loader import Dataset
from recipes import pictogram_pictures, pictogram_shading
from recipes.pictogram_pictures import Asked, Questions, draw, gather, score, train
from recipes.pictogram_towers import embed_tokens, read_text_tower

TEXTS = ("fox", "animal", "dog", "guitar", "music", "zorro", "never drawn")
SIDE = 32


@pytest.fixture
def dataset() -> Dataset:
    """A fox, a dog and a guitar; kinds are shared by two, and one caption is rare."""
    rng = np.random.default_rng(0)
    tokens = tokenize(list(TEXTS), context_length=77)
    token_rows, places = np.unique(tokens, return_inverse=True)
    return Dataset(
        pictures=rng.integers(0, 255, (3, SIDE, SIDE, 4), dtype=np.uint8),
        is_glyph=np.zeros(3, dtype=np.bool_),
        weights=np.array([1.0, 1.0, 2.0]),
        texts=((0, 1, 5), (2, 1), (3, 4)),
        probs=((0.6, 0.396, 0.004), (0.6, 0.4), (0.6, 0.4)),
        tokens=places.reshape(tokens.shape),
        token_rows=token_rows,
    )


@pytest.fixture
def config(tiny_clip: TinyClip) -> TrainConfig:
    return replace(
        recipes.pictogram(),
        model=tiny_clip.config,
        steps=6,
        batch_size=8,
        warmup_steps=1,
        unmasked_steps=1,
    )


@pytest.fixture
def questions(dataset: Dataset, tiny_clip: TinyClip) -> Questions:
    tower = read_text_tower(read_checkpoint(Path(tiny_clip.native)), dataset.token_rows)
    return gather(dataset, embed_tokens(tower, dataset.tokens))


def test_captions_count_by_how_often_they_are_drawn_and_rare_ones_are_not_asked(questions: Questions) -> None:
    assert [list(texts) for texts in questions.texts] == [[0, 1, 5], [2, 1], [3, 4]]
    assert all(abs(probs.sum() - 1) < 1e-6 for probs in questions.probs)
    assert questions.probs[0][2] == 0
    assert list(questions.bank) == [0, 1, 2, 3, 4]
    assert math.isclose(np.exp(questions.log_shares[3]), 0.3, abs_tol=1e-3)
    assert questions.log_shares[5] == questions.log_shares[6] == -np.inf


def test_a_text_outside_the_bank_is_asked_of_its_picture_and_what_is_true_is_known(
    dataset: Dataset, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictogram_pictures, "BANK", 2)
    dataset = replace(
        dataset,
        texts=((0, 1, 5), (2, 1), (3, 5)),
        probs=((0.6, 0.396, 0.004), (0.6, 0.4), (0.3, 0.7)),
    )
    questions = gather(dataset, torch.ones(len(TEXTS), 8))
    assert list(questions.bank) == [1, 5]
    fox, guitar = (
        draw(replace(dataset, weights=np.eye(3)[picture]), questions, config, 0) for picture in (0, 2)
    )
    assert list(fox.columns) == [0, 1, 5] and np.allclose(fox.wanted, [0.6024, 0.3976, 0], atol=1e-4)
    assert fox.is_true.all()
    assert list(guitar.columns) == [1, 3, 5] and np.allclose(guitar.wanted, [0, 0.3, 0.7])
    assert (guitar.is_true == [False, True, True]).all()


def test_glyphs_of_one_colour_are_not_lit(
    dataset: Dataset, config: TrainConfig, questions: Questions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictogram_shading, "LIT_PROB", 1.0)
    pictures = dataset.pictures.copy()
    pictures[..., :3] = 90
    plain = replace(config, recolour=False, jitter=0.0)
    glyphs = draw(
        replace(dataset, pictures=pictures, is_glyph=np.ones(3, dtype=np.bool_)), questions, plain, 0
    )
    drawings = draw(replace(dataset, pictures=pictures), questions, plain, 0)
    shades = [len(np.unique(asked.pixels[asked.pixels < 90 / 255 - 1e-3])) for asked in (glyphs, drawings)]
    assert shades[0] == 0 < shades[1]


def test_a_batch_is_a_function_of_its_step_and_all_that_is_wanted_is_true(
    dataset: Dataset, questions: Questions, config: TrainConfig
) -> None:
    first, again, other = (draw(dataset, questions, config, step) for step in (2, 2, 3))
    assert (first.pixels == again.pixels).all() and (first.drawn == again.drawn).all()
    assert (first.pixels != other.pixels).any()
    assert np.allclose(first.wanted.sum(axis=1), 1)
    assert (first.wanted[np.arange(8), first.drawn] > 0).all()
    assert first.kept is not None and draw(dataset, questions, config, 5).kept is None


def asked_of(wanted: list[list[float]], is_true: list[list[int]], drawn: list[int]) -> Asked:
    return Asked(
        pixels=np.empty(0, np.float32),
        moves=np.empty(0, np.float32),
        kept=None,
        columns=np.arange(len(wanted[0])),
        wanted=np.array(wanted, dtype=np.float32),
        is_true=np.array(is_true, dtype=np.bool_),
        drawn=np.array(drawn),
    )


def questions_of(vectors: torch.Tensor, shares: list[float]) -> Questions:
    log_shares = np.log(np.array(shares, dtype=np.float32))
    return Questions(
        texts=(), probs=(), bank=np.arange(len(shares)), log_shares=log_shares, vectors_UE=vectors
    )


def test_the_loss_is_that_of_two_choices_by_hand() -> None:
    vectors = F.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    images = F.normalize(torch.randn(2, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    shares = [0.5, 0.3, 0.2]
    found = score(
        images,
        asked_of([[0.6, 0.4, 0], [0, 0, 1]], [[1, 1, 0], [0, 1, 1]], [1, 2]),
        questions_of(vectors, shares),
        torch.tensor(5.0),
    )
    weights = np.exp(5 * (images @ vectors.T).numpy().astype(np.float64))
    among_texts = weights * shares
    first = among_texts[0] / among_texts[0].sum()
    second = among_texts[1, 2] / (among_texts[1, 0] + among_texts[1, 2])  # text 1 is true of it and not asked
    to_texts = -(0.6 * np.log(first[0]) + 0.4 * np.log(first[1]) + np.log(second)) / 2
    # Text 1 is true of both pictures, so it has no wrong one; text 2 has picture 0.
    to_images = -np.log(weights[1, 2] / weights[:, 2].sum()) / 2
    assert found.item() == pytest.approx((to_texts + to_images) / 2, abs=1e-5)


def test_pictures_at_their_captions_score_better_and_a_shared_caption_is_no_wrong_answer() -> None:
    vectors = F.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    questions = questions_of(vectors, [0.25] * 4)

    def loss(wanted: list[list[float]], drawn: list[int], images: torch.Tensor) -> float:
        asked = asked_of(wanted, [[int(prob > 0) for prob in row] for row in wanted], drawn)
        return score(images, asked, questions, torch.tensor(100.0)).item()

    alone = [[1.0, 0, 0, 0], [0, 1.0, 0, 0]]
    assert loss(alone, [0, 1], vectors[:2]) < 0.1 < loss(alone, [0, 1], vectors[[1, 0]])
    same = vectors[[0, 0]]  # two pictures of one caption: neither has to be farther from it than the other
    assert loss([[1.0, 0, 0, 0]] * 2, [0, 0], same) < 0.1


@pytest.mark.slow
def test_the_text_tower_stays_and_a_run_goes_on_as_if_it_had_not_been_interrupted(
    dataset: Dataset,
    questions: Questions,
    config: TrainConfig,
    tiny_clip: TinyClip,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pictogram_pictures, "SAVE_EVERY_STEPS", 2)
    before = read_checkpoint(Path(tiny_clip.native))
    whole = train(before, dataset, questions, config, tmp_path / "whole.pt")
    assert (tmp_path / "whole.pt").is_file()
    for name, value in whole.items():
        is_trained = name.startswith("vision.") or name == "logit_scale"
        assert is_trained != np.array_equal(value, before.tensors[name]), name

    save = pictogram_pictures.save_state

    def save_and_stop(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pictogram_pictures, "save_state", save_and_stop)
        train(before, dataset, questions, config, tmp_path / "cut.pt")
    after = train(before, dataset, questions, config, tmp_path / "cut.pt")
    assert all(np.array_equal(after[name], whole[name]) for name in whole)
    with pytest.raises(InputError, match="was saved with steps 6, not 7"):
        train(before, dataset, questions, replace(config, steps=7), tmp_path / "cut.pt")
