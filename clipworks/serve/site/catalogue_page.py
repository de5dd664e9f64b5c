"""GET /models for people and for programs, `/models.json` and `/llms.txt`: which models there are.

The address that Infinity's clients ask goes on answering them: a page is what comes to who prefers HTML.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from clipworks.serve.embeddings import list_models
from clipworks.serve.site.accept import wanted_kind
from clipworks.serve.site.entry import STANDINGS, Entry
from clipworks.serve.site.filters import filters_for, narrow, sorts
from clipworks.serve.site.layout import Layout

if TYPE_CHECKING:
    from clipworks.serve.service import Service
    from clipworks.serve.shelf import Shelf
    from clipworks.serve.site.catalogue import Catalogue

KINDS = ("application/json", "text/html")
"""The first one is what a client gets that does not say."""


class CataloguePage:
    """The list of models in its three forms.

    Args:
        service: the models of this server.
        layout: the frame.
        catalogue: every model that is known.
        shelf: who wants what.
    """

    def __init__(self, service: "Service", layout: Layout, catalogue: "Catalogue", shelf: "Shelf") -> None:
        self._service = service
        self._layout = layout
        self._catalogue = catalogue
        self._shelf = shelf

    async def show(self, request: Request) -> Response:
        """GET /models: cards, or the list that Infinity's clients know."""
        if wanted_kind(request, KINDS) == "text/html":
            response = await self._page(request)
        else:
            response = list_models(self._service, hidden="owned_by")
        response.headers["vary"] = "accept"
        return response

    async def machine_list(self, request: Request) -> Response:
        """GET /models.json: the same models by the same fields of the address, as rows."""
        asked = narrow(await self._entries(), request.query_params)
        rows = [_row(entry, self._layout.address(request)) for entry in asked.entries]
        return JSONResponse({"object": "list", "data": rows, "faults": list(asked.faults)})

    async def llms(self, request: Request) -> Response:
        """GET /llms.txt: what stands where, for programs that read."""
        address = self._layout.address(request)
        lines = [
            "# clipworks",
            "",
            "> CLIP models behind HTTP: vectors of texts and pictures, zero-shot classification, search.",
            "",
            f"Requests go to {address}/v1 in the shape of the OpenAI API. "
            + (
                "They need a key."
                if self._service.settings.require_keys
                else "No key is needed, and nothing is charged."
            ),
            "",
            "## Models",
            "",
            *(
                f"- [{entry.id}]({_address(entry, address)}.md): {entry.title}; {entry.standing}; "
                f"{entry.price.usd_per_1k_images} USD per 1,000 pictures"
                for entry in await self._entries()
            ),
            "",
            "## For programs",
            "",
            f"- [OpenAPI]({address}/openapi.json): every route",
            f"- [Models]({address}/models.json): the list above as JSON, with the filters of /models",
            "",
        ]
        return PlainTextResponse("\n".join(lines), headers={"cache-control": "no-store"})

    async def _page(self, request: Request) -> Response:
        entries = await self._entries()
        asked = narrow(entries, request.query_params)
        content = {
            "asked": asked,
            "filters": filters_for(entries),
            "sorts": {name: words for name, (words, _) in sorts().items()},
            "num_models": len(entries),
            "counts": {one: sum(entry.standing == one for entry in entries) for one in STANDINGS},
            "is_narrowed": bool(asked.words or set(asked.chosen) - {"sort"}),
            "demand": await self._shelf.demand(request),
        }
        return self._layout.page(request, "catalogue.html", content, 400 if asked.faults else 200)

    async def _entries(self) -> list[Entry]:
        return await asyncio.to_thread(self._catalogue.entries, await self._shelf.votes())


def _address(entry: Entry, address: str) -> str:
    return f"{address}/models/{quote(entry.id, safe='/')}"


def _row(entry: Entry, address: str) -> Mapping[str, Any]:
    """One model of `/models.json`; prices are decimal texts, as OpenRouter has them."""
    return {
        "id": entry.id,
        "name": entry.title,
        "status": entry.standing,
        "tasks": list(entry.tasks),
        "pricing": {
            "usd_per_1k_images": entry.price.usd_per_1k_images,
            "usd_per_1k_texts": entry.price.usd_per_1k_texts,
        },
        "providers": entry.providers(),
        "licence": entry.row.licence if entry.row else None,
        "data_licence": entry.specs.get("training", {}).get("data_licence"),
        "commercial_use": entry.specs.get("commercial_use"),
        "architecture": entry.row.architecture if entry.row else None,
        "parameters": entry.num_parameters,
        "gflops": entry.specs.get("gflops"),
        "dim": entry.specs.get("dim"),
        "image_size": entry.specs.get("image_size"),
        "context_length": entry.specs.get("context_length"),
        "imagenet": entry.specs.get("imagenet"),
        "average_of_38": entry.specs.get("average_of_38"),
        "votes": entry.votes,
        "links": {
            "page": _address(entry, address),
            "json": f"{_address(entry, address)}.json",
            "markdown": f"{_address(entry, address)}.md",
        },
    }
