"""WAT files for tests and benchmarks: what Common Crawl's own parser would note of the pages of a WARC file.

No real WAT file can be had here. The form follows commoncrawl/ia-web-commons: one `metadata` record of
JSON for each record of the WARC file, numbers as texts, entities in attributes decoded, `data:` addresses
cut, the root's language as a `<meta>`, links of all elements in the page's order.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any


from selectolax.lexbor import LexborHTMLParser

from clipworks.collect.charsets import to_utf8
from clipworks.collect.records import Record, read_records
from clipworks.collect.responses import decode_body, read_response

LINKS = {"a": "href", "img": "src", "form": "action", "script": "src", "iframe": "src", "source": "src"}
NOTED = {"a": ("target", "title", "rel", "hreflang", "type"), "img": ("alt", "title")}


def write_wat(warc: Path, wat: Path) -> int:
    """Write the WAT file of a WARC file; its number of records."""
    parts = [wat_record(record, warc.name) for record in read_records(warc, Counter())]
    wat.write_bytes(b"".join(gzipped(part) for part in parts))
    return len(parts)


def wat_record(record: Record, warc_name: str) -> bytes:
    url = record.field(b"warc-target-uri")
    block = json.dumps(envelope(record, warc_name), ensure_ascii=False).encode()
    head = (
        b"WARC/1.0\r\nWARC-Type: metadata\r\nWARC-Target-URI: " + url + b"\r\n"
        b"WARC-Date: 2026-01-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-000000000000>\r\n"
        b"WARC-Refers-To: " + record.field(b"warc-record-id") + b"\r\nContent-Type: application/json\r\n"
    )
    return head + b"Content-Length: %d\r\n\r\n" % len(block) + block + b"\r\n\r\n"


def envelope(record: Record, warc_name: str) -> dict[str, Any]:
    names = ("WARC-Type", "WARC-Date", "WARC-Record-ID", "Content-Length", "Content-Type", "WARC-Target-URI")
    fields = {name: record.field(name.lower().encode()).decode() for name in names}
    return {
        "Container": {
            "Filename": warc_name,
            "Compressed": True,
            "Offset": str(record.offset),
            "Gzip-Metadata": {"Inflated-Length": str(len(record.block)), "Footer-Length": "8"},
        },
        "Envelope": {
            "Format": "WARC",
            "WARC-Header-Length": str(len(record.raw_head)),
            "Actual-Content-Length": str(len(record.block)),
            "WARC-Header-Metadata": {name: value for name, value in fields.items() if value},
            "Payload-Metadata": payload(record),
        },
    }


def payload(record: Record) -> dict[str, Any]:
    response = read_response(record) if record.kind == b"response" else None
    if response is None:
        return {"Actual-Content-Type": "application/http; msgtype=request"}
    answer: dict[str, Any] = {
        "Response-Message": {"Status": str(response.status), "Version": "HTTP/1.1", "Reason": "OK"},
        "Headers": {"Content-Type": response.content_type.decode("latin-1")},
        "Headers-Length": "100",
        "Entity-Length": str(len(response.body)),
        "Entity-Trailing-Slop-Length": "0",
    }
    body = decode_body(response)
    if body and response.media_type == "text/html":
        answer["HTML-Metadata"] = html_metadata(LexborHTMLParser(to_utf8(body, response.content_type)))
    kind = "application/http; msgtype=response"
    return {"Actual-Content-Type": kind, "Trailing-Slop-Length": "4", "HTTP-Response-Metadata": answer}


def html_metadata(tree: LexborHTMLParser) -> dict[str, Any]:
    head: dict[str, Any] = {}
    title, base = tree.css_first("title"), tree.css_first("base[href]")
    root = tree.root.attributes if tree.root is not None else {}
    metas = [
        {"name": f"HTML@/{name}", "content": root[name]} for name in ("lang", "xml:lang") if root.get(name)
    ]
    metas += [
        {
            name: value or ""
            for name, value in node.attributes.items()
            if name in ("name", "content", "http-equiv")
        }
        for node in tree.css("meta[content]")
    ]
    if metas:
        head["Metas"] = metas
    if title is not None:
        head["Title"] = " ".join(title.text().split())
    if base is not None:
        head["Base"] = base.attributes.get("href")
    return {"Head": head, "Links": list(links(tree))}


def links(tree: LexborHTMLParser) -> Iterator[dict[str, str]]:
    for node in tree.css(",".join(LINKS)):
        tag = node.tag or ""
        attributes = node.attributes
        url = attributes.get(LINKS[tag])
        if url is None:
            continue
        link = {"path": f"{tag.upper()}@/{LINKS[tag]}", "url": url[:128] if url.startswith("data:") else url}
        link |= {name: attributes[name] or "" for name in NOTED.get(tag, ()) if name in attributes}
        if tag == "a" and (text := " ".join(node.text().split())[:128]):
            link["text"] = text
        yield link


def gzipped(data: bytes) -> bytes:
    """One gzip member without name and time."""
    return zlib.compress(data, 6, 31)
