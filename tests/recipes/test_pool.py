"""The lists of the pool, its captions, its card: on the made-up packages."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clipworks.cli import main
from clipworks.shards import read_shards
from recipes import pool_card, pool_lists
from recipes.pictogram_captions import Captions, Picture
from recipes.pool_captions import SHARES, Translations, captions_of, phrases, with_article, with_probs


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def german(packages: Path) -> Path:
    """The emoji table with a second language."""
    rows = [
        {"hexcode": "1F98A", "label": "Fuchs", "tags": ["Tier", "Gesicht", "drittes"]},
        {"hexcode": "2602-FE0F", "label": "Schirm", "tags": ["UV"]},
        {"hexcode": "0000", "label": "nirgends"},
    ]
    folder = packages / "emojibase-data/de"
    folder.mkdir()
    (folder / "data.json").write_text(json.dumps(rows))
    return packages


Make = Callable[..., Path]


@pytest.fixture
def make(german: Path, wordnet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Calls the program and gives its folder."""

    def call(*more: str) -> Path:
        words = [
            "--packages",
            str(german),
            "--wordnet",
            str(wordnet_folder),
            "--out",
            str(tmp_path / "lists"),
        ]
        monkeypatch.setattr(sys, "argv", ["pool_lists", *words, *more])
        pool_lists.main()
        return tmp_path / "lists"

    return call


def test_each_kind_has_a_list_and_every_row_says_where_it_comes_from(make: Make) -> None:
    lists = make()
    (fox,) = rows_of(lists / "emoji.jsonl")
    assert fox["texts"][0] == {"key": "name", "text": "fox"} and fox["source"] == "noto"
    assert (fox["licence"], fox["author"], fox["mono"]) == ("Apache-2.0", "The noto people", False)
    assert "weight" not in fox and fox["svg"].startswith("<svg")
    glyphs = rows_of(lists / "glyphs.jsonl")
    assert {row["texts"][0]["text"] for row in glyphs} >= {"umbrella"} and all(row["mono"] for row in glyphs)
    assert not any("brand" in row["url"] for row in glyphs)
    told = json.loads((lists / "lists.json").read_bytes())
    assert told["rows"]["emoji"] == 1 and told["left_out"]["set: category Logos"] == 1


def test_probabilities_add_up_and_other_languages_are_captions_of_emoji(make: Make) -> None:
    lists = make("--locales", "all", "--weights", "hand")
    (fox,) = rows_of(lists / "emoji.jsonl")
    keys = {one["text"]: one["key"] for one in fox["texts"]}
    assert keys["Fuchs"] == keys["Tier"] == "translation" and "drittes" not in keys
    assert abs(sum(one["prob"] for one in fox["probs"]) - 1) < 0.01
    assert fox["weight"] == pool_lists.WEIGHTS["emoji"]


def test_glyphs_can_be_fewer(make: Make) -> None:
    assert len(rows_of(make("--glyphs", "1") / "glyphs.jsonl")) == 1


def test_what_is_scored_on_is_listed_apart(make: Make) -> None:
    lists = make()
    held_out = json.loads((lists / "held_out/clip_art.json").read_bytes())
    rows = rows_of(lists / "held_out/evaluation.jsonl")
    assert len(held_out) == len(rows) > 0
    training = {row["file"] for row in rows_of(lists / "clip_art.jsonl")}
    assert not training & {row["file"] for row in rows}


def test_a_name_comes_first_and_each_caption_has_its_kind(captions: Captions, german: Path) -> None:
    picture = Picture(
        key="k",
        texts=captions.of_name("umbrella"),
        source="s",
        licence="MIT",
        kind="glyph of a thing",
        form="svg",
        content="",
    )
    found = captions_of(picture, captions, Translations(german / "emojibase-data", ["de"]))
    keys = {one.text: one.key for one in found}
    assert found[0].text == "umbrella" and keys["Schirm"] == "translation" and keys["rain"] == "tag"
    assert "UV" not in keys and any(key == "phrase" for key in keys.values())
    kinds = [text for text, key in keys.items() if key == "kind"]
    assert any(text.endswith(f" of {with_article(kind)}") for kind in kinds for text in kinds)
    assert abs(sum(one.prob for one in found) - 1) < 1e-9


