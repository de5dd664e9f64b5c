"""A shard is written whatever columns the list of addresses had."""

import json
import tarfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from clipworks.collect.layout import Outcome, ShardFiles


def test_columns_of_times_and_decimals_are_written_as_text(tmp_path: Path) -> None:
    row = {"url": "http://a.example/1.png", "caption": "x", "uid": "1" * 32, "raw": b"\x01"}
    seen = {"seen": datetime(2024, 5, 6, tzinfo=UTC), "price": Decimal("1.50"), "all": [b"\x02"]}
    files = ShardFiles(tmp_path, "00000", "jpg")
    try:
        outcome = Outcome(status="success", place=files.put(b"picture"))
        files.write(pa.Table.from_pylist([row | seen]), [outcome])
    finally:
        files.close()
    with tarfile.open(tmp_path / "00000.tar") as tar:
        member = tar.extractfile("000000000.json")
        assert member is not None
        details = json.load(member)
    assert (details["seen"], details["price"], details["raw"]) == ("2024-05-06 00:00:00+00:00", "1.50", "01")
    assert details["all"] == ["02"]
