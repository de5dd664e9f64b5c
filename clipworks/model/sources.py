"""Where the weights of a model lie and what form they have: one file, or several with an index.

A file is known by how it begins, not by its name. What the tensors mean is the work of `formats.py`.
"""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from clipworks.errors import CheckpointError, DataError
from clipworks.files import read_json
from clipworks.model.archives import PLAIN_MAGIC, ZIP_MAGIC, Array
from clipworks.model.tensorfiles import read_safetensors

WEIGHTS = "model.safetensors"
OPEN_CLIP_WEIGHTS = "open_clip_model.safetensors"
OPENAI_WEIGHTS = "model.pt"
WEIGHT_INDEX = ".index.json"
WEIGHT_FILES = (
    OPEN_CLIP_WEIGHTS,
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    WEIGHTS,
    WEIGHTS + WEIGHT_INDEX,
    "pytorch_model.bin",
    "pytorch_model.bin" + WEIGHT_INDEX,
    "pytorch_model.pth",
    OPENAI_WEIGHTS,
)
"""The files that may hold the weights of a folder or Hub repository, best first, as open_clip orders them."""

WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""What the names of weights files end in."""

ReadPickle = Callable[[Path], dict[str, Array]]
"""`converted.read_converted`, or `archives.read_pickled` to leave the cache alone."""

_AGAIN = "Fetch or copy it again."

# How files begin that are often found in place of weights -> what they are, and what to do.
_STRANGERS = (
    (b"version https://git-lfs", "is a pointer of Git LFS and not the weights.", "Run: git lfs pull"),
    (b"<", "is a web page and not weights.", "Fetch it again, logged in where that is needed."),
    (b"\x80", "is a pickle, but none of PyTorch.", "Use a safetensors file of the same model."),
    (b"\x1f\x8b", "is compressed with gzip.", "Unpack it first."),
    (b"\x93NUMPY", "is an array of numpy.", "Known are safetensors and what PyTorch saves."),
    (b"ustar", "is a tar file.", "Unpack it first."),
)


def find_weights(path: Path) -> Path:
    """The file that holds a model's weights, or the index of several that do.

    Args:
        path: a file, which is taken as it is, or a folder. In a folder the first one of WEIGHT_FILES
            is taken, as open_clip orders them; without any of these, the only file with such an ending.

    Raises:
        CheckpointError: there is nothing, or there are several files of unknown names.
    """
    if path.is_file():
        if not path.name.endswith((*WEIGHT_ENDINGS, WEIGHT_INDEX)):
            raise CheckpointError(
                f"{path} is no weights file.", f"Known endings: {', '.join(WEIGHT_ENDINGS)}."
            )
        return path
    if not path.is_dir():
        raise CheckpointError(
            f"There is no model at {path}.", "Give a folder, a weights file or a known name."
        )
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    others = sorted(file for file in path.iterdir() if file.suffix in WEIGHT_ENDINGS and file.is_file())
    if len(others) > 1:
        names = ", ".join(file.name for file in others[:5])
        raise CheckpointError(
            f"The folder {path} holds {len(others)} weights files: {names}.", "Give the path of one."
        )
    if not others:
        raise CheckpointError(
            f"The folder {path} holds no weights.", f"Looked for: {', '.join(WEIGHT_FILES)}."
        )
    return others[0]


def read_weights(file: Path, read_pickle: ReadPickle) -> dict[str, Array]:
    """Read every tensor of a weights file, or of all files that an index names.

    Args:
        file: from `find_weights`.
        read_pickle: reads the files that PyTorch pickled.

    Raises:
        CheckpointError: a file is missing, damaged, cut short, holds code, or is something else.
    """
    try:
        if file.name.endswith(WEIGHT_INDEX):
            return _read_shards(file, read_pickle)
        return _read_file(file, read_pickle)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from error


def shards_of(index: Path) -> dict[str, list[str]]:
    """The files that an index names, in order, and the tensors that each of them holds.

    Raises:
        CheckpointError: the index is damaged, or names files outside of its folder.
    """
    try:
        places = read_json(index)["weight_map"].items()
        shards: dict[str, list[str]] = {}
        for tensor, name in sorted(places):
            if PurePosixPath(name).name != name:
                raise CheckpointError(f"{index} names the file {name!r}, which is not beside it.")
            shards.setdefault(name, []).append(tensor)
    except DataError as error:
        raise CheckpointError(error.message, _AGAIN) from error
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{index} is no index of weights: it has no weight_map.", _AGAIN) from error
    return dict(sorted(shards.items()))


def _read_shards(index: Path, read_pickle: ReadPickle) -> dict[str, Array]:
    tensors: dict[str, Array] = {}
    shards = shards_of(index)
    for number, (name, promised) in enumerate(shards.items(), start=1):
        file = index.with_name(name)
        if not file.is_file():
            raise CheckpointError(
                f"{file} is missing: it is part {number} of the {len(shards)} that {index.name} names.",
                "Fetch or copy all parts.",
            )
        held = _read_file(file, read_pickle)
        absent = [tensor for tensor in promised if tensor not in held]
        if absent:
            raise CheckpointError(
                f"{file} lacks {absent[0]} and {len(absent) - 1} more that {index.name} says it holds.",
                _AGAIN,
            )
        tensors |= held
    return tensors


def _read_file(file: Path, read_pickle: ReadPickle) -> dict[str, Array]:
    with file.open("rb") as opened:
        start = opened.read(512)
    if start.startswith((ZIP_MAGIC, PLAIN_MAGIC)):
        return read_pickle(file)
    if start[8:9] == b"{":
        return read_safetensors(file)
    raise _strange(file, start)


def _strange(file: Path, start: bytes) -> CheckpointError:
    """The error for a file that is neither safetensors nor PyTorch's."""
    if not start:
        return CheckpointError(f"{file} is empty (0 bytes).", _AGAIN)
    for mark, what, remedy in _STRANGERS:
        if start.startswith(mark) or start[257:].startswith(mark):
            return CheckpointError(f"{file} {what}", remedy)
    shown: Any = start[:16]
    return CheckpointError(
        f"{file} is neither a safetensors file nor one that PyTorch saved: it begins with {shown!r}.",
        "Check the path, or fetch the file again.",
    )
