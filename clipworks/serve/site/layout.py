"""The frame of every page: templates, navigation, the mark of static files, who is looking.

Everything that comes from users or files is escaped by Jinja2. A page is a template that extends
`layout.html`; its styles stand in `static/site.css`, its script, if it has one, in a module of its own.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from clipworks.serve.pictures import picture_address
from clipworks.serve.problems import headers_of, status_and_code
from clipworks.serve.settings import ServeSettings
from clipworks.serve.site.wording import filters

STATIC = Path(__file__).parent.parent / "static"

NAVIGATION = (
    ("/", "Search"),
    ("/models", "Models"),
    ("/compare", "Compare"),
    ("/playground", "Playground"),
    ("/docs", "Docs"),
)
"""Address and name of what every page leads to, in order."""

_SANE_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Viewer:
    """Who is signed in."""

    account: str
    """The account's name."""
    form_token: str
    """What every form of this session must carry in its field `form_token`, against forms of other sites."""
    is_operator: bool = False
    """Whether the pages of the operator are open."""


class Layout:
    """Renders pages.

    Args:
        settings: the port, and whether there are accounts.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._version = _version_of(STATIC)
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("clipworks.serve"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["picture_address"] = picture_address
        self._templates.filters.update(filters())
        self._plain = self._templates.overlay(autoescape=False)

    def page(
        self, request: Request, template: str, content: Mapping[str, Any], status: int = 200
    ) -> Response:
        """A whole page: `content` is what its template names beyond the frame."""
        frame = {
            "navigation": NAVIGATION,
            "here": request.url.path,
            "version": self._version,
            "address": self.address(request),
            "has_accounts": self._settings.require_keys,
            "viewer": viewer_of(request),
        }
        html = self._templates.get_template(template).render(frame | dict(content))
        return HTMLResponse(html, status, headers={"cache-control": "no-store"})

    def fragment(self, template: str, content: Mapping[str, Any], status: int = 200) -> Response:
        """A part of a page, which a script puts in place."""
        html = self._templates.get_template(template).render(content)
        return HTMLResponse(html, status, headers={"cache-control": "no-store"})

    def text(self, template: str, content: Mapping[str, Any]) -> str:
        """A page that is no HTML, such as Markdown: its template says what is to be escaped, and how."""
        return self._plain.get_template(template).render(content)

    def address(self, request: Request) -> str:
        """Scheme, host and port under which the reader knows this server, for examples to copy."""
        if self._settings.public_url:
            return self._settings.public_url
        host = request.headers.get("host", "")
        if not _SANE_HOST.fullmatch(host):
            host = f"127.0.0.1:{self._settings.port}"
        return f"{request.url.scheme}://{host}"


def viewer_of(request: Request) -> Viewer | None:
    """Who is signed in, if anybody."""
    viewer: Viewer | None = request.scope.get("state", {}).get("viewer")
    return viewer


def say_when(answer: Response, error: Exception) -> None:
    """Let the answer to a refusal say when the same may go well, where that is known."""
    said = headers_of(error, *status_and_code(error))
    answer.headers.update({name: said[name] for name in said if name.startswith("retry-after")})


def _version_of(folder: Path) -> str:
    """A mark in the addresses of static files, so that a browser fetches them anew after a change."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
