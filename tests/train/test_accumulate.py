"""Parts of a batch against the whole of it, in float64."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipworks.train.accumulate import push_gradients
from clipworks.train.distributed import Processes
from clipworks.train.loss import Captions, Objective, Score, Teaching, Temperature, contrast

BATCH = 12


class Pair(nn.Module):
    """Two small towers, a scale and a bias; `noise` drops features at random."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(noise), nn.Linear(8, 4)).double()
        self.text = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(noise), nn.Linear(8, 4)).double()
        self.log_scale = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor(-1.0, dtype=torch.float64))

    def encode(self, part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return F.normalize(self.image(part[0]), dim=1), F.normalize(self.text(part[1]), dim=1)


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(BATCH, 5, generator=generator, dtype=torch.float64)
    texts = torch.randn(BATCH, 6, generator=generator, dtype=torch.float64)
    return images, texts


def gradients(model: Pair, objective: Objective, parts: int) -> tuple[Score, dict[str, Tensor]]:
    images, texts = data()
    captions = Captions(of_image_BK=torch.arange(BATCH)[:, None] // 2, chosen_B=torch.arange(BATCH) // 2)
    generator = torch.Generator().manual_seed(4)
    teacher = [F.normalize(torch.randn(BATCH, 3, generator=generator).double(), dim=1) for _ in range(2)]

    def score(image_BE: Tensor, text_BE: Tensor) -> Score:
        bias = model.bias if objective.kind == "sigmoid" else None
        return contrast(
            image_BE,
            text_BE,
            Temperature(scale=model.log_scale.exp(), bias=bias),
            objective,
            processes=Processes(),
            captions=captions,
            teaching=Teaching(image_BE=teacher[0], text_BE=teacher[1], scale=8.0),
        )

    model.zero_grad()
    chunks = list(zip(images.chunk(parts), texts.chunk(parts), strict=True))
    torch.manual_seed(11)
    outcome = push_gradients(chunks, model.encode, score, lambda _: nullcontext())
    return outcome, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("parts", [2, 3, 5, 12])
@pytest.mark.parametrize(
    "objective",
    [
        Objective(),
        Objective(kind="sigmoid"),
        Objective(shared_captions="positive"),
        Objective(kind="sigmoid", shared_captions="positive"),
        Objective(distillation=0.5),
    ],
    ids=["softmax", "sigmoid", "softmax, several positives", "sigmoid, several positives", "teacher"],
)
def test_gradients_of_parts_equal_those_of_the_whole_batch(objective: Objective, parts: int) -> None:
    torch.manual_seed(0)
    model = Pair(noise=0.0)
    whole, expected = gradients(model, objective, 1)
    cut, found = gradients(model, objective, parts)
    assert abs(whole.loss.item() - cut.loss.item()) < 1e-12
    assert found.keys() == expected.keys() and "log_scale" in found
    assert ("bias" in found) == (objective.kind == "sigmoid")
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0
        assert torch.allclose(found[name], gradient, rtol=1e-9, atol=1e-12), name


def test_a_part_is_run_again_with_the_random_numbers_it_had() -> None:
    """Numerically: the loss as a function of the weights, with the same noise, has the gradient found."""
    torch.manual_seed(0)
    model = Pair(noise=0.5)
    first, found = gradients(model, Objective(), 3)
    weight, step = model.image[0].weight, 1e-6
    for place in ((0, 0), (3, 2)):
        weight.data[place] += step
        higher, _ = gradients(model, Objective(), 3)
        weight.data[place] -= step
        slope = (higher.loss - first.loss) / step
        assert abs(slope - found["image.0.weight"][place]) < 1e-4 * max(1.0, abs(slope))


def test_the_random_numbers_after_a_step_are_those_of_one_pass() -> None:
    model = Pair(noise=0.5)
    gradients(model, Objective(), 3)
    after_three = torch.rand(1)
    torch.manual_seed(11)
    for part in zip(*(x.chunk(3) for x in data()), strict=True):
        model.encode(part)
    assert torch.rand(1) == after_three


def test_the_last_part_is_told_apart() -> None:
    model, told = Pair(noise=0.0), []

    def sync(is_last: bool) -> nullcontext[None]:
        told.append(is_last)
        return nullcontext()

    def score(image_BE: Tensor, text_BE: Tensor) -> Score:
        scale = Temperature(scale=model.log_scale.exp())
        return contrast(image_BE, text_BE, scale, Objective(), processes=Processes())

    push_gradients(list(zip(*(x.chunk(3) for x in data()), strict=True)), model.encode, score, sync)
    assert told == [False, False, True]
