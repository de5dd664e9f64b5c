"""What matrix products are in, by precision and processor."""

import pytest
import torch

from clipworks.train import arithmetic
from clipworks.train.arithmetic import autocast_processor, autocast_type

CPU = torch.device("cpu")


@pytest.mark.parametrize("has_it", [True, False])
def test_bf16_is_float32_where_the_processor_lacks_it(monkeypatch: pytest.MonkeyPatch, has_it: bool) -> None:
    monkeypatch.setattr(arithmetic, "has_bfloat16", lambda device: has_it)
    assert autocast_type("bf16", CPU) == (torch.bfloat16 if has_it else None)
    with autocast_processor("bf16"):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if has_it else torch.float32)


def test_other_precisions_are_what_they_say_and_a_graphics_card_has_bfloat16() -> None:
    assert autocast_type("f32", CPU) is None and autocast_type("fp16", CPU) == torch.float16
    assert autocast_type("bf16", torch.device("cuda")) == torch.bfloat16
