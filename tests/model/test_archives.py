"""Files that PyTorch really wrote are read without it; broken and forged ones are one clear error."""

import io
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_clip import TinyClip

from clipworks.errors import CheckpointError
from clipworks.model.archives import read_pickled, write_pickled
from clipworks.model.formats import from_native

pytestmark = pytest.mark.slow

TYPES = [
    (torch.float32, np.float32),
    (torch.float16, np.float16),
    (torch.bfloat16, np.float32),
    (torch.float64, np.float64),
    (torch.int64, np.int64),
    (torch.int32, np.int32),
    (torch.int16, np.int16),
    (torch.int8, np.int8),
    (torch.uint8, np.uint8),
    (torch.bool, np.bool_),
]


def saved(folder: Path, value: Any, *, is_zip: bool = True) -> Path:
    file = folder / "x.pt"
    torch.save(value, file, _use_new_zipfile_serialization=is_zip)
    return file


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize(("theirs", "ours"), TYPES, ids=lambda value: str(value))
def test_every_type_of_number_is_read(tmp_path: Path, is_zip: bool, theirs: Any, ours: Any) -> None:
    tensor = torch.tensor([[0.0, 1.0, 2.5], [3.0, 100.0, 1.0]]).to(theirs)
    (array,) = read_pickled(saved(tmp_path, {"a": tensor}, is_zip=is_zip)).values()
    assert array.dtype == ours
    assert array.tolist() == tensor.tolist()


@pytest.mark.parametrize("is_zip", [True, False])
def test_views_of_a_shared_storage_are_read(tmp_path: Path, is_zip: bool) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    views = {
        "whole": whole,
        "turned": whole.T,
        "part": whole[1:3, 2:5],
        "steps": whole[::2, ::3],
        "number": whole[2, 3],
        "empty": whole[:0],
        "parameter": torch.nn.Parameter(whole[1]),
    }
    found = read_pickled(saved(tmp_path, views, is_zip=is_zip))
    assert {name: array.tolist() for name, array in found.items()} == {
        name: tensor.tolist() for name, tensor in views.items()
    }
    assert found["empty"].shape == (0, 6)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_every_protocol_of_pickle_is_read(tmp_path: Path, protocol: int) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pt", pickle_protocol=protocol)
    assert read_pickled(tmp_path / "x.pt")["a"].tolist() == [1, 1]


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "module"])
def test_a_training_checkpoint_gives_its_state_dict(tmp_path: Path, is_zip: bool, wrapper: str) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    checkpoint = {"epoch": 3, "name": "run", "optimizer": optimizer.state_dict(), wrapper: model.state_dict()}
    found = read_pickled(saved(tmp_path, checkpoint, is_zip=is_zip))
    assert found.keys() == {"weight", "bias"}
    assert np.array_equal(found["weight"], model.weight.detach().numpy())


