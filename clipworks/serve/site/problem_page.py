"""What a reader sees where there is no page, or where it could not be made.

Programs get the error object of `problems.py`; who names `text/html` in the header Accept, as browsers do,
gets a page with the same words and the ways on.
"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from clipworks.serve.edge import log_failure, request_id
from clipworks.serve.problems import (
    RequestError,
    StoppingError,
    UnavailableError,
    headers_of,
    message_of,
    problem,
    status_and_code,
)
from clipworks.serve.site.accept import wanted_kind
from clipworks.serve.site.layout import Layout
from clipworks.serve.traces import current_trace

TITLES = {
    401: "Sign in first",
    403: "This was not taken",
    404: "There is no such page",
    405: "Not in this way",
    503: "Not just now",
    504: "Not just now",
}
"""Status -> heading; what is not named is a failure of the server, or of what was sent to it."""


class ProblemPage:
    """Answers to requests that failed.

    Args:
        layout: the frame.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.routes: Sequence[BaseRoute] = ()
        """All addresses that there are; given once they are made."""

    async def answer(self, request: Request, error: Exception) -> Response:
        """The page or the error object; the log hears of what is the server's fault."""
        status, code = status_and_code(error)
        if status >= 500 and not isinstance(error, UnavailableError | StoppingError):
            log_failure(error, request_id(request))
        is_page = wanted_kind(request, ("application/json", "text/html")) == "text/html"
        if is_page and status == 401 and not self._is_known(request):
            error = RequestError("There is no such address.", code="not_found")
            status, code = status_and_code(error)
        current_trace().code = code
        if not is_page:
            return problem(error, request_id(request), request.scope["path"])
        content = {
            "title": TITLES.get(status, "The server failed" if status >= 500 else "This cannot be done"),
            "code": code,
            "message": message_of(error, status, request_id(request)),
        }
        page = self._layout.page(request, "problem.html", content, status)
        page.headers.update(headers_of(error, status, code))
        return page

    def _is_known(self, request: Request) -> bool:
        return any(route.matches(request.scope)[0] is not Match.NONE for route in self.routes)
