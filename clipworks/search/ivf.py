"""Approximate search in a file: faiss' inverted lists of vectors, six bits a number, then exact ranking.

Vectors are sorted into lists by their nearest centre; a search looks into a few lists, and ranks what it
finds by the library's float16 vectors. How many lists, and how many finds are ranked, is measured when the
file is made: as few as give what an exact search gives for some of the pictures. Chosen by measurement
(docs/search.md): built in a fraction of the time that graphs take. Centres are found and vectors assigned by
numpy's matrix product, which does it in a quarter of faiss' time. The file is thrown away and made anew when
a quarter of the pictures has changed.
The owner of faiss.
"""

import json
import os
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

from clipworks.errors import DataError
from clipworks.files import atomic_write
from clipworks.search.exact import exactly_nearest, ranked, unit
from clipworks.search.matrix import Matrix
from clipworks.search.store import Change, Mask, Selection, Slots, Vectors

INDEX_NAME = "ivf.faiss"
STATE_NAME = "ivf.json"

_PICTURES_PER_LIST = 1000
_TRAINED_WITH = 64
"""Vectors a list that its centre is computed from, at least."""
_TRAINED_WITH_IN_ALL = 65_536
"""The same for all lists together; with fewer, neighbours lie in lists far from each other."""
_ROUNDS = 8
"""Of k-means; more changed recall by less than a thousandth."""
_RANGES_FROM = 20_000
"""Vectors that the ranges of numbers are taken from."""
_LISTS_SEARCHED = (4, 8, 16, 32, 64, 128)
"""Numbers that are tried. Two would be enough for vectors in clusters, but words lie farther from pictures
than these from each other, and two more cost little."""
_CANDIDATES_PER_HIT = (5, 10, 20, 40)
"""Numbers that are tried; many pictures that are nearly the same cannot be told apart by six bits."""
_AIM = 0.995
"""Recall of the ten nearest; reached with as few candidates as possible, then with as few lists."""
_GAIN = 0.002
"""Recall that more lists must bring to be worth it."""
_MEASURED_WITH = 128
"""Pictures that are looked for."""
_NEIGHBOURS = 10
_FEW = 20_000
"""Selected pictures up to which every one of them is compared."""
_AT_ONCE = 100_000
_ASSIGNED_AT_ONCE = 4096
_CHANGED_SHARE = 0.25


