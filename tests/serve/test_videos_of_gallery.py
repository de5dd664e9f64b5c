"""Frames of videos on the server: as hits, as pictures, and as parts of questions."""

import io
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from clipworks.search.build import build_index
from clipworks.search.opening import open_index
from clipworks.serve.app import create_app
from clipworks.serve.settings import ServeSettings
from tests.search.movies import write_video
from tests.search.test_stores import needs
from tests.serve.colours import ADDRESS, ColourEngine


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    needs("av")
    return write_video(tmp_path / "films" / "two.mp4", ("red", "blue")).read_bytes()


def test_a_frame_is_shown_with_its_time_and_can_be_asked_with(
    content: bytes, settings: ServeSettings, engine: ColourEngine, tmp_path: Path
) -> None:
    build_index(tmp_path / "films", tmp_path / "index", engine)  # type: ignore[arg-type]
    app = create_app(settings, {"colours": engine}, open_index(tmp_path / "index"))  # type: ignore[dict-item]
    with TestClient(app, base_url=ADDRESS) as client:
        (red, blue) = client.post("/v1/search", json={"text": "red"}).json()["data"]
        assert (red["path"], red["url"]) == ("two.mp4#0.000", "/gallery/two.mp4%230.000")
        shown = client.get(blue["url"], params={"side": 240})
        picture = Image.open(io.BytesIO(shown.content)).convert("RGB")
        assert shown.headers["content-type"] == "image/jpeg" and picture.size == (64, 48)
        red_of, _, blue_of = picture.resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
        assert blue_of > 180 > red_of
        assert client.get(blue["url"]).content == content
        asked = {"like": blue["path"], "region": [0, 0, 0.5, 1], "limit": 1}
        (hit,) = client.post("/v1/search", json=asked).json()["data"]
        assert hit["score"] > 0.99 and hit["path"] == blue["path"]
        page = client.get("/", params={"q": "blue", "fragment": "1"}).text
        assert "at 0:02" in page and "two.mp4%23" in page
        assert "<dt>At</dt><dd>0:02</dd>" in page and "<dd>two.mp4</dd>" in page
