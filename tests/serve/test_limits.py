"""Token buckets: a minute's worth at once, then an even flow; never more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipworks.serve import limits as module
from clipworks.serve.keys import Key, KeyTerms
from clipworks.serve.limits import Bucket, Limits, show_seconds
from clipworks.serve.problems import RequestError


def key_with(identity: str = "key_1", *, requests: int | None = None, images: int | None = None) -> Key:
    return Key(
        id=identity,
        account_id="acct_1",
        account_name="a",
        balance_micro_usd=0,
        label="cw_a…b",
        terms=KeyTerms(name="a", requests_per_minute=requests, images_per_minute=images),
        created_at_ms=0,
        revoked_at_ms=None,
        spent_period="",
        spent_micro_usd=0,
    )


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_a_minutes_worth_then_says_when() -> None:
    bucket = Bucket(60, 0.0)
    assert [bucket.take(1, 0.0) for _ in range(60)] == [0.0] * 60
    assert bucket.take(1, 0.0) == 1.0
    assert bucket.take(1, 1.0) == 0.0
    assert bucket.take(61, 1000.0) == float("inf")
    assert bucket.left(1000.0) == 60


@given(
    per_minute=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(0, 50)), max_size=50),
)
def test_a_bucket_never_gives_more_than_its_rate(per_minute: int, steps: list[tuple[float, int]]) -> None:
    bucket, now, given_out = Bucket(per_minute, 0.0), 0.0, 0
    for seconds, amount in steps:
        now += seconds
        if bucket.take(amount, now) == 0.0:
            given_out += amount
        assert given_out <= per_minute * (1 + now / 60) + 1e-6
        assert 0 <= bucket.left(now) <= per_minute


def test_keys_do_not_share_and_kinds_do_not_share() -> None:
    clock = Clock()
    limits = Limits(clock)
    one, two = key_with("key_1", requests=1, images=5), key_with("key_2", requests=1)
    limits.take(one, "requests", 1)
    limits.take(two, "requests", 1)
    limits.take(one, "images", 5)
    limits.take(two, "images", 10**6)
    with pytest.raises(RequestError, match="1 requests in a minute") as refused:
        limits.take(one, "requests", 1)
    assert refused.value.retry_after_seconds == 60.0
    with pytest.raises(RequestError, match="6 images") as never:
        limits.take(one, "images", 6)
    assert never.value.retry_after_seconds is None
    clock.now = 30.0
    limits.put_back(one, "images", 1)
    assert limits.headers(one) == {
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "30s",
        "x-ratelimit-limit-images": "5",
        "x-ratelimit-remaining-images": "3",
        "x-ratelimit-reset-images": "18s",
    }
    assert limits.headers(key_with("key_3")) == {}


def test_a_changed_limit_holds_at_once() -> None:
    limits = Limits(Clock())
    limits.take(key_with(requests=1), "requests", 1)
    limits.take(key_with(requests=2), "requests", 2)


def test_buckets_of_keys_that_were_idle_longest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 1)
    limits = Limits(Clock())
    for name in "abcd":
        limits.take(key_with(name, requests=1), "requests", 1)
    limits.take(key_with("a", requests=1), "requests", 1)
    with pytest.raises(RequestError):
        limits.take(key_with("d", requests=1), "requests", 1)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (0.25, "250ms"), (1, "1s"), (1.2, "2s"), (360, "6m0s"), (61, "1m1s")]
)
def test_spans_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert show_seconds(seconds) == text
