"""Captions are found by pictures."""

from pathlib import Path
from typing import Any, cast

import pytest

from clipworks.errors import DataError
from clipworks.model.engine import Engine
from clipworks.search.captions import index_captions
from clipworks.search.opening import open_index
from clipworks.search.query import search


def test_a_picture_finds_its_caption_and_only_new_ones_are_embedded(
    pictures: Path, engine: Engine, tmp_path: Path
) -> None:
    source, out = tmp_path / "captions.txt", tmp_path / "index"
    source.write_text("a red square\na green square\na blue square\n")
    assert index_captions(source, out, lambda: engine, model="colours").embedded == 3
    library = open_index(out)
    found = search(library, engine, image=pictures / "deep" / "blue.png", limit=1)
    assert (found.hits[0].caption, found.hits[0].id, found.is_relevant) == ("a blue square", "3", True)
    source.write_text("a red square\na black square\n")
    report = index_captions(source, out, lambda: engine, model="colours")
    assert (report.count, report.embedded, report.reused, report.removed) == (2, 1, 1, 1)
    assert search(library, engine, image=pictures / "black.png", limit=1).hits[0].caption == "a black square"
    cast(Any, engine).precision = "another"
    assert index_captions(source, out, lambda: engine, model="colours").embedded == 2


def test_lines_without_a_caption_are_left_out_with_the_reason(engine: Engine, tmp_path: Path) -> None:
    source = tmp_path / "captions.jsonl"
    source.write_text('{"caption": "red"}\n{"file": "x.png"}\nno json\n')
    report = index_captions(source, tmp_path / "index", lambda: engine, model="colours")
    assert report.count == 1 and len(report.skipped) == 2
    source.write_text("\n")
    with pytest.raises(DataError, match="holds no captions"):
        index_captions(source, tmp_path / "index", lambda: engine, model="colours")
