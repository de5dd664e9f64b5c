"""Cut examples/crawl/scikit.warc.gz out of the mini-crawl: the pages of scikit-learn's and scikit-image's
documentation (BSD-3-Clause), with their smallest pictures, as the records stand there byte for byte.

    python scripts/crawl_fixture.py path/to/minicrawl.warc.gz
"""

import sys
from collections import Counter
from pathlib import Path

from clipworks.collect.records import Record, read_records
from clipworks.collect.responses import read_response
from clipworks.files import atomic_write

OUT = Path(__file__).resolve().parent.parent / "examples" / "crawl" / "scikit.warc.gz"
HOSTS = (b"https://python-sklearn-doc.example/", b"https://python-skimage-doc.example/")
MAX_BYTES = 960_000


def main() -> None:
    path = Path(sys.argv[1])
    data = path.read_bytes()
    records = list(read_records(path, Counter()))
    ends = [record.offset for record in records[1:]] + [len(data)]
    spans = [(record, data[record.offset : end]) for record, end in zip(records, ends, strict=True)]
    spans = [one for one in spans if one[0].field(b"warc-target-uri").startswith(HOSTS)]
    pictures = [(len(raw), i) for i, (record, raw) in enumerate(spans) if is_picture(record)]
    dropped = {i for _, i in pictures}
    size = sum(len(raw) for i, (_, raw) in enumerate(spans) if i not in dropped)
    for length, i in sorted(pictures):
        size += length
        if size > MAX_BYTES:
            break
        dropped.remove(i)
    kept = [raw for i, (_, raw) in enumerate(spans) if i not in dropped]
    with atomic_write(OUT) as file:
        file.write(b"".join(kept))
    print(f"{OUT}: {len(kept)} records, {sum(map(len, kept)):,} bytes")


def is_picture(record: Record) -> bool:
    response = read_response(record) if record.kind == b"response" else None
    return response is not None and response.status == 200 and not response.media_type.startswith("text/")


if __name__ == "__main__":
    main()