class Towers(torch.nn.Module):
    """Attributes as in OpenAI's archive: modules in modules, parameters, and three numbers as buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2, bias=False), torch.nn.LayerNorm(3))
        self.proj = torch.nn.Parameter(torch.randn(3, 2))
        self.register_buffer("input_resolution", torch.tensor(4))
        self.sizes = [1, 2]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.visual(images) @ self.proj
        return features


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("make", ["script", "trace"])
def test_a_torchscript_archive_gives_its_parameters_by_path(tmp_path: Path, make: str) -> None:
    model = Towers().half().eval()
    images = torch.zeros(1, 3, 4, 4).half()
    script = (
        torch.jit.script(model) if make == "script" else torch.jit.trace(model, images, check_trace=False)
    )
    torch.jit.save(script, tmp_path / "x.pt")
    found = read_pickled(tmp_path / "x.pt")
    expected = model.state_dict()
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name].numpy()) for name in expected)
    assert found["visual.0.weight"].dtype == np.float16


class Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("is_zip", [True, False])
def test_code_in_a_file_is_one_error_and_is_not_run(tmp_path: Path, is_zip: bool) -> None:
    touched = tmp_path / "touched"
    for function, arguments in ((os.system, (f"touch {touched}",)), (eval, ("1",)), (Path.touch, (touched,))):
        file = saved(tmp_path, {"a": torch.zeros(1), "b": Calls(function, *arguments)}, is_zip=is_zip)
        with pytest.raises(
            CheckpointError, match=r"is a pickle that names .* nothing of it was run"
        ) as caught:
            read_pickled(file)
        assert "safetensors" in caught.value.remedy
    assert not touched.exists()


def test_a_whole_model_in_place_of_its_weights_is_refused_by_its_class(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"names torch\.nn\.modules\.linear\.Linear"):
        read_pickled(saved(tmp_path, torch.nn.Linear(2, 2)))


def rewritten(file: Path, change: Callable[[dict[str, bytes]], None], *, is_packed: bool = False) -> None:
    """Change the entries of a zip file, keyed by their names below its folder."""
    with zipfile.ZipFile(file) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(entries)
    method = zipfile.ZIP_DEFLATED if is_packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(f"x/{name}", content)


def _nothing(entries: dict[str, bytes]) -> None:
    pass


def _lose_storage(entries: dict[str, bytes]) -> None:
    del entries["data/0"]


def _cut_storage(entries: dict[str, bytes]) -> None:
    entries["data/0"] = entries["data/0"][:-4]


def _lose_pickle(entries: dict[str, bytes]) -> None:
    del entries["data.pkl"]


def _turn_bytes(entries: dict[str, bytes]) -> None:
    entries["byteorder"] = b"big"


def _cut_pickle(entries: dict[str, bytes]) -> None:
    entries["data.pkl"] = entries["data.pkl"][:-20]


def _overreach(entries: dict[str, bytes]) -> None:
    entries["data.pkl"] = (
        entries["data.pkl"].replace(b"K\x06", b"K\x09", 1).replace(b"K\x02K\x03", b"K\x03K\x03")
    )


def _claim_gigabytes(entries: dict[str, bytes]) -> None:
    entries["data.pkl"] = entries["data.pkl"].replace(b"K\x06", b"J\xff\xff\xff\x7f", 1)


def _repeat_numbers(entries: dict[str, bytes]) -> None:
    entries["data.pkl"] = (
        entries["data.pkl"]
        .replace(b"K\x02K\x03\x86", b"J\xff\xff\xff\x7fK\x03\x86")
        .replace(b"K\x03K\x01\x86", b"K\x00K\x01\x86")
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_lose_storage, "storage 0 is missing"),
        (_cut_storage, "storage 0 has 20 bytes instead of 24"),
        (_lose_pickle, "0 entries data.pkl instead of 1"),
        (_turn_bytes, "big-endian"),
        (_cut_pickle, "no newline found|exhausted|expected"),
        (_claim_gigabytes, "need more bytes than the file has"),
        (_repeat_numbers, "instead of|beyond its storage|storages behind them"),
    ],
)
def test_a_forged_or_damaged_archive_is_refused(
    tmp_path: Path, change: Callable[[dict[str, bytes]], None], said: str
) -> None:
    file = saved(tmp_path, {"a": torch.arange(6.0).reshape(2, 3)})
    rewritten(file, change)
    with pytest.raises(
        CheckpointError, match=re.escape(str(file)) + ".* is damaged or no PyTorch file"
    ) as caught:
        read_pickled(file)
    assert re.search(said, caught.value.message), caught.value.message


def test_a_compressed_archive_which_could_be_a_bomb_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, {"a": torch.zeros(1_000_000)})
    rewritten(file, _nothing, is_packed=True)
    assert file.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match="is compressed, which PyTorch never does"):
        read_pickled(file)


def test_a_changed_byte_of_a_weight_is_noticed(tmp_path: Path) -> None:
    file = saved(tmp_path, {"a": torch.full((1000,), 0.7)})
    data = file.read_bytes()
    place = data.index(np.float32(0.7).tobytes() * 10)
    file.write_bytes(data[:place] + b"\0" + data[place + 1 :])
    with pytest.raises(CheckpointError, match="Bad CRC-32"):
        read_pickled(file)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_file_that_was_cut_anywhere_is_refused(tmp_path: Path, is_zip: bool) -> None:
    file = saved(tmp_path, {"a": torch.arange(100.0), "b": torch.ones(3)}, is_zip=is_zip)
    data = file.read_bytes()
    for length in range(16, len(data) - 1, 97):
        file.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            read_pickled(file)


@pytest.mark.parametrize("value", [{"epoch": 3}, [torch.zeros(2)], {3: torch.zeros(2)}])
def test_a_file_without_tensors_by_name_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(CheckpointError, match="holds no tensors by name"):
        read_pickled(saved(tmp_path, value))


@pytest.mark.parametrize("data", [b"", b"only words", pickle.dumps({"a": 1})])
def test_what_is_no_file_of_pytorch_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.bin").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"x\.bin is no file of PyTorch"):
        read_pickled(tmp_path / "x.bin")


def test_another_zip_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.bin", "w") as archive:
        archive.writestr("words.txt", "words")
    with pytest.raises(CheckpointError, match="0 entries data.pkl instead of 1"):
        read_pickled(tmp_path / "x.bin")


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_is_written_is_what_pytorch_reads(tiny_clip: TinyClip, tmp_path: Path, dtype: Any) -> None:
    tensors = from_native(tiny_clip.weights, tiny_clip.config, "openai")
    stored = {name: array.astype(dtype) for name, array in tensors.items()}
    stored["input_resolution"] = np.array(32)
    with (tmp_path / "x.pt").open("wb") as opened:
        write_pickled(opened, stored)
    theirs = torch.load(tmp_path / "x.pt", weights_only=True)
    ours = read_pickled(tmp_path / "x.pt")
    assert theirs.keys() == ours.keys() == stored.keys()
    for name, array in stored.items():
        assert np.array_equal(theirs[name].numpy(), array) and np.array_equal(ours[name], array)
        assert theirs[name].numpy().dtype == ours[name].dtype == array.dtype


def test_equal_tensors_give_equal_bytes() -> None:
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        write_pickled(file, {"a": np.ones((2, 3), dtype=np.float32)})
    assert files[0].getvalue() == files[1].getvalue()


def test_reading_needs_no_pytorch(tmp_path: Path) -> None:
    file = saved(tmp_path, {"a": torch.ones(2)})
    code = (
        "import sys, pathlib\nsys.modules['torch'] = None\n"
        "from clipworks.model.archives import read_pickled\n"
        f"print(read_pickled(pathlib.Path({str(file)!r}))['a'].sum())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "2.0\n", done.stderr
