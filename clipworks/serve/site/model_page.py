"""GET /models/{id}: everything about one model, as a page, as `.json` and as `.md`."""

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clipworks.serve.edge import request_id
from clipworks.serve.problems import RequestError, problem
from clipworks.serve.site import charts
from clipworks.serve.site.accept import wanted_kind
from clipworks.serve.site.entry import Entry
from clipworks.serve.site.layout import Layout
from clipworks.serve.site.model_card import Card, card_of
from clipworks.serve.site.snippets import KEY_PLACE, snippets
from clipworks.serve.traces import current_trace

if TYPE_CHECKING:
    from clipworks.serve.service import Service
    from clipworks.serve.shelf import Shelf
    from clipworks.serve.site.catalogue import Catalogue

KINDS = ("text/html", "application/json", "text/markdown")
KIND_BY_ENDING = {".json": "application/json", ".md": "text/markdown"}


class ModelPage:
    """The page of one model and its twins.

    Args:
        service: the models of this server.
        layout: the frame.
        catalogue: every model that is known.
        shelf: who wants what, and what the reader's keys are called.
    """

    def __init__(self, service: "Service", layout: Layout, catalogue: "Catalogue", shelf: "Shelf") -> None:
        self._service = service
        self._layout = layout
        self._catalogue = catalogue
        self._shelf = shelf

    async def show(self, request: Request) -> Response:
        """One model; its name may end in `.json` or `.md`, or the header Accept say the same.

        A name that nothing has is answered with the nearest ones.
        """
        name, kind = request.path_params["model"], wanted_kind(request, KINDS)
        votes = await self._shelf.votes()
        try:
            entry, kind = await asyncio.to_thread(self._find, name, kind, votes)
        except RequestError as error:
            return await self._nothing(request, name, kind, error)
        entries = await asyncio.to_thread(self._catalogue.entries, votes)
        card = card_of(entry, entries, self._service.settings) | {"speed": self._speed(entry)}
        address = f"{self._layout.address(request)}/models/{quote(entry.id, safe='/')}"
        card |= {"links": {"page": address, "json": f"{address}.json", "markdown": f"{address}.md"}}
        if kind == "application/json":
            return _varied(JSONResponse(card, headers={"cache-control": "no-store"}))
        content = await self._content(request, entry, card)
        if kind == "text/markdown":
            text = self._layout.text("model.md", content)
            return _varied(Response(text, media_type="text/markdown", headers={"cache-control": "no-store"}))
        return _varied(self._layout.page(request, "model.html", content))

    def _find(self, name: str, kind: str, votes: dict[str, int]) -> tuple[Entry, str]:
        """The model of a name, and the form that is wanted; an ending that is part of a name is none.

        Raises:
            RequestError: there is no such model.
        """
        try:
            return self._catalogue.entry(name, votes), kind
        except RequestError:
            ending = next((one for one in KIND_BY_ENDING if name.endswith(one)), "")
            if not ending:
                raise
            return self._catalogue.entry(name.removesuffix(ending), votes), KIND_BY_ENDING[ending]

    async def _content(self, request: Request, entry: Entry, card: Card) -> dict[str, Any]:
        key = await self._shelf.key_label(request)
        place = (key or KEY_PLACE) if self._service.settings.require_keys else ""
        source = entry.row.id if entry.row is not None else ""
        minutes = self._service.metrics.minutes
        stretches = minutes.stretches(entry.id) if entry.model is not None else []
        return {
            "entry": entry,
            "card": card,
            "snippets": snippets(entry.id, self._layout.address(request), place, source),
            "key_place": place,
            "has_key": bool(key),
            "times": charts.times(stretches),
            "bars": charts.uptime(stretches),
            "stretch_minutes": stretches[0].seconds / 60 if stretches else 1,
            "demand": await self._shelf.demand(request),
        }

    def _speed(self, entry: Entry) -> Card | None:
        if entry.model is None:
            return None
        minutes = self._service.metrics.minutes
        whole = minutes.whole(entry.id)
        return {
            "since": int(minutes.started_at),
            "requests": whole.num_requests,
            "failures": whole.num_failures,
            "median_seconds": whole.median_seconds,
            "p95_seconds": whole.p95_seconds,
            "share_up": whole.share_up,
        }

    async def _nothing(self, request: Request, name: str, kind: str, error: RequestError) -> Response:
        current_trace().code = error.code
        if kind != "text/html" or name.endswith(tuple(KIND_BY_ENDING)):
            return problem(error, request_id(request), "/v1/models")
        near = await asyncio.to_thread(self._catalogue.nearest, name)
        content = {"name": name[:200], "near": near}
        return self._layout.page(request, "no_model.html", content, 404)


def _varied(response: Response) -> Response:
    response.headers["vary"] = "accept"
    return response
