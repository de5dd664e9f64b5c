"""`/operator/models`: status, price and providers of every model, changed while the server runs."""

import asyncio
import datetime
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, get_args
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from clipworks.errors import ClipworksError, ConfigError
from clipworks.serve import model_terms, wishes
from clipworks.serve.model_terms import ModelTerms, described
from clipworks.serve.prices import Price
from clipworks.serve.problems import RequestError, nearest, shown
from clipworks.serve.roster import Status
from clipworks.serve.site.entry import Entry

if TYPE_CHECKING:
    from clipworks.serve.shelf import Shelf
    from clipworks.serve.site.catalogue import Catalogue
    from clipworks.serve.site.people import People


EVENTS_SHOWN = 100
WISHERS_SHOWN = 20


class OperatorModels:
    """The page and its forms; the guard lets only operators come here.

    Args:
        people: who is signed in, and the frame.
        catalogue: every model that is known.
        shelf: where terms are, and who lays them over the models.
    """

    def __init__(self, people: "People", catalogue: "Catalogue", shelf: "Shelf") -> None:
        self._people = people
        self._catalogue = catalogue
        self._shelf = shelf

    async def show(self, request: Request) -> Response:
        """GET: a form per model, who wants it, and what was changed."""
        return await self._page(request, {})

    async def change(self, request: Request) -> Response:
        """POST: set what one form says; it holds from the next request on.

        Raises:
            RequestError: the form is of another session.
        """
        form = await self._people.form(request)
        given = {name: form.text(name) for name in form.fields}
        operator = self._people.who(request).account_name
        try:
            entry = await asyncio.to_thread(self._catalogue.entry, given.get("model", ""))
            terms = read_terms(given, entry)
            words = described(terms, self._shelf.terms_of(entry.id))
            if not words:
                raise RequestError(f"Nothing changes of {entry.id}.", "Change a field before you send it.")
            await self._shelf.change(terms, words=words, operator=operator, note=given.get("note", ""))
        except ConfigError as error:
            return await self._page(request, given, RequestError(error.message, error.remedy))
        except RequestError as error:
            return await self._page(request, given, error)
        return RedirectResponse(
            f"/operator/models?done={quote(entry.id)}#model-{quote(entry.id, safe='')}",
            303,
            {"cache-control": "no-store"},
        )

    async def _page(
        self, request: Request, given: Mapping[str, str], error: ClipworksError | None = None
    ) -> Response:
        books = self._people.books
        entries = await asyncio.to_thread(self._catalogue.entries, await self._shelf.votes())
        events = await books.report(partial(model_terms.events, limit=EVENTS_SHOWN))
        content = {
            "entries": sorted(entries, key=lambda entry: (entry.model is None, -entry.votes)),
            "terms": {entry.id: self._shelf.terms_of(entry.id) for entry in entries},
            "providers": {entry.id: _providers(entry) for entry in entries},
            "wishers": await books.report(partial(wishes.wishers, most=WISHERS_SHOWN + 1)),
            "wishers_shown": WISHERS_SHOWN,
            "events": [
                (one, datetime.datetime.fromtimestamp(one.created_at_ms / 1000, datetime.UTC))
                for one in events
            ],
            "statuses": get_args(Status),
            "given": given,
            "done": request.query_params.get("done", ""),
        }
        return self._people.page(request, "operator_models.html", content, error=error)


def read_terms(given: Mapping[str, str], entry: Entry) -> ModelTerms:
    """What a form says of a model; an empty field is as the server was started.

    Raises:
        RequestError: a field cannot be used, or is of a model that this server does not have.
        ConfigError: a price is no decimal number from 0 up.
    """
    status, day = given.get("status", ""), given.get("shutdown_date", "")
    if status and status not in get_args(Status):
        raise RequestError(
            f"There is no status {shown(status)}.",
            nearest(status, list(get_args(Status))),
            param="status",
        )
    if entry.model is None and (status or given.get("providers", "")):
        raise RequestError(
            f"This server was started without {entry.id}, so only its price can be set.",
            "Name it in the file of --models, with the status coming_soon, and start the server anew.",
        )
    if day and status != "deprecated":
        raise RequestError(
            "Only a deprecated model has a day on which it is shut down.", param="shutdown_date"
        )
    images, texts = given.get("usd_per_1k_images", ""), given.get("usd_per_1k_texts", "")
    if bool(images) != bool(texts):
        raise RequestError("A price is set for pictures and for texts.", "Fill in both or none.")
    return ModelTerms(
        model=entry.id,
        status=next((one for one in get_args(Status) if one == status), None),
        shutdown_date=_day(day),
        price=Price(model=entry.id, usd_per_1k_images=images, usd_per_1k_texts=texts) if images else None,
        providers=_arranged(given, entry),
    )


def _day(text: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text) if text else None
    except ValueError as error:
        raise RequestError(
            f"The day {shown(text)} cannot be read.", "Write it as 2027-01-31.", param="shutdown_date"
        ) from error


def _arranged(given: Mapping[str, str], entry: Entry) -> tuple[str, ...] | None:
    """The providers that are ticked, in the order of their numbers; None where they were started so."""
    if entry.model is None or not entry.model.spec.providers:
        return None
    started = [provider.name for provider in entry.model.spec.providers]
    places: dict[str, int] = {}
    for place, name in enumerate(started):
        if given.get(f"asks-{name}"):
            number = given.get(f"place-{name}", "") or str(place + 1)
            if not (number.isascii() and number.isdecimal() and len(number) < 4):
                raise RequestError(f"The place of {name} is {shown(number)}; it must be a whole number.")
            places[name] = int(number)
    if not places:
        raise RequestError(
            f"{entry.id} would be left without a provider.", "Tick one, or set its status to coming_soon."
        )
    wanted = sorted(places, key=lambda name: (places[name], started.index(name)))
    return None if wanted == started else tuple(wanted)


def _providers(entry: Entry) -> list[tuple[str, bool]]:
    """Names of all providers, those that are asked first, and whether each is asked."""
    if entry.model is None or not entry.model.spec.providers:
        return []
    asked = [row.name for row in entry.model.providers.rows]
    rest = [one.name for one in entry.model.spec.providers if one.name not in asked]
    return [(name, True) for name in asked] + [(name, False) for name in rest]
