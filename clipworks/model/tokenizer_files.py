"""CLIP's vocabulary as the files that transformers keeps it in: written, and checked where a model has one.

Tokenizing is the work of `tokenizer.py`, which has this vocabulary built in.
"""

import gzip
from importlib import resources
from pathlib import Path
from typing import Any

from clipworks.errors import CheckpointError, DataError
from clipworks.files import read_json

VOCABULARY = "vocab.json"
MERGES = "merges.txt"
TOKENIZER_CONFIG = "tokenizer_config.json"

_SPECIALS = ("<|startoftext|>", "<|endoftext|>")
_LONGEST = 77


def vocabulary() -> dict[str, int]:
    """Every token, spelled as in `vocab.json`, and its id."""
    symbols = _byte_symbols()
    words = [symbol + "</w>" for symbol in symbols]
    merged = [line.replace(" ", "") for line in _merges()]
    return {name: i for i, name in enumerate([*symbols, *words, *merged, *_SPECIALS])}


def merges_text() -> str:
    """The content of `merges.txt`: one pair a line, first merge first."""
    return "\n".join(["#version: 0.2", *_merges(), ""])


def tokenizer_config() -> dict[str, Any]:
    """The content of `tokenizer_config.json`; transformers pads with the end token."""
    start, end = _SPECIALS
    return {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": start,
        "eos_token": end,
        "pad_token": end,
        "unk_token": end,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": _LONGEST,
    }


def require_clip_vocabulary(folder: Path) -> None:
    """Refuse a model whose own vocabulary file is not CLIP's; one without such a file passes.

    Raises:
        CheckpointError: `vocab.json` is damaged, or gives a token another id.
    """
    file = folder / VOCABULARY
    if not file.is_file():
        return
    try:
        found = read_json(file)
    except DataError as error:
        raise CheckpointError(error.message, "Fetch or copy it again.") from error
    expected = vocabulary()
    if found == expected:
        return
    if not isinstance(found, dict) or len(found) != len(expected):
        what = f"{len(found)} tokens" if isinstance(found, dict) else "no tokens by name"
        problem = f"has {what} instead of {len(expected)}"
    else:
        token = next(token for token, i in expected.items() if found.get(token) != i)
        problem = f"gives the token {token!r} the id {found.get(token)} instead of {expected[token]}"
    raise CheckpointError(
        f"{file} {problem}: this model was trained with another tokenizer.",
        "clipworks tokenizes as OpenAI's CLIP does; remove the file if it belongs to another model.",
    )


def _merges() -> list[str]:
    packed = resources.files("clipworks.model").joinpath("vocabulary/bpe_merges.txt.gz").read_bytes()
    return gzip.decompress(packed).decode("utf-8").splitlines()


def _byte_symbols() -> list[str]:
    """A printable character for each byte: itself if it is one, else one beyond the first 256."""
    printable = [byte for byte in range(256) if 33 <= byte <= 126 or (byte >= 161 and byte != 173)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
