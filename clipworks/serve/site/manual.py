"""The files of `docs/` as a book: its pages in order, each rendered when it is first asked for.

The order and the parts come from `docs/index.md`: a heading opens a part, a table row whose first cell is
a link is a page. The files stand beside the package in a clone and inside of it in a wheel.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

from clipworks.serve.site.prose import Article, Section, read_article, read_sections

FIRST = "index.md"

_NAME_BY_FILE = {FIRST: "", "api.md": "python"}
"""Files whose address is not their name: `/docs/api` is the reference of the HTTP interface."""

_PART = re.compile(
    r"^## (?P<part>.+)$|^\| \[(?P<label>[^\]]+)\]\((?P<file>[\w-]+\.md)\) \| (?P<about>.*) \|$"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A page of the book."""

    name: str
    """The last part of its address; empty for the first page."""
    file: str
    """Its file's name."""
    label: str
    """What the table of contents calls it."""
    about: str
    """What it is for, in some words."""
    part: str
    """The part of the book in which it stands."""

    @property
    def address(self) -> str:
        """Where it is on the site."""
        return f"/docs/{self.name}" if self.name else "/docs"


class Manual:
    """The book.

    Args:
        folder: where its files are; where the package has them if None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or folder_of_docs()
        self._articles: dict[str, Article] = {}

    @cached_property
    def entries(self) -> Sequence[Entry]:
        """Every page in reading order, the first page first."""
        found = [Entry(name="", file=FIRST, label="Overview", about="", part="")]
        part = ""
        for line in self._read(FIRST).splitlines():
            row = _PART.match(line)
            if row and row["part"]:
                part = row["part"]
            elif row:
                name = _NAME_BY_FILE.get(row["file"], Path(row["file"]).stem)
                found.append(
                    Entry(name=name, file=row["file"], label=row["label"], about=row["about"], part=part)
                )
        return found

    @property
    def parts(self) -> list[tuple[str, list[Entry]]]:
        """The pages by the parts of the book, without the first page."""
        return [(part, list(pages)) for part, pages in groupby(self.entries[1:], lambda entry: entry.part)]

    def entry(self, name: str) -> Entry | None:
        """The page of a name."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def beside(self, entry: Entry) -> tuple[Entry | None, Entry | None]:
        """The pages before and after one."""
        place = self.entries.index(entry)
        before = self.entries[place - 1] if place else None
        return before, self.entries[place + 1] if place + 1 < len(self.entries) else None

    def article(self, entry: Entry) -> Article:
        """A page's content."""
        if entry.file not in self._articles:
            self._articles[entry.file] = read_article(self._read(entry.file), self.address_of)
        return self._articles[entry.file]

    def sections(self, entry: Entry) -> Sequence[Section]:
        """A page's headings, each with its words."""
        return read_sections(self._read(entry.file))

    def address_of(self, target: str) -> str | None:
        """Where a link in a file leads on the site; None if what it names is not on it."""
        file, _, anchor = target.partition("#")
        for entry in self.entries:
            if entry.file == file:
                return f"{entry.address}#{anchor}" if anchor else entry.address
        return f"/docs/{file}" if self.drawing(file) else None

    def drawing(self, name: str) -> Path | None:
        """The file of a drawing on one of the pages."""
        drawings = {path.name: path for path in self._folder.glob("*.svg")}
        return drawings.get(name)

    def _read(self, file: str) -> str:
        return (self._folder / file).read_text(encoding="utf-8")


def folder_of_docs() -> Path:
    """Where the files are: in the package where it was installed, beside it in a clone."""
    package = Path(__file__).parents[2]
    inside = package / "docs"
    return inside if inside.is_dir() else package.parent / "docs"
