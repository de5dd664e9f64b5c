import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from curate_pools import make_pool, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from clipworks.curate.dedup import DedupConfig, dedup
from clipworks.curate.hashes import bands_of, distances, is_near_earlier, near_listed
from clipworks.curate.kept import write_kept
from clipworks.curate.pool import open_pool
from clipworks.curate.projections import Projection, fit_projection, read_projection, write_projection
from clipworks.curate.samples import draw_features
from clipworks.curate.subsets import read_subset, write_subset
from clipworks.curate.uids import hex_of, uids_of
from clipworks.errors import ConfigError, DataError

PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
from clipworks.curate.dedup import DedupConfig, dedup
from clipworks.curate.pool import open_pool
pool, out = map(Path, sys.argv[1:3])
dedup(replace(open_pool(pool), columns={"uid": "uid", "phash": "phash"}),
      DedupConfig(kind="near", column="phash", bucket_bytes=2000), out,
      show=lambda done, total, words: print(done, flush=True))
"""

MEASURE = """
import sys
from pathlib import Path
from clipworks.curate.dedup import DedupConfig, dedup
from clipworks.curate.pool import open_pool
from clipworks.processes import peak_memory_bytes
pool, out = map(Path, sys.argv[1:3])
manifest = dedup(open_pool(pool), DedupConfig(column="sha256", bucket_bytes=1 << 20), out)
print(manifest["counts"]["rows kept"], peak_memory_bytes() // 1024)
"""

Row = tuple[str, int]
"""An id and a hash."""


def write_hash_pool(folder: Path, rows: list[Row], cuts: list[int]) -> Path:
    """Rows with a column phash, cut into tables at the places given."""
    folder.mkdir(parents=True)
    edges = [0, *sorted(cuts), len(rows)]
    for number, (first, last) in enumerate(zip(edges, edges[1:], strict=False)):
        some = rows[first:last]
        columns: dict[str, Any] = {
            "uid": pa.array([uid for uid, _ in some], pa.string()),
            "url": pa.array(["u"] * len(some), pa.string()),
            "text": pa.array(["t"] * len(some), pa.string()),
            "phash": pa.array([value for _, value in some], pa.uint64()),
        }
        pq.write_table(pa.table(columns), folder / f"{number:04}.parquet")
    return folder


def kept_of(pool: Path, config: DedupConfig, out: Path, workers: int = 1) -> list[str]:
    opened = open_pool(pool)
    columns = {**opened.columns, "phash": "phash"}
    dedup(replace(opened, columns=columns), config, out, workers=workers)
    write_kept(out, out.parent / f"{out.name}.npy")
    return hex_of(np.asarray(read_subset(out.parent / f"{out.name}.npy")))


def brute_force(rows: list[Row], distance: int) -> list[str]:
    """Every row against every other: what has no equal or near row of a smaller id."""
    unique = sorted(rows)
    return [
        uid
        for place, (uid, value) in enumerate(unique)
        if not any((value ^ other).bit_count() <= distance for _, other in unique[:place])
    ]


values = st.integers(0, 2**64 - 1)
near_rows = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from([0, 2**63 + 5, 2**40 - 1]),
        st.lists(st.integers(0, 63), max_size=7),
    ),
    max_size=40,
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(near_rows, st.integers(0, 7), st.randoms(use_true_random=False))
def test_near_rows_are_found_like_brute_force_whatever_the_order_and_sharding(
    tmp_path_factory: pytest.TempPathFactory, drawn: Any, distance: int, chance: Any
) -> None:
    rows = []
    for uid, value, flips in drawn:
        for bit in flips:
            value ^= 1 << bit
        rows.append((f"{uid:032x}", value))
    folder = tmp_path_factory.mktemp("near")
    config = DedupConfig(kind="near", column="phash", distance=distance, bucket_bytes=400)
    mixed = chance.sample(rows, len(rows))
    cuts = [chance.randrange(len(rows) + 1) for _ in range(3)]
    one = kept_of(write_hash_pool(folder / "a", rows, []), config, folder / "out_a")
    many = kept_of(write_hash_pool(folder / "b", mixed, cuts), config, folder / "out_b")
    assert one == many == brute_force(rows, distance)


@pytest.mark.parametrize("distance", [0, 4, 9])
def test_near_rows_are_those_of_brute_force_in_any_order(distance: int, tmp_path: Path) -> None:
    chance = np.random.default_rng(distance)
    rows = []
    for number in chance.permutation(60):
        value = [0, 2**63 + 5, 2**40 - 1][number % 3]
        for bit in chance.integers(0, 64, chance.integers(0, 7)):
            value ^= 1 << int(bit)
        rows.append((f"{number // 2:032x}", value))
    config = DedupConfig(kind="near", column="phash", distance=distance, bucket_bytes=4000)
    wanted = brute_force(rows, distance)
    assert 3 <= len(wanted) < 60
    one = kept_of(write_hash_pool(tmp_path / "a", rows, []), config, tmp_path / "out_a")
    many = kept_of(write_hash_pool(tmp_path / "b", rows[::-1], [7, 30]), config, tmp_path / "out_b")
    assert one == many == wanted


@settings(deadline=None, max_examples=40)
@given(st.lists(values, min_size=1, max_size=5), st.lists(st.integers(0, 63), max_size=15, unique=True))
def test_two_hashes_in_reach_share_a_band(hashes: list[int], flips: list[int]) -> None:
    other = hashes[0]
    for bit in flips:
        other ^= 1 << bit
    pair = np.array([hashes[0], other], np.uint64)
    for distance in range(len(flips), 16):
        first, second = bands_of(pair, distance)
        assert (first == second).any()


@settings(deadline=None, max_examples=40)
@given(st.lists(values, max_size=30), st.lists(values, max_size=30), st.integers(0, 15))
def test_distances_and_lists_agree_with_whole_numbers(
    mine: list[int], theirs: list[int], distance: int
) -> None:
    first, second = np.array(mine, np.uint64), np.array(theirs, np.uint64)
    wanted = [[(a ^ b).bit_count() for b in theirs] for a in mine]
    assert distances(first[:, None], second[None, :]).tolist() == wanted
    assert near_listed(first, second, distance).tolist() == [
        any(d <= distance for d in row) for row in wanted
    ]
    earlier = [any((a ^ b).bit_count() <= distance for b in mine[:n]) for n, a in enumerate(mine)]
    assert is_near_earlier(first, distance).tolist() == earlier


def test_blocks_of_the_comparison_do_not_show() -> None:
    chance = np.random.default_rng(0)
    hashes = chance.integers(0, 2**63, 2500).astype(np.uint64)
    hashes[2400], hashes[1023], hashes[1024] = hashes[3] ^ np.uint64(1), hashes[1022], hashes[1022]
    assert np.flatnonzero(is_near_earlier(hashes, 2)).tolist() == [1023, 1024, 2400]


def test_exact_rows_are_dropped_by_id_address_or_content_and_empty_ones_stay(tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    table = {
        "uid": [f"{n:032x}" for n in (5, 3, 9, 3, 7, 8)],
        "url": ["a", "b", "a", "b", None, ""],
        "text": list("xxxxxx"),
        "sha256": ["s", "s", "t", "s", None, None],
    }
    pq.write_table(pa.table(table), folder / "0.parquet")
    found = {
        column: [int(uid, 16) for uid in kept_of(folder, DedupConfig(column=column), tmp_path / column)]
        for column in ("uid", "url", "sha256")
    }
    assert found == {"uid": [3, 5, 7, 8, 9], "url": [3, 5, 7, 8], "sha256": [3, 7, 8, 9]}
    rows = pq.read_table(tmp_path / "sha256" / "0.parquet").to_pydict()
    assert rows["sha256"] == ["s", "t", None, None]


def test_only_rows_of_a_subset_take_part(tmp_path: Path) -> None:
    rows = [(f"{n:032x}", 7) for n in range(6)]
    pool = write_hash_pool(tmp_path / "pool", rows, [3])
    write_subset(tmp_path / "s.npy", uids_of([rows[2][0], rows[4][0]]))
    config = DedupConfig(kind="near", column="phash", subset=str(tmp_path / "s.npy"))
    assert kept_of(pool, config, tmp_path / "out") == [rows[2][0]]


@pytest.mark.slow
def test_close_features_are_found_like_brute_force_whatever_the_sharding(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", tables=3, rows=80, dim=8)
    features = np.concatenate([np.load(path)["b32_img"] for path in sorted(pool.glob("*.npz"))])
    uids = [u for path in sorted(pool.glob("*.parquet")) for u in pq.read_table(path)["uid"].to_pylist()]
    order = sorted(range(len(uids)), key=lambda n: uids[n])
    rows = features.astype(np.float64)[order]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    close = np.tril(rows @ rows.T >= 0.8, -1).any(axis=1)
    wanted = [uids[n] for n, drop in zip(order, close, strict=True) if not drop]
    assert 20 < close.sum() < 220
    config = DedupConfig(kind="cosine", column="b32_img", threshold=0.8)
    assert kept_of(pool, config, tmp_path / "one") == wanted
    assert kept_of(pool, config, tmp_path / "two", workers=2) == wanted


def test_centroids_split_the_comparison_of_features(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", tables=2, rows=60, dim=8)
    chance = np.random.default_rng(1)
    np.save(tmp_path / "c.npy", unit(chance, 5, 8).astype(np.float32))
    whole = DedupConfig(kind="cosine", column="b32_img", threshold=0.8)
    parted = DedupConfig(
        kind="cosine", column="b32_img", threshold=0.8, centroids=str(tmp_path / "c.npy"), bucket_bytes=900
    )
    strict = set(kept_of(pool, whole, tmp_path / "whole"))
    loose = set(kept_of(pool, parted, tmp_path / "parted"))
    assert strict < loose  # pairs across two centroids are not compared


def test_a_projection_hashes_features_by_the_signs_of_their_components(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", tables=2, rows=90, dim=80)
    uids, features = draw_features(open_pool(pool), "b32_img", 150)
    projection = fit_projection(features)
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    parts = centred @ projection.axes.T
    assert np.all(np.diff(parts.var(axis=0)) <= 1e-9)  # by falling variance
    bits = [int("".join("1" if x > 0 else "0" for x in row), 2) for row in parts]
    assert projection.hashes(features).tolist() == bits
    write_projection(tmp_path / "p.npz", projection)
    assert (read_projection(tmp_path / "p.npz").hashes(features) == projection.hashes(features)).all()
    config = DedupConfig(kind="near", column="b32_img", distance=0, projection=str(tmp_path / "p.npz"))
    assert len(kept_of(pool, config, tmp_path / "out")) == 180
    with pytest.raises(DataError, match="has 3 features"):
        projection.hashes(np.zeros((1, 3)))
    with pytest.raises(ConfigError, match="64 components"):
        fit_projection(features[:40])
    (tmp_path / "bad.npz").write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be read as a projection"):
        read_projection(tmp_path / "bad.npz")
    np.savez(tmp_path / "odd.npz", mean=np.zeros(4), axes=np.zeros((3, 4)))
    with pytest.raises(DataError, match="has axes"):
        read_projection(tmp_path / "odd.npz")
    assert isinstance(projection, Projection) and len(uids) == 150


def test_drawn_rows_do_not_hang_on_order_or_sharding(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", tables=3, rows=50)
    other = tmp_path / "other"
    other.mkdir()
    tables = [pq.read_table(path) for path in sorted(pool.glob("*.parquet"), reverse=True)]
    pq.write_table(pa.concat_tables(tables), other / "0.parquet")
    arrays = [np.load(path)["l14_img"] for path in sorted(pool.glob("*.npz"), reverse=True)]
    np.savez(other / "0.npz", l14_img=np.concatenate(arrays))
    for seed in range(3):
        one, two = (draw_features(open_pool(folder), "l14_img", 40, seed=seed) for folder in (pool, other))
        assert len(one[0]) == 40
        assert one[0].tobytes() == two[0].tobytes()
        assert one[1].tobytes() == two[1].tobytes()


@pytest.mark.slow
def test_a_run_that_is_killed_at_ten_moments_ends_in_the_same_bytes(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    rows = [(chance.bytes(16).hex(), int(n)) for n in chance.integers(0, 60, 400)]
    pool = write_hash_pool(tmp_path / "pool", rows, [50, 100, 150, 200, 300])
    command = [sys.executable, "-c", PROGRAM, str(pool)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*command, str(tmp_path / "whole")], env=environment, check=True, capture_output=True)
    for moment in range(10):
        process = subprocess.Popen(
            [*command, str(tmp_path / "killed")], env=environment, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        for _ in range(3 * moment % 14 + 1):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    subprocess.run([*command, str(tmp_path / "killed")], env=environment, check=True, capture_output=True)
    folders = [
        {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file() and path.name != ".lock"
        }
        for name in ("whole", "killed")
    ]
    assert folders[0] == folders[1]


@pytest.mark.slow
def test_memory_stays_within_a_fifth_when_the_rows_are_ten_times_as_many(tmp_path: Path) -> None:
    peaks = []
    for rows in (100_000, 1_000_000):
        folder = tmp_path / f"pool{rows}"
        folder.mkdir()
        for number in range(rows // 50_000):
            chance = np.random.default_rng(number)
            ids = chance.bytes(16 * 50_000).hex()
            table = {
                "uid": [ids[32 * n : 32 * n + 32] for n in range(50_000)],
                "url": ["u"] * 50_000,
                "text": ["t"] * 50_000,
                "sha256": [f"{n:x}" for n in chance.integers(0, rows, 50_000)],
            }
            pq.write_table(pa.table(table), folder / f"{number:04}.parquet")
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(folder), str(tmp_path / f"out{rows}")],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        kept, peak = map(int, done.stdout.split())
        assert 0.6 * rows < kept < 0.66 * rows  # 1 - 1/e of the values are drawn
        peaks.append(peak)
    assert peaks[1] < 1.2 * peaks[0], peaks


def test_settings_out_of_range_and_missing_columns_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kind is 'fuzzy'"):
        DedupConfig(kind="fuzzy")
    with pytest.raises(ConfigError, match="distance 16 is out of range"):
        DedupConfig(distance=16)
    with pytest.raises(ConfigError, match="threshold is 0"):
        DedupConfig(threshold=0)
    with pytest.raises(ConfigError, match="bucket_bytes is 0"):
        DedupConfig(bucket_bytes=0)
    pool = open_pool(make_pool(tmp_path / "pool", tables=1, rows=5))
    with pytest.raises(DataError, match="no column 'phash'"):
        dedup(pool, DedupConfig(kind="near", column="phash"), tmp_path / "a")
    with pytest.raises(ConfigError, match="names /nowhere, which does not exist"):
        dedup(pool, DedupConfig(kind="cosine", column="b32_img", centroids="/nowhere"), tmp_path / "b")


def test_a_table_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", tables=3, rows=20)
    opened = open_pool(pool)
    (pool / "00000001.parquet").write_bytes(b"no table")
    manifest = dedup(opened, DedupConfig(), tmp_path / "out")
    assert manifest["counts"]["failed_sources"] == 1
    assert manifest["rows"] == 40


@pytest.mark.parametrize("name", ["00000000.records.npy", "00000000.starts.npy"])
def test_a_damaged_spill_is_an_error(name: str, tmp_path: Path) -> None:
    pool = open_pool(make_pool(tmp_path / "pool", tables=1, rows=20))
    dedup(pool, DedupConfig(), tmp_path / "out")
    spill = tmp_path / "out" / ".keys" / name
    from clipworks.curate.spills import read_bucket

    spill.write_bytes(b"x" * 10)
    with pytest.raises(DataError, match="cannot be read"):
        read_bucket([tmp_path / "out" / ".keys" / "00000000.records.npy"], 0)
