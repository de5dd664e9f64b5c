import random

import httpx2
import pytest

from benchmarks.fuzz import addresses, fuzz, mutated, pictures


@pytest.mark.slow
def test_a_few_hundred_odd_requests_bring_no_failure_and_reach_nothing_private() -> None:
    found = fuzz(900, seed=20)
    assert found["server_errors"] == []
    assert found["trap_connections"] == 0 and found["private_dialled"] == []
    assert found["requests"] > 800 and found["fetches_dialled"] > 0
    assert found["statuses"]["200"] > 50 and found["passed"]


def test_the_same_seed_makes_the_same_files() -> None:
    files = [b"a" * 100, b"b" * 50]
    first = [mutated(random.Random(3), files) for _ in range(20)]
    assert first == [mutated(random.Random(3), files) for _ in range(20)]


def test_each_shape_of_a_picture_carries_addresses() -> None:
    with httpx2.Client(base_url="http://127.0.0.1:1") as client:
        paths = {request.url.path for request in addresses(client, 9, 1500)}
        assert paths == {"/v1/embeddings", "/v1/classify", "/v1/similarity"}
        sent = list(pictures(client, random.Random(1), 30))
    assert {request.headers["content-type"].partition(";")[0] for request in sent} >= {
        "application/json",
        "multipart/form-data",
    }
