"""500,000 entries and caption-like texts for benchmarks of curation: real words, the same each time.

Entries: WordNet 3.0's names with "0".."99" (86,654), wordfreq's commonest English words (251,465 more), pairs
that stand in openclipart's captions and then random pairs of common words (100,646), and in place of titles
capitalised random runs of two or three common words (the rest). Texts: 10 to 20 words in a row from
openclipart's titles, descriptions and keywords. Needs `pip install wordfreq` and Debian's wordnet-base.
"""

import json
import random
from pathlib import Path

import wordfreq

from clipworks.curate.metadata import build_entries
from clipworks.curate.wordnet import synset_names

NUM_ENTRIES = 500_000
NUM_WORDS = 251_465
NUM_PAIRS = 100_646
CAPTIONS = Path("../shared/data/openclipart_captions.jsonl")
WORDNET = Path("/usr/share/wordnet")


def make_entries(captions: Path, wordnet: Path) -> list[str]:
    """The entries, each once."""
    chance = random.Random(0)
    words = list(wordfreq.iter_wordlist("en", "large"))
    common = words[:30_000]
    seen = _words_of(captions)
    pairs = dict.fromkeys(f"{a} {b}" for a, b in zip(seen, seen[1:], strict=False))
    while len(pairs) < NUM_PAIRS:
        pairs[" ".join(chance.sample(common, 2))] = None
    names = dict.fromkeys(synset_names(wordnet))
    new_words = [word for word in words if word not in names and not word.isdigit()][:NUM_WORDS]
    titles = (
        " ".join(chance.choices(common, k=chance.choice((2, 2, 3)))).title() for _ in range(NUM_ENTRIES)
    )
    sources = {"names": names, "words": new_words, "pairs": pairs, "titles": titles}
    entries = build_entries(sources, max_entries=NUM_ENTRIES).texts
    assert len(entries) == NUM_ENTRIES
    return list(entries)


def make_texts(captions: Path, count: int) -> list[str]:
    """Texts of 10 to 20 words, mean about 80 characters."""
    chance = random.Random(1)
    words = _words_of(captions)
    texts = []
    for _ in range(count):
        begin, length = chance.randrange(len(words) - 20), chance.randint(10, 20)
        texts.append(" ".join(words[begin : begin + length]))
    return texts


def _words_of(captions: Path) -> list[str]:
    words: list[str] = []
    with captions.open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            words += f"{row['title']}. {row['description']} {', '.join(row['keywords'])}".split()
    return words
