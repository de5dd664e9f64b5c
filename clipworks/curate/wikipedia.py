"""Words, word pairs and titles of Wikipedia, read from its dumps as streams."""

import bz2
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from heapq import nsmallest
from html import unescape
from itertools import chain
from math import log2
from pathlib import Path
from typing import IO, Any
from xml.etree.ElementTree import ParseError, iterparse

from clipworks.curate.tally import Tally, joined
from clipworks.errors import DataError, reason_of

_WORD = r"[^\W_]+(?:['’-][^\W_]+)*"
_RUN = re.compile(rf"{_WORD}(?:[ \t\u00a0]+{_WORD})*")
"""Words with nothing but spaces between them: only such pairs can be found in texts."""

_UNSEEN = re.compile(
    r"<!--.*?-->|<ref[^>/]*/>"
    r"|<(ref|math|gallery|timeline|code|pre|syntaxhighlight|score|chem)\b[^>]*>.*?</\1\s*>|__[A-Z]+__",
    re.DOTALL | re.IGNORECASE,
)
_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}|\{\|(?:[^{|]|\{(?!\|)|\|(?!\}))*\|\}")
_LINK = re.compile(r"\[\[([^\[\]]*)\]\]")
_OUTER_LINK = re.compile(r"\[(?:https?:)?//[^\s\]]*\s*([^\]]*)\]")
_ADDRESS = re.compile(r"https?://\S+")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_LINE_MARK = re.compile(r"^(?:[*#:;]+|=+|-{4,})|=+[ \t]*$", re.MULTILINE)
_QUOTES = re.compile(r"'{2,}")
_SPACE_OF_PAGES = re.compile(r"^:?[\w -]+:(?=\S)")
"""A link to a file, a category or another language begins with a name and a colon."""

MAX_NESTING = 100

LINES_PER_PIECE = 1000


def read_pages(path: Path) -> Iterator[str]:
    """The text of each article of a dump (`.xml`, `.xml.bz2`, `.xml.gz`), or plain text in pieces.

    Raises:
        DataError: the file is missing or damaged.
    """
    with _opened(path) as file:
        if ".xml" in path.suffixes:
            yield from map(strip_markup, _articles(file))
            return
        lines: list[str] = []
        for line in file:
            lines.append(line.decode("utf-8", errors="replace"))
            if len(lines) == LINES_PER_PIECE:
                yield "".join(lines)
                lines = []
        yield "".join(lines)


def strip_markup(wikitext: str) -> str:
    """What a reader sees of an article's running text: no templates, tables, notes, files or marks."""
    text = _UNSEEN.sub(" ", wikitext)
    text = _repeated(_TEMPLATE, lambda found: " ", text)
    text = _repeated(_LINK, _shown_of_link, text)
    text = _OUTER_LINK.sub(r"\1", text)
    text = _TAG.sub(" ", _ADDRESS.sub(" ", text))
    return _QUOTES.sub("", unescape(_LINE_MARK.sub("\n", text)))


def count_words(text: str, words: Tally, pairs: Tally) -> None:
    """Count the words of a text, and the pairs of words with nothing but spaces between them."""
    found: list[str] = []
    neighbours: list[str] = []
    for run in _RUN.findall(text):
        some = run.split()
        found += some
        neighbours += [f"{one} {two}" for one, two in zip(some, some[1:], strict=False)]
    words.add(found)
    pairs.add(neighbours)


def read_counts_file(path: Path, one: Tally, two: Tally) -> None:
    """Add a file of lines `word count` or `word word count` to the tallies of words and pairs.

    Raises:
        DataError: the file is missing or a line has another form.
    """
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            *words, count = line.decode("utf-8", errors="replace").split() or [""]
            if len(words) not in (1, 2) or not count.isdecimal():
                raise DataError(f"{path}, line {number} is not `word count` or `word word count`.")
            (one if len(words) == 1 else two).add_count(" ".join(words), int(count))


def frequent_words(words: Tally, *, min_count: int, most: int) -> list[str]:
    """The words that occur at least `min_count` times, the commonest first, `most` of them at most."""
    kept = ((-count, word) for word, count in words.sorted_counts() if count >= min_count)
    return [word for _, word in nsmallest(most, kept)]


def collocations(
    words: Tally, pairs: Tally, *, min_pmi: float, most: int, scratch: Path, distinct: int
) -> list[str]:
    """The pairs whose words attract each other, the strongest first.

    The measure is log2(n_pair * n / (n_first * n_second)) with n the number of all words, as NLTK's
    BigramAssocMeasures.pmi; of equal ones the more frequent pair comes first.

    Args:
        words: counts of all words.
        pairs: counts of pairs; those with a word that `words` lacks are left out.
        min_pmi: the least value, in bits.
        most: pairs at most.
        scratch: folder for temporary files.
        distinct: different strings held in memory at most.
    """
    if not words.total:
        return []
    all_words = log2(words.total)
    with Tally(scratch, distinct=distinct) as turned:
        for pair, number, first_count in joined(pairs.sorted_counts(), words.sorted_counts()):
            if (
                all_words - log2(first_count) >= min_pmi - 1e-9
            ):  # no pair is more frequent than its second word
                first, _, second = pair.partition(" ")
                turned.add_count(f"{second} {first} {first_count}", number)
        strengths = _strengths(turned, words, all_words)
        kept = (one for one in strengths if -one[0] >= min_pmi)
        return [pair for _, _, pair in nsmallest(most, kept)]


def viewed_titles(
    paths: Sequence[Path],
    *,
    project: str,
    min_hourly_views: int,
    min_views: int,
    most: int,
    on_file: Callable[[Path], None] = lambda path: None,
) -> list[str]:
    """Titles of the pages that were looked at, the most viewed first; those with a colon are left out.

    Args:
        paths: hourly page view files, lines `project title views bytes`, gzip.
        project: first word of the lines that count, such as "en".
        min_hourly_views: an hour with fewer views of a page does not count.
        min_views: views in all hours that count.
        most: titles at most.
        on_file: told each file that is read.

    Raises:
        DataError: a file is missing or damaged.
    """
    views: Counter[str] = Counter()
    begin = f"{project} ".encode()
    for path in paths:
        with _opened(path) as file:
            first = file.readline()
            if len(first.split(b" ")) != 4:
                raise DataError(f"{path} holds no page views.", "Its lines are `project title views bytes`.")
            for line in chain([first], file):
                if not line.startswith(begin):
                    continue
                fields = line.split(b" ")
                if len(fields) == 4 and fields[2].isdigit() and int(fields[2]) >= min_hourly_views:
                    if b":" not in fields[1]:
                        title = fields[1].decode(errors="replace").replace("_", " ")
                        views[title] += int(fields[2])
        on_file(path)
    kept = ((-count, title) for title, count in views.items() if count >= min_views)
    return [title for _, title in nsmallest(most, kept)]


def _strengths(turned: Tally, words: Tally, all_words: float) -> Iterator[tuple[float, int, str]]:
    """Minus the measure, minus the count, and the pair, from `second first first_count`."""
    for item, number, second_count in joined(turned.sorted_counts(), words.sorted_counts()):
        second, first, first_count = item.split(" ")
        pmi = log2(number) + all_words - log2(int(first_count) * second_count)
        yield -pmi, -number, f"{first} {second}"


def _articles(file: IO[bytes]) -> Iterator[str]:
    """The wikitext of pages that are articles and no redirects; one page is held at a time."""
    events = iterparse(file, ("start", "end"))
    _, root = next(events)
    text, space, is_redirect = "", "", False
    for event, element in events:
        name = element.tag.rpartition("}")[2]
        if event != "end":
            continue
        if name == "text":
            text = element.text or ""
        elif name == "ns":
            space = element.text or ""
        elif name == "redirect":
            is_redirect = True
        elif name == "page":
            if space == "0" and not is_redirect:
                yield text
            text, space, is_redirect = "", "", False
            root.clear()


def _shown_of_link(found: re.Match[str]) -> str:
    target, _, shown = found[1].rpartition("|")
    return " " if _SPACE_OF_PAGES.match(target or shown) else shown


def _repeated(pattern: re.Pattern[str], change: Callable[[re.Match[str]], str], text: str) -> str:
    """Replace from the inside to the outside, until nothing is left to replace."""
    for _ in range(MAX_NESTING):
        text, count = pattern.subn(change, text)
        if not count:
            break
    return text


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A file, unpacked by the end of its name."""
    openers: dict[str, Any] = {".bz2": bz2.open, ".gz": gzip.open}
    try:
        with openers.get(path.suffix, open)(path, "rb") as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except (OSError, EOFError, zlib.error, ParseError, StopIteration) as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}.", "Fetch it again.") from error