def test_a_kind_of_caption_shares_what_it_has() -> None:
    found = with_probs([("fox", "name"), ("animal", "kind"), ("mammal", "kind")])
    assert found[1].prob == found[2].prob == SHARES["kind"] / 2 / (SHARES["name"] + SHARES["kind"])


def test_phrases_fit_the_style() -> None:
    assert re.match("a (photo|photograph|picture) of a fox", phrases("fox", "photograph")[0])
    assert all("a shoes" not in phrase for phrase in phrases("shoes", "emoji"))
    assert phrases("flag: italy", "flag") == ()


def test_a_photograph_is_never_called_a_drawing_or_an_icon(captions: Captions, german: Path) -> None:
    picture = Picture(
        key="k",
        texts=captions.of_name("umbrella", ("photograph",)),
        source="s",
        licence="MIT",
        kind="photograph",
        form="photograph",
        content="",
    )
    found = captions_of(picture, captions, Translations(german / "emojibase-data", []))
    assert len(found) > 5
    assert not [one.text for one in found if re.search("icon|drawing|symbol|emoji|clip art", one.text)]


@pytest.mark.parametrize(
    "right",
    """an umbrella, a user, a unicorn, an uninstall, an hourglass, a house, an honour, an x mark, a xylophone,
    a euro, a one, a usb stick, an usher, a utensil, an f, an s, a uk, a bus, a dress, an axis, a lens, shoes,
    two dogs, food, asian food, 3d glasses""".replace("\n    ", "").split(","),
)
def test_an_article_is_the_one_that_is_spoken(right: str) -> None:
    right = right.strip()
    assert with_article(re.sub("^an? ", "", right)) == right


@pytest.mark.slow
def test_the_card_counts_what_the_commands_made(
    make: Make, german: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("--locales", "all", "--weights", "hand")

    def run(*words: str) -> None:
        result = CliRunner().invoke(main, list(words))
        assert result.exit_code == 0, result.output

    pictures, shards, hashes = (str(tmp_path / name) for name in ("pictures", "shards", "held_out.npy"))
    lists, held_out = str(tmp_path / "lists"), str(tmp_path / "held_out")
    run("collect", "pictures", f"{lists}/held_out/evaluation.jsonl", "--out", held_out, "--set", "side=16")
    run("curate", "hashes", held_out, "--out", hashes)
    run("collect", "pictures", lists, "--out", pictures, "--set", "side=16")
    settings = ["keep=everything", "texts=chars >= 1", "phash_distance=-1", f"evaluation={hashes}"]
    settings.append("evaluation_distance=0")
    more = [word for setting in settings for word in ("--set", setting)]
    run("curate", pictures, "--recipe", "small", "--out", shards, *more)
    (german / "packages.jsonl").write_text(
        json.dumps({"name": "made-up", "version": "1.0", "registry": "npm", "sha256": "0" * 64}) + "\n"
    )
    monkeypatch.setattr(sys, "argv", ["pool_card", str(tmp_path), str(german)])
    pool_card.main()
    samples = list(read_shards(tmp_path / "shards"))
    card = (tmp_path / "pool.md").read_text(encoding="utf-8")
    assert f"{len(samples)} pictures with" in card and "| made-up | 1.0 | npm |" in card
    assert "| contaminated |" not in card or "evaluation" not in card.split("contaminated")[0]
    assert (tmp_path / "pool.svg").read_text().startswith("<svg")
    credits = (tmp_path / "ATTRIBUTION.md").read_text(encoding="utf-8")
    manifest = json.loads((tmp_path / "data_manifest.json").read_bytes())
    assert manifest["pictures"] == sum(manifest["counts"]["kind"].values()) and manifest["shards"]
    assert str(tmp_path) not in json.dumps(manifest)
    assert "| noto | Noto | The noto people | Apache-2.0 | https://noto.example |" in credits
    assert not any(sample.details["source"] == "openclipart" for sample in samples)  # all look the same there
