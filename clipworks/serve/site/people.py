"""What the pages of who is signed in share: who it is, forms, money in words, a mistake on the page."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from clipworks.errors import ClipworksError
from clipworks.serve.problems import status_and_code
from clipworks.serve.sessions import Session
from clipworks.serve.site.forms import Form, read_form
from clipworks.serve.site.layout import Layout, say_when
from clipworks.serve.site.money import dollars
from clipworks.serve.traces import current_trace
from clipworks.serve.visitors import session_of

if TYPE_CHECKING:
    from clipworks.serve.key_gate import KeyGate

TABS = (
    ("/account", "Overview"),
    ("/account/keys", "Keys"),
    ("/account/usage", "Usage"),
    ("/account/prices", "Prices"),
    ("/account/wishes", "Wishes"),
    ("/account/settings", "Settings"),
)
OPERATOR_TABS = (
    ("/operator", "Accounts"),
    ("/operator/ledger", "Ledger"),
    ("/operator/models", "Models"),
    ("/operator/health", "Health"),
)
"""Address and name of the pages beside one."""

LABELS: Mapping[str, str] = {
    "amount_usd": "US dollars",
    "budget_usd": "Budget, US dollars",
    "expires_in_days": "Ends after days",
    "requests_per_minute": "Requests a minute",
    "images_per_minute": "Pictures a minute",
    "bytes_per_minute": "Bytes a minute",
    "images": "Pictures",
    "texts": "Texts",
    "from": "From",
    "to": "To",
}
"""What the API calls a field -> what stands beside it on a page."""


class People:
    """The ground of every page of who is signed in.

    Args:
        gate: where accounts are.
        layout: the frame.
    """

    def __init__(self, gate: "KeyGate", layout: Layout) -> None:
        self.books = gate.books
        self.gate = gate
        self.settings = gate.settings
        self.visitors = gate.visitors
        self.layout = layout

    def who(self, request: Request) -> Session:
        """Who is signed in; the guard lets nobody else come here."""
        session = session_of(request)
        assert session is not None, request.url.path
        return session

    async def form(self, request: Request) -> Form:
        """The form that the page sent.

        Raises:
            RequestError: it was not sent by a page of this session, or cannot be read.
        """
        return await read_form(request, self.visitors)

    def page(
        self,
        request: Request,
        template: str,
        content: Mapping[str, Any],
        *,
        error: ClipworksError | None = None,
    ) -> Response:
        """A page of the account, with what went wrong on it.

        Raises:
            ClipworksError: `error`, where it is the server's.
        """
        status = 200
        if error is not None:
            status, current_trace().code = status_and_code(error)
            if status >= 500:
                raise error
        session = self.who(request)
        frame = {
            "tabs": OPERATOR_TABS if request.url.path.startswith("/operator") else TABS,
            "problem": "" if error is None else in_words_of_pages(error),
            "credit": dollars(session.balance_micro_usd),
        }
        answer = self.layout.page(request, template, {**frame, **content}, status)
        if error is not None:
            say_when(answer, error)
        return answer


def in_words_of_pages(error: ClipworksError) -> str:
    """What went wrong, with the label of the field that the reader sees in the place of the API's name."""
    words, name = str(error), getattr(error, "param", None) or ""
    if name in LABELS and words.startswith(f"{name} "):
        return f"“{LABELS[name]}”{words.removeprefix(name)}"
    return words
