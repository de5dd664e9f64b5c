"""The arithmetic of a step, against products counted one by one."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from clipworks.model.network import Clip, initialise
from clipworks.train.flops import peak_flops, step_flops
from clipworks.train.recipes import find, tiny


def counted(batch: int, tokens: int, *, is_locked: bool = False) -> int:
    """What PyTorch counts of a step on a CPU, where hidden scores of causal attention are computed too."""
    config = tiny().model
    model = Clip(config)
    initialise(model, 0)
    if is_locked:
        model.vision.requires_grad_(False)
    texts = torch.full((batch, tokens), 3)
    texts[:, -1] = 49407
    with FlopCounterMode(display=False) as counter:
        image_BE, text_BE = model(torch.randn(batch, 3, 32, 32), texts)
        logits = image_BE @ text_BE.T
        logits.exp().sum().backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


def test_the_count_is_that_of_pytorch_but_for_hidden_scores() -> None:
    config = replace(tiny(), batch_size=8)
    found = step_flops(config, text_tokens=20, image_patches=16)
    hidden = 3 * 8 * 2 * 2 * (20 * 19 // 2) * 64  # one block; the last one has a single row
    assert found == counted(8, 20) - hidden


def test_a_locked_tower_counts_forward_alone() -> None:
    config = replace(tiny(), batch_size=8, start="any", lock_image=True)
    found = step_flops(config, text_tokens=20, image_patches=16)
    assert 0.9 < found / counted(8, 20, is_locked=True) < 1.02


def test_shorter_texts_and_fewer_patches_count_less() -> None:
    config = find("datacomp-small")
    full = step_flops(config, text_tokens=77, image_patches=49)
    assert 3.0e10 < full / 4096 < 4.4e10  # three times 14.8 GFLOP a pair, less what is not needed
    assert step_flops(config, text_tokens=16, image_patches=49) < 0.75 * full
    assert step_flops(config, text_tokens=77, image_patches=24) < 0.75 * full


@pytest.mark.parametrize(
    ("name", "tflops"),
    [("NVIDIA H200", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA L40S", 362)],
)
def test_the_peak_of_a_card_is_that_of_its_data_sheet(
    monkeypatch: pytest.MonkeyPatch, name: str, tflops: float
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert peak_flops(torch.device("cuda"), "bf16") == tflops * 1e12


def test_the_peak_of_a_processor_is_measured() -> None:
    peak = peak_flops(torch.device("cpu"), "f32")
    assert peak is not None and 1e9 < peak < 1e14
