"""What can be known of texts before their pictures are there: a stage that adds columns to pairs.

Lists as long as a row's `texts`: `languages` and `language_probs` (what the model says), `text_chars` and
`text_words` (length in characters, and in words between white space), `text_toxic` (how many words or
phrases of a list it holds, where there is a list). And for the row `blocked`: whether the address of the
picture or the page is listed, where there is a list. Nothing is dropped: filters and matching read on.
"""

from collections import Counter
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipworks.blocklists import Blocklist, read_blocklist
from clipworks.curate.languages import Verdict, open_identifier
from clipworks.curate.matches import TEXT_COLUMNS, flat_texts, table_sources
from clipworks.curate.settings import TextsConfig, resolved
from clipworks.curate.words import WordLists, read_words
from clipworks.errors import DataError
from clipworks.stage import Made, ShowProgress, Source, run_stage
from clipworks.tables import read_batches, write_table

STAGE = "texts"
BLOCKED = "blocked"
ADDRESSES = ("image_url", "url", "page_url")
"""Columns whose addresses are looked up, those that are there."""

_TYPES = (pa.string(), pa.float32(), pa.int32(), pa.int32(), pa.int32())


def describe_texts(
    pairs: Path,
    out: Path,
    config: TextsConfig,
    *,
    workers: int = 1,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Add the columns to all pairs; a stage.

    Args:
        pairs: a finished folder with the column `texts`, as `collect pairs` writes it.
        out: folder to write: the same rows in the same parts, with the columns.
        config: model and lists.
        workers: processes.
        show: told when a part is done.

    Returns:
        The manifest; its counts are `pairs`, `texts`, `language CODE` of each, `toxic_texts` and
        `blocked_pairs`.

    Raises:
        ConfigError: a setting is out of range or names what does not exist, or `out` was begun otherwise.
        DataError: the folder is unfinished or has no texts, or a list is damaged.
        MissingExtraError: the model of languages is not installed.
    """
    described = resolved(config)
    check_lists(config)
    sources = table_sources(pairs)
    for source in sources[:1]:
        next(read_batches(Path(source.path), ["texts"], rows=1), None)
    work = partial(_describe_part, config=config)
    return run_stage(work, sources, out, stage=STAGE, config=described, workers=workers, show=show)


def check_lists(config: TextsConfig) -> None:
    """Open all that the settings name, once in this process. Raises as `describe_texts`."""
    open_identifier(config.language_model)
    _words_of(config)
    _blocklist_at(config.blocklists)


def _describe_part(source: Source, folder: Path, *, config: TextsConfig) -> Made:
    counts: Counter[str] = Counter(pairs=0, texts=0)
    batches = []
    try:
        for batch in read_batches(Path(source.path)):
            batches.append(_described(batch, config, counts))
            counts["pairs"] += len(batch)
    except DataError as error:
        return Made(rows=0, failure=error.message)
    name = f"{source.name}.parquet"
    if batches:
        write_table(folder / name, pa.Table.from_batches(batches))
    return Made(rows=counts["pairs"], counts=counts, files=[name] * bool(batches))


def _described(batch: pa.RecordBatch, config: TextsConfig, counts: Counter[str]) -> pa.RecordBatch:
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    if "texts" not in columns:
        raise DataError("There is no column 'texts'.", "Give a folder of clipworks collect pairs.")
    flat, lengths = flat_texts(batch)
    texts = [text or "" for text in flat.field("text").to_pylist()]
    verdicts = _verdicts(texts, config)
    values: list[Any] = [
        [one.code for one in verdicts],
        [one.prob for one in verdicts],
        [len(text) for text in texts],
        [len(text.split()) for text in texts],
    ]
    counts.update(f"language {one.code or 'unknown'}" for one in verdicts)
    counts["texts"] += len(texts)
    words = _words_of(config)
    if words is not None:
        values.append(words.count(texts, [one.code for one in verdicts]))
        counts["toxic_texts"] += int(np.count_nonzero(values[-1]))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    for name, kind, some in zip(TEXT_COLUMNS, _TYPES, values, strict=False):
        columns[name] = pa.ListArray.from_arrays(offsets, pa.array(some, kind))
    if config.blocklists:
        blocked = _blocked(batch, _blocklist_at(config.blocklists))
        columns[BLOCKED] = pa.array(blocked)
        counts["blocked_pairs"] += int(blocked.sum())
    return pa.record_batch(columns)


def _verdicts(texts: list[str], config: TextsConfig) -> list[Verdict]:
    """What the model says; nothing of a text without a letter, or of which it is not sure enough."""
    nothing = Verdict("", 0.0)
    found = iter(open_identifier(config.language_model)([text for text in texts if _has_letter(text)]))
    verdicts = [next(found) if _has_letter(text) else nothing for text in texts]
    return [one if one.prob >= config.min_prob else Verdict("", one.prob) for one in verdicts]


def _has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))


def _blocked(batch: pa.RecordBatch, blocklist: Blocklist) -> NDArray[np.bool_]:
    listed = np.zeros(len(batch), np.bool_)
    for name in set(ADDRESSES) & set(batch.schema.names):
        listed |= blocklist.have_addresses([url or "" for url in batch.column(name).to_pylist()])
    return listed


def _words_of(config: TextsConfig) -> WordLists | None:
    return read_words(Path(config.toxic_words)) if config.toxic_words else None


@lru_cache(maxsize=2)
def _blocklist_at(path: str) -> Blocklist:
    return read_blocklist([Path(path)] if path else [])
