"""The page `/` on a server where work is paid for: the search for who is signed in, a welcome for all others.

A search is charged to the account like a request of its key "Pages". A link of another site can lead to the
page, and spends nothing: the search then waits for a click.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from clipworks.errors import ClipworksError
from clipworks.serve.problems import status_and_code
from clipworks.serve.sessions import Session
from clipworks.serve.site.layout import Layout
from clipworks.serve.site.money import dollars
from clipworks.serve.traces import current_trace
from clipworks.serve.visitors import session_of

if TYPE_CHECKING:
    from clipworks.serve.key_gate import KeyGate
    from clipworks.serve.service import Service
    from clipworks.serve.site.search_page import SearchPage


class PaidSearch:
    """Searching with one's own credit.

    Args:
        service: the gallery, and the model that it is searched with.
        gate: where accounts are.
        search_page: does the searching.
        layout: the frame.
    """

    def __init__(
        self, service: "Service", gate: "KeyGate", search_page: "SearchPage", layout: Layout
    ) -> None:
        self._service = service
        self._gate = gate
        self._search_page = search_page
        self._layout = layout

    async def show(self, request: Request) -> Response:
        """GET /: a search, which costs what the model reads for it."""
        session = session_of(request)
        if session is None or self._service.gallery_model is None:
            return self._welcome(request)
        images, texts = self._search_page.amounts(request)
        if not images + texts:
            return await self._search_page.show(request)
        if not self._gate.visitors.is_own(request):
            return self._welcome(request, words=request.query_params.get("q", "").strip() or "a picture")
        return await self._paid(request, session, self._search_page.show, images=images, texts=texts)

    async def show_similar(self, request: Request) -> Response:
        """POST /: a search with a picture."""
        session = session_of(request)
        if session is None or self._service.gallery_model is None:
            return self._welcome(request, status=403)
        return await self._paid(request, session, self._search_page.show_similar, images=1, texts=0)

    async def _paid(
        self,
        request: Request,
        session: Session,
        work: Callable[[Request], Awaitable[Response]],
        *,
        images: int,
        texts: int,
    ) -> Response:
        """The answer to a search, once it is paid for."""
        assert self._service.gallery_model is not None
        model = self._service.gallery_model.name
        try:
            caller = await self._gate.admit_pages(request, session)
            charge = await caller.charge(model=model, images=images, texts=texts)
        except ClipworksError as error:
            status, current_trace().code = status_and_code(error)
            if status >= 500:
                raise
            return self._welcome(request, problem=str(error), status=status)
        is_answered = False
        try:
            response = await work(request)
            if response.status_code == 200:
                response = await charge.settle(response)
                current_trace().charged(model, images, texts, charge.cost_micro_usd)
                is_answered = True
        finally:
            if not is_answered:
                await charge.release()
        response.headers.update(caller.headers())
        return response

    def _welcome(
        self, request: Request, *, words: str = "", problem: str = "", status: int = 200
    ) -> Response:
        """What this server is, what it costs, and the way in; where results are put in place, why not."""
        if request.query_params.get("fragment"):
            return self._refuse_part(request, problem, status)
        prices = {name: self._gate.prices.of(name) for name in self._service.models}
        content = {
            "waiting": words,
            "problem": problem,
            "query": request.url.query,
            "search_cost": self._search_cost(),
            "prices": prices,
            "can_sign_up": self._gate.settings.signups_per_day > 0,
            "credit_usd": f"{self._gate.settings.signup_credit_usd:.2f}",
            "has_gallery": self._service.gallery is not None,
        }
        return self._layout.page(request, "welcome.html", content, status)

    def _refuse_part(self, request: Request, problem: str, status: int) -> Response:
        """In place of results: a page inside of the page would be none."""
        if session_of(request) is not None:
            return self._layout.fragment("results_refused.html", {"problem": problem, "way_in": ""}, status)
        asked = [(name, one) for name, one in request.query_params.multi_items() if name != "fragment"]
        way_in = "/sign-in?" + urlencode({"next": "/?" + urlencode(asked)})
        content = {"problem": "You are signed out.", "way_in": way_in}
        return self._layout.fragment("results_refused.html", content, 401)

    def _search_cost(self) -> str:
        model = self._service.gallery_model
        return (
            ""
            if model is None
            else dollars(self._gate.prices.of(model.name).cost_micro_usd(images=0, texts=1))
        )
