"""An account in a real browser: signing up, a key, a call, its use; and pages of another site that try."""

import json
import os
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from clipworks.search.library import Library
from clipworks.serve.app import create_app
from clipworks.serve.database import Database, open_database
from clipworks.serve.server import listen
from clipworks.serve.settings import ServeSettings
from tests.serve.cluster import new_sqlite
from tests.serve.colours import ColourEngine
from tests.serve.paying import assert_books_agree, rows
from tests.serve.people import PASSWORD

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER) and not os.environ.get("CI"),
        reason="needs chromium and chromedriver: apt-get install chromium chromium-driver",
    ),
]

ATTACK = """<!doctype html><title>prize</title>
<form id="key" method="post" action="{address}/account/keys"><input name="name" value="stolen">
<input name="scopes" value="inference"></form>
<form id="out" method="post" action="{address}/sign-out"></form>
<form id="in" method="post" action="{address}/sign-in"><input name="name" value="evil">
<input name="password" value="evil evil evil"></form>
"""


class Visitor:
    """A browser at a server, with the words that these tests use."""

    def __init__(self, browser: webdriver.Chrome, address: str, database: Database) -> None:
        self.browser = browser
        self.address = address
        self.database = database

    def open(self, path: str) -> None:
        self.browser.get(self.address + path)

    def fill(self, **fields: str) -> None:
        for name, text in fields.items():
            field = self.browser.find_element(By.CSS_SELECTOR, f"main form [name={name}]:not([type=hidden])")
            field.clear()
            field.send_keys(text)

    def press(self, words: str) -> None:
        """Press the button with these words; the next page has come when this returns."""
        button = self.browser.find_element(By.XPATH, f"//main//button[normalize-space()='{words}']")
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)  # type: ignore[no-untyped-call]
        self.browser.execute_script("window.isOld = true")  # type: ignore[no-untyped-call]
        button.click()
        WebDriverWait(self.browser, 20).until(
            lambda browser: browser.execute_script(
                "return !window.isOld && document.readyState === 'complete'"
            )
        )

    def text(self, selector: str = "main") -> str:
        return self.browser.find_element(By.CSS_SELECTOR, selector).text

    @property
    def path(self) -> str:
        return self.browser.current_url.removeprefix(self.address)

    def sign_up(self, name: str = "mira") -> None:
        self.open("/sign-up")
        self.fill(name=name, password=PASSWORD)
        self.press("Make the account")

    def fetch(self, script: str) -> Any:
        return self.browser.execute_async_script(  # type: ignore[no-untyped-call]
            f"const done = arguments[0]; ({script})().then(done, (error) => done(String(error)))"
        )


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield browser
    browser.quit()


@pytest.fixture
def visitor(browser: webdriver.Chrome, gallery: Library, tmp_path: Path) -> Iterator[Visitor]:
    place = new_sqlite(tmp_path)
    engines: Any = {"colours": ColourEngine()}
    app = create_app(ServeSettings(require_keys=True, database=place), engines, gallery)
    database = open_database(place)
    with running(app) as address:
        yield Visitor(browser, address, database)
        browser.delete_all_cookies()
        browser.get("about:blank")
    database.close()


