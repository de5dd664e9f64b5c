"""Many files through the model: order is kept and a bad file is an answer of its own."""

import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from clipworks.errors import ConfigError, InputError
from clipworks.model.engine import Engine
from clipworks.search.bulk import embed_files
from clipworks.search.pictures import find_pictures


@pytest.mark.parametrize("batch_size", [1, 2, 3, 1024])
def test_every_batch_size_gives_the_same_vectors_in_order(
    pictures: Path, engine: Engine, batch_size: int
) -> None:
    paths = find_pictures([pictures]) * 3
    results = list(embed_files(engine, paths, batch_size=batch_size))
    assert [path for path, _ in results] == paths
    expected = engine.embed_pixels(np.stack([engine.prepare_image(path) for path in paths]))
    assert np.stack([cast(Any, vector) for _, vector in results]) == pytest.approx(expected, abs=1e-6)


def test_a_bad_file_in_a_batch_gives_its_error_and_the_others_their_vectors(
    pictures: Path, engine: Engine
) -> None:
    bad = pictures / "bad.png"
    bad.write_bytes(b"")
    results = dict(embed_files(engine, [pictures / "red.png", bad, pictures / "none.png"]))
    assert isinstance(results[bad], InputError)
    assert isinstance(results[pictures / "none.png"], InputError)
    assert not isinstance(results[pictures / "red.png"], InputError)


def test_when_the_caller_breaks_off_no_thread_remains(pictures: Path, engine: Engine) -> None:
    results = embed_files(engine, find_pictures([pictures]) * 200, batch_size=2)
    next(results)
    cast(Any, results).close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("clipworks-prepare")]


def test_no_files_give_nothing(engine: Engine) -> None:
    assert list(embed_files(engine, [])) == []


def test_a_batch_size_out_of_range_is_refused(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="batch_size is 0"):
        list(embed_files(engine, [], batch_size=0))
