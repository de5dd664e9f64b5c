"""Typing, scrolling, keys and details in a real browser, over more pictures than a page shows at once."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from clipworks.serve.app import create_app
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ColourEngine
from tests.serve.site.many import write_many
from tests.serve.site.test_search_in_browser import CHROMIUM, DRIVER, Page, _listener, browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER) and not os.environ.get("CI"),
        reason="needs chromium and chromedriver: apt-get install chromium chromium-driver",
    ),
]

__all__ = ["browser"]


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Page]:
    engine = ColourEngine()
    engines: Any = {"pictogram": engine}
    app = create_app(ServeSettings(), engines, write_many(tmp_path, engine))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
    with _listener() as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Page(browser, f"http://127.0.0.1:{listener.getsockname()[1]}")
            assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
        finally:
            browser.get("about:blank")
            server.should_exit = True
            thread.join(20)


def focused(page: Page) -> str:
    """The caption of the picture that has the focus."""
    element = page.browser.switch_to.active_element
    return str(element.find_element(By.TAG_NAME, "img").get_attribute("alt"))


def press(page: Page, *keys: str) -> None:
    for key in keys:
        ActionChains(page.browser).send_keys(key).perform()


def wait(page: Page, condition: Any) -> None:
    WebDriverWait(page.browser, 20).until(lambda _: condition())


def test_results_follow_the_typing_and_grow_behind_what_is_there(page: Page) -> None:
    page.open()
    page.find("#words").send_keys("blue")
    page.wait_for("10 pictures for “blue”", "#results .count")
    page.write("#words", "red")
    page.wait_for("More than 24 pictures for “red”", "#results .count")
    assert page.browser.current_url.endswith("/?q=red")
    first = page.find("#results .card")

    def is_at_the_end() -> bool:
        end = "document.querySelector('[data-more]')?.scrollIntoView({block: 'center', behavior: 'instant'})"
        page.browser.execute_script(end)  # type: ignore[no-untyped-call]
        return page.find("#results .count").text == "50 pictures for “red”"

    wait(page, is_at_the_end)
    wait(page, lambda: page.all("#results .rest"))
    assert "picture 0" in first.text, "the first card is still the same element"
    captions = [card.text.splitlines()[1] for card in page.all("#results > .grid > .card")]
    assert captions == [f"picture {number}" for number in range(50)]
    assert not page.all("[data-more]") and "Further away (10)" in page.find("#results .rest summary").text


def test_filters_narrow_at_once_and_stand_in_the_address(page: Page) -> None:
    page.open("/?q=red")
    page.click(".filters summary")
    page.write("input[name=tag]", "Anna")
    page.wait_for("5 pictures for “red”", "#results .count")
    assert "tag=Anna" in page.browser.current_url
    page.find("#words").send_keys(3 * Keys.BACKSPACE)
    page.wait_for("6 pictures that meet the conditions", "#results .count")


def test_keys_walk_open_turn_and_close(page: Page) -> None:
    page.open("/?q=red")

    def is_in_the_field() -> bool:
        if page.browser.switch_to.active_element.get_attribute("id") == "words":
            return True
        press(page, "/")  # not heard before the page's script has come
        return False

    wait(page, is_in_the_field)
    press(page, Keys.ARROW_DOWN)
    wait(page, lambda: focused(page) == "picture 0")
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    wait(page, lambda: focused(page) == "picture 1")
    press(page, Keys.ARROW_DOWN)
    wait(page, lambda: int(focused(page).split()[1]) > 3)  # a row further down
    press(page, Keys.ARROW_UP, Keys.ENTER)
    wait(page, lambda: "picture 1" in page.find("dialog[open]").text)
    text = page.find("dialog[open]").text
    assert "Canon EOS R5" in text and "counts as found here" in text
    press(page, Keys.ARROW_RIGHT)
    wait(page, lambda: "picture 2" in page.find("dialog[open]").text)
    press(page, Keys.ESCAPE)
    wait(page, lambda: not page.all("dialog[open]"))  # the browser closes it, after the key is answered
    assert focused(page) == "picture 2"
    press(page, Keys.ENTER)
    page.click("dialog[open] a[data-search]")
    page.wait_for("like this one", "#results .count")
    wait(page, lambda: not page.all("dialog[open]"))
    assert "like=trips" not in page.browser.current_url
    page.wait_for("picture 2", ".chosen-one")


def test_a_frame_drawn_on_a_picture_asks_for_its_like(page: Page) -> None:
    page.open("/?q=blue")
    page.click("#results a.picture")
    image = page.find("dialog[open] .stage img")
    wait(page, lambda: image.get_property("naturalWidth"))
    page.browser.execute_script("arguments[0].style.width = '300px'", image)  # type: ignore[no-untyped-call]
    actions = ActionChains(page.browser)
    actions.move_to_element_with_offset(image, -100, -100).click_and_hold().move_by_offset(150, 150).release()
    actions.perform()
    page.click("dialog[open] [data-part]")
    page.wait_for("pictures like this one", "#results .count")
    region = page.browser.current_url.partition("region=")[2]
    assert [round(float(share), 1) for share in region.split(",")] == [0.2, 0.2, 0.7, 0.7]
