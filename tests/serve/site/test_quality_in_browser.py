"""What holds for every page, in headless Chromium: accessible, quick to load, at home on a phone, by itself.

The pages are those of the server's own description (`benchmarks/visits.py`), so a new page is held to it
without being named here. Each is loaded once, and looked at wide and light, then narrow and dark.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.expected_conditions import text_to_be_present_in_element, url_contains
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.visits import (
    KEYED,
    browser,
    look,
    open_page,
    page_addresses,
    requests_since,
    served,
    strangers,
)
from clipworks.cli import main
from clipworks.serve.app import create_app
from clipworks.serve.openapi import document
from clipworks.serve.settings import ServeSettings
from tests.serve.cluster import new_sqlite
from tests.serve.colours import ColourEngine
from tests.serve.site.hostile import write_hostile_gallery

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")) and not os.environ.get("CI"),
        reason="needs chromium and chromedriver: apt-get install chromium chromium-driver",
    ),
]

PAGES = list(
    dict.fromkeys(
        page
        for require_keys in (False, True)
        for page in page_addresses(document(ServeSettings(require_keys=require_keys)))
    )
)

MAX_PAGE_BYTES = 150_000
"""A page with its style and scripts on a first visit, as sent, without the gallery's pictures."""

AXE = """
const done = arguments[0];
const words = ({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary}`;
axe.run({ resultTypes: ["violations"] }).then(({ violations }) => done(
  violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(words).join(" | ")}`)));
"""

TOO_WIDE = """
const width = document.documentElement.clientWidth;
const sticksOut = (one) => one.getBoundingClientRect().right > width + 1;
return document.documentElement.scrollWidth <= width ? [] : [...document.body.querySelectorAll("*")]
  .filter(sticksOut).slice(0, 5).map((one) => `wider than ${width}: ${one.outerHTML.slice(0, 120)}`);
"""

HEADINGS = """
const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
  .filter((one) => one.checkVisibility()).map((one) => Number(one.tagName[1]));
const faults = levels.filter((level) => level === 1).length === 1 ? [] : ["not one heading of level 1"];
levels.slice(levels.indexOf(1)).reduce((before, level) => {
  if (level > before + 1) faults.push(`a heading of level ${level} after one of level ${before}`);
  return level;
}, 0);
return faults;
"""

SMALL_PRINT = """
return [...document.querySelectorAll("svg text")]
  .filter((one) => one.checkVisibility() && one.textContent.trim() && one.getBoundingClientRect().height < 9)
  .slice(0, 3).map((one) => `too small to be read: ${one.textContent}`);
"""

UNMARKED = """
const hasBar = (one) => /auto|scroll/.test(getComputedStyle(one).overflowX);
const scrolls = (one) => one.scrollWidth > one.clientWidth + 1 && hasBar(one);
const isMarked = ({ backgroundImage, maskImage }) => /gradient/.test(backgroundImage + maskImage);
return [...document.body.querySelectorAll("*")]
  .filter((one) => one.checkVisibility() && !/^(INPUT|TEXTAREA|SELECT)$/.test(one.tagName))
  .filter((one) => scrolls(one) && !isMarked(getComputedStyle(one)))
  .slice(0, 3).map((one) => `ends at the edge without a mark: ${one.outerHTML.slice(0, 120)}`);
"""

