"""A stream of batches: the same whoever reads it, and what cannot be used gives way."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from clipworks.errors import ConfigError, DataError
from clipworks.files import write_manifest
from clipworks.model.tokenizer import decode
from clipworks.tables import write_table
from clipworks.train import reader
from clipworks.train.batches import Raw, stream_batches
from clipworks.train.captions import Captions
from clipworks.train.config import TrainConfig
from clipworks.train.feed import open_feed
from clipworks.train.reader import BALANCED_OUT, Reader
from clipworks.train.recipes import tiny
from clipworks.train.sources import read_sources

from .pools import jpeg, sample, write_pool, write_tar


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("data") / "pool")


def streaming(**changes: Any) -> TrainConfig:
    return replace(tiny(), reading="stream", recolour=False, batch_size=16, steps=6, **changes)


def batches(data: Path, config: TrainConfig, first: int = 0, **how: Any) -> list[Raw]:
    return list(stream_batches(read_sources(data), config, range(first, config.steps), **how))


def captions(raw: Raw) -> list[str]:
    """Without spaces, since each digit is a token."""
    texts = [decode([int(token) for token in row if 0 < token < 49406]) for row in raw.tokens]
    return [text.replace(" ", "") for text in texts]


def is_same(one: Raw, other: Raw) -> bool:
    return np.array_equal(one.pixels, other.pixels) and np.array_equal(one.tokens, other.tokens)


@pytest.mark.parametrize("resampled", [False, True])
def test_a_batch_does_not_depend_on_where_the_run_began_nor_on_the_threads(
    pool: Path, resampled: bool
) -> None:
    config = streaming(resampled=resampled)
    whole = batches(pool, config, threads=1)
    resumed = batches(pool, config, first=4, threads=3)
    assert len(whole) == 6 and all(map(is_same, resumed, whole[4:]))
    assert whole[0].pixels.shape == (16, 32, 32, 3) and whole[0].pixels.dtype == np.uint8


@pytest.mark.slow
def test_processes_that_decode_make_the_same_batches(pool: Path) -> None:
    config = streaming()
    assert all(map(is_same, batches(pool, config, first=3, processes=2), batches(pool, config, first=3)))


def decoders(path: Path, pool: Path, script: str) -> tuple[int, list[int]]:
    """Run a program that streams with two processes and kills itself; its status, and their ids."""
    path.write_text(
        "import os, signal; from dataclasses import replace; from pathlib import Path\n"
        "from multiprocessing import active_children\n"
        "from clipworks.train.batches import stream_batches; from clipworks.train.recipes import tiny\n"
        "from clipworks.train.sources import read_sources\n"
        "def stream_of():\n"
        "    config = replace(tiny(), reading='stream', recolour=False, batch_size=16, steps=6)\n"
        f"    return stream_batches(read_sources(Path({str(pool)!r})), config, range(6), processes=2)\n"
        "if __name__ == '__main__':\n"
        "    stream = stream_of(); next(stream); children = active_children()\n"
        f"    {script}\n"
        "    children += active_children()\n"
        "    print(*(child.pid for child in children), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, str(path)], check=False, capture_output=True, text=True, timeout=60
    )
    return done.returncode, [int(word) for word in done.stdout.split()]


def is_gone(process: int) -> bool:
    """Whether a process has ended; one that has and was not waited for is a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


