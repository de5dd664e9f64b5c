from collections.abc import Iterator
from pathlib import Path

import pytest
from stage_work import double, double_or_die, raise_an_error

from clipworks.errors import ConfigError, DataError
from clipworks.stage import Source, run_stage

pytest.importorskip("ray", reason="Ray is not installed; pip install clipworks[ray]")
from clipworks.curate.cluster import Cluster

pytestmark = pytest.mark.slow

SOURCES = [Source(name=f"part-{n:03}", path="abcdefgh"[: n % 8 + 1], digest=str(n)) for n in range(12)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster("local") as cluster:
        yield cluster


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_cluster_gives_the_bytes_of_one_process(tmp_path: Path, cluster: Cluster) -> None:
    assert cluster.num_cores >= 2
    for name, pool in (("one", None), ("ray", cluster)):
        run_stage(double, SOURCES, tmp_path / name, stage="doubling", config={}, pool=pool)
    assert contents(tmp_path / "one") == contents(tmp_path / "ray")


def test_a_source_that_kills_its_process_fails_alone(tmp_path: Path, cluster: Cluster) -> None:
    sources = [*SOURCES[:3], Source(name="bad", path="deadly", digest="x")]
    manifest = run_stage(double_or_die, sources, tmp_path, stage="doubling", config={}, pool=cluster)
    assert manifest["parts"][3]["failure"] == "Its process died 3 times."
    assert manifest["counts"] == {"failed_sources": 1, "letters": 2 * (1 + 2 + 3)}


def test_an_error_of_the_work_ends_the_stage_as_it_does_here(tmp_path: Path, cluster: Cluster) -> None:
    with pytest.raises(DataError, match="The disk is full"):
        run_stage(raise_an_error, SOURCES, tmp_path, stage="doubling", config={}, pool=cluster)


def test_a_cluster_that_is_not_there_is_an_error(cluster: Cluster) -> None:
    with (
        pytest.raises(ConfigError, match="no Ray cluster at 'ray://127.0.0.1:1'"),
        Cluster("ray://127.0.0.1:1"),
    ):
        pass
