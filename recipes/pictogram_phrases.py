"""Phrases whose meaning is mostly that of one word in them: its head.

`motor vehicle` is a vehicle, `a red car` a car, `a cat on a sofa` a cat. Names of pictures hold few of them,
so a text tower that learned from names alone takes every word for equally important. Called by
`pictogram_languages`.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from recipes.pictogram_words import WordNet
from recipes.pool_captions import with_article

DESCRIBED = 40_000
"""Phrases of an adjective and a noun."""
PLACED = 15_000
"""Phrases of two nouns and a preposition."""
PREPOSITIONS = ("on", "in", "with", "under", "near")


def make_phrases(folder: Path, captions: Sequence[str], num_heads: int) -> list[tuple[str, str]]:
    """Phrases and their heads, which are all captions and nouns of things; no phrase is a caption.

    Args:
        folder: WordNet's database.
        captions: what pictures are called, no two alike, often first.
        num_heads: how many of them may be heads.
    """
    wordnet = WordNet(folder)
    nouns = [text for text in captions[:num_heads] if _is_thing(wordnet, text)]
    if not nouns:
        return []
    heads, known = set(nouns), set(captions)
    found = {phrase: head for phrase, head in wordnet.compounds() if head in heads}
    chance = random.Random(0)
    found |= dict(_described(read_adjectives(folder), nouns, chance))
    found |= dict(_placed(nouns, chance))
    pairs = [(phrase, head) for phrase, head in found.items() if phrase not in known]
    chance.shuffle(pairs)
    return pairs


def read_adjectives(folder: Path) -> list[str]:
    """Adjectives of one word that WordNet's authors met in texts."""
    found = list[str]()
    for line in (folder / "index.adj").read_text("ascii").splitlines():
        parts = line.split()
        if line[:1] != " " and parts[0].isalpha() and int(parts[-int(parts[2]) - 1]) > 0:
            found.append(parts[0])
    return found


def _described(
    adjectives: Sequence[str], nouns: Sequence[str], chance: random.Random
) -> Iterator[tuple[str, str]]:
    for number in range(DESCRIBED if adjectives else 0):
        noun = chance.choice(nouns)
        phrase = f"{chance.choice(adjectives)} {noun}"
        yield (phrase if number % 2 else with_article(phrase)), noun


def _placed(nouns: Sequence[str], chance: random.Random) -> Iterator[tuple[str, str]]:
    for _ in range(PLACED):
        noun, other = chance.choice(nouns), chance.choice(nouns)
        yield f"{with_article(noun)} {chance.choice(PREPOSITIONS)} {with_article(other)}", noun


def _is_thing(wordnet: WordNet, text: str) -> bool:
    meaning = wordnet.look_up(text) if wordnet.lemma(text.replace(" ", "_")) is not None else None
    return meaning is not None and meaning.is_concrete
