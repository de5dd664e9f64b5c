"""The playground in a real browser: headless Chromium does what a visitor does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import Select, WebDriverWait

from clipworks.serve.worker import facts_of
from tests.serve.colours import ColourEngine, picture
from tests.serve.site.test_search_in_browser import (
    CHROMIUM,
    DRIVER,
    PUT_FILE,
    Page,
    browser,
    page,
    pytestmark,
)

__all__ = ["browser", "page", "pytestmark"]

ROOT = Path(__file__).parent.parent.parent.parent
ATTACK = "<img src=x onerror=document.title=1>"


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    """The first picture of a process waits until resizing is compiled; no test need wait for that."""
    engine: Any = ColourEngine()
    facts_of(engine).prepare_image(picture("red"))


@pytest.fixture
def red_file(tmp_path: Path) -> Path:
    path = tmp_path / "my 'red'; $(touch pwned) <b>.png"
    path.write_bytes(picture("red", side=40))
    return path


def told(page: Page, script: str) -> Any:
    """What an expression of the page is worth, at one moment."""
    return page.browser.execute_script(f"return {script}")  # type: ignore[no-untyped-call]


def rows(page: Page, place: int = 0) -> list[list[str]]:
    """Label, score and cosine of every bar of an answer."""
    lines = f"document.querySelectorAll('.answer')[{place}].querySelectorAll('tbody tr')"
    cells = "[...line.querySelectorAll('th, .number')].map((cell) => cell.textContent)"
    found: list[list[str]] = told(page, f"[...{lines}].map((line) => {cells})")
    return found


def wait_until(page: Page, script: str) -> None:
    """Wait until an expression of the page is true."""
    WebDriverWait(page.browser, 60).until(lambda browser: browser.execute_script(f"return {script}"), script)


def overwrite(page: Page, selector: str, text: str) -> None:
    page.find(selector).clear()
    page.find(selector).send_keys(text)


def test_bars_follow_the_labels_and_the_link_brings_everything_back(page: Page, red_file: Path) -> None:
    page.open("/playground")
    page.find("#files").send_keys(str(red_file))
    overwrite(page, "#labels", f"blue, green, red, {ATTACK}")
    wait_until(page, "document.querySelector('.answer tr.best')?.textContent.startsWith('red100.0 %')")
    assert red_file.name in page.find(".answer > h2").text and ATTACK in page.find(".answer").text
    assert rows(page)[0] == ["red", "100.0 %", "1.000"] and len(rows(page)) == 4
    values = told(page, "[...document.querySelectorAll('.answer progress')].map((bar) => bar.value)")
    assert values == sorted(values, reverse=True) and sum(values) == pytest.approx(1, abs=1e-5)
    page.click("input[name=show][value=cosine]")
    wait_until(page, "document.querySelectorAll('.answer progress')[1].value > 0.01")
    assert page.browser.title == "Playground · clipworks"
    assert "1 of your own pictures is not in it" in page.find("#not-linked").text
    page.click("#samples label:nth-child(1)")
    page.click("#chosen button")  # the upload stands first
    page.click("#live")
    overwrite(page, "#labels", "red\ngreen\nblue, dark")
    overwrite(page, "#templates", "a {} square")
    page.click("#playground button.main")
    wait_until(page, "!document.querySelector('[aria-busy]')")
    link = page.find("#link-address").get_property("value")
    caption, before = page.find(".answer > h2").text, rows(page)
    assert link == page.browser.current_url
    page.open()
    page.browser.get(str(link))
    page.wait_for(caption, ".answer > h2")
    assert rows(page) == before
    assert page.find("#templates").get_property("value") == "a {} square"
    assert page.find("input[name=show][value=cosine]").is_selected()


@pytest.mark.parametrize(("kind", "target"), [("drop", "#drop"), ("paste", "body")])
def test_pictures_can_be_dropped_and_pasted_and_taken_away(page: Page, kind: str, target: str) -> None:
    page.open("/playground?label=red%0Ablue")
    page.run(PUT_FILE, page.find(target), kind)
    page.wait_for("blue.png", ".answer > h2")
    assert rows(page)[0][0] == "blue"
    page.click("#chosen button")
    wait_until(page, "!document.querySelector('.answer')")
    page.click("#playground button.main")
    page.wait_for("Choose a picture first", "[role=alert]")


def test_a_matrix_compares_pictures_and_texts_with_each_other(page: Page, red_file: Path) -> None:
    page.open("/playground?mode=matrix&label=red%0Ablue&picture=blue+one.png")
    page.wait_for("blue", ".matrix thead")
    page.find("#files").send_keys(str(red_file))
    wait_until(page, "document.querySelectorAll('.matrix tbody tr').length === 2")
    lines = "[...document.querySelectorAll('.matrix tbody tr')]"
    cells = told(
        page, f"{lines}.map((row) => [...row.querySelectorAll('td')].map((cell) => cell.textContent))"
    )
    assert cells[0][1] == "1.000" and cells[1][0] == "1.000" and float(cells[0][0]) < 0.9
    for against, head in (("texts", "red"), ("pictures", "a blue square")):
        page.click(f"input[name=against][value={against}]")
        wait_until(page, f"document.querySelector('.matrix tbody th').textContent === '{head}'")
        diagonal = told(page, f"{lines}.map((row, i) => row.cells[i + 1].textContent)")
        assert diagonal == ["1.000", "1.000"]


def test_a_heat_map_lies_on_the_picture_and_says_where(page: Page) -> None:
    page.open("/playground?mode=heat&label=red%0Ablue&picture=blue+one.png")
    page.wait_for("blue", ".maps figcaption")
    first, second = page.all("canvas.map")
    assert "Where “red” is matched: most in row" in str(first.get_attribute("aria-label"))
    pixel = "[...one.getContext('2d').getImageData(60, 60, 1, 1).data]"
    colours = told(page, f"[...document.querySelectorAll('canvas.map')].map((one) => {pixel})")
    assert colours[1][0] > colours[0][0] + 30, "what matches is brighter than what does not, on one scale"
    webdriver.ActionChains(page.browser).move_to_element(second).perform()
    page.wait_for("row", ".maps figure:nth-child(2) .small")


def test_models_that_fail_and_files_that_are_no_pictures_are_named(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a picture at all")
    page.open("/playground?label=red&picture=red+one.png")
    page.wait_for("red", ".answer tbody")
    page.find("#files").send_keys(str(tmp_path / "notes.jpg"))
    page.wait_for("“notes.jpg” is not a readable picture", "#tray-note")
    assert "It is left out." in page.find("#tray-note").text
    page.wait_for("red", ".answer tbody")
    assert "notes" in page.find("#chosen .faulty").get_attribute("title") and len(page.all(".answer")) == 1
    for mode in ("matrix", "heat"):
        page.find("#chosen .faulty button").click()
        page.find("#files").send_keys(str(tmp_path / "notes.jpg"))
        page.click(f"label:has(input[value={mode}])")
        wait_until(page, "!document.querySelector('[aria-busy]') && document.querySelector('.faulty')")
        assert page.find("#answers").text and not page.find("#answers").text.count("notes.jpg")
    page.click("label:has(input[value=classify])")
    page.click("#chosen li:not(.faulty) button")
    page.find("#chosen .faulty button").click()
    page.find("#files").send_keys(str(tmp_path / "notes.jpg"))
    page.wait_for("“notes.jpg” is not a readable picture", "#answers [role=alert]")
    overwrite(page, "#labels", " ")
    page.click("#playground button.main")
    page.wait_for("Write at least one label", "[role=alert]")
    page.browser.execute_script("window.fetch = () => Promise.reject(new TypeError('failed'))")  # type: ignore[no-untyped-call]
    overwrite(page, "#labels", "red")
    page.wait_for("The server does not answer", "[role=alert]")


def test_a_picture_too_many_is_said_until_one_is_taken_away(page: Page, tmp_path: Path) -> None:
    page.open("/playground?label=red")
    assert '@"picture.jpg"' in page.find("#code-curl").get_property("textContent")
    assert "picture.jpg stands for a picture of yours" in page.find("#code-note").text
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for path in paths:
        path.write_bytes(picture("red"))
    page.find("#files").send_keys("\n".join(map(str, paths)))
    wait_until(page, "document.querySelectorAll('.answer').length == 8")
    assert "At most 8 pictures" in page.find("#tray-note").text and page.find("#code-note").text == ""
    page.click("#chosen button")
    assert not page.find("#tray-note").is_displayed()


def test_a_picture_of_a_link_that_the_gallery_lacks_is_said_beside_the_others(page: Page) -> None:
    page.open("/playground?label=red&picture=red+one.png&picture=gone.png")
    page.wait_for("red", ".answer tbody")
    assert page.find("#tray-note").text == "The gallery has no picture 'gone.png'."


def test_an_old_answer_never_follows_a_newer_one(page: Page) -> None:
    page.open("/playground?label=old&picture=red+one.png")
    page.wait_for("old", ".answer tbody")
    page.browser.execute_script(
        """
        const real = window.fetch;
        window.held = [];
        window.fetch = (path, options) => new Promise((done, failed) => {
          const names = options.body.get("labels");
          const go = () => real(path, { ...options, signal: undefined }).then(done, failed);
          window.held.push({ names, go });
        });
        """
    )  # type: ignore[no-untyped-call]
    for label in ("first", "second"):
        overwrite(page, "#labels", label)
        wait_until(page, f"window.held.filter((one) => one.names.includes('{label}')).length > 0")
    page.browser.execute_script("for (const one of [...window.held].reverse()) one.go()")  # type: ignore[no-untyped-call]
    page.wait_for("second", ".answer tbody")
    wait_until(page, "!document.querySelector('[aria-busy]')")
    assert [row[0] for row in rows(page)] == ["second"]


def test_the_code_on_the_page_asks_what_the_page_asked(page: Page, red_file: Path) -> None:
    page.open("/playground?picture=blue+one.png")
    page.wait_for("a blue square", ".answer > h2")
    page.find("#files").send_keys(str(red_file))
    overwrite(page, "#labels", 'red; reddish\nit\'s "blue" \\ $(touch pwned) `id`\ngrün')
    overwrite(page, "#templates", "a {} square")
    page.click("#playground button.main")
    wait_until(page, "!document.querySelector('[aria-busy]')")
    assert page.all(".answer > h2")[1].text == red_file.name
    wanted = [{row[0]: row[2] for row in rows(page, place)} for place in (0, 1)]
    code = {name: page.find(f"#code-{name}").get_property("textContent") for name in ("curl", "openai")}
    folder = {"cwd": red_file.parent, "capture_output": True, "text": True, "timeout": 60, "check": False}
    curl = subprocess.run(["bash", "-c", str(code["curl"])], **folder)  # type: ignore[call-overload]
    found = [row["labels"] for row in json.loads(curl.stdout)["data"]]
    assert [{one["label"]: f"{one['cosine']:.3f}" for one in labels} for labels in found] == wanted
    python = subprocess.run([sys.executable, "-c", str(code["openai"])], **folder)  # type: ignore[call-overload]
    assert python.returncode == 0 and "grün" in python.stdout, python.stderr
    names = sorted(os.listdir(red_file.parent))
    assert names == sorted(["blue one.png", red_file.name]), "nothing of a label was run"
    page.click("label:has(> [value=heat])")
    wait_until(page, "document.getElementById('code-curl').textContent.includes('/v1/heatmap')")


def test_without_scripts_the_form_is_answered_by_the_server(page: Page, red_file: Path) -> None:
    page.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.open("/playground?label=blue%0Ared")
        page.find("#files").send_keys(str(red_file))
        page.click("#samples label:nth-child(1)")
        page.click("#playground button.main")
        page.wait_for("Picture 1", ".answer h3")
        assert "red" in page.find(".answer tbody tr").text and len(page.all(".answer")) == 2
    finally:
        page.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_photograph_is_taken_with_the_camera(page: Page) -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--use-fake-device-for-media-stream")
    options.add_argument("--use-fake-ui-for-media-stream")
    with webdriver.Chrome(options=options, service=Service(str(DRIVER))) as other:
        camera = Page(other, page.address)
        camera.open("/playground?label=red%0Agreen")
        camera.click("#open-camera")
        wait_until(camera, "document.querySelector('#camera video').videoWidth > 0")
        camera.click("[data-camera=take]")
        camera.wait_for("photograph.jpg", ".answer > h2")
        assert not camera.find("#camera").is_displayed()


def test_the_page_fits_a_phone_and_names_its_controls(page: Page) -> None:
    phone = {"width": 375, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        for mode in ("classify", "matrix", "heat"):
            page.open(f"/playground?mode={mode}&picture=red+one.png")
            page.wait_for("boat", "#answers")
            assert told(page, "document.documentElement.scrollWidth") == 375
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    for control in page.all("input:not([type=hidden]), textarea, select, button"):
        assert control.accessible_name or not control.is_displayed(), control.get_attribute("outerHTML")
    assert Select(page.find("#model")).first_selected_option.text == "pictogram"
