"""`/account/wishes`: the models that an account wants, and which of them came."""

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from clipworks.serve import wishes
from clipworks.serve.problems import RequestError

if TYPE_CHECKING:
    from clipworks.serve.shelf import Shelf
    from clipworks.serve.site.catalogue import Catalogue
    from clipworks.serve.site.people import People


class WishesPage:
    """Votes of who is signed in.

    Args:
        people: who is signed in, and the frame.
        catalogue: every model that is known.
        shelf: where votes are.
    """

    def __init__(self, people: "People", catalogue: "Catalogue", shelf: "Shelf") -> None:
        self._people = people
        self._catalogue = catalogue
        self._shelf = shelf

    async def show(self, request: Request) -> Response:
        """GET: what the account wants, and since when what it wanted can be used."""
        account = self._people.who(request).account_name
        news = await self._people.books.read(partial(wishes.news_of, account=account))
        demand = await self._shelf.demand(request)
        entries = await asyncio.to_thread(self._catalogue.entries, await self._shelf.votes())
        content = {
            "wanted": [entry for entry in entries if entry.id in demand.wanted],
            "news": [(one.model, datetime.fromtimestamp(one.live_at_ms / 1000, UTC)) for one in news],
            "demand": demand,
        }
        return self._people.page(request, "wishes.html", content)

    async def vote(self, request: Request) -> Response:
        """POST `model`, `wants` (`yes` or `no`), `back`: vote or take it back, and return to the page.

        Raises:
            RequestError: the form is of another session, there is no such model, or it can be used already.
        """
        form = await self._people.form(request)
        wants = form.text("wants") != "no"
        entry = await asyncio.to_thread(self._catalogue.entry, form.text("model"))
        if wants and entry.standing != "coming soon":
            raise RequestError(
                f"The model {entry.id} is not among those that are coming: it is {entry.standing}.",
                param="model",
            )
        await self._shelf.vote(self._people.who(request).account_name, entry.id, wants=wants)
        back = form.text("back")
        known = {"/models", "/account/wishes"}
        return RedirectResponse(
            back if back in known else f"/models/{quote(entry.id, safe='/')}",
            303,
            {"cache-control": "no-store"},
        )