@pytest.mark.slow
def test_processes_that_decode_outlive_a_signal_to_all_but_not_the_parent(pool: Path, tmp_path: Path) -> None:
    signals = "[os.kill(child.pid, s) for child in children for s in (signal.SIGINT, signal.SIGTERM)]"
    script = f"{signals}; assert len([*stream]) == 5; stream = stream_of(); next(stream)"
    status, children = decoders(tmp_path / "program.py", pool, script)
    assert status == -signal.SIGKILL and len(children) == 4
    deadline = time.monotonic() + 20
    while not all(map(is_gone, children)):
        assert time.monotonic() < deadline, "they live on without a parent"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_process_that_died_and_a_table_that_cannot_be_read_are_told(pool: Path, tmp_path: Path) -> None:
    stream = stream_batches(read_sources(pool), streaming(), range(6), processes=1)
    next(stream)
    (child,) = multiprocessing.active_children()
    child.kill()
    with pytest.raises(DataError, match="process that decodes pictures died.*fewer --workers"):
        list(stream)
    write_balanced(tmp_path / "kept", {})
    source = source_of(tmp_path, balance="kept")
    with pytest.raises(DataError, match="column|holds no texts"):
        list(stream_batches([source], streaming(), range(6), processes=1))


def test_rows_are_the_same_however_a_batch_is_shared(pool: Path) -> None:
    config = streaming(patch_dropout=0.5)
    feed = open_feed(pool, config)
    whole = list(feed.batches(config))
    half = list(feed.batches(config, rows=slice(8, 16)))
    for one, part in zip(whole, half, strict=True):
        assert torch.equal(one.images_BCHW[8:], part.images_BCHW)
        assert one.kept_BT is not None and part.kept_BT is not None
        assert torch.equal(one.kept_BT[8:], part.kept_BT)


def test_without_resampling_an_epoch_visits_every_picture_with_its_own_caption(pool: Path) -> None:
    config = replace(streaming(resampled=False), batch_size=20, steps=3)
    read = batches(pool, config)
    assert sorted(text for raw in read for text in captions(raw)) == sorted(f"caption{n}" for n in range(60))
    alone = Reader(read_sources(pool), config)
    for number in (0, 1, 2):  # each of another format
        pixels = alone.try_sample(0, number, np.random.default_rng(1))
        assert not isinstance(pixels, str)
        assert abs(pixels[0].mean() - decoded_mean(number)) < 4


def decoded_mean(number: int) -> float:
    from io import BytesIO

    from PIL import Image

    return float(np.array(Image.open(BytesIO(jpeg(number)))).mean())


def test_texts_are_cut_at_the_longest_of_the_batch(pool: Path) -> None:
    raw = batches(pool, streaming())[0]
    ends = raw.tokens.argmax(axis=1)
    assert raw.tokens.shape[1] == ends.max() + 1 < 77


def test_samples_that_cannot_be_used_give_way_and_are_counted(tmp_path: Path) -> None:
    good = [sample(number) for number in range(20)]
    bad: list[tuple[str, dict[str, bytes]]] = [
        ("a", {"jpg": b"\xff\xd8\xff no picture", "txt": b"x"}),
        ("b", {"txt": b"a caption alone"}),
        ("c", {"jpg": jpeg(1), "txt": b"  "}),
        ("d", {"jpg": jpeg(1, 200, 200), "txt": b"large"}),
    ]
    write_tar(tmp_path / "pool" / "a.tar", good + bad)
    config = replace(streaming(resampled=False, largest_pixels=2000), batch_size=24, steps=1, warmup_steps=0)
    (raw,) = batches(tmp_path / "pool", config)
    assert raw.skipped >= Counter(invalid_image=1, no_picture=1, no_caption=1, image_too_large=1)
    assert set(captions(raw)) == {f"caption{number}" for number in range(20)}
    (again,) = batches(tmp_path / "pool", config, threads=1)
    assert is_same(raw, again)


def test_a_tar_that_is_cut_gives_what_is_before_the_cut(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "pool" / "a.tar", map(sample, range(20)))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    (path.with_name("a_stats.json")).write_text('{"successes": 20}')
    config = replace(streaming(resampled=False), steps=2)
    read = batches(tmp_path / "pool", config)
    assert sum((raw.skipped for raw in read), Counter())["damaged_shard"] > 0


