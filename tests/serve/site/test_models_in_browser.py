"""The pages of models in a real browser: from the list to one model, to a comparison, to a vote."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from selenium import webdriver

from clipworks.serve import accounts
from clipworks.serve.app import create_service_app
from clipworks.serve.database import open_database
from clipworks.serve.fleet import Fleet
from clipworks.serve.roster import ModelSpec
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings
from clipworks.serve.visitors import SESSION_COOKIE
from tests.serve.cluster import new_sqlite
from tests.serve.colours import ColourEngine
from tests.serve.site.people import new_session
from tests.serve.site.test_search_in_browser import Page, _listener, browser
from tests.serve.workers import HeldWorker

__all__ = ["browser"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")) and not os.environ.get("CI"),
        reason="needs chromium and chromedriver: apt-get install chromium chromium-driver",
    ),
]

LARGE = "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"


@pytest.fixture
def page(browser: webdriver.Chrome, tmp_path: Path) -> Iterator[Page]:  # noqa: F811
    """A server with accounts, on which Ann is signed in."""
    address = new_sqlite(tmp_path)
    database = open_database(address)
    with database.write() as connection:
        accounts.create_account(connection, "ann", credit_micro_usd=0)
    token = new_session(database, "ann", is_operator=True)
    database.close()
    settings = ServeSettings(require_keys=True, database=address)
    specs = [ModelSpec(id="pictogram"), ModelSpec(id="next/model", status="coming_soon")]
    fleet = Fleet(settings, specs, lambda spec: HeldWorker(ColourEngine(spec.id)))
    app = create_service_app(Service(settings, fleet, None))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
    with _listener() as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            page = Page(browser, f"http://127.0.0.1:{listener.getsockname()[1]}")
            page.open("/models")
            browser.add_cookie({"name": SESSION_COOKIE, "value": token})
            yield page
            assert [entry for entry in browser.get_log("browser")] == []  # type: ignore[no-untyped-call]
        finally:
            browser.get("about:blank")
            server.should_exit = True
            thread.join(20)


def width(page: Page, pixels: int, path: str) -> Any:
    """How wide a page is in a window of some width."""
    size = {"width": pixels, "height": 800, "deviceScaleFactor": 1, "mobile": pixels < 500}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.open(path)
        return page.browser.execute_script("return document.documentElement.scrollWidth")  # type: ignore[no-untyped-call]
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_from_the_list_to_a_model_and_to_a_comparison(page: Page) -> None:
    page.open("/models")
    assert len(page.all(".model-card")) == 7
    page.write("[name=q]", "datacomp")
    page.click(".filters button.main")
    page.wait_for("2 of 7 models for “datacomp”", ".compare-bar")
    page.click(f"input[value='{LARGE}']")
    page.click("input[value='laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K']")
    page.click("#compare button")
    page.wait_for("Compare models", "h1")
    assert (
        len(page.all(".sides thead th")) >= 3
        and "79.2 %" in page.find(".sides .ahead").text + page.find(".sides").text
    )
    page.click(".sides thead th:nth-child(2) a")
    page.wait_for("DataComp", "h1")
    panels = page.all(".tab-panel")
    assert [one.is_displayed() for one in panels] == [True, False, False, False]
    page.click("label[for=tab-4]")
    assert [one.is_displayed() for one in panels] == [False, False, False, True]
    assert (
        "await fetch" in panels[3].text and "YOUR_KEY" in panels[3].find_element("css selector", "mark").text
    )
    page.click("#faq summary")
    assert page.find("#faq p").is_displayed()


def test_a_vote_is_counted_and_the_operator_sets_the_model_live(page: Page) -> None:
    page.open("/models/next/model")
    page.click(".vote button")
    page.wait_for("You want this model", ".vote")
    page.wait_for("1 vote", ".vote")
    page.open("/operator/models")
    form = "form[id='model-next/model']"
    page.wait_for("1 vote: ann", form)
    page.click(f"{form} option[value=live]")
    page.write(f"{form} [name=note]", "it was asked for")
    page.click(f"{form} button")
    page.wait_for("Set: next/model.", "[role=status]")
    page.wait_for("it was asked for", ".scores")
    page.open("/account/wishes")
    page.wait_for("next/model is live since", ".note")
    for path in ("/models", "/models/openai/clip-vit-base-patch16", "/compare", "/operator/models"):
        assert width(page, 375, path) == 375, path
        for control in page.all("input:not([type=hidden]), select, button"):
            assert control.accessible_name or not control.is_displayed(), control.get_attribute("outerHTML")
