"""What a pickle of PyTorch describes, found out without running it.

A pickle is a program for a stack machine, and the standard one will call whatever the program names.
The machine of this file does not: it knows the instructions that plain data need, a name must stand in
`_NAMES`, and all that a name leads to is one of the small functions below. Any other name or
instruction refuses the file. Tensors come out as `View`s: where their numbers lie, not the numbers,
which is the work of `archives.py`. Layouts: torch/_utils.py and torch/csrc/jit/serialization/pickler.cpp.
"""

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

_MAX_AXES = 8
"""Of a tensor. Nothing that a pickle says makes this file copy more than the pickle itself has."""


class ForbiddenName(ValueError):
    """A pickle names something that is no part of weights; the text is that name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Type of the numbers in a storage; numpy lacks bfloat16, which is kept as its 16 bits."""

    name: str
    """PyTorch's class of such storages, as `FloatStorage`."""
    dtype: str
    """numpy's name, little endian."""
    is_bfloat16: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Storage:
    """A run of numbers somewhere in the file; several views may share it."""

    key: str
    kind: Kind
    count: int
    """Numbers in it."""

    @property
    def num_bytes(self) -> int:
        """Bytes that it takes in the file."""
        return self.count * np.dtype(self.kind.dtype).itemsize


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A tensor: a strided view of a storage, counted in numbers, not in bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Script:
    """An object of a TorchScript archive: its attributes and none of its code."""

    def __init__(self) -> None:
        self.state: Any = None


class Ignored:
    """What checkpoints hold beside tensors, such as settings."""


KINDS = (
    Kind(name="BFloat16Storage", dtype="<u2", is_bfloat16=True),
    Kind(name="BoolStorage", dtype="?"),
    Kind(name="ByteStorage", dtype="u1"),
    Kind(name="CharStorage", dtype="i1"),
    Kind(name="DoubleStorage", dtype="<f8"),
    Kind(name="FloatStorage", dtype="<f4"),
    Kind(name="HalfStorage", dtype="<f2"),
    Kind(name="IntStorage", dtype="<i4"),
    Kind(name="LongStorage", dtype="<i8"),
    Kind(name="ShortStorage", dtype="<i2"),
)


def describe(stream: IO[bytes]) -> tuple[Any, dict[str, Storage]]:
    """Read one pickle from where a stream stands up to its last instruction.

    Returns:
        What it describes, made of dict, list, tuple, str, numbers, View, Script and Ignored; and every
        storage it names, by key.

    Raises:
        ForbiddenName: it names something that is no part of weights.
        ValueError, TypeError, LookupError, AttributeError: it is no pickle, cut short, or does what
            pickles of weights do not.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in _PUSHED:
            machine.stack.append(argument)
        elif opcode.name not in _STEPS:
            raise ValueError(f"it has the instruction {opcode.name}, which weights do not need")
        else:
            _STEPS[opcode.name](machine, argument)
    (root,) = machine.stack
    return root, machine.storages


class _Machine:
    """A stack, the stacks set aside by marks, and the values that are referred to again."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def close_tuple(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append(tuple(items))

    def take(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise IndexError("it takes more from its stack than is there")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return tuple(items)

    def put(self, place: int | None) -> None:
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def append(self, values: Iterable[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def set_items(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], dict):
            self.stack[-1].update(_pairs(zip(items[::2], items[1::2], strict=True)))

    def call(self, _: Any) -> None:
        function, arguments = self.take(2)
        if not callable(function) or not isinstance(arguments, tuple):
            raise TypeError("it calls what cannot be called")
        self.stack.append(function(*arguments))

    def build(self, _: Any) -> None:
        (state,) = self.take(1)
        if isinstance(self.stack[-1], Script):
            self.stack[-1].state = state

    def name(self, text: str) -> None:
        if text.startswith("__torch__"):
            self.stack.append(_script)
        elif text in _NAMES:
            self.stack.append(_NAMES[text])
        else:
            raise ForbiddenName(text.replace(" ", "."))

    def storage(self, _: Any) -> None:
        ((tag, kind, key, _place, count, *views),) = self.take(1)
        is_right = tag == "storage" and isinstance(kind, Kind) and isinstance(key, str)
        if not is_right or not _is_size(count) or any(view is not None for view in views):
            raise ValueError("a storage is described wrongly")
        storage = Storage(key=key, kind=kind, count=count)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key} is described in two different ways")
        self.stack.append(storage)


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _pairs(pairs: Iterable[Any]) -> dict[Any, Any]:
    """A dict of those pairs that are kept by name or number; to hash other keys can take forever."""
    return {key: value for key, value in pairs if isinstance(key, str | int | float)}


def _dict() -> dict[Any, Any]:
    return {}


def _first(value: Any, *_: Any) -> Any:
    return value


def _script(*_: Any) -> Script:
    return Script()


def _ignored(*_: Any) -> Ignored:
    return Ignored()


def _view(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> View:
    is_right = isinstance(storage, Storage) and len(shape) == len(strides) <= _MAX_AXES
    if not is_right or not all(_is_size(number) for number in (offset, *shape, *strides)):
        raise ValueError("a tensor is described wrongly")
    return View(storage=storage, offset=offset, shape=tuple(shape), strides=tuple(strides))


_NAMES: dict[str, Any] = {
    **{f"torch {kind.name}": kind for kind in KINDS},
    "collections OrderedDict": _dict,
    "torch Size": _first,
    "torch._utils _rebuild_parameter": _first,
    "torch._utils _rebuild_parameter_with_state": _first,
    "torch._utils _rebuild_tensor": _view,
    "torch._utils _rebuild_tensor_v2": _view,
    "torch.jit._pickle build_boollist": _first,
    "torch.jit._pickle build_doublelist": _first,
    "torch.jit._pickle build_intlist": _first,
    "torch.jit._pickle build_tensorlist": _first,
    "torch.jit._pickle restore_type_tag": _first,
    "torch device": _ignored,
    "argparse Namespace": _ignored,
    "numpy dtype": _ignored,
    "numpy._core.multiarray scalar": _ignored,
    "numpy.core.multiarray scalar": _ignored,
    "_codecs encode": _ignored,
}
"""Every name that a pickle may use and what it leads to; classes of a TorchScript archive lead to Script."""

_PUSHED = frozenset(
    "BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINSTRING "
    "SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
"""Instructions that put what follows them on the stack."""

_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "STOP": lambda machine, _: None,
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_SET": lambda machine, _: machine.stack.append(Ignored()),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE": _Machine.close_tuple,
    "TUPLE1": lambda machine, _: machine.stack.append(machine.take(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.take(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.take(3)),
    "MARK": _Machine.mark,
    "APPEND": lambda machine, _: machine.append(machine.take(1)),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "ADDITEMS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items(list(machine.take(2))),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "LONG_BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": lambda machine, _: machine.name(" ".join(machine.take(2))),
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.storage,
}
"""Every other instruction that a pickle may use -> what the machine does."""
