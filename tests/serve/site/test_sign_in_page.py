"""Signing up, in and out: who is let in, who is not, and what a stranger can learn or do."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from clipworks.serve import ledger, logins
from clipworks.serve.database import Database
from clipworks.serve.site.forms import own_path
from clipworks.serve.site.sign_in_page import MAX_TRIES
from clipworks.serve.tables import LOGINS, SESSIONS, TALLIES
from tests.serve.cluster import new_sqlite
from tests.serve.paying import assert_books_agree, balance, bearer, new_key, paid_server, rows
from tests.serve.people import PASSWORD, Person, come_from, problem_on

Served = tuple[TestClient, Database]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with paid_server(new_sqlite(tmp_path), signup_credit_usd=0.5) as server:
        yield server


def test_signing_up_gives_credit_a_session_and_a_key_whose_use_appears(address: str) -> None:
    with paid_server(address, signup_credit_usd=0.25) as (client, database):
        person = Person(client)
        answer = person.sign_up()
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        assert balance(database, "mira") == 250_000
        assert [row.note for row in rows(database, "grant")] == ["sign-up credit"]
        assert "$0.25" in person.get("/account").text
        secret = person.make_key()
        body = {"model": "colours", "input": ["red", "blue"]}
        assert client.post("/v1/embeddings", json=body, headers=bearer(secret)).status_code == 200
        usage = person.get("/account/usage").text
        assert "colours" in usage and "$0.000024" in usage and "app" in usage
        assert "app" in person.get("/account/usage.csv").text
        assert_books_agree(database)


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(served: Served) -> None:
    answer = Person(served[0]).sign_up()
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("clipworks_session="))
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie
    assert "Secure" not in cookie, "this is http"
    assert "Max-Age=1209600" in cookie


def test_over_https_the_cookie_is_secure_and_of_this_host_only(tmp_path: Path) -> None:
    with paid_server(new_sqlite(tmp_path), public_url="https://clip.example.org") as (client, _):
        client.base_url = "https://clip.example.org"  # type: ignore[assignment]
        person = Person(client)
        cookies = person.sign_up().headers.get_list("set-cookie")
        cookie = next(c for c in cookies if c.startswith("__Host-clipworks_session="))
        assert "Secure" in cookie and "Domain" not in cookie
        assert person.get("/account").status_code == 200
        session = client.cookies["__Host-clipworks_session"]
        client.cookies.clear()
        client.cookies.set("clipworks_session", session)
        planted = client.get("/account", follow_redirects=False)
        assert planted.status_code == 303, "a cookie that another host could have planted opens nothing"


def test_the_database_holds_neither_password_nor_session(served: Served) -> None:
    client, database = served
    Person(client).sign_up()
    with database.read() as connection:
        login = connection.execute(LOGINS.select()).one()
        session = connection.execute(SESSIONS.select()).one()
    assert login.password.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert PASSWORD not in str(login) and client.cookies["clipworks_session"] not in str(session)


def test_who_signs_in_gets_a_new_session_and_the_old_word_is_worth_nothing(served: Served) -> None:
    client, _ = served
    person = Person(client)
    person.sign_up()
    first = client.cookies["clipworks_session"]
    person.sign_in()
    second = client.cookies["clipworks_session"]
    assert first != second
    client.cookies.clear()
    client.cookies.set("clipworks_session", first)
    assert client.get("/account", follow_redirects=False).status_code == 303


def test_a_session_that_somebody_planted_does_not_become_that_of_who_signs_in(served: Served) -> None:
    client, _ = served
    person = Person(client)
    person.sign_up()
    client.cookies.clear()
    client.cookies.set("clipworks_session", "x" * 43)
    person.sign_in()
    assert client.cookies.get("clipworks_session", domain="127.0.0.1") != "x" * 43
    client.cookies.clear()
    client.cookies.set("clipworks_session", "x" * 43)
    assert client.get("/account", follow_redirects=False).status_code == 303


def test_signing_out_ends_the_session_and_not_only_the_cookie(served: Served) -> None:
    client, database = served
    person = Person(client)
    person.sign_up()
    kept = client.cookies["clipworks_session"]
    answer = person.sign_out()
    assert answer.headers["location"] == "/sign-in?bye=1"
    client.cookies.set("clipworks_session", kept)
    assert client.get("/account", follow_redirects=False).status_code == 303
    assert client.post("/sign-out", follow_redirects=False).status_code == 303, "twice does no harm"


def test_a_session_ends_at_its_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client, database = served
    person = Person(client)
    person.sign_up()
    with database.write() as connection:
        connection.execute(SESSIONS.update().values(expires_at_ms=1))
    answer = client.get("/account/usage?from=2026-01-01", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=%2Faccount%2Fusage%3Ffrom%3D2026-01-01"


def test_after_signing_in_one_is_where_one_wanted_to_be(served: Served) -> None:
    client, _ = served
    person = Person(client)
    person.sign_up()
    person.sign_out()
    page = client.get("/account/usage?from=2026-01-01").text
    assert 'name="next" value="/account/usage?from=2026-01-01"' in page
    fields = {"name": "mira", "password": PASSWORD, "next": "/account/usage?from=2026-01-01"}
    answer = person.send("/sign-in", "/sign-in", fields)
    assert answer.headers["location"] == "/account/usage?from=2026-01-01"


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "/\t/evil", ""]
)
def test_nobody_is_led_to_another_site(wanted: str) -> None:
    assert own_path(wanted) == "/account"


def test_an_unknown_name_and_a_wrong_password_are_answered_alike(served: Served) -> None:
    client, _ = served
    Person(client).sign_up()
    client.cookies.clear()
    pages = []
    for name, password in (("mira", "not this one at all"), ("nobody", "not this one at all")):
        answer = Person(client, name).sign_in(password)
        assert answer.status_code == 403
        text = answer.text.replace(f'value="{name}"', 'value=""')
        pages.append(re.sub(r'name="form_token" value="\w+"', "", text))
    assert pages[0] == pages[1] and "The name or the password is wrong." in pages[0]


def test_an_unknown_name_costs_a_digest_as_well(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from clipworks.serve.passwords import Passwords

    checked: list[str | None] = []
    real = Passwords._work

    def count(self: Passwords, password: str, digest: str | None) -> str:
        checked.append(digest)
        return real(self, password, digest)

    monkeypatch.setattr(Passwords, "_work", count)
    Person(served[0], "nobody").sign_in()
    made, compared = checked
    assert made is None and compared is not None and compared.startswith("$argon2id$")


def test_trying_passwords_is_stopped_and_starts_anew_after_the_right_one(served: Served) -> None:
    client, database = served
    person = Person(client)
    person.sign_up()
    for _ in range(3):
        person.sign_in("wrong wrong wrong")
    assert person.sign_in().status_code == 303, "and what was wrong before is forgotten"
    client.cookies.clear()
    person.sign_in("wrong wrong wrong")
    with database.write() as connection:
        mine = TALLIES.c.kind == "sign-in"
        connection.execute(TALLIES.update().where(mine).values(number=MAX_TRIES["sign-in"]))
    refused = person.sign_in()
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
    assert "too many tries" in problem_on(refused.text)
    come_from(client, "203.0.113.9")
    assert person.sign_in().status_code == 303, "from elsewhere the owner still gets in"


def test_one_address_may_not_try_many_names(served: Served) -> None:
    client, database = served
    Person(client, "first").sign_in()
    with database.write() as connection:
        wanted = TALLIES.c.kind == "sign-in address"
        connection.execute(TALLIES.update().where(wanted).values(number=MAX_TRIES["sign-in address"]))
    assert Person(client, "another").sign_in().status_code == 429


@pytest.mark.parametrize(
    ("name", "password", "words"),
    [
        ("mira", "short", "from 10 to 200"),
        ("mira", "password123", "first that are tried"),
        ("mira", "aaaaaaaaaaaaaa", "first that are tried"),
        ("mirabella123", "mirabella1234", "hardly more than the name"),
        ("m", PASSWORD, "from 2 to 64"),
        ("x" * 65, PASSWORD, "from 2 to 64"),
        ("acct_0123", PASSWORD, "given by this server"),
        ("closed  acct_0123", PASSWORD, "given by this server"),
        ("a\u202eb", PASSWORD, "printable"),
        ("nul\0l", PASSWORD, "holds a character that is none"),
    ],
)
def test_names_and_passwords_that_will_not_do_are_refused_in_words(
    served: Served, name: str, password: str, words: str
) -> None:
    answer = Person(served[0], name).sign_up(password)
    assert answer.status_code == 400 and words in problem_on(answer.text)


def test_a_name_is_taken_once_however_it_is_written(served: Served) -> None:
    client, database = served
    new_key(database, "The Museum")
    Person(client).sign_up()
    for name in ("mira", "MIRA", "  Mira ", "ｍira", "The Museum"):
        client.cookies.clear()
        answer = Person(client, name).sign_up()
        assert answer.status_code == 400 and "is taken" in problem_on(answer.text), name


def test_a_name_of_markup_is_only_a_name(served: Served) -> None:
    client, _ = served
    person = Person(client, "<script>alert(1)</script>\"'")
    assert person.sign_up().status_code == 303
    person.make_key('"><img src=x onerror=alert(2)>')
    for path in ("/account", "/account/keys", "/account/usage", "/account/settings", "/account/prices", "/"):
        page = person.get(path).text
        assert "<script>alert" not in page and "<img src=x" not in page, path
    assert "&lt;script&gt;" in person.get("/account").text
    person.sign_out()
    failed = person.sign_in("wrong wrong wrong").text
    assert "<script>alert" not in failed and "&lt;script&gt;" in failed


def test_an_address_makes_so_many_accounts_a_day_and_no_more(tmp_path: Path) -> None:
    with paid_server(new_sqlite(tmp_path), signups_per_day=2) as (client, _):
        codes = []
        for name in ("one", "two", "three"):
            client.cookies.clear()
            codes.append(Person(client, name).sign_up().status_code)
        assert codes == [303, 303, 429]
        come_from(client, "2001:db8::1")
        assert Person(client, "four").sign_up().status_code == 303


def test_signing_up_can_be_switched_off(tmp_path: Path) -> None:
    with paid_server(new_sqlite(tmp_path), signups_per_day=0) as (client, database):
        assert client.get("/sign-up").status_code == 404
        assert "Make an account" not in client.get("/sign-in").text
        token = Person(client).token("/sign-in")
        data = {"form_token": token, "name": "mira", "password": PASSWORD}
        assert client.post("/sign-up", data=data, follow_redirects=False).status_code == 404
        with database.read() as connection:
            assert connection.execute(LOGINS.select()).all() == []


def test_nobody_is_an_operator_by_signing_up_first(served: Served) -> None:
    client, database = served
    Person(client).sign_up()
    with database.read() as connection:
        assert logins.operators(connection) == []


def test_a_digest_of_another_cost_is_renewed_at_the_next_sign_in(served: Served) -> None:
    from argon2 import PasswordHasher

    client, database = served
    person = Person(client)
    person.sign_up()
    weak = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    with database.write() as connection:
        connection.execute(LOGINS.update().values(password=weak))
    assert person.sign_in().status_code == 303
    with database.read() as connection:
        (login,) = connection.execute(LOGINS.select())
    assert "m=19456" in login.password


def test_without_credit_the_account_begins_with_nothing(tmp_path: Path) -> None:
    with paid_server(new_sqlite(tmp_path), signup_credit_usd=0) as (client, database):
        Person(client).sign_up()
        assert balance(database, "mira") == 0
        with database.write() as connection:
            owner = logins.find_login(connection, "mira")
            assert owner is not None
            ledger.grant(connection, owner.account_id, 5_000_000)
        assert "$5.00" in Person(client).get("/account").text


def test_a_server_without_keys_has_none_of_these_pages(client: TestClient) -> None:
    for path in ("/sign-in", "/sign-up", "/account", "/operator"):
        assert client.get(path).status_code == 404, path
    assert "Sign in" not in client.get("/").text
