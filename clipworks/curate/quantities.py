"""What a filter can ask of a row: numbers to compare and flags, each a pure function of rows.

`QUANTITIES` is the whole list. A quantity names the columns it reads and the settings it needs; numbers keep
the type of their column, so that a threshold is rounded as pandas rounds it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.blocklists import PICTURE_KINDS, Blocklist, read_blocklist
from clipworks.curate.clusters import nearest_centroids, read_matrix, read_targets
from clipworks.curate.languages import open_identifier
from clipworks.curate.pool import Rows
from clipworks.curate.scorers import open_scorer
from clipworks.curate.senses import read_offsets, read_senses
from clipworks.curate.settings import FilterConfig
from clipworks.curate.subsets import counts_in, read_subset
from clipworks.curate.uids import RANDOM, draws_of
from clipworks.curate.words import read_words
from clipworks.errors import ConfigError

Compute = Callable[[Rows, FilterConfig], NDArray[Any]]
"""Rows -> a number or a truth value each, [N]."""

_FASTTEXT_TOKEN = re.compile("[^ \n\r\t\v\f\0]+|\n")
"""fasttext.tokenize: ASCII white space and NUL split, and a line break is a token of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """One thing to ask."""

    compute: Compute
    columns: tuple[str, ...] = ()
    """Columns that are read, by the pool's names."""
    where_there: tuple[str, ...] = ()
    """Columns that are read of tables that have them."""
    needs: tuple[str, ...] = ()
    """Settings without which it cannot be computed."""
    is_flag: bool = False
    """A truth value: it stands alone in a filter."""


def quantity_named(name: str) -> Quantity:
    """A quantity of the list; any other name is a column of numbers, as it is."""
    return QUANTITIES.get(name) or Quantity(compute=lambda rows, config: rows.numbers(name), columns=(name,))


def check_needs(name: str, config: FilterConfig) -> None:
    """See that the settings are there that a quantity needs.

    Raises:
        ConfigError: one of them is not set.
    """
    missing = [need for need in quantity_named(name).needs if not getattr(config, need)]
    if missing:
        raise ConfigError(f"The rule {name!r} needs the setting {missing[0]}.", f"Add --set {missing[0]}=...")


def count_words(text: str) -> int:
    """Words between white space of any kind."""
    return len(text.split())


def count_tokens(text: str) -> int:
    """What fasttext.tokenize gives: runs of anything but ASCII white space, and each line break."""
    return sum(1 for _ in _FASTTEXT_TOKEN.finditer(text))


def _of_texts(function: Callable[[str], int]) -> Compute:
    return lambda rows, config: np.array([function(text) for text in rows.texts()], np.int64)


def _column(name: str) -> Compute:
    return lambda rows, config: rows.numbers(name)


def _min_side(rows: Rows, config: FilterConfig) -> NDArray[Any]:
    smaller: NDArray[Any] = np.minimum(rows.numbers("width"), rows.numbers("height"))
    return smaller


def _max_side(rows: Rows, config: FilterConfig) -> NDArray[Any]:
    larger: NDArray[Any] = np.maximum(rows.numbers("width"), rows.numbers("height"))
    return larger


