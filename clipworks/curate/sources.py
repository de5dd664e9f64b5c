"""The files that an entry list is made of, read in the published order."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from clipworks.curate.metadata import MAX_ENTRIES, Entries, build_entries
from clipworks.curate.tally import Tally
from clipworks.curate.wikipedia import (
    collocations,
    count_words,
    frequent_words,
    read_counts_file,
    read_pages,
    viewed_titles,
)
from clipworks.curate.wordnet import FILES, synset_names
from clipworks.errors import ConfigError, DataError, reason_of

ShowProgress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class MetadataFiles:
    """Where the sources are; what is not given adds nothing."""

    wordnet: Path | None = None
    """Folder with WordNet 3.0's data.noun, data.verb, data.adj and data.adv."""
    ngrams: tuple[Path, ...] = ()
    """Lines `word count` or `word word count`; pairs need the counts of their words."""
    wikipedia: tuple[Path, ...] = ()
    """Dumps of articles, or plain text."""
    pageviews: tuple[Path, ...] = ()
    """Hourly page views."""

    def num_bytes(self) -> int:
        """Size of the files together.

        Raises:
            DataError: one is missing.
        """
        try:
            return sum(path.stat().st_size for path in self._all())
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read: {reason_of(error)}.") from error

    def _all(self) -> Iterable[Path]:
        yield from (*self.ngrams, *self.wikipedia, *self.pageviews)
        if self.wordnet is not None:
            yield from (self.wordnet / name for name in FILES)


@dataclass(frozen=True, kw_only=True, slots=True)
class MetadataConfig:
    """Thresholds, by default those of the published English list."""

    min_count: int = 100
    """Occurrences of a word."""
    min_pmi: float = 30.0
    """Pointwise mutual information of a pair, bits."""
    min_views: int = 70
    """Views of a page in all hours that count."""
    min_hourly_views: int = 50
    """Views that make an hour count for a page."""
    language: str = ""
    """Code of the language of the texts that the list is for."""
    project: str = "en"
    """First word of the page view lines that count."""
    max_entries: int = MAX_ENTRIES
    """Length of the list at most."""
    distinct_in_memory: int = 2_000_000
    """Different words or pairs that are held in memory, some 150 bytes each, before they go to disk."""

    def __post_init__(self) -> None:
        for name in ("min_count", "min_views", "max_entries", "distinct_in_memory"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be 1 or more.")


def gather_entries(
    files: MetadataFiles,
    config: MetadataConfig,
    *,
    scratch: Path = Path("."),
    show: ShowProgress | None = None,
) -> Entries:
    """Read the sources and join them: numbers, WordNet, words, word pairs, titles.

    Args:
        files: where they are.
        config: thresholds.
        scratch: folder for temporary files, which are as large as the counts.
        show: told bytes read, bytes in all, and the file.

    Raises:
        ConfigError: nothing to read.
        DataError: a file is missing, damaged or of another form.
    """
    total = files.num_bytes()
    if not total:
        raise ConfigError("There is nothing to make a list of.", "Name sources: --wordnet, --wikipedia, ...")
    sources: dict[str, Iterable[str]] = {}
    if files.wordnet is not None:
        sources["wordnet"] = synset_names(files.wordnet)
    done = 0

    def told(path: Path) -> None:
        nonlocal done
        done += os.path.getsize(path)
        if show is not None:
            show(done, total, path.name)

    scratch.mkdir(parents=True, exist_ok=True)
    sources |= _words_and_pairs(files, config, scratch, told)
    if files.pageviews:
        sources["titles"] = viewed_titles(
            files.pageviews,
            project=config.project,
            min_hourly_views=config.min_hourly_views,
            min_views=config.min_views,
            most=config.max_entries,
            on_file=told,
        )
    return build_entries(sources, max_entries=config.max_entries, language=config.language)


def _words_and_pairs(
    files: MetadataFiles, config: MetadataConfig, scratch: Path, told: Callable[[Path], None]
) -> dict[str, list[str]]:
    distinct, most = config.distinct_in_memory, config.max_entries
    sources = {}
    with Tally(scratch, distinct=distinct) as words, Tally(scratch, distinct=distinct) as pairs:
        for path in files.ngrams:
            read_counts_file(path, words, pairs)
            told(path)
        for path in files.wikipedia:
            for text in read_pages(path):
                count_words(text, words, pairs)
            told(path)
        if words.total:
            sources["unigrams"] = frequent_words(words, min_count=config.min_count, most=most)
        if pairs.total:
            sources["bigrams"] = collocations(
                words, pairs, min_pmi=config.min_pmi, most=most, scratch=scratch, distinct=distinct
            )
    return sources
