"""`clipworks curate`: a list of entries, matches, and balanced pairs, each as a command."""

import json
from pathlib import Path

import pytest

from clipworks.curate.matches import match_pairs
from clipworks.files import read_manifest, write_manifest
from tests.cli.conftest import Run
from tests.curate.pools import make_rows, write_metadata, write_pairs

WORDNET = Path(__file__).parent.parent / "curate" / "wordnet"


def test_a_list_is_made_of_wordnet_and_counts(run: Run, tmp_path: Path) -> None:
    (tmp_path / "counts.txt").write_text("zebra 100\nrare 99\ndog 1000\n")
    sources = ("--wordnet", WORDNET, "--unigrams", tmp_path / "counts.txt", "--out", tmp_path / "list.json")
    told = json.loads(run("curate", "metadata", *sources, "--json").stdout)
    assert told["sources"]["unigrams"] == {"added": 1, "repeated": 1}
    entries = json.loads((tmp_path / "list.json").read_text())["entries"]
    assert entries[:3] == ["0", "1", "2"]
    assert entries[-1] == "zebra"
    assert told["entries"] == len(entries)
    assert "Would read" in run("curate", "metadata", *sources, "--dry-run").stdout
    assert "nothing to make a list of" in run("curate", "metadata", "--out", tmp_path / "x", status=1).stderr
    run("curate", "metadata", *sources)  # a list of ours may be made anew
    (tmp_path / "mine.txt").write_text("mine")
    for name in ("mine.txt", ""):
        told = run("curate", "metadata", *sources[:-1], tmp_path / name, status=1).stderr
        assert f"{tmp_path / name} is something else than a list of entries." in told
    assert (tmp_path / "mine.txt").read_text() == "mine"
    told = run("curate", "metadata", "--wordnet", tmp_path, "--out", tmp_path / "x", status=1).stderr
    assert f"{tmp_path / 'data.noun'} cannot be read: No such file or directory." in told


@pytest.mark.slow
def test_pairs_are_matched_and_balanced_and_a_repeat_changes_nothing(run: Run, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs", make_rows(300))
    metadata = write_metadata(tmp_path / "list.json")
    match = ("curate", "match", pairs, "--metadata", metadata, "--out", tmp_path / "matches")
    assert "300 pairs" in run(*match, "--dry-run").stdout
    told = json.loads(run(*match, "--json").stdout)
    assert told["matched_texts"] <= told["texts"]
    balance = ("curate", "balance", tmp_path / "matches", "--pairs", pairs, "--metadata", metadata)
    balance = (*balance, "--out", tmp_path / "out", "--set", "t=20")
    dry = json.loads(run(*balance, "--dry-run", "--json").stdout)
    assert dry["t"] == {"": 20} and 0 < dry["tail_share"][""] < 1
    assert (
        f"t would be 20, with {dry['tail_share']['']:.1%} of the matches" in run(*balance, "--dry-run").stdout
    )
    assert not (tmp_path / "out").exists()
    first = json.loads(run(*balance, "--json").stdout)
    assert Path(first["report"]).exists()
    assert first["pairs"]["kept"] == read_manifest(tmp_path / "out" / "pairs")["rows"]
    again = run(*balance, "--json")
    assert json.loads(again.stdout) == first
    assert f"{tmp_path / 'out' / 'pairs'} was finished before; nothing was left to do." in again.stderr
    assert "was begun with t" in run(*balance[:-1], "t=30", status=1).stderr


def test_balancing_what_is_no_folder_of_matches_is_a_sentence(run: Run, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs", make_rows(5))
    metadata = write_metadata(tmp_path / "list.json")
    balance = ("curate", "balance", pairs, "--pairs", pairs, "--metadata", metadata)
    told = run(*balance, "--out", tmp_path / "out", status=1)
    assert f"{pairs} is no folder of `clipworks curate match`." in told.stderr
    assert not (tmp_path / "out").exists()


def test_a_table_that_cannot_be_matched_is_told(run: Run, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs", make_rows(5), parts=1)
    (pairs / "00000.parquet").write_bytes(b"PAR1 cut")
    metadata = write_metadata(tmp_path / "list.json")
    told = run("curate", "match", pairs, "--metadata", metadata, "--out", tmp_path / "matches")
    assert "0 of 0 texts hold an entry" in told.stdout
    assert "No text holds an entry: are the list and the texts of one language" in told.stderr
    assert "1 part could not be read; see" in told.stderr


def test_lists_without_a_language_name_the_setting_that_gives_it(run: Run, tmp_path: Path) -> None:
    lists = [write_metadata(tmp_path / name) for name in ("a.json", "b.json")]
    match = ("curate", "match", tmp_path, "--metadata", lists[0], "--metadata", lists[1])
    told = run(*match, "--out", tmp_path / "matches", status=1)
    assert "clipworks curate metadata --set language=CODE" in told.stderr


def test_balancing_refuses_a_stages_folder_other_metadata_and_an_unknown_anchor(
    run: Run, tmp_path: Path
) -> None:
    pairs = write_pairs(tmp_path / "pairs", make_rows(5))
    metadata, other = write_metadata(tmp_path / "a.json"), write_metadata(tmp_path / "b.json", ["cat"])
    matches = tmp_path / "matches"
    match_pairs(pairs, matches, metadata=[metadata])
    balance = ("curate", "balance", matches, "--pairs", pairs, "--metadata")
    for folder in (matches, pairs):
        told = run(*balance, metadata, "--out", folder, status=1)
        stage = read_manifest(folder)["stage"]
        assert f"{folder} is the folder of another stage, {stage!r}." in told.stderr
        assert not (folder / "counts").exists()
    told = run(*balance, other, "--out", tmp_path / "out", status=1)
    assert f"{matches} was made with other metadata." in told.stderr
    assert not (tmp_path / "out").exists()
    told = run(*balance, metadata, "--out", tmp_path / "out", "--set", "anchor=xx", status=1)
    assert "The anchor is 'xx', but the metadata is for any." in told.stderr


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_folder_that_no_stage_wrote_holds_no_pairs(run: Run, tmp_path: Path, dry: tuple[str, ...]) -> None:
    (tmp_path / "step").mkdir()
    write_manifest(tmp_path / "step", {"step": 1, "files": {}})
    metadata = write_metadata(tmp_path / "a.json")
    for words in (("match", "--metadata", metadata), ("texts",)):
        command = ("curate", *words, tmp_path / "step", "--out", tmp_path / "out", *dry)
        assert f"{tmp_path / 'step'} holds no table of pairs." in run(*command, status=1).stderr
        assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_with_the_command(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    arguments = ("curate", "match", tmp_path, "--metadata", tmp_path, "--out", tmp_path / "x")
    assert 'pip install "clipworks[curate]"' in run(*arguments, status=1).stderr