def test_a_shard_that_is_gone_gives_way_to_others(tmp_path: Path) -> None:
    sources = read_sources(write_pool(tmp_path / "pool"))
    (tmp_path / "pool" / "00001.tar").unlink()
    config = replace(streaming(resampled=False), batch_size=20, steps=3)
    read = list(stream_batches(sources, config, range(3)))
    assert sum((raw.skipped for raw in read), Counter())["unreadable_shard"] >= 20
    assert {text for raw in read for text in captions(raw)}.isdisjoint(f"caption{n}" for n in range(20, 40))


def test_data_of_which_nothing_can_be_used_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "ATTEMPTS", 20)
    write_tar(tmp_path / "pool" / "a.tar", [(str(n), {"txt": b"x"}) for n in range(20)])
    with pytest.raises(DataError, match="cannot be used: no_picture 20"):
        batches(tmp_path / "pool", streaming())


def test_the_caption_is_looked_at_before_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tar(tmp_path / "pool" / "a.tar", [("a", {"jpg": jpeg(1), "txt": b""})])
    monkeypatch.setattr(reader, "prepare_part", lambda *_: pytest.fail("the picture was decoded"))
    made = Reader(read_sources(tmp_path / "pool"), streaming())
    assert made.try_sample(0, 0, np.random.default_rng(0)) == "no_caption"


def test_a_picture_that_is_too_large_by_its_header_is_not_decoded(
    pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "prepare_part", lambda *_: pytest.fail("the picture was decoded"))
    made = Reader(read_sources(pool), streaming(largest_pixels=1000))
    assert made.try_sample(0, 0, np.random.default_rng(0)) == "image_too_large"


def choose(captions: Captions, values: dict[str, Any], count: int = 2000) -> Counter[str | None]:
    rng = np.random.default_rng(0)
    details = json.dumps(values).encode()
    return Counter(captions.choose(b"short", details, rng) for _ in range(count))


def source_of(tmp_path: Path, **row: Any) -> Any:
    write_pool(tmp_path / "a", shards=1)
    (tmp_path / "mix.json").write_text(json.dumps({"sources": [{"data": "a", **row}]}))
    return read_sources(tmp_path / "mix.json")[0]


def test_captions_are_chosen_by_their_probabilities(tmp_path: Path) -> None:
    made = Captions(source_of(tmp_path, texts={"txt": 0.25, "long": 0.75}), 0.5)
    found = choose(made, {"long": ["one", "two"]})
    assert found["short"] / 2000 == pytest.approx(0.25, abs=0.03)
    assert found["one"] / 2000 == pytest.approx(0.375, abs=0.04)
    assert choose(made, {}) == Counter(short=2000)


def test_the_texts_of_a_sample_of_ours_are_chosen_as_in_memory(tmp_path: Path) -> None:
    made = Captions(source_of(tmp_path), 0.6)
    found = choose(made, {"texts": ["a", "b", "c"]})
    assert [found[text] / 2000 for text in "abc"] == pytest.approx([0.6, 0.2, 0.2], abs=0.04)
    assert choose(made, {"caption": "no list"}) == Counter(short=2000)


def test_probabilities_in_the_json_balance_while_training(tmp_path: Path) -> None:
    made = Captions(source_of(tmp_path), 1.0)
    found = choose(made, {"texts": ["a", {"key": "alt", "text": "b"}], "keep_probs": [1.0, 0.1]})
    assert found["a"] / 2000 == pytest.approx(0.5, abs=0.04)
    assert found["b"] / 2000 == pytest.approx(0.05, abs=0.02)
    assert found[None] / 2000 == pytest.approx(0.45, abs=0.04)


def test_an_empty_text_takes_no_other_texts_probability(tmp_path: Path) -> None:
    made = Captions(source_of(tmp_path), 1.0)
    found = choose(made, {"texts": ["", "a", "b"], "keep_probs": [0.0, 1.0, "x"]})
    assert found["a"] / 2000 == pytest.approx(0.5, abs=0.04) and found["b"] == 0


