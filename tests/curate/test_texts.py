import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from clipworks.cli.curate import curate
from clipworks.collect.crawl import collect_pairs
from clipworks.curate.balance import BalanceConfig, balance_pairs
from clipworks.curate.matches import TEXT_COLUMNS, count_matches, match_pairs, table_sources
from clipworks.curate.settings import TextsConfig
from clipworks.curate.texts import describe_texts
from clipworks.errors import ConfigError, DataError
from clipworks.stage import Made, Source, part_files, run_stage
from clipworks.tables import read_table, write_table
from tests.curate.pools import TEXTS, write_metadata, write_pairs

CRAWL = Path(__file__).parents[2] / "examples" / "crawl" / "scikit.warc.gz"
SCHEMA = pa.schema(
    [("uid", pa.string()), ("image_url", pa.string()), ("page_url", pa.string()), ("texts", TEXTS)]
)


def row(number: int, *texts: str | None, host: str = "a.example") -> dict[str, Any]:
    return {
        "uid": f"{number:032x}",
        "image_url": f"https://{host}/{number}.jpg",
        "page_url": f"https://pages.example/{number}",
        "texts": [{"key": "alt", "text": text} for text in texts],
    }


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [
        row(0, "a photo of a red cat in the snow", "ein roter Kater im tiefen Schnee"),
        row(1, "die schöne alte Brücke über den Fluss", host="img.bad.example"),
        row(2, "DSC 2041", "12", None, ""),
        row(3),
        row(4, "they die: a very rude picture", "ネコの写真です"),
    ]
    return write_pairs(tmp_path / "pairs", rows, parts=2, schema=SCHEMA)


@pytest.fixture
def config(tmp_path: Path) -> TextsConfig:
    words = tmp_path / "words"
    words.mkdir()
    (words / "en.txt").write_text("die\nvery rude\n")
    (words / "de.txt").write_text("Kater\n")
    (tmp_path / "list.txt").write_text("bad.example\nhttps://pages.example/4\n")
    return TextsConfig(toxic_words=str(words), blocklists=str(tmp_path / "list.txt"))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [one for source in table_sources(folder) for one in read_table(Path(source.path)).to_pylist()]


def test_each_text_gets_its_language_length_and_listed_words(
    pairs: Path, config: TextsConfig, tmp_path: Path
) -> None:
    manifest = describe_texts(pairs, tmp_path / "out", config)
    found = rows_of(tmp_path / "out")
    assert [one["languages"] for one in found[:2]] == [["en", "de"], ["de"]]
    assert found[4]["languages"] == ["en", "ja"]
    assert found[2]["languages"][1:] == ["", "", ""]  # no letter: nothing to tell it by
    assert found[0]["text_chars"] == [32, 32]
    assert found[0]["text_words"] == [9, 6]
    assert [one["text_toxic"] for one in found] == [[0, 1], [0], [0, 0, 0, 0], [], [2, 0]]
    assert [one["blocked"] for one in found] == [False, True, False, False, True]
    assert all(0 <= prob <= 1 for one in found for prob in one["language_probs"])
    assert [{name: one[name] for name in SCHEMA.names} for one in found] == rows_of(pairs)
    counts = manifest["counts"]
    assert (counts["pairs"], counts["texts"], counts["toxic_texts"], counts["blocked_pairs"]) == (5, 9, 2, 2)
    assert counts["language de"] == 2 and counts["language unknown"] == 3


def test_without_lists_only_language_and_length_are_added_and_unsure_ones_are_not_named(
    pairs: Path, tmp_path: Path
) -> None:
    describe_texts(pairs, tmp_path / "out", TextsConfig(min_prob=1.0))
    table = read_table(next(iter(part_files(tmp_path / "out", ".parquet"))))
    assert table.column_names == [*SCHEMA.names, *TEXT_COLUMNS[:4]]
    assert table["languages"].to_pylist() == [
        ["", ""],
        ["" if table["language_probs"][1][0].as_py() < 1 else "de"],
    ]


def test_matching_by_language_and_balancing_read_and_cut_these_columns(
    pairs: Path, config: TextsConfig, tmp_path: Path
) -> None:
    describe_texts(pairs, tmp_path / "texts", config)
    lists = [
        write_metadata(tmp_path / "en.json", ("cat", "die", "snow"), language="en"),
        write_metadata(tmp_path / "de.json", ("Schnee", "alte", "cat"), language="de"),
    ]
    manifest = match_pairs(tmp_path / "texts", tmp_path / "matches", metadata=lists)
    assert manifest["counts"]["matched_texts"] == 4  # "die" in the English text alone
    count_matches(tmp_path / "matches", tmp_path / "counts")
    folders = (tmp_path / "texts", tmp_path / "matches", tmp_path / "counts")
    balance_pairs(*folders, tmp_path / "kept", config=BalanceConfig(t=1000))
    kept = rows_of(tmp_path / "kept")
    assert [one["languages"] for one in kept] == [["en", "de"], ["de"], ["en"]]
    for one in kept:
        assert {len(one[name]) for name in ("texts", *TEXT_COLUMNS)} == {len(one["texts"])}


