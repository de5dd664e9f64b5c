"""The page `/`: search over the gallery and a classify playground, rendered on the server.

Searching works without scripts; the scripts in `static/` fetch the same results as a fragment
(`fragment=1`) and put it in place. Everything that comes from users or files is escaped by Jinja2.
"""

import asyncio
import re
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from clipworks.errors import ClipworksError
from clipworks.search.answer import Ask
from clipworks.search.store import Hit, Result
from clipworks.serve.bodies import read_payload
from clipworks.serve.edge import log_failure, request_id
from clipworks.serve.hits import find, picture_path, read_ask, read_query
from clipworks.serve.inputs import Picture, read_text
from clipworks.serve.problems import UnavailableError, problem, status_and_code
from clipworks.serve.site.layout import Layout
from clipworks.serve.traces import current_trace
from clipworks.serve.visitors import TOKEN_FIELD, TOKEN_HEADER, check_form_of

if TYPE_CHECKING:
    from clipworks.serve.service import Service

EXAMPLES = (
    "sunflower",
    "a guitar",
    "bicycle",
    "a red apple",
    "penguin",
    "rainbow",
    "mushroom",
    "fire",
)
"""Searches offered on the page; their best hits are also the sample pictures of the playground."""

NUM_HITS = 24
MAX_HITS = 1536
"""As far as a page scrolls."""
NUM_BROWSED_PER_EXAMPLE = 3


class SearchPage:
    """The page and what it keeps: the gallery's sample pictures.

    Args:
        service: answers the searches.
        layout: the frame.
    """

    def __init__(self, service: "Service", layout: Layout) -> None:
        self._service = service
        self._layout = layout
        self._samples: list[Hit] = []
        self._finding_samples = asyncio.Lock()

    async def show(self, request: Request) -> Response:
        """GET /: with `q` words, or with `like` a gallery picture, the search's results are on it."""
        words, like = request.query_params.get("q", "").strip(), request.query_params.get("like", "")
        if not words and not like:
            return await self._render(request, {"mode": "browse"})
        return await self._results(request, words, self._find(words, like, request))

    async def show_similar(self, request: Request) -> Response:
        """POST /: a form with a picture file; the pictures of the gallery that look like it."""
        return await self._results(request, "", self._find_upload(request))

    async def _find(self, words: str, like: str, request: Request) -> Result:
        ask = _read_ask(request)
        if not words:
            data = await asyncio.to_thread(picture_path(self._service, like).read_bytes)
            return await find(self._service, Picture(data=data, param="like"), ask)
        text = read_text(words, "The search", self._service.settings.max_text_characters)
        return await find(self._service, text, ask)

    async def _find_upload(self, request: Request) -> Result:
        async with self._service.counted(request) as counted:
            payload = await read_payload(counted, self._service.settings, fields=("image", TOKEN_FIELD))
            check_form_of(request, payload.pop(TOKEN_FIELD, request.headers.get(TOKEN_HEADER)))
            return await find(self._service, read_query(self._service, payload), Ask(limit=NUM_HITS))

    async def _results(self, request: Request, words: str, search: Coroutine[Any, Any, Result]) -> Response:
        try:
            async with self._service.admission(request):
                found = await self._in_time(search)
        except ClipworksError as error:
            status, current_trace().code = status_and_code(error)
            if status < 500 or isinstance(error, UnavailableError):
                message = re.sub("^(Image 'image'|image) ", "The file ", str(error))
            else:
                message = f"The server failed on this request; its log says why under {request_id(request)}."
                log_failure(error, request_id(request))
            answer = await self._render(request, {"mode": "error", "message": message}, status)
            said = problem(error, request_id(request), request.scope["path"]).headers
            answer.headers.update({name: said[name] for name in said if name.startswith("retry-after")})
            return answer
        finally:
            search.close()
        more = _more_address(request, len(found.hits))
        return await self._render(request, {"mode": "results", "words": words, "found": found, "more": more})

    async def _in_time(self, search: Coroutine[Any, Any, Result]) -> Result:
        seconds = self._service.settings.request_seconds
        current_trace().deadline_at = time.monotonic() + seconds
        try:
            async with asyncio.timeout(seconds):
                return await search
        except TimeoutError as error:
            raise UnavailableError(
                f"The search was not answered within {seconds:g} seconds.", code="deadline_exceeded"
            ) from error

    async def _render(self, request: Request, results: dict[str, Any], status: int = 200) -> Response:
        samples = self._samples if status >= 500 else await self.sample_pictures()
        content = {"results": results, "samples": samples, **self._gallery()}
        if request.query_params.get("fragment"):
            return self._layout.fragment("results.html", content, status)
        content |= {
            "words": request.query_params.get("q", "").strip(),
            "where": request.query_params.get("where", "").strip(),
            "sort": request.query_params.get("sort", "score"),
            "models": list(self._service.models),
            "examples": EXAMPLES,
        }
        return self._layout.page(request, "search.html", content, status)

    def _gallery(self) -> dict[str, int]:
        gallery = self._service.gallery
        return {"num_pictures": gallery.count() if gallery is not None else 0}

    async def sample_pictures(self) -> list[Hit]:
        """A few pictures per example search, each once; found on the first visit and kept.

        A server too busy to find them shows the page without them.
        """
        if self._samples or self._service.gallery is None or self._finding_samples.locked():
            return self._samples
        async with self._finding_samples:
            searches = (find(self._service, words, Ask(limit=NUM_BROWSED_PER_EXAMPLE)) for words in EXAMPLES)
            try:
                async with asyncio.timeout(self._service.settings.request_seconds):
                    outcomes = await asyncio.gather(*searches, return_exceptions=True)
            except TimeoutError:
                return []
        found = [outcome for outcome in outcomes if isinstance(outcome, Result)]
        if len(found) < len(EXAMPLES):
            return []
        by_rank = [hit for rank in zip(*(one.hits for one in found), strict=False) for hit in rank]
        self._samples = list({hit.id: hit for hit in by_rank}.values())
        return self._samples


def _read_ask(request: Request) -> Ask:
    """What the page's address asks for besides words: conditions, divided by `;`, order and number.

    Raises:
        RequestError: one of them cannot be used.
    """
    given = request.query_params
    where = [one for one in given.get("where", "").split(";") if one.strip()]
    ask = read_ask({"where": where, "sort": given.get("sort") or None})
    number = given.get("n", "")
    limit = int(number) if number.isascii() and number.isdecimal() and len(number) < 5 else NUM_HITS
    return replace(ask, limit=min(max(limit, NUM_HITS), MAX_HITS))


def _more_address(request: Request, num_hits: int) -> str:
    """The address of the same search with twice as many pictures; empty where there are no more."""
    if request.method != "GET" or not NUM_HITS <= num_hits < MAX_HITS or num_hits < _read_ask(request).limit:
        return ""
    kept = {name: value for name, value in request.query_params.items() if name not in ("n", "fragment")}
    return "/?" + urlencode({**kept, "n": 2 * num_hits})
