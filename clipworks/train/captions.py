"""Which caption of a sample is used: chosen by its probability, kept by what balancing says of it."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipworks.errors import DataError
from clipworks.files import read_manifest
from clipworks.tables import read_batches
from clipworks.train.probs import PROBS, probs_of

if TYPE_CHECKING:
    from clipworks.train.sources import Source

CAPTION = "txt"
"""Name, in a source's `texts`, of the caption file of a sample; other names are fields of its json."""

KEEP = "keep_probs"
"""Field of a sample's json, and column of a table: how likely each text is kept."""

ALL = "all"
"""What `curate balance` calls leaving no text out."""


class KeepProbs:
    """How likely each text of a pool is kept, by uid and text; twelve bytes a text.

    Args:
        folder: a finished stage whose tables have the columns uid, texts and keep_probs.

    Raises:
        DataError: the folder is unfinished, a table lacks a column, or a draw has left texts out already.
    """

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        _require_undrawn(folder, manifest.get("config"))
        keys, probs = [np.empty(0, np.uint64)], [np.empty(0, np.float32)]
        names = [name for part in manifest.get("parts", ()) for name in part["files"]]
        for name in names:
            if not name.endswith(".parquet") or name.count(".") > 1:
                continue
            for batch in read_batches(folder / name, ["uid", "texts", KEEP]):
                rows = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
                found = [_key(uid, _plain(text)) for uid, texts, _ in rows for text in texts or ()]
                keys.append(np.array(found, np.uint64))
                probs.append(np.array([prob for *_, kept in rows for prob in kept or ()], np.float32))
        self._keys, self._probs = np.concatenate(keys), np.concatenate(probs)
        if not len(self._keys) or len(self._keys) != len(self._probs):
            raise DataError(f"{folder} holds no texts with {KEEP}.", "Name the pairs of `curate balance`.")
        order = np.argsort(self._keys)
        self._keys, self._probs = self._keys[order], self._probs[order]

    def of(self, uid: str, text: str) -> float:
        """0 for a text that is not in the pool."""
        key = np.uint64(_key(uid, text))
        place = int(self._keys.searchsorted(key))
        return float(self._probs[place]) if place < len(self._keys) and self._keys[place] == key else 0.0


class Captions:
    """Chooses captions for the samples of one source.

    Args:
        source: where captions are.
        first_text_prob: chance of the first of a sample's `texts`, where neither the source nor the sample's
            `probs` say more.
    """

    def __init__(self, source: "Source", first_text_prob: float) -> None:
        self._texts = source.texts
        self._first = first_text_prob
        self._keep = None if source.balance is None else KeepProbs(source.balance)
        self.needs_json = self._keep is not None or any(name != CAPTION for name, _ in source.texts)

    def choose(self, caption: bytes | None, details: bytes | None, rng: np.random.Generator) -> str | None:
        """A caption, "" for none in the sample, or None if balancing leaves this one out this time.

        Args:
            caption: the caption file.
            details: the json file.
            rng: draws one number for the choice and, with balancing, one for keeping.
        """
        values = _values(details) if details is not None and self._is_asked(details) else {}
        texts, probs = self._choices(caption, values)
        if not texts:
            return ""
        number = int(np.searchsorted(np.cumsum(probs) / np.sum(probs), rng.random(), side="right"))
        text = texts[min(number, len(texts) - 1)]
        kept = self._kept(text, number, values)
        return text if kept is None or rng.random() < kept else None

    def all(self, caption: bytes | None, details: bytes | None) -> list[str]:
        """Every caption that `choose` may give."""
        return self._choices(caption, _values(details) if details is not None else {})[0]

    def _is_asked(self, details: bytes) -> bool:
        names = ("texts", KEEP, PROBS)
        return self.needs_json or any(f'"{name}"'.encode() in details for name in names)

    def _choices(self, caption: bytes | None, values: Mapping[str, Any]) -> tuple[list[str], list[float]]:
        if self._texts:
            found = [(_field(name, caption, values), prob) for name, prob in self._texts]
            pairs = [(text, prob / len(texts)) for texts, prob in found for text in texts]
            return [text for text, _ in pairs], [prob for _, prob in pairs]
        texts = _field("texts", caption, values) or _field(CAPTION, caption, values)
        if (probs := probs_of(texts, values, str(values.get("uid", "")))) is not None:
            return texts, probs
        if self._keep is not None or KEEP in values or len(texts) < 2:
            return texts, [1.0] * len(texts)  # MetaCLIP draws one evenly, then keeps it or not
        return texts, [self._first] + [(1 - self._first) / (len(texts) - 1)] * (len(texts) - 1)

    def _kept(self, text: str, number: int, values: Mapping[str, Any]) -> float | None:
        if self._keep is not None:
            return self._keep.of(str(values.get("uid")), text)
        probs = values.get(KEEP)
        if self._texts or not isinstance(probs, list):
            return None
        listed = values.get("texts")  # as it stands there; `number` counts those that are not empty
        places = [i for i, item in enumerate(listed) if _plain(item)] if isinstance(listed, list) else []
        place = places[number] if number < len(places) else number
        prob = probs[place] if place < len(probs) else 0.0
        return float(prob) if isinstance(prob, int | float) else 0.0


def _require_undrawn(folder: Path, config: Any) -> None:
    """Texts that a draw has kept are balanced; drawn once more, frequent entries would count too little."""
    rule = config.get("texts", ALL) if isinstance(config, Mapping) else ALL
    if rule != ALL:
        raise DataError(
            f"{folder} holds the texts that one draw kept (texts={rule}); drawing again would balance twice.",
            "Make it with `curate balance --set texts=all`, or train on what it kept without `balance`.",
        )


def _field(name: str, caption: bytes | None, values: Mapping[str, Any]) -> list[str]:
    if name == CAPTION:
        text = caption.decode(errors="replace").strip() if caption is not None else ""
        return [text] if text else []
    value = values.get(name)
    items = value if isinstance(value, list) else [value]
    texts = [_plain(item) for item in items]
    return [text for text in texts if text]


def _plain(text: Any) -> str:
    """A text, or that of `{"key": ..., "text": ...}` as `collect pairs` writes it."""
    if isinstance(text, Mapping):
        text = text.get("text")
    return text.strip() if isinstance(text, str) else ""


def _values(details: bytes) -> Mapping[str, Any]:
    try:
        values = json.loads(details)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _key(uid: str | None, text: str) -> int:
    return int.from_bytes(blake2b(f"{uid}\n{text}".encode(errors="replace"), digest_size=8).digest())