class IvfStore:
    """A `VectorStore` over inverted lists in a folder; ranks with a library's own vectors."""

    def __init__(self, folder: Path, dim: int, matrix: Matrix, lists_searched: int | None = None) -> None:
        """Begin; `lists_searched` takes the place of the number that is measured."""
        self._folder = folder
        self._dim = dim
        self._matrix = matrix
        self._is_measured = lists_searched is None
        self._lists_searched = lists_searched or _LISTS_SEARCHED[0]
        self._candidates_per_hit = _CANDIDATES_PER_HIT[0]
        self._index: faiss.Index | None = None
        self._revision = 0
        self._changed = 0
        self._alive: Mask = np.zeros(0, dtype=np.bool_)
        self._open()

    @property
    def lists_searched(self) -> int:
        """Lists that a search without filters looks into."""
        return self._lists_searched

    def revision(self) -> int:
        """As `VectorStore.revision`; 0 where it should be made anew."""
        return self._revision if self._changed <= _CHANGED_SHARE * max(1, self.count()) else 0

    def apply(self, change: Change) -> None:
        """As `VectorStore.apply`."""
        is_anew = self._index is None or not self.revision()
        if is_anew:
            self._alive = np.zeros(0, dtype=np.bool_)
            self._index = self._trained(change)
            self._changed = 0
        else:
            self._changed += len(change.slots) + len(change.gone)
        top = max(int(change.slots[-1]) + 1 if len(change.slots) else 0, len(self._alive))
        alive = np.zeros(top, dtype=np.bool_)
        alive[: len(self._alive)] = self._alive
        known = change.slots[change.slots < len(self._alive)]
        stale = np.union1d(change.gone[change.gone < len(self._alive)], known[self._alive[known]])
        assert self._index is not None
        if len(stale):
            self._index.remove_ids(faiss.IDSelectorBatch(stale.astype(np.int64)))
        centres = _centres_in(self._index)
        for start in range(0, len(change.slots), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            _add(self._index, change.vectors[some].astype(np.float32), change.slots[some], centres)
        alive[change.gone[change.gone < top]] = False
        alive[change.slots] = True
        self._alive, self._revision = alive, change.revision
        if is_anew and self._is_measured:
            self._measure(change)
        self._save()

    def nearest(self, queries: Vectors, limit: int, within: Selection | None = None) -> tuple[Slots, Vectors]:
        """As `VectorStore.nearest`."""
        mask = self._alive
        if within is not None:
            mask = np.zeros(len(self._alive), dtype=np.bool_)
            both = min(len(mask), len(within.mask))
            mask[:both] = self._alive[:both] & within.mask[:both]
            if int(mask.sum()) <= _FEW:
                return exactly_nearest(self._matrix.rows(len(mask)), mask, queries, limit)
        if self._index is None:
            return exactly_nearest(self._matrix.rows(len(mask)), mask, queries, limit)
        found = self._candidates(queries, limit, mask if within is not None else None)
        best = [
            ranked(self._matrix.rows(len(self._alive)), slots[slots >= 0], query, limit)
            for slots, query in zip(found, queries, strict=True)
        ]
        return np.stack([slots for slots, _ in best]), np.stack([scores for _, scores in best])

    def count(self) -> int:
        """As `VectorStore.count`."""
        return int(self._alive.sum())

    def close(self) -> None:
        """As `VectorStore.close`."""
        self._index = None

    def _candidates(self, queries: Vectors, limit: int, mask: Mask | None) -> Slots:
        assert self._index is not None
        wanted = max(self._candidates_per_hit * limit, 50)
        parameters = faiss.SearchParametersIVF(nprobe=self._lists_searched)
        if mask is not None:
            # Few of the pictures in each list count, so more lists are needed for as many of them.
            share = int(mask.sum()) / max(1, self.count())
            probes = min(self._lists_searched / max(share, 1e-6), self._lists_searched * 16)
            bits: npt.NDArray[np.uint8] = np.packbits(mask, bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
            parameters = faiss.SearchParametersIVF(nprobe=int(probes), sel=selector)
        _, found = self._index.search(queries, wanted, params=parameters)
        slots: Slots = np.asarray(found, dtype=np.int64)
        return slots

    def _measure(self, change: Change) -> None:
        """Find out how many lists and candidates it takes to find the nearest of some of the vectors."""
        if len(change.slots) <= _NEIGHBOURS:
            return
        step = max(1, len(change.slots) // _MEASURED_WITH)
        queries = unit(change.vectors[::step][:_MEASURED_WITH])
        # Each finds itself in any case; its neighbours count.
        true = _exactly(change, queries, _NEIGHBOURS + 1)[:, 1:]
        best, chosen = -1.0, (0, 0)
        for candidates in _CANDIDATES_PER_HIT:
            before = -1.0
            for lists in _LISTS_SEARCHED:
                self._lists_searched, self._candidates_per_hit = lists, candidates
                found = self.nearest(queries, _NEIGHBOURS + 1)[0]
                shares = [np.isin(some, own).mean() for some, own in zip(true, found, strict=True)]
                recall = float(np.mean(shares))
                if recall >= _AIM:
                    return
                if recall > best + _GAIN:
                    best, chosen = recall, (lists, candidates)
                if recall < before + _GAIN:
                    break
                before = recall
        self._lists_searched, self._candidates_per_hit = chosen

    def _trained(self, change: Change) -> faiss.Index:
        count = len(change.slots)
        num_lists = max(1, count // _PICTURES_PER_LIST)
        step = max(1, count // max(num_lists * _TRAINED_WITH, _TRAINED_WITH_IN_ALL))
        sample = change.vectors[::step].astype(np.float32)
        if not count:
            sample = np.zeros((1, self._dim), dtype=np.float32)
        quantizer = faiss.IndexFlatIP(self._dim)
        quantizer.add(_centres(sample, num_lists))
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, self._dim, num_lists, faiss.ScalarQuantizer.QT_6bit, faiss.METRIC_INNER_PRODUCT
        )
        index.own_fields = True
        quantizer.this.disown()
        index.train(sample[:: max(1, len(sample) // _RANGES_FROM)])
        return index

    def _save(self) -> None:
        assert self._index is not None
        (self._folder / STATE_NAME).unlink(missing_ok=True)
        temporary = self._folder / f".{INDEX_NAME}.part"
        faiss.write_index(self._index, str(temporary))
        os.replace(temporary, self._folder / INDEX_NAME)
        state = {
            "revision": self._revision,
            "changed": self._changed,
            "dim": self._dim,
            "searched": [self._lists_searched, self._candidates_per_hit],
        }
        with atomic_write(self._folder / STATE_NAME) as file:
            file.write(json.dumps(state).encode())

    def _open(self) -> None:
        try:
            state = json.loads((self._folder / STATE_NAME).read_bytes())
            index = faiss.read_index(str(self._folder / INDEX_NAME))
        except (OSError, ValueError, RuntimeError):
            return  # it is made anew
        if state.get("dim") != self._dim or index.d != self._dim:
            raise DataError(f"{self._folder / INDEX_NAME} has vectors of another length.", "Delete it.")
        slots = np.sort(_slots_in(index))
        self._alive = np.zeros(int(slots[-1]) + 1 if len(slots) else 0, dtype=np.bool_)
        self._alive[slots] = True
        self._index = index
        self._revision, self._changed = state["revision"], state["changed"]
        if self._is_measured:
            # Files of older versions do not say.
            self._lists_searched, self._candidates_per_hit = state.get("searched", (16, 5))


def _exactly(change: Change, queries: Vectors, limit: int) -> Slots:
    """The slots nearest to each query among all vectors of a change, int64 [Q, limit]."""
    everything = np.ones(len(change.slots), dtype=np.bool_)
    places = exactly_nearest(change.vectors, everything, queries, limit)[0]
    return np.where(places >= 0, change.slots[places], -1)


def _slots_in(index: faiss.Index) -> Slots:
    """Every id of an inverted file."""
    lists = index.invlists
    parts = [
        faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)).copy()
        for number in range(lists.nlist)
        if lists.list_size(number)
    ]
    return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, dtype=np.int64)


def _centres_in(index: faiss.Index) -> Vectors:
    """float32 [lists, D]."""
    quantizer = faiss.downcast_index(index.quantizer)
    numbers = faiss.rev_swig_ptr(quantizer.get_xb(), quantizer.ntotal * index.d)
    centres: Vectors = numbers.reshape(quantizer.ntotal, index.d)
    return centres


def _add(index: faiss.Index, vectors: Vectors, slots: Slots, centres: Vectors) -> None:
    """Put vectors into the lists of their nearest centres; faiss would look for these itself, slowly."""
    lists, ids = _nearest_centres(vectors, centres), slots.astype(np.int64)
    pointers = (faiss.swig_ptr(array) for array in (vectors, ids, lists))
    index.add_core(len(vectors), *pointers)


def _centres(sample: Vectors, count: int) -> Vectors:
    """Spherical k-means: float32 [count, D], unit length, each in the middle of those nearest to it."""
    random = np.random.default_rng(0)
    centres: Vectors = sample[random.choice(len(sample), count, replace=False)].copy()
    for _ in range(_ROUNDS):
        lists = _nearest_centres(sample, centres)
        order = np.argsort(lists, kind="stable")
        counts = np.bincount(lists, minlength=count)
        filled = np.flatnonzero(counts)
        starts = (np.cumsum(counts) - counts)[filled]
        centres[filled] = np.add.reduceat(sample[order], starts)
        empty = np.flatnonzero(counts == 0)
        centres[empty] = sample[random.choice(len(sample), len(empty), replace=False)]
        centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), np.float32(1e-6))
    return centres


def _nearest_centres(vectors: Vectors, centres: Vectors) -> Slots:
    """The number of the centre nearest to each vector, int64 [N]."""
    found: Slots = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), _ASSIGNED_AT_ONCE):
        some = slice(start, start + _ASSIGNED_AT_ONCE)
        found[some] = (vectors[some] @ centres.T).argmax(axis=1)
    return found
