"""Screenshots of every page at 375 and 1440 pixels, light and dark, to be looked at.

    python -m scripts.screenshots FOLDER [ADDRESS] [PAGE...]

Without an address a server with the built-in model and its gallery is started. Needs chromium and
chromedriver.
"""

import json
import re
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import clipworks
from benchmarks.visits import browser, look, open_page, page_addresses, served
from clipworks.search.opening import open_index
from clipworks.serve.app import create_app
from clipworks.serve.settings import ServeSettings

GALLERY = Path(clipworks.__file__).parent / "gallery" / "index"
WIDTHS = (375, 1440)
MAX_HEIGHT = 6000


def main() -> None:
    folder, *rest = sys.argv[1:]
    address = rest.pop(0) if rest and rest[0].startswith("http") else ""
    with ExitStack() as stack:
        if not address:
            app = create_app(ServeSettings(), {"pictogram": clipworks.load("pictogram")}, open_index(GALLERY))
            address = stack.enter_context(served(app))
        with urllib.request.urlopen(f"{address}/openapi.json") as answer:
            pages = rest or page_addresses(json.load(answer))
        chrome = stack.enter_context(browser())
        Path(folder).mkdir(parents=True, exist_ok=True)
        for page in pages:
            for width in WIDTHS:
                for is_dark in (False, True):
                    look(chrome, width=width, is_dark=is_dark)
                    open_page(chrome, address, page)
                    height = int(chrome.execute_script("return document.documentElement.scrollHeight"))
                    look(chrome, width=width, height=min(height, MAX_HEIGHT), is_dark=is_dark)
                    name = re.sub(r"[^a-z0-9]+", "-", page.lower()).strip("-") or "first"
                    chrome.save_screenshot(f"{folder}/{name}-{width}-{'dark' if is_dark else 'light'}.png")
            print(page)


if __name__ == "__main__":
    main()
