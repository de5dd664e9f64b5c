"""PyTorch's files of pickled weights, read and written with numpy alone.

Read are the zip file of `torch.save`, its older plain form, and the TorchScript archive of OpenAI's
releases (layouts: torch/serialization.py). Sizes are checked against the file before anything is
allocated, and only the tensors of the state dict are read: what an optimizer remembers stays on disk.
What a pickle may say is the work of `pickles.py`. Called by `sources.py`.
"""

import io
import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import CheckpointError
from clipworks.model.pickles import KINDS, ForbiddenName, Script, Storage, View, describe

Array = NDArray[Any]

ZIP_MAGIC = b"PK\x03\x04"
PLAIN_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""How the two forms begin; the second is a pickle of PyTorch's own magic number."""

WRAPPERS = ("state_dict", "model", "model_state_dict", "module")
"""Where training programs keep the state dict among other things; the first one that is there is read."""

_NO_WEIGHTS = ("attn_mask",)
"""Tensors that scripted models keep among their attributes, though they are not trained."""

_MAX_PICKLE_BYTES = 64 << 20
"""A pickle of names and shapes; that of the largest CLIP has 0.3 MB."""

_MAX_SHARING = 4
"""Bytes of tensors for one of storage; above 1 where tensors share a storage."""

_NO_TIME = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip file can hold."""

_SAFE = "Use a safetensors file of the same model, or save its state_dict() and nothing else."
_AGAIN = "Fetch or copy it again."


# What the standard library raises for files that are no pickles, no zip files or cut short.
_DAMAGE = (
    zipfile.BadZipFile,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read_pickled(file: Path) -> dict[str, Array]:
    """Read the tensors of a pickled state dict, training checkpoint or TorchScript archive.

    Args:
        file: what torch.save or torch.jit.save wrote, of any PyTorch.

    Returns:
        Arrays by name, in the file's own names and types; bfloat16 becomes float32.

    Raises:
        CheckpointError: the file holds code or objects, is damaged or cut short, is no PyTorch file
            at all, or has no tensors by name.
    """
    try:
        with file.open("rb") as opened:
            magic = opened.read(len(PLAIN_MAGIC))
        if magic.startswith(ZIP_MAGIC):
            return _read_zip(file)
        if magic == PLAIN_MAGIC:
            return _read_plain(file)
    except ForbiddenName as error:
        raise CheckpointError(
            f"{file} is a pickle that names {error}, which weights have no need of and which could run "
            "code from the file; nothing of it was run.",
            _SAFE,
        ) from error
    except _DAMAGE as error:
        raise CheckpointError(f"{file} is damaged or no PyTorch file: {error}.", _AGAIN) from error
    raise CheckpointError(
        f"{file} is no file of PyTorch.", "Known are what torch.save and torch.jit.save write."
    )


def write_pickled(opened: IO[bytes], tensors: Mapping[str, Array]) -> None:
    """Write a state dict as `torch.save` does; equal tensors give equal bytes.

    Args:
        opened: where to write, from its start.
        tensors: float32, float16 or int64 arrays by name.
    """
    with zipfile.ZipFile(opened, "w") as archive:

        def add(name: str, content: bytes | memoryview) -> None:
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", date_time=_NO_TIME), content)

        add("data.pkl", _pickled(tensors))
        add("byteorder", b"little")
        for number, array in enumerate(tensors.values()):
            add(f"data/{number}", np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        add("version", b"3\n")


def _read_zip(file: Path) -> dict[str, Array]:
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        if len(entries) < len(archive.infolist()):
            raise zipfile.BadZipFile("two entries have the same name")
        places = [name for name in entries if re.fullmatch(r"([^/]+/)?data\.pkl", name)]
        if len(places) != 1:
            raise zipfile.BadZipFile(f"a zip file with {len(places)} entries data.pkl instead of 1")
        folder = places[0].removesuffix("data.pkl")
        order = entries.get(f"{folder}byteorder")
        if order is not None and _entry(archive, order, 16) != b"little":
            raise zipfile.BadZipFile("its numbers are big-endian")
        root, _ = describe(io.BytesIO(_entry(archive, entries[places[0]], _MAX_PICKLE_BYTES)))
        views = _named(root)
        limit = file.stat().st_size
        needed = _storages_of(views)
        if sum(storage.num_bytes for storage in needed.values()) > limit:
            raise zipfile.BadZipFile("its tensors need more bytes than the file has")
        storages = {}
        for key, storage in needed.items():
            info = entries.get(f"{folder}data/{key}")
            if info is None:
                raise zipfile.BadZipFile(f"storage {key} is missing")
            if info.file_size < storage.num_bytes:
                sizes = f"{info.file_size} bytes instead of {storage.num_bytes}"
                raise zipfile.BadZipFile(f"storage {key} has {sizes}")
            storages[key] = _entry(archive, info, limit)
    return _arrays(views, storages)


def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit_bytes: int) -> bytes:
    """The bytes of an entry; PyTorch stores them uncompressed, so none is larger than its file."""
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename} is compressed, which PyTorch never does")
    if info.file_size > limit_bytes:
        raise zipfile.BadZipFile(f"{info.filename} has {info.file_size} bytes, more than {limit_bytes}")
    return archive.read(info)


def _read_plain(file: Path) -> dict[str, Array]:
    """The form before PyTorch 1.6: five pickles, then each storage after its count in 8 bytes."""
    with file.open("rb") as opened:
        head = io.BytesIO(opened.read(_MAX_PICKLE_BYTES))
        (_, _), (_, _), (machine, _), (root, known), (keys, _) = (describe(head) for _ in range(5))
        if machine["little_endian"] is not True:
            raise ValueError("its numbers are big-endian")
        views = _named(root)
        needed = _storages_of(views)
        size = file.stat().st_size
        storages = {}
        opened.seek(head.tell())
        for key in keys:
            storage = known[key]
            if int.from_bytes(opened.read(8), "little") != storage.count:
                raise EOFError(f"storage {key} has another length than its tensors say")
            if opened.tell() + storage.num_bytes > size:
                raise EOFError(f"it ends inside storage {key}")
            if key in needed:
                storages[key] = opened.read(storage.num_bytes)
            else:
                opened.seek(storage.num_bytes, io.SEEK_CUR)
        for key in sorted(needed.keys() - storages.keys()):
            raise EOFError(f"storage {key} is missing")
    return _arrays(views, storages)


def _pickled(tensors: Mapping[str, Array]) -> bytes:
    """The pickle of a state dict, instruction by instruction, with storage n for tensor n."""
    names = {np.dtype(kind.dtype): kind.name for kind in KINDS if not kind.is_bfloat16}

    def text(value: str) -> bytes:
        return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    def numbers(values: Iterable[int]) -> bytes:
        return b"(" + b"".join(number(value) for value in values) + b"t"

    parts = [b"\x80\x02}("]
    for key, (name, array) in enumerate(tensors.items()):
        kind = f"ctorch\n{names[array.dtype]}\n".encode()
        strides = (math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))
        parts += [text(name), b"ctorch._utils\n_rebuild_tensor_v2\n((", text("storage"), kind, text(str(key))]
        parts += [text("cpu"), number(array.size), b"tQ", number(0), numbers(array.shape), numbers(strides)]
        parts += [b"\x89ccollections\nOrderedDict\n)RtR"]
    return b"".join([*parts, b"u."])


def _named(root: Any) -> dict[str, View]:
    """The views of a state dict, out of what a program has put around it."""
    for _ in range(3):
        if isinstance(root, Mapping):
            inner = (root[name] for name in WRAPPERS if isinstance(root.get(name), Mapping | Script))
            root = next(inner, root)
    if isinstance(root, Script):
        found = dict(_walk(root, "", set()))
    elif isinstance(root, Mapping):
        found = {name: value for name, value in root.items() if isinstance(value, View)}
    else:
        found = {}
    if not found or not all(isinstance(name, str) for name in found):
        raise ValueError(f"it holds no tensors by name but {type(root).__name__}")
    return found


def _walk(script: Script, prefix: str, seen: set[int]) -> Iterator[tuple[str, View]]:
    """Tensors of a TorchScript module by the path of attributes that leads to them."""
    seen.add(id(script))
    for name, value in script.state.items() if isinstance(script.state, Mapping) else ():
        if isinstance(value, Script) and id(value) not in seen:
            yield from _walk(value, f"{prefix}{name}.", seen)
        elif isinstance(value, View) and name not in _NO_WEIGHTS:
            yield f"{prefix}{name}", value


def _storages_of(views: Mapping[str, View]) -> dict[str, Storage]:
    return {view.storage.key: view.storage for view in views.values()}


def _arrays(views: Mapping[str, View], storages: Mapping[str, bytes]) -> dict[str, Array]:
    held = sum(len(data) for data in storages.values())
    wanted = sum(
        math.prod(view.shape) * np.dtype(view.storage.kind.dtype).itemsize for view in views.values()
    )
    if wanted > _MAX_SHARING * held:
        raise ValueError(f"its tensors have {wanted} bytes, and the storages behind them {held}")
    return {name: _array(name, view, storages[view.storage.key]) for name, view in views.items()}


def _array(name: str, view: View, data: bytes) -> Array:
    """A view as an array of its own, after a check that it lies inside its storage."""
    kind, count = view.storage.kind, math.prod(view.shape)
    last = view.offset + sum((n - 1) * step for n, step in zip(view.shape, view.strides, strict=True))
    if count > view.storage.count or (count and last >= view.storage.count):
        raise ValueError(f"{name} reaches beyond its storage of {view.storage.count} numbers")
    numbers = np.frombuffer(data, dtype=kind.dtype, count=view.storage.count)
    if not count:
        return np.zeros(view.shape, dtype=np.float32 if kind.is_bfloat16 else kind.dtype)
    steps = [numbers.itemsize * step for step in view.strides]
    array = np.lib.stride_tricks.as_strided(numbers[view.offset :], view.shape, steps, writeable=False)
    if kind.is_bfloat16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.copy(order="C")
