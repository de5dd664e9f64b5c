"""The pages below `/docs`: the book, its search, its drawings, and the reference of the HTTP interface."""

import asyncio
import gzip
from functools import cached_property
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from clipworks.serve.problems import nearest
from clipworks.serve.site.layout import Layout, viewer_of
from clipworks.serve.site.lookup import Lookup, Passage
from clipworks.serve.site.manual import Entry, Manual
from clipworks.serve.site.prose import read_line
from clipworks.serve.site.reference import Reference

MAX_QUESTION_CHARACTERS = 200

_WORTH_PACKING_BYTES = 10_000


class DocsPages:
    """The pages and what they keep: the rendered files and the words that can be found.

    Args:
        layout: the frame.
        described: the OpenAPI document of this server.
        folder: where the files are; where the package has them if None.
    """

    def __init__(self, layout: Layout, described: dict[str, Any], folder: Path | None = None) -> None:
        self._layout = layout
        self._manual = Manual(folder)
        self._reference = Reference(described)
        self._lines: dict[str, str] = {}

    async def first(self, request: Request) -> Response:
        """GET /docs: the first page; with `q` what the book has on it."""
        question = request.query_params.get("q", "").strip()[:MAX_QUESTION_CHARACTERS]
        if not question:
            return await self._show(request, self._manual.entries[0])
        found = await asyncio.to_thread(lambda: self._lookup.find(question))
        content = {"question": question, "found": found}
        return await self._page(request, "docs_found.html", content)

    async def page(self, request: Request) -> Response:
        """GET /docs/{page}: a page of the book, or a drawing on one; 404 in words where there is neither."""
        name = request.path_params["page"]
        entry = self._manual.entry(name)
        if entry is not None and name:
            return await self._show(request, entry)
        drawing = self._manual.drawing(name)
        if drawing is not None:
            return FileResponse(drawing, media_type="image/svg+xml", headers={"cache-control": "no-cache"})
        names = [entry.name for entry in self._manual.entries[1:]]
        message = f"The documentation has no page “{name[:80]}”. {nearest(name, names)}"
        return await self._page(request, "docs_missing.html", {"message": message}, 404)

    async def api(self, request: Request) -> Response:
        """GET /docs/api: every route with its fields, errors and examples."""
        address = self._layout.address(request)
        content = {"reference": self._reference, "address": address, "line": self._line}
        return await self._page(request, "docs_api.html", content)

    async def _show(self, request: Request, entry: Entry) -> Response:
        article = await asyncio.to_thread(self._manual.article, entry)
        before, after = self._manual.beside(entry)
        content = {"article": article, "before": before, "after": after}
        return await self._page(request, "docs.html", content)

    def _line(self, words: str) -> str:
        """Words of the document with their code marked; each is rendered once."""
        if words not in self._lines:
            self._lines[words] = read_line(words)
        return self._lines[words]

    async def _page(
        self, request: Request, template: str, content: dict[str, Any], status: int = 200
    ) -> Response:
        """In a thread: the reference takes as long as many requests for work."""
        whole = {"question": "", "parts": self._manual.parts, **content}
        return await asyncio.to_thread(
            lambda: _packed(request, self._layout.page(request, template, whole, status))
        )

    @cached_property
    def _lookup(self) -> Lookup:
        passages = []
        for entry in self._manual.entries:
            for section in self._manual.sections(entry):
                anchor = f"#{section.anchor}" if section.level > 1 else ""
                page = entry.label if entry.name else ""
                passages.append(
                    Passage(
                        address=entry.address + anchor, page=page, title=section.title, words=section.words
                    )
                )
        return Lookup([*passages, *self._reference.passages()])


def _packed(request: Request, page: Response) -> Response:
    """The page, compressed where the browser takes that.

    Not for somebody who is signed in: the length of a compressed page with a secret of theirs and words of
    a stranger's in it would tell of the secret (BREACH).
    """
    is_taken = "gzip" in request.headers.get("accept-encoding", "")
    if is_taken and viewer_of(request) is None and len(page.body) > _WORTH_PACKING_BYTES:
        page.body = gzip.compress(page.body, 5, mtime=0)
        page.headers["content-encoding"] = "gzip"
        page.headers["content-length"] = str(len(page.body))
    page.headers["vary"] = "accept-encoding"
    return page
