import json
import re
from pathlib import Path

import numpy as np
import pytest

from clipworks.curate.balance import BalanceConfig, balance_pairs
from clipworks.curate.matches import count_matches, match_pairs
from clipworks.curate.report import describe_part, write_report
from clipworks.errors import ConfigError
from tests.curate.pools import make_rows, write_metadata, write_pairs


def test_head_tail_top_and_zero_entries_are_told() -> None:
    counts, kept = (np.array(values, np.uint64) for values in ([0, 5, 100, 5, 0, 90], [0, 5, 12, 5, 0, 11]))
    part = describe_part(["a", "b", "c", "d", "e", "f"], "en", 10, counts, kept)
    assert part.top == (("c", 100, 12), ("f", 90, 11), ("b", 5, 5), ("d", 5, 5))
    assert part.zero == ("a", "e")
    assert (part.entries, part.entries_without_matches, part.entries_above_t) == (6, 2, 2)
    assert (part.matches, part.kept_matches) == (200, 33)
    assert (part.head_share, part.tail_share) == (0.95, 0.05)
    assert part.curve == ((1, 100, 12), (2, 90, 11), (3, 5, 5), (4, 5, 5))


def test_a_list_without_matches_has_a_report_too() -> None:
    nothing = np.zeros(2, np.uint64)
    part = describe_part(["a", "b"], "", 1, nothing, nothing)
    assert (part.top, part.curve, part.head_share, part.tail_share) == ((), (), 0, 0)


def test_the_report_says_what_was_kept_and_the_page_stands_alone(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs", make_rows(500))
    metadata = tmp_path / "entries.json"
    metadata.write_text('["photo", "the", "<b>never</b>"]')
    match_pairs(pairs, tmp_path / "matches", metadata=[metadata])
    count_matches(tmp_path / "matches", tmp_path / "counts")
    folders = (pairs, tmp_path / "matches", tmp_path / "counts", tmp_path / "balanced")
    manifest = balance_pairs(*folders, config=BalanceConfig(t=20))
    report = write_report(
        tmp_path / "counts", tmp_path / "balanced", tmp_path / "report", metadata=[metadata]
    )
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == json.loads(json.dumps(report))
    assert report["pairs"] == {"in": 500, "kept": manifest["rows"]}
    assert report["texts"]["kept"] == manifest["counts"]["kept_texts"]
    assert report["languages"][0]["t"] == 20
    assert report["languages"][0]["kept_matches"] >= report["texts"]["kept"]
    page = (tmp_path / "report" / "report.html").read_text()
    assert "&lt;b&gt;never" in page
    assert not re.search(r"<script|src=|href=|<b>never", page)
    again = write_report(tmp_path / "counts", tmp_path / "balanced", tmp_path / "report", metadata=[metadata])
    assert again == report
    other = write_metadata(tmp_path / "other.json", ["cat"])
    with pytest.raises(ConfigError, match="other metadata"):
        write_report(tmp_path / "counts", tmp_path / "balanced", tmp_path / "new", metadata=[other])
