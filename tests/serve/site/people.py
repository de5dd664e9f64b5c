"""Who looks at the pages of the tests: a server with accounts, and a client that is signed in to one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.testclient import TestClient

from clipworks.search.library import Library
from clipworks.serve import accounts
from clipworks.serve.app import create_service_app
from clipworks.serve.database import Database, open_database
from clipworks.serve.fleet import Fleet
from clipworks.serve.logins import Proof, add_login, login_of, set_operator
from clipworks.serve.roster import ModelSpec
from clipworks.serve.service import Service
from clipworks.serve.sessions import begin_session
from clipworks.serve.settings import ServeSettings
from clipworks.serve.visitors import SESSION_COOKIE, form_token
from tests.serve.colours import ADDRESS, ColourEngine
from tests.serve.workers import HeldWorker


class SignedIn:
    """Lets a client be somebody who is signed in: a session of the database, and its cookie."""

    def __init__(self, client: TestClient, database: Database) -> None:
        self._client = client
        self._database = database

    def as_account(self, name: str, *, is_operator: bool = False) -> None:
        self._client.cookies.set(SESSION_COOKIE, new_session(self._database, name, is_operator=is_operator))

    def as_nobody(self) -> None:
        self._client.cookies.clear()


def new_session(database: Database, name: str, *, is_operator: bool = False) -> str:
    """What the cookie of a browser holds in which an account is signed in."""
    with database.write() as connection:
        account = accounts.account_named(connection, name)
        if login_of(connection, account.id) is None:
            add_login(connection, account.id, name, Proof(issuer="https://id.example.org", subject=name))
        set_operator(connection, account.id, is_operator)
        return begin_session(connection, account.id, seconds=3600)


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
    app = create_service_app(Service(given, fleet, gallery, loads_first=gallery is not None))
    try:
        with TestClient(app, base_url=ADDRESS, follow_redirects=False) as client:
            yield client, SignedIn(client, database), database
    finally:
        database.close()


def send(client: TestClient, path: str, **fields: str) -> Any:
    """A form of a page, with the token of the session."""
    return client.post(path, data={"form_token": token_of(client), **fields})


def token_of(client: TestClient) -> str:
    """What a form of the client's session must carry."""
    return form_token(client.cookies.get(SESSION_COOKIE, ""))
