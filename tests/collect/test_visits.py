"""What hosts say about waiting is read, whatever they say."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from clipworks.collect.visits import retry_after_seconds


def test_a_pause_is_told_in_seconds_or_by_a_date() -> None:
    assert retry_after_seconds(" 120 ") == 120
    assert retry_after_seconds("Mon, 01 Jan 2001 00:00:00 GMT") == 0
    soon = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    assert 290 < retry_after_seconds(soon) <= 300


@pytest.mark.parametrize(
    "value",
    [
        "",
        "later",
        "-5",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2001 00:00:00 +99999999999999",
    ],
)
def test_a_pause_that_cannot_be_read_is_longer_than_anybody_waits(value: str) -> None:
    assert retry_after_seconds(value) == float("inf")
