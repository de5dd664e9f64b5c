import numpy as np

from clipworks.model.heads import HeadCache


def test_the_head_not_used_for_longest_gives_way() -> None:
    cache = HeadCache(max_heads=2)
    head = np.zeros((1, 4), dtype=np.float32)
    cache.put("a", head)
    cache.put("b", head)
    assert cache.get("a") is head
    cache.put("c", head)
    assert cache.get("b") is None
    assert cache.get("a") is head
    assert len(cache) == 2


def test_heads_together_stay_below_a_number_of_bytes() -> None:
    cache = HeadCache(max_bytes=100)
    for name in "abc":
        cache.put(name, np.zeros((3, 4), dtype=np.float32))
    assert len(cache) == 2
    cache.put("large", np.zeros((30, 4), dtype=np.float32))
    assert len(cache) == 0


def test_putting_a_head_twice_counts_its_bytes_once() -> None:
    cache = HeadCache(max_bytes=100)
    for _ in range(3):
        cache.put("a", np.zeros((5, 4), dtype=np.float32))
    assert len(cache) == 1