@pytest.mark.slow
def test_processes_change_nothing(pairs: Path, config: TextsConfig, tmp_path: Path) -> None:
    for workers in (1, 2):
        describe_texts(pairs, tmp_path / str(workers), config, workers=workers)
    files = [{path.name: path.read_bytes() for path in (tmp_path / n).glob("[!.]*")} for n in "12"]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"min_prob": 1.5}, ConfigError, "min_prob is 1.5"),
        ({"language_model": "/nowhere/lid.bin"}, ConfigError, "does not exist"),
        ({"toxic_words": "/nowhere/words"}, ConfigError, "names /nowhere/words"),
        ({"blocklists": "/nowhere/list"}, ConfigError, "names /nowhere/list"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_written(
    settings: dict[str, Any], error: type[Exception], message: str, pairs: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        describe_texts(pairs, tmp_path / "out", TextsConfig(**settings))
    assert not (tmp_path / "out").exists()


def test_pairs_without_texts_and_damaged_lists_are_refused(pairs: Path, tmp_path: Path) -> None:
    captions = [{"uid": "0" * 32, "image_url": "https://a.example/"}]
    other = write_pairs(tmp_path / "others", captions, parts=1, schema=pa.schema(list(SCHEMA)[:2]))
    with pytest.raises(DataError, match="no column 'texts'"):
        describe_texts(other, tmp_path / "out", TextsConfig())

    def nameless(source: Source, folder: Path) -> Made:
        write_table(folder / "other.parquet", pa.table({"texts": [[]]}))
        return Made(rows=1, files=["other.parquet"])

    run_stage(nameless, [Source(name="a", path="", digest="")], tmp_path / "c", stage="other", config={})
    with pytest.raises(DataError, match="holds no table of pairs"):
        describe_texts(tmp_path / "c", tmp_path / "out", TextsConfig())
    with pytest.raises(DataError, match="unfinished"):
        (tmp_path / "empty").mkdir()
        describe_texts(tmp_path / "empty", tmp_path / "out", TextsConfig())
    (tmp_path / "list.txt").write_text("two words\n")
    with pytest.raises(DataError, match=r"list\.txt, line 1"):
        describe_texts(pairs, tmp_path / "out", TextsConfig(blocklists=str(tmp_path / "list.txt")))


def test_a_damaged_part_is_counted_and_the_rest_goes_on(pairs: Path, tmp_path: Path) -> None:
    path = list(part_files(pairs, ".parquet"))[1]
    path.write_bytes(b"PAR1 cut")
    manifest = describe_texts(pairs, tmp_path / "out", TextsConfig())
    assert manifest["counts"]["failed_sources"] == 1
    assert manifest["rows"] == 2
    run = CliRunner().invoke(curate, ["texts", str(pairs), "--out", str(tmp_path / "out")])
    assert run.exit_code == 0 and "1 part could not be read" in run.stderr
    for path in part_files(pairs, ".parquet"):
        path.write_bytes(b"PAR1 cut")
    run = CliRunner().invoke(curate, ["texts", str(pairs), "--out", str(tmp_path / "none")])
    assert run.exit_code == 1 and "cannot be read as parquet" in str(run.exception)


def test_the_pairs_of_an_archive_are_read(tmp_path: Path) -> None:
    collect_pairs([str(CRAWL)], tmp_path / "pairs")
    counts = describe_texts(tmp_path / "pairs", tmp_path / "texts", TextsConfig())["counts"]
    assert (counts["pairs"], counts["texts"]) == (185, 230)
    assert counts["language en"] > 115
    lists = [write_metadata(tmp_path / "en.json", ("plot", "Release Highlights"))]
    for folder in ("pairs", "texts"):
        matched = match_pairs(tmp_path / folder, tmp_path / f"{folder}-matches", metadata=lists)
        assert matched["counts"]["matched_texts"] > 10


def test_the_command_says_what_it_found(pairs: Path, config: TextsConfig, tmp_path: Path) -> None:
    arguments = [
        "texts",
        str(pairs),
        "--out",
        str(tmp_path / "out"),
        "--set",
        f"blocklists={config.blocklists}",
    ]
    run = CliRunner().invoke(curate, [*arguments, "--dry-run"])
    assert run.exit_code == 0 and run.stdout == "Would read the texts of 5 pairs.\n"
    assert not (tmp_path / "out").exists()
    run = CliRunner().invoke(curate, [*arguments, "--json"], catch_exceptions=False)
    assert json.loads(run.stdout)["texts"] == 9
    run = CliRunner().invoke(curate, arguments, catch_exceptions=False)
    assert "9 texts of 5 pairs: unknown 3, de 2" in run.stdout and "2 blocked pairs" in run.stdout