UNSENDABLE = """
const notes = [...document.querySelectorAll("noscript")];
const isExcused = notes.some((one) => /needs JavaScript/.test(one.textContent));
const canBeSeen = (one) => one.checkVisibility() || one.closest("details")?.checkVisibility();
const canSend = (form) => [...form.elements].some((one) => one.type === "submit" && canBeSeen(one));
return [...document.forms]
  .filter((form) => form.method !== "dialog") // in a window that only a script opens
  .filter((form) => form.hasAttribute("action") ? !canSend(form) : !isExcused)
  .map((form) => form.outerHTML.slice(0, 160));
"""


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    with browser() as chrome:
        yield chrome


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server without keys; what its gallery says tries to be markup."""
    gallery = write_hostile_gallery(tmp_path_factory.mktemp("hostile"), ColourEngine())
    engines: Any = {"pictogram": ColourEngine(), "team/other": ColourEngine("other")}
    with served(create_app(ServeSettings(), engines, gallery)) as address:
        yield address


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return new_sqlite(tmp_path_factory.mktemp("accounts"))


@pytest.fixture(scope="module")
def paid_address(place: str) -> Iterator[str]:
    """A server with keys."""
    engines: Any = {"pictogram": ColourEngine()}
    with served(create_app(ServeSettings(require_keys=True, database=place), engines)) as address:
        yield address


@pytest.fixture(scope="module")
def signed_in(chrome: Chrome, paid_address: str, place: str) -> list[dict[str, Any]]:
    """The cookies of somebody who has just signed up there and has been made an operator."""
    chrome.get(f"{paid_address}/sign-up")
    chrome.find_element(By.NAME, "name").send_keys("reader")
    chrome.find_element(By.NAME, "password").send_keys("correct horse battery" + Keys.ENTER)
    WebDriverWait(chrome, 20).until(lambda _: "/sign-up" not in chrome.current_url)
    command = ["accounts", "operator", "reader", "--database", place]
    assert CliRunner().invoke(main, command).exit_code == 0
    cookies: list[dict[str, Any]] = chrome.execute_cdp_cmd("Network.getAllCookies", {})["cookies"]
    return cookies


@pytest.fixture
def place_of(chrome: Chrome, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Page -> its server's address, with the browser signed in there where the page is for who is."""

    def find(page: str) -> str:
        if not page.startswith(KEYED):
            return str(request.getfixturevalue("address"))
        cookies = request.getfixturevalue("signed_in")
        chrome.execute_cdp_cmd("Network.clearBrowserCookies", {})
        if not page.startswith("/sign-"):
            chrome.execute_cdp_cmd("Network.setCookies", {"cookies": cookies})
        return str(request.getfixturevalue("paid_address"))

    return find


