"""The page `/`: search over the gallery and a classify playground, rendered on the server.

Searching works without scripts; the scripts in `static/` fetch the same results as a fragment
(`fragment=1`) and put it in place, or behind what is there (`from=24`). Everything that comes from users or
files is escaped by Jinja2.
"""

import asyncio
import re
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from clipworks.errors import ClipworksError
from clipworks.search.answer import Ask
from clipworks.search.store import Hit, Item, Result
from clipworks.search.terms import Term
from clipworks.search.videos import clock, file_of
from clipworks.serve.bodies import read_payload
from clipworks.serve.edge import log_failure, request_id
from clipworks.serve.inputs import Payload
from clipworks.serve.problems import UnavailableError, message_of, status_and_code
from clipworks.serve.questions import Question, find, read_question
from clipworks.serve.site.layout import Layout, say_when
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
"""Pictures that are added at once."""
MAX_HITS = 1536
"""As far as a page scrolls."""

_CONDITIONS = {
    "after": "taken>=",
    "before": "taken<=",
    "folder": "folder=",
    "camera": "camera=",
    "tag": "tag=",
}
"""Fields of the form -> the beginnings of the conditions that they stand for."""
_NARROWING = (*_CONDITIONS, "where", "minus")
NUM_BROWSED_PER_EXAMPLE = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """The part of an answer that is shown, or added to what is shown."""

    found: Result
    start: int
    """Hits that are left out, since they are there already."""
    good: tuple[Hit, ...]
    """Those that count as found."""
    rest: tuple[Hit, ...]
    """Those farther away."""
    has_more: bool
    """Whether as good ones follow."""
    is_question: bool
    """Whether there was anything to compare with; else the pictures that meet the conditions are listed."""
    chosen: Item | None
    """The gallery picture that others shall be like."""

    @property
    def num_good(self) -> int:
        """Good hits up to here."""
        return self.start + len(self.good)


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
        """GET /: with words, a gallery picture or conditions in its address, the results are on it."""
        payload = _payload(request)
        if not any(payload.values()):
            return await self._render(request, {"mode": "browse"})
        return await self._results(request, self._find(payload, request))

    def amounts(self, request: Request) -> tuple[int, int]:
        """Pictures and texts that the model reads for a search by address; none where it cannot be read."""
        try:
            question = read_question(self._service, _payload(request))
        except ClipworksError:
            return 0, 0
        return question.num_images, question.num_texts

    async def show_similar(self, request: Request) -> Response:
        """POST /: a form with a picture file; the pictures of the gallery that look like it."""
        return await self._results(request, self._find_upload(request))

    async def _find(self, payload: Payload, request: Request) -> Shown:
        question = read_question(self._service, {**payload, "sort": request.query_params.get("sort") or None})
        return await self._answer(question, request)

    async def _find_upload(self, request: Request) -> Shown:
        async with self._service.counted(request) as counted:
            payload = await read_payload(counted, self._service.settings, fields=("image", TOKEN_FIELD))
            check_form_of(request, payload.pop(TOKEN_FIELD, request.headers.get(TOKEN_HEADER)))
            return await self._answer(read_question(self._service, payload), request)

    async def _answer(self, question: Question, request: Request) -> Shown:
        start = _start(request)
        # One more than is shown says whether there are more.
        ask = replace(question.ask, limit=start + NUM_HITS + 1, is_folded=True)
        found = await find(self._service, replace(question, ask=ask))
        hits = found.hits[start : start + NUM_HITS]
        good = tuple(hit for hit in hits if found.counts(hit))
        has_more = len(found.hits) > start + NUM_HITS and len(good) == len(hits)
        like = next((term.like for term in question.terms if term.like is not None), None)
        library = self._service.gallery
        return Shown(
            found=found,
            start=start,
            good=good,
            rest=tuple(hit for hit in hits if not found.counts(hit)),
            has_more=has_more and start + NUM_HITS < MAX_HITS,
            is_question=bool(question.terms or question.picture),
            chosen=library.get(like) if library is not None and like is not None else None,
        )

    async def _results(self, request: Request, search: Coroutine[Any, Any, Shown]) -> Response:
        try:
            async with self._service.admission(request):
                shown = await self._in_time(search)
        except ClipworksError as error:
            status, current_trace().code = status_and_code(error)
            if status >= 500 and not isinstance(error, UnavailableError):
                log_failure(error, request_id(request))
            told = message_of(error, status, request_id(request))
            message = re.sub("^(Image 'image'|image) ", "The file ", told)
            answer = await self._render(request, {"mode": "error", "message": message}, status)
            say_when(answer, error)
            return answer
        finally:
            search.close()
        words = request.query_params.get("q", "").strip()
        more = _address_from(request, shown.start + NUM_HITS) if shown.has_more else ""
        return await self._render(request, {"mode": "results", "words": words, "shown": shown, "more": more})

    async def _in_time(self, search: Coroutine[Any, Any, Shown]) -> Shown:
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
        shows = {"facts_of": facts_of, "clock": clock, "second_of": second_of}
        content = {"results": results, "samples": samples, **shows, **self._gallery()}
        if request.query_params.get("fragment"):
            return self._layout.fragment("results.html", content, status)
        library = self._service.gallery
        given = {name: request.query_params.get(name, "").strip() for name in ("q", "sort", *_NARROWING)}
        content |= {
            "words": given["q"],
            "given": given,
            "is_narrowed": any(given[name] for name in _NARROWING),
            "choices": await asyncio.to_thread(library.choices) if library is not None else None,
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
            ask = Ask(limit=NUM_BROWSED_PER_EXAMPLE)
            questions = (Question(terms=(Term(text=words),), ask=ask) for words in EXAMPLES)
            searches = (find(self._service, question) for question in questions)
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


def facts_of(hit: Hit) -> list[tuple[str, str]]:
    """What is known of a picture, for people: names and texts."""
    second = second_of(hit)
    position = "" if hit.latitude is None else f"{hit.latitude:.5f}, {hit.longitude:.5f}"
    facts = [
        ("Taken", hit.taken.replace("T", " ")),
        ("Camera", hit.camera),
        ("Place", hit.place),
        ("Position", position),
        ("Size", f"{hit.width:,} × {hit.height:,} pixels" if hit.width else ""),
        ("Tags", ", ".join(hit.tags)),
        ("At", "" if second is None else clock(second)),
        ("File", file_of(hit.id)[0]),
        ("Licence", hit.licence),
        ("Author", hit.author),
        ("Nearly the same", ", ".join(hit.alike)),
    ]
    hidden = ("tags", "second", "scene", "frames") if second is not None else ("tags",)
    further = [
        (name.replace("_", " "), str(value)) for name, value in hit.details.items() if name not in hidden
    ]
    return [(name, text) for name, text in [*facts, *further] if text]


def second_of(hit: Item) -> float | None:
    """Where in its video a frame is; None of a picture."""
    return file_of(hit.id)[1]


def _payload(request: Request) -> Payload:
    """The question in the page's address, in the fields of /v1/search; what is not given is None."""
    given = {name: value.strip() for name, value in request.query_params.items()}
    where = [one for one in given.get("where", "").split(";") if one.strip()]
    where += [f"{begin}{given[name]}" for name, begin in _CONDITIONS.items() if given.get(name)]
    return {
        "text": given.get("q") or None,
        "like": None if given.get("q") else given.get("like") or None,
        "region": given.get("region") if given.get("like") and not given.get("q") else None,
        "minus": [given["minus"]] if given.get("minus") else None,
        "where": where or None,
    }


def _start(request: Request) -> int:
    """Where the hits begin that are asked for."""
    number = request.query_params.get("from", "")
    start = int(number) if number.isascii() and number.isdecimal() and len(number) < 5 else 0
    return min(start, MAX_HITS)


def _address_from(request: Request, start: int) -> str:
    """The address of the same search, further on."""
    kept = {name: value for name, value in request.query_params.items() if name not in ("from", "fragment")}
    return "/?" + urlencode({**kept, "from": start})
