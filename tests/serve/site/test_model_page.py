"""The page of one model and its twins: what is known, what is measured, and what to copy."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import clipworks
from clipworks.evaluate.results import FORMAT
from clipworks.serve.app import create_service_app
from clipworks.serve.fleet import Fleet
from clipworks.serve.roster import ModelSpec
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings
from clipworks.serve.site.snippets import snippets
from tests.serve.colours import ADDRESS, ColourEngine, picture
from tests.serve.workers import HeldWorker

HTML = {"accept": "text/html"}
BUILTIN = Path(clipworks.__file__).parent / "model" / "builtin" / "pictogram"
OPENAI = "openai/clip-vit-base-patch16"
SPECS = [ModelSpec(id="colours"), ModelSpec(id="team/notes.md"), ModelSpec(id="copy", source="pictogram")]


def result(folder: Path, name: str, **changes: Any) -> None:
    content = {
        "format": FORMAT,
        "name": name,
        "grouping": "",
        "metric": "acc1",
        "value": 0.6812,
        "interval_95": [0.6771, 0.6853],
        "n": 50000,
        "metrics": {},
        "model": OPENAI,
        "fingerprint": "f" * 64,
        "precision": "f32",
    }
    (folder / f"{name}.json").write_text(json.dumps(content | changes))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("results")
    result(folder, "ImageNet 1k")
    region = {"group": "<2>", "n": 900, "value": 0.91, "interval_95": [0.89, 0.93], "is_few": False}
    result(folder, "GeoDE", metric="acc_wg", value=0.85, groups={"region": [region]})
    cells = {"acc_gender_race_binary:1": {"value": 0.93, "interval_95": [0.9, 0.95], "n": 400}}
    result(folder, "FairFace", grouping="faces", metric="", value=None, metrics=cells)
    settings = ServeSettings(results=str(folder))
    fleet = Fleet(settings, SPECS, lambda spec: HeldWorker(ColourEngine(spec.id)))
    with TestClient(create_service_app(Service(settings, fleet, None)), base_url=ADDRESS) as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield client


def test_a_published_model_has_specs_scores_limits_and_what_is_missing(pages: TestClient) -> None:
    page = pages.get(f"/models/{OPENAI}", headers=HTML).text
    for words in (
        *("OpenAI CLIP ViT-B/16", "WIT: 400 million pairs", "quick_gelu", "49,408", "arXiv:2103.00020"),
        *("CLEVR Counts", "FGVC Aircraft", "Dollar Street", "12.5 %", "not yet"),
    ):
        assert words in page, words
    assert "the paper says 68.6 %" in page.lower() and "Not served here now." in page
    assert "Not public, and no licence is stated." in page


def test_measured_numbers_stand_beside_published_ones_with_their_intervals(pages: TestClient) -> None:
    page = pages.get(f"/models/{OPENAI}", headers=HTML).text
    row = re.search(r'<th scope="row">ImageNet 1k.*?</tr>', page, re.DOTALL)
    assert row is not None
    for words in ("68.3 %", "67.9–68.7", "68.1 %", "67.7–68.5", "n 50,000", "0.1 %", "<svg"):
        assert words in row[0], words
    card = pages.get(f"/models/{OPENAI}.json").json()
    imagenet = next(one for one in card["scores"] if one["task"] == "ImageNet 1k")
    assert imagenet["published"] == 0.6834 and imagenet["measured"] == 0.6812
    assert imagenet["measured_interval"] == [0.6771, 0.6853]
    other = pages.get("/models/metaclip-b16.json").json()
    assert next(one for one in other["scores"] if one["task"] == "ImageNet 1k")["measured"] is None


def test_groups_are_audited_where_they_were_measured_and_missed_where_not(pages: TestClient) -> None:
    page = pages.get(f"/models/{OPENAI}", headers=HTML).text
    assert "gender is said right" in page and "not white" in page and "93.0 %" in page
    assert "&lt;2&gt;" in page and "<2>" not in page and "No audit of faces" not in page
    other = pages.get("/models/metaclip-b16", headers=HTML).text
    assert "No audit of faces has been measured here" in other and "do not use it on them" in other


@pytest.mark.parametrize(
    "name",
    ["openai-b16", "OPENAI/CLIP-vit-base-patch16", "ViT-B-16/openai", "openai%2Fclip-vit-base-patch16"],
)
def test_other_names_of_a_model_lead_to_it(pages: TestClient, name: str) -> None:
    assert f'<code class="model-id">{OPENAI}</code>' in pages.get(f"/models/{name}", headers=HTML).text


def test_the_built_in_model_under_a_name_of_ones_own_has_its_facts(pages: TestClient) -> None:
    card = pages.get("/models/copy.json").json()
    assert card["title"] == "pictogram" and card["licence"]["weights"] == "Apache-2.0"
    scored = json.loads((BUILTIN / "scores.json").read_text())["results"]["emoji3d_zero_shot"]["top1"]
    assert card["scores"][0]["measured"] == pytest.approx(scored["value"] / 100, abs=1e-9)
    assert card["scores"][0]["published"] is None
    assert "folder" not in json.dumps(card["specs"]) and card["specs"]["dim"] == 8
    assert card["related"][0]["id"]


def test_a_model_that_nobody_knows_shows_what_the_engine_says(pages: TestClient) -> None:
    page = pages.get("/models/colours", headers=HTML).text
    assert "No score of this model is known." in page and "licence not stated" in page
    assert "clipworks.load" not in page  # nobody knows where its files are


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [
        ("", "text/html", "text/html"),
        ("", "*/*", "text/html"),
        ("", "application/json", "application/json"),
        ("", "text/markdown", "text/markdown"),
        (".json", "text/html", "application/json"),
        (".md", "text/html", "text/markdown"),
    ],
)
def test_the_form_is_the_one_of_the_ending_or_of_the_header(
    pages: TestClient, path: str, accept: str, kind: str
) -> None:
    answer = pages.get(f"/models/colours{path}", headers={"accept": accept})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
    assert answer.headers["vary"] == "accept"


def test_a_name_that_ends_like_a_twin_is_still_a_name(pages: TestClient) -> None:
    assert pages.get("/models/team/notes.md", headers=HTML).headers["content-type"].startswith("text/html")
    assert pages.get("/models/team/notes.md.json").json()["id"] == "team/notes.md"
    assert "# team/notes.md" in pages.get("/models/team/notes.md.md").text


def test_an_unknown_model_is_answered_with_the_nearest_names(pages: TestClient) -> None:
    answer = pages.get("/models/openai/clip-vit-base-patch<b>", headers=HTML)
    assert answer.status_code == 404 and "clip-vit-base-patch&lt;b&gt;" in answer.text
    assert f'href="/models/{OPENAI}"' in answer.text
    for path, accept in (
        ("/models/metaclip-b17.json", "text/html"),
        ("/models/metaclip-b17", "application/json"),
    ):
        told = pages.get(path, headers={"accept": accept})
        assert told.status_code == 404 and told.json()["error"]["code"] == "model_not_found"
        assert "Nearest: " in told.json()["error"]["message"]


def test_markdown_says_the_same(pages: TestClient) -> None:
    text = pages.get(f"/models/{OPENAI}.md").text
    assert text.startswith("# OpenAI CLIP ViT-B/16\n") and "| 68.3 % | 67.9 to 68.7 % | 68.1 % |" in text
    assert "- CLEVR Counts: 21.2 % published, nothing measured here; guessing 12.5 %." in text
    assert "FairFace, gender is said right, not white: 93.0 % (90.0 to 95.0 %, n 400)" in text
    assert not [line for line in text.splitlines() if "None" in line]
    specs = text.partition("## Specs")[2].partition("##")[0]
    assert "| gflops | image 35.13 · text 5.96 · pair 41.09 |" in specs
    assert "0.48145466, 0.4578275" in specs and not re.search(r"[{}\[\]]", specs)


def test_speed_and_uptime_are_those_of_real_requests(pages: TestClient) -> None:
    before = pages.get("/models/colours.json").json()["speed"]
    for _ in range(4):
        assert pages.post("/v1/embeddings", json={"model": "colours", "input": "red"}).status_code == 200
    assert pages.post("/v1/embeddings", json={"model": "colours", "input": 3}).status_code == 400
    after = pages.get("/models/colours.json").json()["speed"]
    assert after["requests"] == before["requests"] + 5 and after["failures"] == 0
    assert 0 < after["median_seconds"] <= after["p95_seconds"] < 60
    page = pages.get("/models/colours", headers=HTML).text
    assert '<path class="line-median"' in page and 'class="uptime"' in page
    assert "It does not run here" in pages.get(f"/models/{OPENAI}", headers=HTML).text


def test_the_programs_to_copy_are_programs(pages: TestClient) -> None:
    hostile = 'it\'s "quoted" \\ $(x) `y`\n</pre>'
    curl, openai, ours, script = snippets(hostile, ADDRESS, "", hostile)
    words = shlex.split(curl.text.replace("\\\n", ""))
    body = json.loads(words[words.index("-d") + 1])
    assert words[0] == "curl" and body["model"] == hostile
    for one in (openai, ours):
        compile(one.text, one.name, "exec")
    assert json.dumps(hostile) in script.text and script.name == "JavaScript"
    plain = pages.post("/v1/embeddings", json=body | {"model": "colours"})
    assert plain.status_code == 200 and len(plain.json()["data"]) == 2


def test_posting_to_a_models_address_is_still_work(pages: TestClient) -> None:
    answer = pages.post("/models/colours", content=picture("red"), headers={"content-type": "image/png"})
    assert answer.status_code == 200 and len(answer.json()[0]) == 8