def write_balanced(folder: Path, keep: dict[int, float]) -> None:
    rows = [{"uid": f"{n:032x}", "texts": [f"caption {n}"], "keep_probs": [p]} for n, p in keep.items()]
    write_table(folder / "part.parquet", pa.Table.from_pylist(rows))
    write_manifest(folder, {"parts": [{"name": "part", "files": {"part.parquet": {}}}]})


def test_a_table_of_balancing_decides_how_often_a_text_is_drawn(tmp_path: Path) -> None:
    write_balanced(tmp_path / "kept", {n: 1.0 if n < 5 else 0.1 for n in range(15)})
    source = source_of(tmp_path, balance="kept")
    config = replace(streaming(resampled=False), batch_size=20, steps=12)
    read = list(stream_batches([source], config, range(12)))
    found = Counter(text for raw in read for text in captions(raw))
    often = sum(found[f"caption{n}"] for n in range(5))
    rare = sum(found[f"caption{n}"] for n in range(5, 15))
    assert sum(found[f"caption{n}"] for n in range(15, 20)) == 0
    assert often + rare == 240 and rare / often == pytest.approx(0.2, abs=0.1)
    assert sum((raw.skipped for raw in read), Counter())[BALANCED_OUT] > 200


def test_a_table_without_texts_is_refused(tmp_path: Path) -> None:
    write_balanced(tmp_path / "kept", {})
    with pytest.raises(DataError, match="column|holds no texts"):
        Captions(source_of(tmp_path, balance="kept"), 1.0)


@pytest.mark.parametrize("rule", ["each", "one"])
def test_texts_that_a_draw_has_kept_are_not_drawn_again(tmp_path: Path, rule: str) -> None:
    write_balanced(tmp_path / "kept", {0: 0.5})
    manifest = json.loads((tmp_path / "kept" / "manifest.json").read_text())
    write_manifest(tmp_path / "kept", manifest | {"config": {"texts": rule}})
    with pytest.raises(DataError, match="would balance twice.*texts=all"):
        Captions(source_of(tmp_path, balance="kept"), 1.0)


def test_memory_holds_the_batches_ahead_alone(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(streaming(), steps=15)
    done, seen = 0, 0
    lock = threading.Lock()
    read = Reader.read

    def count(self: Reader, position: int) -> Any:
        nonlocal done
        with lock:
            done += 1
        return read(self, position)

    monkeypatch.setattr(Reader, "read", count)
    for _ in stream_batches(read_sources(pool), config, range(15)):
        seen += 16
        assert done - seen <= 3 * 16
    assert done == 15 * 16


def test_no_more_shards_are_open_than_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "OPEN_SHARDS", 2)
    for number in range(6):
        write_tar(tmp_path / "pool" / f"{number}.tar", map(sample, range(number * 5, number * 5 + 5)))
    before = len(os.listdir("/proc/self/fd"))
    made = Reader(read_sources(tmp_path / "pool"), replace(streaming(resampled=False)))
    for position in range(30):
        made.read(position)
    assert len(os.listdir("/proc/self/fd")) - before <= 2


def test_a_stream_of_less_than_a_batch_is_an_error(pool: Path) -> None:
    with pytest.raises(DataError, match="60 samples, fewer than one batch of 64"):
        open_feed(pool, replace(streaming(), batch_size=64))


def test_sources_of_different_weight_are_only_resampled(tmp_path: Path) -> None:
    write_pool(tmp_path / "a", shards=1)
    (tmp_path / "mix.json").write_text('{"sources": [{"data": "a"}, {"data": "a", "weight": 2}]}')
    with pytest.raises(ConfigError, match="only resampled"):
        open_feed(tmp_path / "mix.json", streaming(resampled=False))
    with pytest.raises(ConfigError, match="only streamed"):
        open_feed(tmp_path / "mix.json", tiny())
