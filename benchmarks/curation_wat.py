"""WAT to pairs: our reader beside the few lines that cc2dataset spends on each file.

cc2dataset itself needs Spark and the network; a stand-in does per record what it does, with the libraries it
uses: fastwarc's metadata records, simdjson, urljoin, md5. The WAT file is made here from a WARC file by
tests/wat_writer.py, and repeated to a size that can be timed.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import fastwarc.warc as fastwarc
import simdjson
from fastwarc.warc import WarcRecordType

from benchmarks.curation_warc import OURS, read_ours, run_ours
from benchmarks.turns import rates, rows, take_turns
from clipworks.collect.pairs import PAIRS_SUFFIX
from clipworks.collect.records import read_records
from clipworks.tables import num_rows
from tests.wat_writer import write_wat

PEER = "cc2dataset's way"

REPEATS = 4
"""How often the file is repeated: real ones are a hundred times as long."""


def measure(archive: Path, rounds: int) -> dict[str, Any]:
    """Both ways on the WAT file of an archive."""
    with tempfile.TemporaryDirectory(prefix="clipworks-wat-") as temporary:
        folder = Path(temporary)
        wat = folder / "measured.warc.wat.gz"
        num_records = write_wat(archive, wat) * REPEATS
        num_pages = wat_pages(wat) * REPEATS
        wat.write_bytes(wat.read_bytes() * REPEATS)
        calls: dict[str, Callable[[], Any]] = {
            OURS: partial(run_ours, wat, folder),
            PEER: partial(as_cc2dataset, wat),
        }
        times = take_turns(calls, rounds)
        theirs = {(page, url, alt) for page, url, alt, _ in as_cc2dataset(wat)}
        own = {(page, url, text) for (page, url), texts in read_ours(folder).items() for key, text in texts}
        num_pairs = num_rows(folder / f"measured{PAIRS_SUFFIX}")
        return {
            **rates(times[OURS], wat.stat().st_size, num_pairs, num_pages),
            "records": num_records,
            "wat_mb": round(wat.stat().st_size / 1e6, 2),
            "pairs": {OURS: len(own), PEER: len(theirs), "both": len(own & theirs)},
            "ways": rows(times, PEER, wat.stat().st_size / 1e6),
        }


def wat_pages(wat: Path) -> int:
    """Records of a WAT file that describe a page."""
    return sum(b'"HTML-Metadata"' in record.block for record in read_records(wat, Counter()))


def as_cc2dataset(wat: Path) -> list[tuple[str, str, str, str]]:
    """Page, picture, alternative text and identifier, one row for each link with a text."""
    found = []
    with wat.open("rb") as file:
        for record in fastwarc.ArchiveIterator(file, record_types=WarcRecordType.metadata, parse_http=False):
            document = simdjson.load(record.reader)
            envelope = document["Envelope"]
            answer = envelope["Payload-Metadata"].get("HTTP-Response-Metadata", {})
            html = answer.get("HTML-Metadata", {})
            if "Links" not in html:
                continue
            page = base = envelope["WARC-Header-Metadata"]["WARC-Target-URI"]
            if "Base" in html.get("Head", {}):
                base = urljoin(page, html["Head"]["Base"])
            for link in html["Links"]:
                if link.get("path", "") != "IMG@/src" or not link.get("alt", ""):
                    continue
                url, alt = link["url"], link["alt"]
                if not url.startswith(("http://", "https://")):
                    url = urljoin(base, url)
                if url.startswith(("http://", "https://")):
                    found.append((page, url, alt, hashlib.md5((alt + url).encode()).hexdigest()))
    return found
