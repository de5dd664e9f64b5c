"""Who looks at the pages of the tests: an application in front of which somebody is signed in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from clipworks.search.library import Library
from clipworks.serve import accounts
from clipworks.serve.app import create_service_app
from clipworks.serve.database import Database, open_database
from clipworks.serve.fleet import Fleet
from clipworks.serve.roster import ModelSpec
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings
from clipworks.serve.site.layout import Viewer
from tests.serve.colours import ADDRESS, ColourEngine
from tests.serve.workers import HeldWorker

TOKEN = "a token of this session"


class SignedIn:
    """Puts a viewer into every request, as the middleware of sessions does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.viewer: Viewer | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["viewer"] = self.viewer
        await self.app(scope, receive, send)

    def as_account(self, name: str, *, is_operator: bool = False) -> None:
        self.viewer = Viewer(account=name, form_token=TOKEN, is_operator=is_operator)


@contextmanager
def people_server(
    address: str,
    specs: list[ModelSpec],
    names: tuple[str, ...] = ("ann", "bob"),
    gallery: Library | None = None,
) -> Iterator[tuple[TestClient, SignedIn, Database]]:
    """A server with accounts and models whose workers are there at once; nobody is signed in at first."""
    given = ServeSettings(require_keys=True, database=address)
    database = open_database(address)
    with database.write() as connection:
        for name in names:
            if accounts.find_account(connection, name) is None:
                accounts.create_account(connection, name, credit_micro_usd=1_000_000)
    fleet = Fleet(given, specs, lambda spec: HeldWorker(ColourEngine(spec.id)))
    app = SignedIn(create_service_app(Service(given, fleet, gallery, loads_first=gallery is not None)))
    try:
        with TestClient(app, base_url=ADDRESS, follow_redirects=False) as client:
            yield client, app, database
    finally:
        database.close()


def send(client: TestClient, path: str, **fields: str) -> Any:
    """A form of a page, with the token of the session."""
    return client.post(path, data={"form_token": TOKEN, **fields})