@cache
def axe() -> str:
    """The source of axe-core, which the package that is tested with brings."""
    return (files("selenium_axe_python") / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def faults_of_load(chrome: Chrome, address: str) -> list[str]:
    """What the load of a page shows: errors of the console, other hosts, weight."""
    requests = requests_since(chrome)
    weight = sum(one["bytes"] for one in requests if "/gallery/" not in one["url"])
    said = [e["message"] for e in chrome.get_log("browser") if e["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
    faults = [f"asks another host: {url}" for url in strangers(requests, address)]
    faults += [f"console: {message}" for message in said]
    if not 0 < weight <= MAX_PAGE_BYTES:
        faults.append(f"weighs {weight} bytes: {[(one['url'], one['bytes']) for one in requests]}")
    return faults


def faults_of_look(chrome: Chrome, *, width: int, is_dark: bool) -> list[str]:
    """What is wrong with the page that is open, at a width and in its light or dark colours."""
    look(chrome, width=width, is_dark=is_dark)
    found = list(chrome.execute_async_script(AXE))  # type: ignore[no-untyped-call]
    for script in (TOO_WIDE, HEADINGS, SMALL_PRINT, UNMARKED):
        found += chrome.execute_script(script)  # type: ignore[no-untyped-call]
    return [f"{width} px, {'dark' if is_dark else 'light'}: {fault}" for fault in found]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_accessible_light_and_fits_and_asks_nobody_else(
    page: str, chrome: Chrome, place_of: Callable[[str], str]
) -> None:
    address = place_of(page)
    look(chrome, width=1440)
    requests_since(chrome)
    open_page(chrome, address, page)
    assert re.fullmatch(re.sub(r"{\w+}", ".+", urlsplit(page).path), urlsplit(chrome.current_url).path)
    faults = faults_of_load(chrome, address)
    chrome.execute_script(axe())  # type: ignore[no-untyped-call]
    faults += faults_of_look(chrome, width=1440, is_dark=False)
    faults += faults_of_look(chrome, width=375, is_dark=True)
    assert faults == []


def test_what_is_wrong_with_a_page_is_found(chrome: Chrome, address: str) -> None:
    """The checks themselves: a page made worse is said to be."""
    look(chrome, width=1440)
    chrome.get(f"{address}/docs")
    requests_since(chrome)
    chrome.execute_script("""
      document.querySelector("h1").outerHTML = "<h1>x</h1><h4>y</h4>";
      const wide = "<svg width='3000' height='9'></svg><img src='/static/icon.svg'>";
      const small = "<svg viewBox='0 0 3000 9' width='300'><text y='9' font-size='12'>tiny</text></svg>";
      const cut = "<div id='cut'><p>cut</p></div>";
      document.querySelector("main").innerHTML += wide + small + cut;
      document.querySelector("#cut").style.overflowX = "auto";
      document.querySelector("#cut p").style.width = "4000px";
    """)  # type: ignore[no-untyped-call]
    chrome.execute_script("fetch('http://127.0.0.1:9/').catch(() => 0)")  # type: ignore[no-untyped-call]
    chrome.execute_script(axe())  # type: ignore[no-untyped-call]
    found = " ".join(faults_of_look(chrome, width=1440, is_dark=False) + faults_of_load(chrome, address))
    for words in ("image-alt", "wider than 1440", "level 4 after", "console: ", "tiny", "without a mark"):
        assert words in found, found


def test_forms_work_without_scripts_or_say_that_they_do_not(
    chrome: Chrome, address: str, place_of: Callable[[str], str]
) -> None:
    for page in PAGES:
        place_of(page)  # signing up, where there is something to sign up for, may need scripts
    chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        look(chrome, width=1440)
        wrong = {}
        for page in PAGES:
            open_page(chrome, place_of(page), page)
            wrong[page] = chrome.execute_script(UNSENDABLE)  # type: ignore[no-untyped-call]
        assert {page: forms for page, forms in wrong.items() if forms} == {}
        chrome.get(f"{address}/docs")
        chrome.find_element(By.ID, "docs-q").send_keys("idempotency" + Keys.ENTER)
        WebDriverWait(chrome, 20).until(
            text_to_be_present_in_element((By.ID, "found-title"), "for “idempotency”")
        )
        chrome.find_element(By.CSS_SELECTOR, ".found a").click()
        WebDriverWait(chrome, 20).until(url_contains("/docs/keys"))
    finally:
        chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_first_stop_of_the_keyboard_leads_to_the_content(chrome: Chrome, address: str) -> None:
    look(chrome, width=375)
    chrome.get(f"{address}/docs/serve")
    chrome.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    skip = chrome.switch_to.active_element
    assert skip.text == "Skip to the content" and skip.rect["x"] >= 0
    skip.send_keys(Keys.ENTER)
    assert chrome.switch_to.active_element.get_attribute("id") == "content"


def test_code_on_a_page_of_the_docs_can_be_copied_and_headings_linked(chrome: Chrome, address: str) -> None:
    look(chrome, width=1440)
    chrome.get(f"{address}/docs/quickstart")
    chrome.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    box = chrome.find_element(By.CSS_SELECTOR, ".copyable-box")
    box.find_element(By.CSS_SELECTOR, ".copy").click()
    text = chrome.execute_async_script("navigator.clipboard.readText().then(arguments[0])")  # type: ignore[no-untyped-call]
    assert text.strip() == "make demo"
    chrome.find_element(By.CSS_SELECTOR, ".contents a[href='#limits']").click()
    assert chrome.current_url.endswith("/docs/quickstart#limits")


def test_amounts_stay_in_one_line_on_a_phone(chrome: Chrome, place_of: Callable[[str], str]) -> None:
    address = place_of("/account")
    look(chrome, width=375)
    chrome.get(f"{address}/account")
    heights = chrome.execute_script("""
      const [amount] = document.querySelectorAll(".figures dd");
      const show = (text) => (amount.textContent = text, amount.clientHeight);
      const heights = ["$1.00", "$12,345,678.123456"].map(show);
      return [...heights, document.documentElement.scrollWidth];
    """)  # type: ignore[no-untyped-call]
    assert heights[0] == heights[1] > 0 and heights[2] == 375


LONG = "w" * 400


@pytest.mark.parametrize(
    "page",
    [
        *(f"{path}?q={LONG}" for path in ("/", "/models", "/docs")),
        *(f"{path}/{LONG}" for path in ("/models", "/docs", "")),
        f"/compare?m={LONG}",
        f"/playground?label={LONG}&template={LONG}&picture={LONG}&model={LONG}",
    ],
)
def test_a_word_of_any_length_fits_a_phone(chrome: Chrome, address: str, page: str) -> None:
    look(chrome, width=375)
    chrome.get(address + page)
    assert chrome.execute_script(TOO_WIDE) == []  # type: ignore[no-untyped-call]


def test_tables_of_two_columns_in_the_docs_fit_a_phone(chrome: Chrome, address: str) -> None:
    look(chrome, width=375)
    chrome.get(f"{address}/docs/keys")
    wide = chrome.execute_script("""
      const hasTwo = (one) => one.tHead.rows[0].cells.length == 2;
      const tables = [...document.querySelectorAll(".prose table")].filter(hasTwo);
      return [tables.length, tables.filter((one) => one.offsetWidth > one.parentElement.clientWidth).length];
    """)  # type: ignore[no-untyped-call]
    assert wide[0] > 1 and wide[1] == 0
