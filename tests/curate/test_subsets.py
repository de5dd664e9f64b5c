from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipworks.curate import subsets
from clipworks.curate.subsets import (
    addition,
    combine_subsets,
    counts_in,
    difference,
    intersection,
    merge_subsets,
    read_subset,
    union,
    write_subset,
)
from clipworks.curate.uids import UID, Uids, draws_of, hex_of, made_uids, uids_of
from clipworks.errors import DataError

ids = st.lists(st.tuples(st.sampled_from([0, 1, 2**63, 2**64 - 1]), st.integers(0, 3)), max_size=30)


def uids(pairs: list[tuple[int, int]]) -> Uids:
    return np.array(pairs, UID)


@settings(deadline=None, max_examples=30)
@given(ids)
def test_a_file_is_what_datacomps_own_lines_write(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("s")
    theirs = np.array(pairs, np.dtype("u8,u8"))
    theirs.sort()
    np.save(folder / "theirs.npy", theirs)
    write_subset(folder / "ours.npy", uids(pairs))
    assert (folder / "ours.npy").read_bytes() == (folder / "theirs.npy").read_bytes()
    write_subset(folder / "ours.raw", uids(pairs), raw=True)
    assert (folder / "ours.raw").read_bytes() == theirs.tobytes()
    for name in ("ours.npy", "ours.raw"):
        assert read_subset(folder / name).tobytes() == theirs.tobytes()
    wanted = [(high, low) for high in (0, 1, 5, 2**63, 2**64 - 1) for low in range(5)]
    assert counts_in(read_subset(folder / "ours.npy"), uids(wanted)).tolist() == list(
        map(pairs.count, wanted)
    )


@pytest.mark.parametrize("rows_per_piece", [3, 1 << 20])
@pytest.mark.parametrize(
    ("combine", "count"),
    [
        (union, lambda a, b: max(a, b)),
        (intersection, lambda a, b: min(a, b)),
        (difference, lambda a, b: max(a - b, 0)),
        (addition, lambda a, b: a + b),
    ],
)
def test_two_files_are_combined_id_by_id_in_pieces(
    combine: subsets.Combine,
    count: object,
    rows_per_piece: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subsets, "ROWS_PER_PIECE", rows_per_piece)
    chance = np.random.default_rng(0)
    pairs = [
        [(int(a) * 2**61, int(b)) for a, b in chance.integers(0, 5, (40, 2))],
        [(int(a) * 2**61, int(b)) for a, b in chance.integers(0, 6, (25, 2))],
    ]
    for number, some in enumerate(pairs):
        write_subset(tmp_path / f"{number}.npy", uids(some))
    total = combine_subsets(tmp_path / "0.npy", tmp_path / "1.npy", tmp_path / "out.npy", combine)
    assert callable(count)
    wanted = sorted(
        pair
        for pair in {*pairs[0], *pairs[1]}
        for _ in range(count(pairs[0].count(pair), pairs[1].count(pair)))
    )
    assert [tuple(map(int, pair)) for pair in read_subset(tmp_path / "out.npy")] == wanted
    assert total == len(wanted)
    merge_subsets([tmp_path / "0.npy", tmp_path / "1.npy"], tmp_path / "all.raw", raw=True)
    assert [tuple(map(int, p)) for p in read_subset(tmp_path / "all.raw")] == sorted([*pairs[0], *pairs[1]])


def test_files_that_are_no_subset_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(b"x" * 17)
    np.save(tmp_path / "wide.npy", np.zeros((3, 2), "u8"))
    np.save(tmp_path / "unsorted.npy", uids([(2, 0), (1, 0)]))
    whole = (tmp_path / "unsorted.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(whole[:-5])
    messages = {
        "cut": "17 bytes are no multiple of 16",
        "wide.npy": "not of 'u8,u8'",
        "unsorted.npy": "is not sorted",
        "short.npy": "cannot be read as a subset file",
        "missing": "cannot be read as a subset file",
    }
    for name, message in messages.items():
        with pytest.raises(DataError, match=message):
            read_subset(tmp_path / name)


def test_no_files_give_an_empty_one(tmp_path: Path) -> None:
    assert merge_subsets([], tmp_path / "none.npy") == 0
    assert len(read_subset(tmp_path / "none.npy")) == 0
    (tmp_path / "none.raw").write_bytes(b"")
    assert len(read_subset(tmp_path / "none.raw")) == 0


def test_ids_are_read_made_and_written_as_datacomp_does() -> None:
    uid = "00112233445566778899aabbccddeeff"
    assert uids_of([uid]).tolist() == [(int(uid[:16], 16), int(uid[16:], 16))]
    assert hex_of(uids_of([uid, "ff"])) == [uid, "ff".zfill(32)]
    assert hex_of(made_uids(["abc"], ["def"])) == ["e80b5017098950fc58aad83c8c14978e"]  # md5 of abcdef
    assert uids_of([uid.upper()]) == uids_of([uid])
    assert len(uids_of([])) == 0
    for wrong in ("g" * 32, "0" * 33, "", " 1", "é" * 16, None):
        with pytest.raises(DataError, match="not 32 hex digits"):
            uids_of([uid, wrong])  # type: ignore[list-item]


def test_draws_are_uniform_and_hang_on_seed_stream_and_id() -> None:
    chance = np.random.default_rng(0)
    many = uids([(int(a), int(b)) for a, b in chance.integers(0, 2**63, (20_000, 2))])
    draws = draws_of(many, 7)
    assert 0 <= draws.min() and draws.max() < 1
    counts, _ = np.histogram(draws, 20, (0, 1))
    assert ((counts - 1000) ** 2 / 1000).sum() < 45  # chi-square, 19 degrees: p = 0.0007
    assert (draws[::-1] == draws_of(many[::-1].copy(), 7)).all()
    for other in (draws_of(many, 8), draws_of(many, 7, stream=1)):
        assert abs(np.corrcoef(draws, other)[0, 1]) < 0.03
    streams = np.array([0, 1, 0, 1, 2], np.uint64)
    each = [draws_of(many[n : n + 1], 7, stream=stream)[0] for n, stream in enumerate(streams)]
    assert draws_of(many[:5], 7, stream=streams).tolist() == each
    assert draws_of(many[:5], -1).tolist() == draws_of(many[:5], 2**64 - 1).tolist()


def test_draws_stay_what_they_are() -> None:
    """Who draws again keeps the same rows: a change here is told in the changelog."""
    found = draws_of(uids_of(["0" * 32, "0123456789abcdef" + "f" * 16]), 3, stream=np.array([0, 1]))
    assert found.tolist() == [0.8367955706748803, 0.133108111657404]
