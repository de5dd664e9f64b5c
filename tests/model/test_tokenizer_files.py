import json
from pathlib import Path

import pytest
from tiny_clip import TinyClip

from clipworks.errors import CheckpointError
from clipworks.model.published import to_hf_config
from clipworks.model.tokenizer import EOT, SOT, VOCAB_SIZE, encode
from clipworks.model.tokenizer_files import merges_text, require_clip_vocabulary, vocabulary
from clipworks.model.weights import read_checkpoint

pytestmark = pytest.mark.slow


def test_the_written_vocabulary_is_the_one_that_is_tokenized_with() -> None:
    ids = vocabulary()
    assert len(ids) == VOCAB_SIZE and sorted(ids.values()) == list(range(VOCAB_SIZE))
    assert (ids["<|startoftext|>"], ids["<|endoftext|>"]) == (SOT, EOT)
    for word in ("cat", "photo", "photograph", "!", "7"):
        assert encode(word) == [ids[word + "</w>"]]
    assert merges_text().splitlines()[:2] == ["#version: 0.2", "i n"]
    assert len(merges_text().splitlines()) == VOCAB_SIZE - 512 - 2 + 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cat</w>": 5}, r"gives the token 'cat</w>' the id 5 instead of 2368"),
        ({"no such token": 49408}, r"has 49409 tokens instead of 49408"),
        (None, r"has no tokens by name instead of 49408"),
    ],
)
def test_another_vocabulary_beside_the_weights_is_refused(
    tiny_clip: TinyClip, tmp_path: Path, change: dict[str, int] | None, said: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(to_hf_config(tiny_clip.config)))
    weights = (tiny_clip.folders["hf"] / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary()))
    assert read_checkpoint(tmp_path).config == tiny_clip.config
    (tmp_path / "vocab.json").write_text(json.dumps([] if change is None else vocabulary() | change))
    with pytest.raises(CheckpointError, match=said) as caught:
        read_checkpoint(tmp_path)
    assert "remove the file" in caught.value.remedy


def test_a_damaged_vocabulary_is_named(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"vocab\.json cannot be read as JSON"):
        require_clip_vocabulary(tmp_path)
