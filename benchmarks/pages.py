"""How heavy the pages are and how soon they can be used; writes benchmarks/results/pages.json.

A server with the built-in model and its gallery, and headless Chromium with an empty cache on the same
cores. A page can be used when its words are painted and its scripts have run: the later of the first
contentful paint and the end of DOMContentLoaded, counted from the click. Bytes are those on the wire
with headers, of everything that the page loads but the gallery's pictures, which are counted apart.
"""

import json
import urllib.request
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import WebDriverWait

import clipworks
from benchmarks.machine import summarise, write_result
from benchmarks.visits import KEYED, browser, look, page_addresses, requests_since, served
from clipworks.search.opening import open_index
from clipworks.serve.app import create_app
from clipworks.serve.settings import ServeSettings

LOADS = 7
WIDTH = 1440
GALLERY = Path(clipworks.__file__).parent / "gallery" / "index"

TIMES = """
const [load] = performance.getEntriesByType("navigation");
const [paint] = performance.getEntriesByName("first-contentful-paint");
return load.loadEventEnd && paint ? {
  first_byte: load.responseStart, usable: Math.max(load.domContentLoadedEventEnd, paint.startTime),
  loaded: load.loadEventEnd } : null;
"""


def main() -> None:
    engine = clipworks.load("pictogram")
    app = create_app(ServeSettings(), {"pictogram": engine}, open_index(GALLERY))
    with served(app) as address, browser() as chrome:
        with urllib.request.urlopen(f"{address}/openapi.json") as answer:
            pages = [page for page in page_addresses(json.load(answer)) if not page.startswith(KEYED)]
        look(chrome, width=WIDTH)
        chrome.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
        chrome.get(address)  # the browser's own start is none of the page's
        measured = {page: _measure(chrome, address + page) for page in pages}
    slowest = max(measured, key=lambda page: measured[page]["usable"]["median"])
    heaviest = max(measured, key=lambda page: measured[page]["bytes"])
    worst = {
        "slowest": {"page": slowest, "ms": measured[slowest]["usable"]["median"]},
        "heaviest": {"page": heaviest, "kb": round(measured[heaviest]["bytes"] / 1000, 1)},
        "pages": len(measured),
    }
    write_result("pages", {"width": WIDTH, "worst": worst, "pages": measured})


def _measure(chrome: Chrome, address: str) -> dict[str, Any]:
    times: list[dict[str, float]] = []
    requests: list[dict[str, Any]] = []
    for _ in range(LOADS):
        requests_since(chrome)
        chrome.get(address)
        times.append(WebDriverWait(chrome, 30).until(lambda chrome: chrome.execute_script(TIMES)))
        requests = requests_since(chrome)
    own = [one for one in requests if "/gallery/" not in one["url"]]
    return {
        **{
            name: summarise([one[name] for one in times], "ms") for name in ("first_byte", "usable", "loaded")
        },
        "requests": len(own),
        "bytes": sum(one["bytes"] for one in own),
        "gallery_bytes": sum(one["bytes"] for one in requests if one not in own),
    }


if __name__ == "__main__":
    main()
