"""States on disk: whole or not there, checked when read, few."""

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from clipworks.errors import DataError
from clipworks.files import read_manifest
from clipworks.train.distributed import Processes
from clipworks.train.states import STATES, Memory, _own_rows, list_states, load_state, save_state

ALONE = Processes()


def memory(seed: int = 0, steps: int = 1) -> Memory:
    """A model after some steps of AdamW, with an averaged copy of a weight."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
    extra = {"mean": torch.randn(5, 3), "count": torch.tensor(float(seed))}
    return Memory(parameters=dict(model.named_parameters()), optimizers=[optimizer], extra=extra)


def same(one: Memory, other: Memory) -> bool:
    for name, parameter in one.parameters.items():
        twin = other.parameters[name]
        mine, theirs = one.optimizers[0].state[parameter], other.optimizers[0].state[twin]
        if not torch.equal(parameter, twin) or mine.keys() != theirs.keys():
            return False
        if not all(torch.equal(mine[key], theirs[key]) for key in mine):
            return False
    return all(torch.equal(tensor, other.extra[name]) for name, tensor in one.extra.items())


def test_a_state_gives_back_weights_what_the_optimizer_remembers_and_what_else_there_is(
    tmp_path: Path,
) -> None:
    written, read = memory(1, steps=3), memory(2, steps=0)
    save_state(tmp_path, written, 7, ALONE)
    assert load_state(tmp_path, read, ALONE) == 7
    assert same(written, read)


def test_a_run_without_a_state_begins_at_its_first_step(tmp_path: Path) -> None:
    assert load_state(tmp_path, memory(), ALONE) == 0


def test_only_the_newest_states_are_kept_and_those_of_round_steps(tmp_path: Path) -> None:
    for step in range(1, 8):
        save_state(tmp_path, memory(), step, ALONE, keep=2, keep_every=3)
    assert [int(state.name) for state in list_states(tmp_path)] == [3, 6, 7]


def test_a_damaged_state_is_passed_over_for_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = memory(1), memory(2)
    save_state(tmp_path, before, 1, ALONE)
    state = save_state(tmp_path, after, 2, ALONE)
    file = state / "part-0-of-1.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    found = memory(3)
    assert load_state(tmp_path, found, ALONE) == 1
    assert same(found, before)
    assert "part-0-of-1.safetensors is not what was written" in caplog.text
    assert [int(s.name) for s in list_states(tmp_path)] == [1]


@pytest.mark.parametrize("harm", ["no manifest", "no file", "not JSON"])
def test_a_run_whose_only_state_is_damaged_is_refused(tmp_path: Path, harm: str) -> None:
    state = save_state(tmp_path, memory(), 1, ALONE)
    if harm == "not JSON":
        (state / "manifest.json").write_text("{")
    else:
        (state / ("manifest.json" if harm == "no manifest" else "part-0-of-1.safetensors")).unlink()
    with pytest.raises(DataError, match="can be resumed"):
        load_state(tmp_path, memory(), ALONE)


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path, memory(), 1, ALONE)
    model = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 2))
    other = Memory(
        parameters=dict(model.named_parameters()), optimizers=[torch.optim.AdamW(model.parameters())]
    )
    with pytest.raises(DataError, match=r"0\.weight has the shape \[5, 3\], not \[6, 3\]"):
        load_state(tmp_path, other, ALONE)


def test_what_a_killed_writer_left_is_no_state_and_goes_with_the_next(tmp_path: Path) -> None:
    left = tmp_path / STATES / ".00000005.part"
    left.mkdir(parents=True)
    (left / "part-0-of-1.safetensors").write_bytes(b"half")
    assert load_state(tmp_path, memory(), ALONE) == 0
    save_state(tmp_path, memory(), 6, ALONE)
    assert [path.name for path in (tmp_path / STATES).iterdir()] == ["00000006"]


def test_a_state_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path, memory(1), 1, ALONE)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clipworks.train.states.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_state(tmp_path, memory(2), 2, ALONE)
    assert [path.name for path in (tmp_path / STATES).iterdir()] == ["00000001"]
    monkeypatch.undo()
    found = memory(3)
    assert load_state(tmp_path, found, ALONE) == 1
    assert same(found, memory(1))


def test_a_state_that_its_format_cannot_write_is_an_error_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr("clipworks.train.states.safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left on device: .*part-0-of-1.safetensors"):
        save_state(tmp_path, memory(), 1, ALONE)


def test_a_state_says_where_every_row_stands(tmp_path: Path) -> None:
    state = read_manifest(save_state(tmp_path, memory(), 1, ALONE))
    assert state["tensors"]["weight/0.weight"] == {
        "shape": [5, 3],
        "pieces": [["part-0-of-1.safetensors", 0, 5]],
    }
    assert "memory/exp_avg_sq/1.bias" in state["tensors"] and "extra/mean" in state["tensors"]


def test_rows_are_found_however_many_processes_wrote_them() -> None:
    """The parts of `count` rows of every world follow on each other without a gap."""
    for count in (1, 5, 8):
        for world in (1, 2, 3, 8):
            parts = [_own_rows(count, Processes(rank=rank, world=world)) for rank in range(world)]
            chunks = [len(part) for part in torch.arange(count).chunk(world)]
            assert [size for _, size in parts if size] == chunks
            assert [start for start, size in parts if size] == [sum(chunks[:i]) for i in range(len(chunks))]
