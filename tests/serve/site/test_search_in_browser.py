"""The page in a real browser: headless Chromium does what a visitor does."""

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from clipworks.search.library import Library
from clipworks.serve.app import create_app
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ColourEngine, picture

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER) and not os.environ.get("CI"),
        reason="needs chromium and chromedriver: apt-get install chromium chromium-driver",
    ),
]

PUT_FILE = """
const [target, kind] = arguments;
const data = new DataTransfer();
const canvas = Object.assign(document.createElement("canvas"), { width: 9, height: 9 });
const pen = canvas.getContext("2d");
pen.fillStyle = "rgb(30 30 220)";
pen.fillRect(0, 0, 9, 9);
const done = arguments[2];
canvas.toBlob((blob) => {
  data.items.add(new File([blob], "blue.png", { type: "image/png" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
    : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
  target.dispatchEvent(event);
  done();
});
"""

CENTRE = "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})"


class Page:
    """A browser on the page, with the words that the tests use."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        self.browser = browser
        self.address = address

    def open(self, path: str = "/") -> None:
        self.browser.get(self.address + path)

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def wait_for(self, words: str, inside: str) -> None:
        """Wait until an element's text holds these words."""
        WebDriverWait(self.browser, 30, ignored_exceptions=[StaleElementReferenceException]).until(
            lambda _: any(words in element.text for element in self.all(inside)),
            f"{words!r} did not appear in {inside}",
        )

    def click(self, selector: str) -> None:
        element = self.find(selector)
        self.browser.execute_script(
            "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element
        )  # type: ignore[no-untyped-call]
        element.click()

    def write(self, selector: str, text: str) -> None:
        field = self.find(selector)
        field.clear()
        field.send_keys(text)

    def run(self, script: str, *values: Any) -> Any:
        return self.browser.execute_async_script(script, *values)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield browser
    browser.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, engine: ColourEngine, gallery: Library) -> Iterator[Page]:
    engines: Any = {"pictogram": engine}
    app = create_app(ServeSettings(), engines, gallery)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
    with _listener() as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Page(browser, f"http://127.0.0.1:{listener.getsockname()[1]}")
            severe = [entry for entry in browser.get_log("browser") if "status of 4" not in entry["message"]]  # type: ignore[no-untyped-call]
            assert severe == []
        finally:
            browser.get("about:blank")
            server.should_exit = True
            thread.join(20)


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@pytest.fixture
def red_file(tmp_path: Path) -> Path:
    path = tmp_path / "my red.png"
    path.write_bytes(picture("red", side=40))
    return path


def test_searching_by_words_shows_pictures_and_can_be_linked_and_gone_back_from(page: Page) -> None:
    page.open()
    page.write("#words", "something red" + Keys.ENTER)
    page.wait_for("1 picture for “something red”", "#results")
    assert page.browser.current_url.endswith("/?q=something+red")
    card = page.find("#results .card")
    assert "a red square" in card.text and "CC0-1.0" in card.text
    image = card.find_element(By.TAG_NAME, "img")
    WebDriverWait(page.browser, 20).until(lambda _: image.get_property("naturalWidth") == 12)
    page.browser.back()
    page.wait_for("From the gallery", "#results")
    page.browser.forward()
    page.wait_for("1 picture for “something red”", "#results")
    assert page.find("#words").get_property("value") == "something red"


def test_a_search_without_a_match_says_so(page: Page) -> None:
    page.open()
    page.click(".chip.odd")
    page.wait_for("No good match for “quarterly tax report”", "#results")
    page.click("#results summary")
    assert page.find("#results .card").is_displayed()


def test_similar_pictures_are_found_from_a_hit_and_from_a_file(page: Page, red_file: Path) -> None:
    page.open("/?q=blue")
    page.click("#results .card a[data-search]")
    page.wait_for("Nothing much like this one", "#results")
    assert "a blue square" in page.find("#results .chosen-one").text
    page.find("#similar-file").send_keys(str(red_file))
    page.wait_for("a red square", "#results .card")


def test_a_picture_dropped_on_the_search_finds_its_like(page: Page) -> None:
    page.open()
    page.run(PUT_FILE, page.find("#search"), "drop")
    page.wait_for("a blue square", "#results .card")


def test_a_server_that_has_gone_is_said_to_have_gone(page: Page) -> None:
    page.open()
    page.browser.execute_script("window.fetch = () => Promise.reject(new TypeError('failed'))")  # type: ignore[no-untyped-call]
    page.write("#words", "red" + Keys.ENTER)
    page.wait_for("The server does not answer", "[role=alert]")


def test_the_page_fits_a_phone_and_names_its_controls(page: Page) -> None:
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        page.open("/?q=red")
        width = "return document.documentElement.scrollWidth"  # of the window before, until it is laid out
        WebDriverWait(page.browser, 20).until(lambda browser: browser.execute_script(width) == 390)
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.click(".filters summary")
    controls = page.all("input:not([type=hidden]), textarea, select, button")
    for control in (one for one in controls if one.is_displayed()):
        assert control.accessible_name, control.get_attribute("outerHTML")
    for image in page.all("#results img"):
        assert image.get_attribute("alt")


def test_the_pictures_of_a_form_can_be_reached_by_keyboard(page: Page) -> None:
    page.open()
    page.find("#words").send_keys("red", Keys.TAB, Keys.TAB)
    assert page.browser.switch_to.active_element.get_attribute("id") == "similar-file"
