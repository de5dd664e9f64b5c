"""Write the table of searches in docs/pictogram.md: what the package's gallery answers to fixed questions.

`python -m scripts.search_examples` asks and writes. The questions are in this file and were written down
before the answers were seen; none is left out.
"""

from pathlib import Path

import clipworks
from clipworks.files import atomic_write
from clipworks.model.engine import Engine
from clipworks.search.answer import Ask, Part, answer
from clipworks.search.library import Library
from clipworks.search.opening import open_index
from clipworks.search.store import Hit

PAGE = Path(__file__).resolve().parent.parent / "docs" / "pictogram.md"
BEGIN, END = "<!-- searches, written by scripts/search_examples.py -->\n", "<!-- / -->"

QUESTIONS = {
    "things, by name": ("a fox", "a guitar", "an umbrella", "a steam locomotive", "pizza", "a lighthouse"),
    "kinds of things": ("an animal", "a musical instrument", "food", "a vehicle", "a tool"),
    "moods and signs": ("somebody is angry", "love", "danger", "a happy birthday", "stop"),
    "other languages": ("ein Hund", "un poisson", "una casa", "猫", "自転車", "Wissenschaft"),
    "more than a name": ("a red car", "two dogs", "a cat on a sofa", "a man rides a horse", "no smoking"),
    "what no picture shows": (
        "democracy",
        "the price of oil in 1973",
        "x squared plus one",
        "tomorrow maybe",
    ),
}
SHOWN = 3


def main() -> None:
    engine = clipworks.load("pictogram")
    library = open_index(Path(clipworks.__file__).parent / "gallery" / "index")
    rows = ["| asked | the first three (cosine) | is any called relevant? |", "|---|---|---|"]
    for title, questions in QUESTIONS.items():
        rows.append(f"| **{title}** | | |")
        rows.extend(ask(engine, library, question) for question in questions)
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest[rest.index(END) :]
    with atomic_write(PAGE) as file:
        file.write((before + BEGIN + "\n".join(rows) + "\n" + after).encode())


def ask(engine: Engine, library: Library, question: str) -> str:
    """A row of the table."""
    part = Part(label=question, vector=engine.embed_texts([question])[0], kind="text")
    found = answer(library, [part], Ask(limit=SHOWN))
    return f"| {question} | {'; '.join(map(_words, found.hits))} | {'yes' if found.is_relevant else 'no'} |"


def _words(hit: Hit) -> str:
    return f"{hit.caption} ({hit.score:.2f})"


if __name__ == "__main__":
    main()
