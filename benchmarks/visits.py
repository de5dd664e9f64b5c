"""The server's pages and a browser that visits them, for a benchmark, the screenshots and the tests.

Which pages there are is read from the server's own OpenAPI document, so that a new page is visited
without being named here; only what stands for `{...}` in a route is.
"""

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import uvicorn
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

PARAMETERS = {
    "page": ("serve", "cli"),
    "id": ("pictogram",),
    "model": ("pictogram",),
    "name": ("pictogram",),
}
"""What stands for the variable part of a route."""

FOUND = {"/operator/accounts/{id}": ("/operator", "a[href^='/operator/accounts/']")}
"""A route whose variable nobody knows beforehand -> the page that links to it, and the link."""

QUERIES = {"/": ("?q=red",), "/docs": ("?q=rate+limit", "?q=xyzzy")}
"""Further states of a page that are pages of their own to a reader."""

KEYED = ("/account", "/operator", "/sign-")
"""How the addresses begin of pages that only a server with keys has."""

LOCAL = ("data:", "blob:", "about:", "chrome:", "chrome-extension:")


def page_addresses(described: dict[str, Any]) -> list[str]:
    """Every address that answers a GET with a page by an OpenAPI document, its variables filled."""
    found = []
    for route, methods in described["paths"].items():
        answer = methods.get("get", {}).get("responses", {}).get("200", {})
        if "text/html" in answer.get("content", {}):
            filled = _filled(route)
            found += [*filled, *(route + query for query in QUERIES.get(route, ()))]
    return found


def _filled(route: str) -> list[str]:
    if route in FOUND:
        return [route]
    for name, values in PARAMETERS.items():
        if f"{{{name}}}" in route:
            return [route.replace(f"{{{name}}}", quote(value)) for value in values]
    if "{" in route:
        raise KeyError(f"{route} has a variable that benchmarks/visits.py has no value for.")
    return [route]


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An application on a port of loopback; its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """A headless Chromium that notes every request and every message of the console."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        yield chrome
    finally:
        chrome.quit()


def look(chrome: webdriver.Chrome, *, width: int, height: int = 900, is_dark: bool = False) -> None:
    """How wide the window is, in CSS pixels, and which colours the reader prefers."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    colours = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [colours]})


def open_page(chrome: webdriver.Chrome, address: str, page: str) -> None:
    """Go to a page; by the link on another one where its address is not known beforehand."""
    if page in FOUND:
        before, link = FOUND[page]
        chrome.get(address + before)
        page = urlsplit(str(chrome.find_element(By.CSS_SELECTOR, link).get_attribute("href"))).path
    chrome.get(address + page)


def requests_since(chrome: webdriver.Chrome) -> list[dict[str, Any]]:
    """The browser's requests since this was last asked: `url`, `kind`, and `bytes` as they came."""
    urls: dict[str, dict[str, Any]] = {}
    for entry in chrome.get_log("performance"):  # type: ignore[no-untyped-call]
        message = json.loads(entry["message"])["message"]
        given = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            kind = given.get("type", "")
            urls[given["requestId"]] = {"url": given["request"]["url"], "kind": kind, "bytes": 0}
        elif message["method"] == "Network.loadingFinished" and given["requestId"] in urls:
            urls[given["requestId"]]["bytes"] = int(given["encodedDataLength"])
    return [one for one in urls.values() if not one["url"].startswith(LOCAL)]


def strangers(requests: list[dict[str, Any]], address: str) -> list[str]:
    """Those that went to another host than the server's."""
    own = urlsplit(address).netloc
    return [one["url"] for one in requests if urlsplit(one["url"]).netloc != own]
