"""Signing in at an issuer of OpenID Connect, which runs beside the test: there, back, and what is refused."""

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwk
from starlette.testclient import TestClient

from clipworks.errors import ConfigError
from clipworks.serve import logins
from clipworks.serve.database import Database
from clipworks.serve.settings import ServeSettings
from clipworks.serve.tables import LOGINS
from tests.serve.cluster import new_sqlite
from tests.serve.issuer import CLIENT, SECRET, Issuer, running_issuer
from tests.serve.paying import balance, paid_server
from tests.serve.people import PASSWORD, Person, problem_on

Served = tuple[TestClient, Database]


@pytest.fixture(scope="module")
def running() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(running: Issuer) -> Issuer:
    """As it is when nobody has asked anything of it."""
    key, address = running.key, running.address
    running.__init__()  # type: ignore[misc]
    running.key = running.signs_with = key
    running.address = address
    return running


@pytest.fixture
def served(tmp_path: Path, issuer: Issuer) -> Iterator[Served]:
    with paid_server(new_sqlite(tmp_path), **settings_for(issuer)) as server:
        yield server


def settings_for(issuer: Issuer, **more: Any) -> dict[str, Any]:
    given = {"oidc_client_id": CLIENT, "oidc_client_secret": SECRET, "oidc_private": True}
    return {"oidc_issuer": issuer.address, "oidc_name": "The <Museum>", **given, **more}


