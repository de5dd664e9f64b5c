"""Building an index of files as cameras and phones write them."""

from pathlib import Path

import pytest
from cameras import HEIC, KINDS

from clipworks.model import decoder
from clipworks.model.engine import Engine
from clipworks.search.build import build_index, update_index
from clipworks.search.opening import open_index


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "index"


def test_raw_files_are_indexed_by_the_pictures_in_them(pictures: Path, out: Path, engine: Engine) -> None:
    for kind, make in KINDS.items():
        (pictures / f"camera.{kind.upper()}").write_bytes(make())
    report = build_index(pictures, out, engine)
    assert (report.count, report.skipped) == (4 + len(KINDS), ())
    item = open_index(out).get("camera.NEF")
    assert item is not None and (item.camera, item.taken) == ("Maker One", "2024-05-17T14:03:59")


def test_what_another_version_may_read_is_tried_again(
    pictures: Path, out: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "phone.heic").write_bytes(HEIC)
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "reads_heif", lambda: False)
        assert len(build_index(pictures, out, engine).skipped) == 1
    monkeypatch.setattr(decoder, "version", lambda: "a later one")
    calls: list[str] = []

    def load() -> Engine:
        calls.append("loaded")
        return engine

    update_index(pictures, out, load, model=engine.name, trusts_name=True)
    assert calls == ["loaded"], "a failure is worth another look"
    update_index(pictures, out, load, model=engine.name, trusts_name=True)
    assert calls == ["loaded"]
