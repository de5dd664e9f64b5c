"""Counts of more different things than fit in memory: sorted runs on disk, merged at the end."""

import heapq
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

MAX_RUNS = 200


class Tally:
    """Counts strings without line breaks and tabs; a context that removes its files."""

    def __init__(self, scratch: Path, *, distinct: int) -> None:
        """`scratch`: existing folder for the files; `distinct`: different strings held in memory at most."""
        self._folder = Path(tempfile.mkdtemp(prefix=".tally.", dir=scratch))
        self._distinct = distinct
        self._counts: Counter[str] = Counter()
        self._runs: list[Path] = []
        self._number = 0
        self.total = 0
        """Sum of all counts."""

    def __enter__(self) -> "Tally":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, strings: list[str]) -> None:
        """Count each string once more."""
        self._counts.update(strings)
        self.total += len(strings)
        if len(self._counts) >= self._distinct:
            self._spill()

    def add_count(self, string: str, count: int) -> None:
        """Count a string some more times."""
        self._counts[string] += count
        self.total += count
        if len(self._counts) >= self._distinct:
            self._spill()

    def sorted_counts(self) -> Iterator[tuple[str, int]]:
        """Each string once, in order of code points, with its count; may be asked again."""
        return _merged([*map(_read_run, self._runs), iter(sorted(self._counts.items()))])

    def _spill(self) -> None:
        self._runs.append(self._write(iter(sorted(self._counts.items()))))
        self._counts.clear()
        if len(self._runs) >= MAX_RUNS:
            merged = self._write(_merged([_read_run(run) for run in self._runs]))
            for run in self._runs:
                run.unlink()
            self._runs = [merged]

    def _write(self, counts: Iterator[tuple[str, int]]) -> Path:
        path = self._folder / f"{self._number}.tsv"
        self._number += 1
        with path.open("w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
            file.writelines(f"{string}\t{count}\n" for string, count in counts)
        return path


def joined(
    items: Iterable[tuple[str, int]], counts: Iterable[tuple[str, int]]
) -> Iterator[tuple[str, int, int]]:
    """Items whose first word has a count: item, the item's number, the word's count. Both in order."""
    rest = iter(counts)
    word, count = next(rest, ("", 0))
    for item, number in items:
        first = item.split(" ", 1)[0]
        while word < first:
            nxt = next(rest, None)
            if nxt is None:
                return
            word, count = nxt
        if word == first:
            yield item, number, count


def _merged(runs: list[Iterator[tuple[str, int]]]) -> Iterator[tuple[str, int]]:
    last, total = None, 0
    for string, count in heapq.merge(*runs):
        if string == last:
            total += count
            continue
        if last is not None:
            yield last, total
        last, total = string, count
    if last is not None:
        yield last, total


def _read_run(path: Path) -> Iterator[tuple[str, int]]:
    with path.open(encoding="utf-8", errors="surrogatepass", newline="\n") as file:
        for line in file:
            string, _, count = line.rstrip("\n").rpartition("\t")
            yield string, int(count)
