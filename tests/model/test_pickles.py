"""A pickle is looked at, never run: what is on the list comes out, everything else is refused by name."""

import io
import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from clipworks.model.pickles import ForbiddenName, Ignored, Script, View, describe


class Calls:
    """Pickles into a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def described(data: bytes) -> Any:
    return describe(io.BytesIO(data))[0]


def global_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


TENSOR = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(("
    b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ"
    b"K\x00(K\x02K\x03t(K\x03K\x01t\x89ccollections\nOrderedDict\n)RtR."
)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_comes_out_as_it_went_in(protocol: int) -> None:
    data = {"a": [1, -5, 2**40, 2**80], "b": (True, False, None), "c": {"é": 1.5}, 3: "y" * 300}
    assert described(pickle.dumps(data, protocol)) == data


def test_an_ordered_dict_becomes_a_dict() -> None:
    assert described(pickle.dumps(OrderedDict([("a", 1), ("b", 2)]), 2)) == {"a": 1, "b": 2}


def test_a_tensor_is_described_and_not_read() -> None:
    view, storages = describe(io.BytesIO(TENSOR))
    assert isinstance(view, View)
    assert (view.offset, view.shape, view.strides) == (0, (2, 3), (3, 1))
    assert (view.storage.count, view.storage.num_bytes, view.storage.kind.dtype) == (6, 24, "<f4")
    assert storages == {"0": view.storage}


def test_an_object_of_a_script_keeps_its_attributes_only() -> None:
    script = described(b"\x80\x02c__torch__.a.___torch_mangle_3\nModel\n)\x81}X\x01\x00\x00\x00nK\x05sb.")
    assert isinstance(script, Script)
    assert script.state == {"n": 5}


def test_settings_beside_the_weights_are_passed_over() -> None:
    data = b"\x80\x02cargparse\nNamespace\n)\x81}X\x01\x00\x00\x00aK\x05sb."
    assert isinstance(described(data), Ignored)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (pickle.dumps(Calls(os.system, "true"), 2), f"{os.system.__module__}.system"),
        (pickle.dumps(Calls(eval, "1"), 2), "__builtin__.eval"),
        (pickle.dumps(Calls(eval, "1"), 4), "builtins.eval"),
        (pickle.dumps({"a": [Calls(getattr, Calls(__import__, "os"), "system")]}, 2), "__builtin__.getattr"),
        (pickle.dumps(Path("x"), 2), f"{type(Path('x')).__module__}.PosixPath"),
        (b"\x80\x02cbuiltins\nexec\nX\x01\x00\x00\x00a\x85R.", "builtins.exec"),
        (global_("torch._utils", "_rebuild_tensor_v3") + b".", "torch._utils._rebuild_tensor_v3"),
        (global_("torch.storage", "_load_from_bytes") + b".", "torch.storage._load_from_bytes"),
        (global_("open_clip.model", "CLIP") + b")\x81.", "open_clip.model.CLIP"),
        (b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.", "os.system"),
    ],
)
def test_a_name_that_is_not_on_the_list_is_refused(data: bytes, name: str) -> None:
    with pytest.raises(ForbiddenName) as caught:
        described(data)
    assert str(caught.value) == name


@pytest.mark.parametrize(
    "data",
    [
        b"(S'true'\nios\nsystem\n.",  # INST calls without a GLOBAL
        b"\x82\x01.",  # EXT1 names a class by number
        b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00)\x92.",  # NEWOBJ_EX
        b"I5\n.",  # protocol 0, which no PyTorch writes
    ],
)
def test_an_instruction_that_weights_do_not_need_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="which weights do not need"):
        described(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle at all",
        b"\x80\x02}",  # no end
        b"\x80\x02R.",  # calls with an empty stack
        b"\x80\x02t.",  # closes a tuple that was not opened
        b"\x80\x02h\x05.",  # gets what was not put
        b"\x80\x02K\x01K\x02.",  # leaves two values
        b"\x80\x02K\x01)R.",  # calls a number
        b"\x80\x02K\x01Q.",  # a storage that is a number
        b"\x80\x02X\xff\xff\xff\xffabc.",  # a text longer than the file
        TENSOR.replace(b"K\x06tQ", b"J\xff\xff\xff\xfftQ"),  # a storage of -1 numbers
        TENSOR.replace(b"tQK\x00", b"tQJ\xff\xff\xff\xff"),  # offset -1
        TENSOR.replace(b"(K\x03K\x01t", b"(K\x03t"),  # one stride for two axes
        TENSOR.replace(b"(K\x02K\x03t", b"(X\x01\x00\x00\x00aK\x03t"),  # a shape that is a text
    ],
)
def test_what_is_no_whole_pickle_of_weights_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, TypeError, LookupError, AttributeError)):
        described(data)


def test_a_state_cannot_be_forced_on_a_tensor() -> None:
    forged = TENSOR.removesuffix(b".") + b"}X\x06\x00\x00\x00offsetJ\xff\xff\xff\xffsb."
    assert described(forged).offset == 0


def test_keys_that_take_forever_to_hash_are_left_out() -> None:
    nested = b")" + b"2\x86" * 60  # a pair of itself, 60 times over
    data = b"\x80\x02}" + nested.replace(b"2\x86", b"q\x01h\x01\x86") + b"K\x01s."
    assert described(data) == {}


def test_nothing_is_copied_over_and_over() -> None:
    long = b"\x80\x02(" + b"K\x01" * 9 + b"tq\x01"
    for call in (b"ccollections\nOrderedDict\nh\x01\x85R.", TENSOR[2:].replace(b"(K\x02K\x03t", b"h\x01")):
        with pytest.raises((TypeError, ValueError)):
            described(long + call)
    one, other = described(long + b"ctorch\nSize\nh\x01\x85R\x86.")
    assert one is other


def test_a_far_place_in_memory_costs_nothing() -> None:
    assert described(b"\x80\x02K\x07r\xff\xff\xff\xff.") == 7


def test_the_machine_knows_every_instruction_that_torch_writes() -> None:
    assert {code.name for code in pickletools.opcodes} >= {"BINPERSID", "STACK_GLOBAL", "MEMOIZE"}