def _aspect(rows: Rows, config: FilterConfig) -> NDArray[Any]:
    """Longer side over shorter side; of a side of 0 it is infinite or no number."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: NDArray[Any] = _max_side(rows, config) / _min_side(rows, config)
    return ratio


def _pixels(rows: Rows, config: FilterConfig) -> NDArray[Any]:
    area: NDArray[Any] = rows.numbers("width").astype(np.float64) * rows.numbers("height")
    return area


def _random(rows: Rows, config: FilterConfig) -> NDArray[Any]:
    return draws_of(rows.uids, config.seed, stream=RANDOM)


def _language(rows: Rows, config: FilterConfig) -> NDArray[Any]:
    found = open_identifier(config.language_model)(rows.texts())
    return np.array([one.code == config.language for one in found], np.bool_)


def _entity(rows: Rows, config: FilterConfig) -> NDArray[Any]:
    """Whether some word of the text, by its first sense in WordNet, is in the list of entities."""
    senses, wanted = read_senses(Path(config.wordnet)), read_offsets(Path(config.entities))
    known: dict[str, bool] = {}
    found = []
    for text in rows.texts():
        words = text.split()
        for word in words:
            if word not in known:
                known[word] = senses.first(word) in wanted
        found.append(any(known[word] for word in words))
    return np.array(found, np.bool_)


def _near_target(rows: Rows, config: FilterConfig) -> NDArray[Any]:
    """Whether the centroid with the largest inner product with the L/14 picture features is a target."""
    centroids, targets = read_matrix(Path(config.centroids)), read_targets(Path(config.targets))
    nearest = nearest_centroids(rows.features(config.features), centroids)
    inside: NDArray[np.bool_] = np.isin(nearest, targets)
    return inside


def _toxic(rows: Rows, config: FilterConfig) -> NDArray[Any]:
    words, texts = read_words(Path(config.toxic_words)), rows.texts()
    found = open_identifier(config.language_model)(texts) if words.asks_language else []
    return words.count(texts, [one.code for one in found]) > 0


def _blocked(rows: Rows, config: FilterConfig) -> NDArray[Any]:
    """Whether the address is listed, or the picture by one of the hashes that the table has."""
    blocklist = _blocklist_at(config.blocklists)
    listed = blocklist.have_addresses(rows.texts("url"))
    for kind in PICTURE_KINDS:
        if kind in blocklist.digests and kind in rows.table.column_names:
            listed |= blocklist.have_pictures(kind, _hashes_of(rows, kind))
    return listed


def _hashes_of(rows: Rows, kind: str) -> list[str]:
    if kind != "phash":
        return rows.texts(kind)
    return ["" if number is None else f"{number:016x}" for number in rows.table[kind].to_pylist()]


@lru_cache(maxsize=2)
def _blocklist_at(path: str) -> Blocklist:
    return read_blocklist([Path(path)])


def _has_face(rows: Rows, config: FilterConfig) -> NDArray[Any]:
    boxes = rows.table["faces"].to_pylist()
    return np.array([bool(box) for box in boxes], np.bool_)


def _in_subset(setting: str) -> Compute:
    return lambda rows, config: _subset_counts(getattr(config, setting), rows) > 0


def _subset_counts(path: str, rows: Rows) -> NDArray[np.int64]:
    return counts_in(_opened(path), rows.uids)


@lru_cache(maxsize=4)
def _opened(path: str) -> Any:
    return read_subset(Path(path))


def _scored(setting: str) -> Compute:
    def compute(rows: Rows, config: FilterConfig) -> NDArray[Any]:
        scorer = open_scorer(Path(getattr(config, setting)))
        return scorer.score(rows.features(scorer.features))

    return compute


def _everything(rows: Rows, config: FilterConfig) -> NDArray[Any]:
    return np.ones(len(rows), np.bool_)


QUANTITIES: dict[str, Quantity] = {
    "everything": Quantity(compute=_everything, is_flag=True),
    # numbers that stand in the table
    "b32": Quantity(compute=_column("b32"), columns=("b32",)),
    "l14": Quantity(compute=_column("l14"), columns=("l14",)),
    "width": Quantity(compute=_column("width"), columns=("width",)),
    "height": Quantity(compute=_column("height"), columns=("height",)),
    "bytes": Quantity(compute=_column("bytes"), columns=("bytes",)),
    # sizes
    "min_side": Quantity(compute=_min_side, columns=("width", "height")),
    "max_side": Quantity(compute=_max_side, columns=("width", "height")),
    "aspect": Quantity(compute=_aspect, columns=("width", "height")),
    "pixels": Quantity(compute=_pixels, columns=("width", "height")),
    # texts
    "chars": Quantity(compute=_of_texts(len), columns=("text",)),
    "words": Quantity(compute=_of_texts(count_words), columns=("text",)),
    "tokens": Quantity(compute=_of_texts(count_tokens), columns=("text",)),
    "english": Quantity(compute=_language, columns=("text",), is_flag=True),
    "entity": Quantity(compute=_entity, columns=("text",), needs=("wordnet", "entities"), is_flag=True),
    "toxic": Quantity(compute=_toxic, columns=("text",), needs=("toxic_words",), is_flag=True),
    # lists
    "blocked": Quantity(
        compute=_blocked, columns=("url",), where_there=PICTURE_KINDS, needs=("blocklists",), is_flag=True
    ),
    "duplicate": Quantity(compute=_in_subset("duplicates"), needs=("duplicates",), is_flag=True),
    "contaminated": Quantity(compute=_in_subset("evaluation"), needs=("evaluation",), is_flag=True),
    "chosen": Quantity(compute=_in_subset("subset"), needs=("subset",), is_flag=True),
    # pictures, by their features
    "near_target": Quantity(compute=_near_target, needs=("centroids", "targets"), is_flag=True),
    "punsafe": Quantity(compute=_scored("safety_head"), needs=("safety_head",)),
    "pwatermark": Quantity(compute=_scored("watermark_head"), needs=("watermark_head",)),
    "aesthetic": Quantity(compute=_scored("aesthetic_head"), needs=("aesthetic_head",)),
    "face": Quantity(compute=_has_face, columns=("faces",), is_flag=True),
    # chance
    "random": Quantity(compute=_random),
}
"""Name in a filter -> what it is. A column of another name, such as one of scores, is a number too."""