@contextmanager
def running(app: Starlette) -> Iterator[str]:
    with ExitStack() as stack:
        listener = stack.enter_context(listen("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        listener.listen()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


def test_signing_up_a_key_a_call_and_its_use_appears(visitor: Visitor) -> None:
    visitor.open("/account/usage")
    assert visitor.path.startswith("/sign-in?next="), "who is not signed in is led there"
    visitor.sign_up()
    assert visitor.path == "/account" and "$1.00" in visitor.text(".credit")
    visitor.open("/account/keys")
    visitor.fill(name="my app")
    visitor.press("Make the key")
    secret = visitor.text("#secret")
    assert secret.startswith("cw_")
    visitor.open("/account/keys")
    assert secret not in visitor.browser.page_source and "my app" in visitor.text(".keys")
    body = json.dumps({"model": "colours", "input": ["red", "blue"]}).encode()
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{visitor.address}/v1/embeddings", body, headers)
    ) as answer:
        assert answer.status == 200
    visitor.open("/account/usage")
    assert "1 request with 0 pictures and 2 texts: $0.000024" in visitor.text()
    bars = visitor.browser.find_elements(By.CSS_SELECTOR, ".chart rect")
    assert len(bars) == 2 and all(bar.size["height"] > 100 for bar in bars)
    visitor.press("Sign out")
    assert "You are signed out" in visitor.text()
    visitor.fill(name="mira", password=PASSWORD)
    visitor.press("Sign in")
    assert visitor.path == "/account" and "$0.999976" in visitor.text(".credit")
    assert_books_agree(visitor.database)


def test_pages_ask_and_search_with_the_credit_of_who_is_signed_in(visitor: Visitor) -> None:
    visitor.open("/?q=red")
    assert "Make an account" in visitor.text() and rows(visitor.database, "settle") == []
    visitor.sign_up()
    script = """async () => {
      const token = document.querySelector("meta[name=form-token]").content;
      const ask = (headers) => fetch("/v1/embeddings", { method: "POST", headers: {
        "content-type": "application/json", ...headers }, body: '{"model": "colours", "input": ["red"]}' });
      return [(await ask({ "x-form-token": token })).status, (await ask({})).status];
    }"""
    assert visitor.fetch(script) == [200, 403]
    visitor.open("/?q=something+red")
    assert "1 picture for “something red”" in visitor.text("#results")
    image = visitor.browser.find_element(By.CSS_SELECTOR, "#results .card img")
    WebDriverWait(visitor.browser, 20).until(lambda _: image.get_property("naturalWidth") == 12)
    assert [(row.images, row.texts) for row in rows(visitor.database, "settle")] == [(0, 1), (0, 1)]
    similar = visitor.browser.find_element(By.CSS_SELECTOR, "#results .card a[data-search]")
    similar.click()
    WebDriverWait(visitor.browser, 20).until(lambda _: "like this one" in visitor.text("#results"))
    assert len(rows(visitor.database, "settle")) == 2  # its vector is known: nothing is read anew
    assert_books_agree(visitor.database)


def test_a_page_of_another_site_can_send_forms_and_change_nothing(visitor: Visitor) -> None:
    visitor.sign_up()
    attack = ATTACK.replace("{address}", visitor.address)

    async def page(request: Any) -> HTMLResponse:
        return HTMLResponse(attack)

    with running(Starlette(routes=[Route("/", page)])) as elsewhere:
        foreign = elsewhere.replace("127.0.0.1", "localhost")
        for form in ("key", "out", "in"):
            visitor.browser.get(foreign)
            visitor.browser.execute_script(f"document.getElementById('{form}').submit()")  # type: ignore[no-untyped-call]
            WebDriverWait(visitor.browser, 20).until(
                lambda browser: browser.current_url.startswith(visitor.address)
            )
        visitor.browser.get(foreign)
        ask = 'async () => (await fetch("ADDRESS/v1/usage", { credentials: "include" })).status'
        told = visitor.fetch(ask.replace("ADDRESS", visitor.address))
        assert "TypeError" in told, "no answer is told to another site"
        link = f"location.href = '{visitor.address}/?q=red'"
        visitor.browser.execute_script(link)  # type: ignore[no-untyped-call]
        WebDriverWait(visitor.browser, 20).until(
            lambda browser: browser.current_url.startswith(visitor.address)
        )
        assert "Another site led you here" in visitor.text()
    assert rows(visitor.database, "reserve") == []
    visitor.open("/account/keys")
    assert visitor.path == "/account/keys" and "stolen" not in visitor.text()


def test_a_key_ends_only_when_that_is_said_twice(visitor: Visitor) -> None:
    visitor.sign_up()
    visitor.open("/account/keys")
    visitor.fill(name="my app")
    visitor.press("Make the key")
    visitor.open("/account/keys")
    first, *_ = visitor.browser.find_elements(By.CSS_SELECTOR, ".keys .sure")
    assert not first.find_element(By.TAG_NAME, "button").is_displayed()
    first.find_element(By.TAG_NAME, "summary").click()
    assert "at once and for ever" in first.text and "revoked" not in visitor.text(".keys")
    visitor.press("End it")
    assert visitor.path == "/account/keys" and "revoked" in visitor.text(".keys li.ended")


def test_the_playground_says_that_a_session_has_ended_and_keeps_the_way_back(visitor: Visitor) -> None:
    visitor.sign_up()
    visitor.open("/playground?mode=matrix&against=texts&label=red%0Ablue")
    visitor.browser.delete_all_cookies()
    run = visitor.browser.find_element(By.CSS_SELECTOR, "#playground button.main")
    visitor.browser.execute_script("arguments[0].click()", run)  # type: ignore[no-untyped-call]
    WebDriverWait(visitor.browser, 20).until(
        lambda _: "You are signed out. Sign in to run" in visitor.text("#answers")
    )
    way_in = visitor.browser.find_element(By.CSS_SELECTOR, "#answers a")
    visitor.open(str(way_in.get_attribute("href")).removeprefix(visitor.address))
    visitor.fill(name="mira", password=PASSWORD)
    visitor.press("Sign in")
    assert visitor.path.startswith("/playground?mode=matrix&label=red")
