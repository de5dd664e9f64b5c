"""From the vectors of a question to an honest answer: filters, weights, words, doubles, dates.

There is always a nearest picture, also when nothing in the index fits. So a result says which of its hits
reach what `relevance.py` measured for this index, which holds for one text or one picture. A vector joined of
several has lower cosines, the more so the less they have in common; so it gives the order, but a picture
counts where it would for one of the wanted parts by itself. The model is not needed here: `query.py` and
the server make the vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from clipworks.errors import ConfigError, InputError
from clipworks.search.exact import cosines, unit
from clipworks.search.filters import Filter
from clipworks.search.store import Hit, QueryKind, Result, Selection, Slots, Vectors, hit_of

if TYPE_CHECKING:
    from clipworks.search.library import Library

MAX_LIMIT = 10_000
MAX_PARTS = 32

Sort = Literal["score", "newest", "oldest"]

_SPARE = 4
"""Candidates for each hit, where some may be folded or rise by their words."""
_MOST_CANDIDATES = 2000
"""Of these the newest are taken, or doubles are sought among them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of a question, as a vector."""

    label: str
    """What people call it: its words, a file name, an id."""
    vector: Vectors
    """float32 [D], unit length."""
    kind: QueryKind
    weight: float = 1.0
    """Negative: what shall not be in the pictures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What is wanted besides the vectors."""

    limit: int = 10
    """Hits at most, 1..MAX_LIMIT."""
    filters: tuple[Filter, ...] = ()
    """All must hold."""
    sort: Sort = "score"
    """`newest` and `oldest` order the hits that count as found; pictures without a date come last."""
    words: str = ""
    """Words that also count where they stand in file name, caption, tags or place; empty: none."""
    words_weight: float = 0.0
    """What a picture gains that has them all, 0..1, on the scale of cosines."""
    is_cut: bool = False
    """Whether only hits that count as found are given."""
    is_folded: bool = False
    """Whether nearly the same pictures are one hit."""
    except_ids: tuple[str, ...] = ()
    """Pictures that are no hits, such as the one that others shall be like."""

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ConfigError: one is out of range.
        """
        if not 1 <= self.limit <= MAX_LIMIT:
            raise ConfigError(f"limit is {self.limit}; it must be 1..{MAX_LIMIT}.")
        if self.sort not in get_args(Sort):
            raise ConfigError(f"sort is {self.sort!r}; it must be one of {', '.join(get_args(Sort))}.")
        if not 0 <= self.words_weight <= 1:
            raise ConfigError(f"words_weight is {self.words_weight}; it must be 0..1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidates:
    """Pictures that may be hits, best first."""

    slots: Slots
    scores: Vectors
    """float32 [N], words included."""
    words: dict[int, float]
    """Slot -> what its words add."""


def answer(library: "Library", parts: Sequence[Part], ask: Ask) -> Result:
    """Search with any number of parts; without one, list what the filters let through.

    Args:
        library: the index.
        parts: weighted sum of their vectors is searched with.
        ask: what else is wanted.

    Raises:
        ConfigError: too many parts, a vector of another length, or a filter that cannot be used.
        InputError: the parts cancel each other out.
    """
    if len(parts) > MAX_PARTS:
        raise ConfigError(f"The question has {len(parts)} parts; the limit is {MAX_PARTS}.")
    for part in parts:
        library.require_length(part.vector)
    if not parts and ask.words:
        ask = replace(ask, filters=(*ask.filters, Filter(field="words", operator="=", value=ask.words)))
    within = library.select(ask.filters)
    if not parts:
        return Result(hits=tuple(_listed(library, ask, within)), threshold=None)
    vector, levels = _joined(parts), _levels(library, parts)
    threshold = min(levels.values(), default=None)
    found = _candidates(library, vector, ask, within, threshold)
    kept, alike = _folded(library, found, ask)
    hits = _hits(library, parts, found, (kept, alike), levels)
    hits = [hit for hit in hits if hit.id not in ask.except_ids]
    result = Result(hits=tuple(hits), threshold=threshold)
    if ask.sort != "score":
        result = Result(hits=_by_date(result.good or result.hits, ask.sort), threshold=threshold)
    hits = list(result.good if ask.is_cut else result.hits)[: ask.limit]
    return Result(hits=tuple(hits), threshold=threshold)


def joined_ask(ask: Ask, words: Sequence[tuple[str, float]], own_ids: Sequence[str]) -> Ask:
    """What is wanted, and what the parts of the question say of it.

    Args:
        ask: what is wanted.
        words: words that count where pictures have them, and how much.
        own_ids: pictures that are parts of the question, and so no hits.

    Raises:
        ConfigError: words count too much, or negatively.
    """
    if words:
        joined, most = " ".join(text for text, _ in words), max(weight for _, weight in words)
        ask = replace(ask, words=joined, words_weight=most)
    return replace(ask, except_ids=(*ask.except_ids, *own_ids))


def part_like(library: "Library", item_id: str, weight: float = 1.0) -> Part:
    """A picture of the index as part of a question, by the vector that is there.

    Raises:
        InputError: the index has no picture of this id.
    """
    slot = library.slot_of(item_id)
    if slot is None:
        raise InputError(f"The index has no picture {item_id!r}.", "Give an id that a search has shown.")
    vector = unit(library.rows(np.array([slot])))[0]
    return Part(label=item_id, vector=vector, kind="image", weight=weight)


def search_vector(library: "Library", vector: Vectors, kind: QueryKind, limit: int) -> Result:
    """The pictures of an index nearest to a vector.

    Args:
        library: the index.
        vector: float32 [library.dim], unit length, by the checkpoint that made the index.
        kind: what the vector was made from; texts and pictures have thresholds of their own.
        limit: how many hits, at least 1.

    Raises:
        ConfigError: limit below 1, or a vector of another length.
    """
    hits = library.query(vector, limit)
    return Result(hits=tuple(hits), threshold=library.relevance.level(kind, vector))


def _joined(parts: Sequence[Part]) -> Vectors:
    if len(parts) == 1 and parts[0].weight > 0:
        return parts[0].vector
    total = np.sum([part.weight * part.vector.astype(np.float64) for part in parts], axis=0)
    length = float(np.linalg.norm(total))
    if not length > 1e-6:
        raise InputError("The parts of the question cancel each other out.", "Give them other weights.")
    vector: Vectors = (total / length).astype(np.float32)
    return vector


def _levels(library: "Library", parts: Sequence[Part]) -> dict[int, float]:
    """From which cosine on a picture counts by each wanted part alone; empty where one is not measured."""
    relevance = library.relevance
    wanted = {
        place: relevance.level(part.kind, part.vector) for place, part in enumerate(parts) if part.weight > 0
    }
    levels = {place: level for place, level in wanted.items() if level is not None}
    return levels if len(levels) == len(wanted) else {}


def _candidates(
    library: "Library", vector: Vectors, ask: Ask, within: Selection | None, threshold: float | None
) -> _Candidates:
    wanted = ask.limit + len(ask.except_ids)
    if ask.sort != "score" and threshold is not None:
        wanted = _MOST_CANDIDATES
    elif ask.is_folded or ask.words_weight:
        wanted = min(_SPARE * wanted + 20, _MOST_CANDIDATES)
    slots, scores = library.nearest(vector, wanted, within)
    if not (ask.words and ask.words_weight):
        return _Candidates(slots=slots, scores=scores, words={})
    found = library.words(ask.words, wanted, within)
    words = {slot: ask.words_weight * share for slot, share in found.items()}
    slots = np.union1d(slots, np.array(sorted(words), dtype=np.int64))
    scores = cosines(library.rows(slots), vector)
    scores = scores + np.array([words.get(slot, 0.0) for slot in slots.tolist()], dtype=np.float32)
    order = np.lexsort((slots, -scores))
    return _Candidates(slots=slots[order], scores=scores[order], words=words)


def _folded(library: "Library", found: _Candidates, ask: Ask) -> tuple[list[int], dict[int, list[int]]]:
    """Places of the candidates that stay, and for each the places of those that are nearly the same.

    Frames of the same scene of a video count as such.
    """
    level = library.relevance.alike_threshold
    if not ask.is_folded or not len(found.slots):
        return list(range(len(found.slots))), {}
    rows = unit(library.rows(found.slots))
    scenes = library.scenes(found.slots.tolist())
    first_of: dict[tuple[str, int], int] = {}
    kept: list[int] = []
    alike: dict[int, list[int]] = {}
    for place, slot in enumerate(found.slots.tolist()):
        near = rows[kept] @ rows[place]
        first = int(near.argmax()) if len(near) else -1
        scene = scenes.get(slot)
        if scene is not None and scene in first_of:
            alike.setdefault(first_of[scene], []).append(place)
        elif first >= 0 and level is not None and near[first] >= level:
            alike.setdefault(kept[first], []).append(place)
        elif len(kept) < ask.limit + len(ask.except_ids) or ask.sort != "score":
            kept.append(place)
            if scene is not None:
                first_of[scene] = place
    return kept, alike


def _hits(
    library: "Library",
    parts: Sequence[Part],
    found: _Candidates,
    folded: tuple[Sequence[int], dict[int, list[int]]],
    levels: dict[int, float],
) -> list[Hit]:
    kept, alike = folded
    wanted = [*kept, *(place for places in alike.values() for place in places)]
    items = library.items([int(found.slots[place]) for place in wanted])
    rows = unit(library.rows(found.slots[kept]))
    each = np.stack([rows @ part.vector for part in parts], axis=1) if len(parts) > 1 else None
    hits = []
    for number, place in enumerate(kept):
        slot = int(found.slots[place])
        if slot not in items:
            continue  # went while we searched
        added = found.words.get(slot, 0.0)
        explained, margin = {"cosine": float(found.scores[place]) - added}, None
        if each is not None:
            margin = max((each[number, one] + added - level for one, level in levels.items()), default=None)
            names = [f"{part.weight:+g} {part.label}" for part in parts]
            explained.update(zip(names, each[number].tolist(), strict=True))
        if found.words:
            explained["words"] = added
        slots = (int(found.slots[other]) for other in alike.get(place, ()))
        same = tuple(items[other].id for other in slots if other in items)
        score = float(found.scores[place])
        hits.append(hit_of(items[slot], score, explained, same, None if margin is None else float(margin)))
    return hits


def _by_date(hits: Sequence[Hit], sort: Sort) -> tuple[Hit, ...]:
    dated = sorted((hit for hit in hits if hit.taken), key=lambda hit: hit.taken, reverse=sort == "newest")
    return (*dated, *(hit for hit in hits if not hit.taken))


def _listed(library: "Library", ask: Ask, within: Selection | None) -> list[Hit]:
    """Without a question: by date, or in the order of the index."""
    slots = library.listed(within, ask.sort, ask.limit)
    items = library.items(slots)
    return [hit_of(items[slot], 0.0) for slot in slots if slot in items]
