"""What is offered and wanted: an operator's terms are laid over the models as they were started, at once.

On a server with accounts both are in its database, and other servers on it take them over within seconds.
Without accounts nobody votes and nothing can be set while the server runs.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection
from starlette.requests import Request

from clipworks.errors import ClipworksError
from clipworks.model.pull import known_row
from clipworks.serve import model_terms, wishes
from clipworks.serve.accounts import account_named
from clipworks.serve.keys import list_keys, now_ms
from clipworks.serve.logins import login_of
from clipworks.serve.model_terms import ModelTerms
from clipworks.serve.prices import Prices
from clipworks.serve.problems import RequestError
from clipworks.serve.site.layout import viewer_of

if TYPE_CHECKING:
    from clipworks.serve.books import Books
    from clipworks.serve.roster import ModelSpec
    from clipworks.serve.service import Service

REFRESH_SECONDS = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """What a reader may do about models that are coming."""

    may_vote: bool
    """Whether there are votes on this server."""
    why: str
    """Why the reader cannot vote now; nothing where the reader can."""
    wanted: frozenset[str]
    """Ids of the models that the reader wants."""
    form_token: str
    """What the form must carry."""


class Shelf:
    """Terms, votes and news of all models.

    Args:
        service: the models, as they were started.
        prices: theirs.
        books: the database of accounts; None on a server without.
    """

    def __init__(self, service: "Service", prices: Prices, books: "Books | None") -> None:
        self.books = books
        self._service = service
        self._prices = prices
        self._started_as: dict[str, ModelSpec] = {name: one.spec for name, one in service.models.items()}
        self._known_as = {name: _ids_of(name, spec) for name, spec in self._started_as.items()}
        self._terms: dict[str, ModelTerms] = {}
        self._votes: dict[str, int] = {}
        self._counted_at = float("-inf")
        self._noted: dict[str, int] = {}
        """Votes for models that can be used, as they were when it was last noted who is to be told."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The time in which terms hold; those that are stored do before any model is loaded."""
        if self.books is None:
            yield
            return
        await self.refresh()
        refreshing = asyncio.ensure_future(self._refresh_on())
        try:
            yield
        finally:
            refreshing.cancel()
            await asyncio.gather(refreshing, return_exceptions=True)

    async def refresh(self) -> None:
        """Take over what is stored, and note which models that were wanted can be used now."""
        if self.books is None:
            return
        stored = await self.books.read(model_terms.read_terms)
        for name in {*stored, *self._terms}:
            terms = stored.get(name, ModelTerms(model=name))
            if terms != self._terms.get(name, ModelTerms(model=name)):
                self._apply(terms)
        votes = await self.votes()
        live = {known for name in self._service.fleet.served_names() for known in self._known_as[name]}
        wanted = {name: votes[name] for name in sorted(live) if votes.get(name)}
        if wanted != self._noted:
            for name in await self.books.write(partial(wishes.note_live, models=list(wanted))):
                logger.info("%s was wanted and can be used", name)
            self._noted = wanted

    async def votes(self) -> dict[str, int]:
        """Model -> accounts that want it, as of the last seconds."""
        if self.books is not None and time.monotonic() - self._counted_at > REFRESH_SECONDS:
            try:
                self._votes = await self.books.read(wishes.count_wishes)
                self._counted_at = time.monotonic()
            except ClipworksError:  # a catalogue without votes is better than none
                logger.warning("the votes cannot be counted now", exc_info=True)
        return self._votes

    async def demand(self, request: Request) -> Demand:
        """What the reader of a page may do about models that are coming."""
        viewer = viewer_of(request)
        if self.books is None or viewer is None:
            why = (
                "Sign in to vote." if self.books is not None else "This server has no accounts, so no votes."
            )
            return Demand(may_vote=self.books is not None, why=why, wanted=frozenset(), form_token="")
        try:
            mine = await self.books.read(partial(wishes.wishes_of, account=viewer.account))
        except ClipworksError:  # likewise
            return Demand(may_vote=False, why="Votes cannot be read now.", wanted=frozenset(), form_token="")
        return Demand(may_vote=True, why="", wanted=frozenset(mine), form_token=viewer.form_token)

    async def vote(self, account: str, model: str, *, wants: bool) -> None:
        """Give an account's vote for a model, or take it back.

        Raises:
            RequestError: there is no such account, or its database does not answer.
        """
        assert self.books is not None
        work = wishes.want if wants else wishes.take_back
        await self.books.write(partial(work, account=account, model=model))
        self._counted_at = float("-inf")

    async def key_label(self, request: Request) -> str:
        """How the first key of the reader that works begins, such as `cw_AbCd…`; or nothing."""
        viewer = viewer_of(request)
        if self.books is None or viewer is None:
            return ""
        try:
            return await self.books.read(partial(_label, account=viewer.account))
        except ClipworksError:
            return ""

    def terms_of(self, model: str) -> ModelTerms:
        """What an operator has set of a model."""
        return self._terms.get(model, ModelTerms(model=model))

    async def change(self, terms: ModelTerms, *, words: str, operator: str, note: str) -> None:
        """Set what is said of a model; it holds when this returns.

        Raises:
            RequestError: there is no note, the gallery needs the model, or the database does not answer.
        """
        assert self.books is not None
        gallery_model = self._service.gallery_model
        is_leaving = terms.status == "coming_soon" or terms.shutdown_date is not None
        if gallery_model is not None and gallery_model.name == terms.model and is_leaving:
            raise RequestError(
                f"The gallery is searched by {terms.model}, so it cannot be taken away.",
                "Start the server with an index of another model first.",
                param="status",
            )
        work = partial(model_terms.write_terms, terms=terms, words=words, operator=operator, note=note)
        await self.books.write(work)
        self._apply(terms)
        logger.info("%s: %s (%s)", terms.model, words, operator)
        await self.refresh()

    async def _refresh_on(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except ClipworksError:
                logger.warning("what is set of models cannot be read now", exc_info=True)

    def _apply(self, terms: ModelTerms) -> None:
        self._terms[terms.model] = terms
        self._prices.override(terms.model, terms.price)
        spec = self._started_as.get(terms.model)
        if spec is None:
            return
        model = self._service.models[terms.model]
        status = terms.status or spec.status
        shutdown_date = spec.shutdown_date if terms.status is None else terms.shutdown_date
        if (model.spec.status, model.spec.shutdown_date) != (status, shutdown_date):
            self._service.fleet.offer(model, status, shutdown_date)
        if spec.providers:
            known = [one.name for one in spec.providers]
            named = [one for one in terms.providers or () if one in known]
            model.providers.arrange(
                named or known
            )  # a provider that is gone since leaves those that are there


def _ids_of(name: str, spec: "ModelSpec") -> set[str]:
    """What a model may have been wanted as: the catalogue had its own id before it was served here."""
    row = known_row(spec.source or spec.id)
    return {name} if row is None else {name, row.id}


def _label(connection: Connection, account: str) -> str:
    owner = account_named(connection, account).id
    login = login_of(connection, owner)
    for key in list_keys(connection, owner):
        if login is not None and key.id == login.pages_key_id:
            continue  # its secret is nobody's
        if key.revoked_at_ms is None and (key.terms.expires_at_ms or now_ms() + 1) > now_ms():
            return f"{key.label.partition('…')[0]}…"
    return ""
