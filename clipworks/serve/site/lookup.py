"""Search by plain words over sections of text, ranked by BM25; no part of the model takes part in it.

A word of the question also finds the words that begin with it, for less. A section that has the rare words
of the question comes before one that has the frequent ones.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAX_FOUND = 20
MAX_QUESTION_WORDS = 12

_WORD = re.compile(r"\w+")
_LITTLE_WORDS = frozenset(
    "a an and are as at be by can do does for from how i in is it its my of on or that the this to what when "
    "where which with you your".split()
)
_SNIPPET_CHARACTERS = 220
_TITLE_WEIGHT = 6
_PREFIX_WEIGHT = 0.4
_SHORTEST_PREFIX = 4
_SATURATION, _LENGTH_SHARE = 1.2, 0.6
"""BM25's k1 and b; a title that many sections have (Limits, How it works) says little about each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """Something that can be found."""

    address: str
    """Where it is."""
    page: str
    """The page that it is on."""
    title: str
    """Its heading."""
    words: str
    """Its text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A passage that answers a question."""

    passage: Passage
    score: float
    """The larger the better; it has no unit."""
    snippet: Sequence[tuple[str, bool]]
    """The part of its text around the first word found, in pieces: text, and whether it was asked for."""


class Lookup:
    """Passages that can be searched.

    Args:
        passages: all of them.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._counts: dict[str, dict[int, float]] = defaultdict(dict)
        self._lengths = []
        num_titles = Counter(passage.title for passage in passages)
        for place, passage in enumerate(passages):
            title_weight = max(1, _TITLE_WEIGHT / num_titles[passage.title])
            counts = defaultdict[str, float](float)
            for text, weight in ((passage.words, 1), (passage.title, title_weight), (passage.page, 3)):
                for word in _stems(text):
                    counts[word] += weight
            for word, count in counts.items():
                self._counts[word][place] = count
            self._lengths.append(sum(counts.values()))
        self._mean_length = sum(self._lengths) / max(len(self._lengths), 1)

    def find(self, question: str, limit: int = MAX_FOUND) -> list[Found]:
        """The passages that answer a question, best first; none for a question without a word."""
        words = list(dict.fromkeys(_stems(question)))[:MAX_QUESTION_WORDS]
        asked = [word for word in words if word not in _LITTLE_WORDS] or words
        scores, met = defaultdict[int, float](float), defaultdict[int, float](float)
        for word in asked:
            rarity = self._rarity(len(self._places(word)))
            for place, score in self._scores_of(word).items():
                scores[place] += score
                met[place] += rarity
        most = max(met.values(), default=1.0)
        final = {place: score * (met[place] / most) ** 2 for place, score in scores.items()}
        ranked = sorted(final, key=lambda place: (-final[place], place))
        return [self._found(place, final[place], asked) for place in ranked[:limit]]

    def _places(self, word: str) -> set[int]:
        return {place for known, counts in self._counts.items() if _answers(known, word) for place in counts}

    def _rarity(self, num_places: int) -> float:
        return math.log(1 + (len(self._passages) - num_places + 0.5) / (num_places + 0.5))

    def _scores_of(self, word: str) -> dict[int, float]:
        best: dict[int, float] = {}
        for known, counts in self._counts.items():
            if not _answers(known, word):
                continue
            weight = self._rarity(len(counts)) * (1 if known == word else _PREFIX_WEIGHT)
            for place, count in counts.items():
                share = self._lengths[place] / self._mean_length
                norm = count + _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * share)
                best[place] = max(best.get(place, 0.0), weight * count * (_SATURATION + 1) / norm)
        return best

    def _found(self, place: int, score: float, asked: list[str]) -> Found:
        passage = self._passages[place]
        return Found(passage=passage, score=score, snippet=_snippet(passage.words, asked))


def _stems(text: str) -> Iterator[str]:
    """The words of a text without capitals and plurals; of `max_images` also its parts."""
    for match in _WORD.finditer(text.lower()):
        word = match[0]
        yield _stem(word)
        if "_" in word:
            yield from (_stem(part) for part in word.split("_") if part)


def _answers(known: str, word: str) -> bool:
    """Whether a word of a text is one of the question, or a longer one that begins with it."""
    return known == word or (len(word) >= _SHORTEST_PREFIX and known.startswith(word))


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _snippet(text: str, asked: list[str]) -> list[tuple[str, bool]]:
    def is_asked(word: str) -> bool:
        return any(_answers(stem, one) for stem in _stems(word) for one in asked)

    first = next((match.start() for match in _WORD.finditer(text) if is_asked(match[0])), 0)
    start = text.rfind(" ", 0, max(first - _SNIPPET_CHARACTERS // 3, 0)) + 1
    end = text.find(" ", start + _SNIPPET_CHARACTERS)
    end = len(text) if end < 0 else end
    pieces: list[tuple[str, bool]] = [("… ", False)] if start else []
    done = start
    for match in _WORD.finditer(text, start, end):
        if is_asked(match[0]):
            pieces += [(text[done : match.start()], False), (match[0], True)]
            done = match.end()
    return [
        piece
        for piece in [*pieces, (text[done:end], False), (" …" if end < len(text) else "", False)]
        if piece[0]
    ]