def leave(client: TestClient, wanted: str = "/account/keys") -> str:
    """Where the issuer is asked."""
    answer = client.get(f"/sign-in/oidc?{urlencode({'next': wanted})}", follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def consent(place: str) -> str:
    """What the issuer sends the browser back with, its own page being left out."""
    parts = urlsplit(place)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    connection.request("GET", f"{parts.path}?{parts.query}")
    location = connection.getresponse().headers["location"]
    connection.close()
    back = urlsplit(location)
    return f"{back.path}?{back.query}"


def go(client: TestClient) -> Any:
    return client.get(consent(leave(client)), follow_redirects=False)


def test_who_comes_for_the_first_time_has_an_account_and_later_the_same(
    served: Served, issuer: Issuer
) -> None:
    client, database = served
    assert "Sign in with The &lt;Museum&gt;" in client.get("/sign-in").text
    answer = go(client)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/keys")
    assert "mira" in client.get("/account").text and balance(database, "mira") == 1_000_000
    assert 'name="current"' not in client.get("/account/settings").text, "there is no password to change"
    client.cookies.clear()
    issuer.person = {"sub": "person-1", "preferred_username": "now called otherwise"}
    assert go(client).status_code == 303 and "mira" in client.get("/account").text
    assert balance(database, "mira") == 1_000_000, "credit is given once"
    done = Person(client).send("/account/settings", "/account/close", {"name": "mira"})
    assert done.headers["location"] == "/sign-in?bye=closed"


def test_who_comes_back_twice_at_once_has_one_account(
    served: Served, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, database = served
    assert go(client).status_code == 303
    real, answers = logins.login_at, [None]

    def login_at(connection: Any, issuer: str, subject: str) -> Any:
        return answers.pop() if answers else real(connection, issuer, subject)

    monkeypatch.setattr(logins, "login_at", login_at)
    again = go(client)
    assert again.status_code == 303 and not answers, "it was not there yet when it was looked for"
    with database.read() as connection:
        assert len(connection.execute(LOGINS.select()).all()) == 1


def test_a_name_or_address_that_the_issuer_tells_opens_nobodys_account(
    served: Served, issuer: Issuer
) -> None:
    client, database = served
    Person(client).sign_up()
    client.cookies.clear()
    issuer.person = {"sub": "another", "preferred_username": "MIRA", "email": "mira"}
    assert go(client).status_code == 303
    assert "<strong>MIRA 2</strong>" in client.get("/account").text
    client.cookies.clear()
    for subject, name in (("third", "x\x00y"), ("fourth", ""), ("fifth", "acct_1"), ("sixth", "m" * 300)):
        issuer.person = {"sub": subject, "name": name}
        assert go(client).status_code in (303, 429), name
    with database.read() as connection:
        assert Person(client).sign_in(PASSWORD).status_code == 303
        assert len(connection.execute(LOGINS.select()).all()) == 3, "one address makes three a day"


def test_who_has_no_password_cannot_sign_in_with_one(served: Served, issuer: Issuer) -> None:
    client, _ = served
    go(client)
    client.cookies.clear()
    for word in ("", "None", PASSWORD):
        assert Person(client).sign_in(word).status_code == 403


@pytest.mark.parametrize(
    ("tells", "words"),
    [
        ({"nonce": "another"}, "another question"),
        ({"nonce": None}, "another question"),
        ({"aud": "somebody-else"}, "for somebody else"),
        ({"aud": [CLIENT, "more"], "azp": "more"}, "for somebody else"),
        ({"iss": "https://evil.example"}, "for somebody else"),
        ({"exp": 1}, "not of this time"),
        ({"iat": 4_000_000_000}, "not of this time"),
        ({"exp": None}, "no time"),
        ({"sub": None}, "names nobody"),
        ({"sub": 5}, "names nobody"),
        ({"sub": "x" * 256}, "names nobody"),
    ],
)
def test_a_token_that_says_something_else_opens_nothing(
    served: Served, issuer: Issuer, tells: dict[str, Any], words: str
) -> None:
    issuer.tells = tells
    answer = go(served[0])
    assert answer.status_code == 403 and words in problem_on(answer.text)
    assert not any("session" in name for name in served[0].cookies)


@pytest.mark.parametrize("algorithm", ["RS256", "HS256", "none"])
def test_a_token_that_the_issuer_did_not_sign_opens_nothing(
    served: Served, issuer: Issuer, algorithm: str
) -> None:
    client, _ = served
    issuer.algorithm = algorithm
    if algorithm == "RS256":
        issuer.signs_with = jwk.RSAKey.generate_key(2048, {"kid": "first"})
    else:  # the classics: a symmetric signature, whose secret the public key could be, and none at all
        issuer.signs_with = jwk.OctKey.generate_key(256, {"kid": "first"})
    answer = go(client)
    assert answer.status_code == 403 and "not signed by it" in problem_on(answer.text)
    assert issuer.asked_for_keys == 1, "an unknown key makes nobody ask again and again"


def test_only_the_browser_that_went_comes_back(served: Served, issuer: Issuer) -> None:
    client, _ = served
    back = consent(leave(client))
    kept = dict(client.cookies)
    client.cookies.clear()
    answer = client.get(back, follow_redirects=False)
    assert answer.status_code == 403 and "another way than you left" in problem_on(answer.text)
    client.cookies.clear()
    client.cookies.update(kept)
    state = parse_qs(urlsplit(back).query)["state"][0]
    other = back.replace("account%2Fkeys", "account%2Fsettings")
    assert other != back and state.endswith("./account/keys")
    assert client.get(other, follow_redirects=False).status_code == 403
    denied = client.get(f"/sign-in/oidc/back?{urlencode({'state': state, 'error': 'access_denied'})}")
    assert denied.status_code == 403 and "not signed in there" in problem_on(denied.text)
    assert client.get(back, follow_redirects=False).status_code == 303, "and the right way leads in"


def test_a_code_is_worth_something_once(served: Served, issuer: Issuer) -> None:
    client, _ = served
    back = consent(leave(client))
    visit = client.cookies["clipworks_visit"]
    assert client.get(back, follow_redirects=False).status_code == 303
    client.cookies.clear()
    client.cookies.set("clipworks_visit", visit)
    answer = client.get(back, follow_redirects=False)
    assert answer.status_code == 403 and "status 400" in problem_on(answer.text)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"issuer": "https://evil.example"}, "describes another issuer"),
        ({"token_endpoint": None}, "describes another issuer"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "not taken"),
        ({"jwks_uri": "http://127.0.0.1:1/keys"}, "does not answer"),
        ({"token_endpoint": "http://127.0.0.1:1/token"}, "does not answer"),
    ],
)
def test_an_issuer_that_describes_itself_wrongly_is_refused_in_words(
    served: Served, issuer: Issuer, about: dict[str, Any], words: str
) -> None:
    client, _ = served
    issuer.about = about
    answer = client.get("/sign-in/oidc", follow_redirects=False)
    if answer.status_code == 303:
        answer = client.get(consent(answer.headers["location"]), follow_redirects=False)
    assert answer.status_code == 403 and words in problem_on(answer.text)


def test_an_issuer_in_a_private_network_is_asked_only_where_that_is_said(
    tmp_path: Path, issuer: Issuer
) -> None:
    with paid_server(new_sqlite(tmp_path), **settings_for(issuer, oidc_private=False)) as (client, _):
        answer = client.get("/sign-in/oidc", follow_redirects=False)
        assert answer.status_code == 403 and "not taken" in problem_on(answer.text)


def test_where_nobody_signs_up_nobody_joins_from_elsewhere(tmp_path: Path, issuer: Issuer) -> None:
    with paid_server(new_sqlite(tmp_path), **settings_for(issuer, signups_per_day=0)) as (client, _):
        answer = go(client)
        assert answer.status_code == 404 and "Nobody can sign up here" in problem_on(answer.text)


def test_an_issuer_without_a_client_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(ConfigError, match="oidc_client_id"):
        ServeSettings(oidc_issuer="https://id.example.org")
    assert "s3cret" not in repr(
        ServeSettings(oidc_issuer="https://x.org", oidc_client_id="a", oidc_client_secret="s3cret")
    )
