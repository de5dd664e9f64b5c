"""The pages of an account: keys, use, prices, password, sessions, the end; and forms from elsewhere."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from clipworks.serve import accounts, keys, sessions
from clipworks.serve.database import Database
from clipworks.serve.keys import KeyTerms
from clipworks.serve.logins import find_login, set_operator
from clipworks.serve.tables import ACCOUNTS, KEYS, LOGINS, METADATA, SESSIONS
from tests.serve.cluster import new_sqlite
from tests.serve.paying import (
    TEXT_COST,
    assert_books_agree,
    balance,
    bearer,
    new_key,
    paid_server,
    rows,
)
from tests.serve.people import PASSWORD, Person, problem_on

EMBEDDINGS = "/v1/embeddings"
BODY = {"model": "colours", "input": ["red"]}
FORMS = (
    *(("/account", "/sign-out"), ("/account", "/account/pages-key"), ("/account/keys", "/account/keys")),
    *(("/account/keys", "/account/keys/{key}/rotate"), ("/account/keys", "/account/keys/{key}/revoke")),
    *(("/account/settings", "/account/password"), ("/account/settings", "/account/sign-out")),
    ("/account/settings", "/account/close"),
)
"""Page and address of every form of the account."""

Served = tuple[TestClient, Database]


def mine(database: Database, name: str = "mira") -> list[keys.Key]:
    with database.read() as connection:
        return keys.list_keys(connection, accounts.account_named(connection, name).id)


def state(database: Database) -> list[Any]:
    """Everything that forms of the account can change."""
    with database.read() as connection:
        return [connection.execute(table.select()).all() for table in (KEYS, LOGINS, SESSIONS, ACCOUNTS)]


@pytest.mark.parametrize("path", [path for _, path in FORMS])
def test_a_form_without_its_token_or_with_that_of_another_session_changes_nothing(
    served: Served, person: Person, path: str
) -> None:
    client, database = served
    person.make_key()
    before = state(database)
    address = path.replace("{key}", next(key.id for key in mine(database) if key.terms.name == "app"))
    fields = {"name": "mira", "current": PASSWORD, "new": "eight blue pears", "scopes": "inference"}
    token = person.token("/account")
    wrong = (
        {},
        {"form_token": ""},
        {"form_token": "0" * 64},
        {"form_token": token[:-1]},
        {"form_token": "é"},
    )
    for given in wrong:
        answer = client.post(address, data={**fields, **given}, follow_redirects=False)
        assert answer.status_code == 403, given
    answer = client.post(address, json={**fields, "form_token": token}, follow_redirects=False)
    assert answer.status_code == 415
    assert state(database) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000"},
    ],
)
@pytest.mark.parametrize("path", ["/account/keys", "/sign-in", "/sign-up", "/sign-out"])
def test_a_form_of_another_site_is_refused_even_with_the_right_token(
    served: Served, person: Person, headers: dict[str, str], path: str
) -> None:
    client, database = served
    page = path if path.startswith("/sign-") and path != "/sign-out" else "/account"
    data = {"form_token": person.token(page), "name": "x", "password": PASSWORD, "scopes": "inference"}
    before = state(database)
    assert client.post(path, data=data, headers=headers, follow_redirects=False).status_code == 403
    assert state(database) == before


def test_a_form_of_this_site_is_taken_behind_a_proxy_that_has_another_name(tmp_path: Path) -> None:
    with paid_server(new_sqlite(tmp_path), public_url="https://clip.example.org") as (client, _):
        client.base_url = "https://10.0.0.7"  # type: ignore[assignment]
        origin = {"origin": "https://clip.example.org"}
        assert Person(client).sign_up(headers=origin).status_code == 303


def test_pages_ask_with_the_session_and_are_charged_to_the_key_pages(served: Served, person: Person) -> None:
    client, database = served
    token = {"x-form-token": person.token("/account")}
    answer = client.post(EMBEDDINGS, json=BODY, headers=token)
    assert answer.status_code == 200 and answer.headers["x-request-cost-usd"] == "0.000012"
    assert balance(database, "mira") == 1_000_000 - TEXT_COST
    (pages,) = [key for key in mine(database) if key.terms.name == "Pages"]
    assert [row.key_id for row in rows(database, "settle")] == [pages.id]
    usage = person.get("/account/usage").text
    assert "Pages" in usage and "$0.000012" in usage
    assert client.get("/v1/credits").json()["data"]["account"] == "mira", "reading needs no token"
    assert_books_agree(database)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-form-token": "0" * 64},
        {"x-form-token": "TOKEN", "sec-fetch-site": "cross-site"},
        {"x-form-token": "TOKEN", "origin": "https://evil.example"},
    ],
)
def test_a_session_spends_nothing_without_its_token_or_for_another_site(
    served: Served, person: Person, headers: dict[str, str]
) -> None:
    client, database = served
    token = person.token("/account")
    given = {name: value.replace("TOKEN", token) for name, value in headers.items()}
    answer = client.post(EMBEDDINGS, json=BODY, headers=given)
    assert answer.status_code == 403 and answer.json()["error"]["code"] == "foreign_form"
    assert rows(database, "reserve") == []


def test_a_session_administers_nothing(served: Served, person: Person) -> None:
    client, database = served
    with database.write() as connection:
        login = find_login(connection, "mira")
        assert login is not None
        set_operator(connection, login.account_id, True)
    token = {"x-form-token": person.token("/account")}
    assert client.get("/metrics", headers=token).status_code == 401
    for path in ("/v1/admin/accounts", "/v1/admin/keys"):
        assert client.get(path, headers=token).status_code == 403, path
    body = {"name": "second", "credit_usd": "100"}
    assert client.post("/v1/admin/accounts", json=body, headers=token).status_code == 403


def test_a_key_that_is_sent_counts_before_the_session(served: Served, person: Person) -> None:
    client, database = served
    _, secret = new_key(database, "payer")
    assert client.post(EMBEDDINGS, json=BODY, headers=bearer(secret)).status_code == 200
    assert balance(database, "mira") == 1_000_000 and balance(database) == 1_000_000 - TEXT_COST
    wrong = {**bearer("cw_wrong"), "x-form-token": person.token("/account")}
    assert client.post(EMBEDDINGS, json=BODY, headers=wrong).status_code == 401


def test_a_revoked_key_of_the_pages_stops_them_and_is_made_anew(served: Served, person: Person) -> None:
    client, database = served
    token = {"x-form-token": person.token("/account")}
    (pages,) = mine(database)
    assert person.send("/account/keys", f"/account/keys/{pages.id}/revoke").status_code == 303
    refused = client.post(EMBEDDINGS, json=BODY, headers=token)
    assert refused.status_code == 403 and refused.json()["error"]["code"] == "pages_key_ended"
    assert "has ended" in person.get("/account").text and "Make a new one" in person.get("/account/keys").text
    assert person.send("/account", "/account/pages-key").status_code == 303
    assert client.post(EMBEDDINGS, json=BODY, headers=token).status_code == 200
    assert person.send("/account", "/account/pages-key").status_code == 303, "twice makes no second one"
    assert len(mine(database)) == 2


def test_a_key_is_made_with_its_terms_and_shown_once(served: Served, person: Person) -> None:
    client, database = served
    secret = person.make_key(
        "ci",
        scopes="inference",
        models="colours",
        budget_usd="0.5",
        budget_period="month",
        expires_in_days="30",
        requests_per_minute="60",
        images_per_minute="10",
        bytes_per_minute="100000",
    )
    key = next(key for key in mine(database) if key.terms.name == "ci")
    terms = key.terms
    assert (terms.scopes, terms.models) == (("inference",), ("colours",))
    assert (terms.budget_micro_usd, terms.budget_period) == (500_000, "month")
    assert (terms.requests_per_minute, terms.images_per_minute, terms.bytes_per_minute) == (60, 10, 100_000)
    assert terms.expires_at_ms is not None
    page = person.get("/account/keys").text
    assert secret not in page and key.label in page and "$0.00 of $0.50 a month" in page
    assert client.post(EMBEDDINGS, json=BODY, headers=bearer(secret)).status_code == 200
    assert client.get("/v1/usage", headers=bearer(secret)).status_code == 403


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, "printable characters"),
        ({"name": "Pages"}, "has a key 'Pages' already"),
        ({"scopes": "admin"}, "may have inference and usage"),
        ({"scopes": ["inference", "admin"]}, "may have inference and usage"),
        ({"scopes": []}, "opens nothing"),
        ({"models": "none-such"}, "is not served here"),
        ({"budget_usd": "much"}, "“Budget, US dollars” is 'much'; it must be"),
        ({"budget_usd": "-1"}, "from 0 to"),
        ({"budget_period": "hour"}, "budget_period"),
        ({"expires_in_days": "0"}, "above 0"),
        ({"requests_per_minute": "1.5"}, "“Requests a minute” is"),
        ({"requests_per_minute": "0"}, "from 1 to"),
    ],
)
def test_terms_that_will_not_do_are_refused_and_stay_in_the_form(
    served: Served, person: Person, fields: dict[str, Any], words: str
) -> None:
    asked = {"name": "mine & yours", "scopes": "inference", **fields}
    answer = person.send("/account/keys", "/account/keys", asked)
    assert answer.status_code in (400, 404) and words in problem_on(answer.text)
    assert fields.get("name") is not None or 'value="mine &amp; yours"' in answer.text
    assert len(mine(served[1])) == 1


def test_a_key_is_rotated_and_revoked_by_its_owner_only(served: Served, person: Person) -> None:
    client, database = served
    first = person.make_key()
    key = next(key for key in mine(database) if key.terms.name == "app")
    answer = person.send("/account/keys", f"/account/keys/{key.id}/rotate", {"grace_hours": "0"})
    second = re.search(r'id="secret"[^>]*>(cw_\w+)<', answer.text)
    assert second is not None
    codes = [
        client.post(EMBEDDINGS, json=BODY, headers=bearer(one)).status_code for one in (first, second[1])
    ]
    assert codes == [401, 200]
    stranger, _ = new_key(database, "stranger", terms=KeyTerms(name="theirs"))
    for action in ("rotate", "revoke"):
        refused = person.send("/account/keys", f"/account/keys/{stranger.id}/{action}")
        assert refused.status_code == 404 and "no such key" in problem_on(refused.text)
    assert mine(database, "stranger")[0].revoked_at_ms is None
    assert person.send("/account/keys", f"/account/keys/{key.id}/revoke").status_code == 303
    assert client.post(EMBEDDINGS, json=BODY, headers=bearer(second[1])).status_code == 401, "at once"
    assert "revoked" in person.get("/account/keys").text


def test_use_is_drawn_summed_and_given_as_a_file(served: Served, person: Person) -> None:
    client, database = served
    for name, number in (("app", 2), ("=cmd()", 1)):
        secret = person.make_key(name)
        for _ in range(number):
            client.post(EMBEDDINGS, json=BODY, headers=bearer(secret))
    page = person.get("/account/usage").text
    assert page.count("<svg") == 2 and page.count("<rect") == 3 and " style=" not in page
    assert "3 requests with 0 pictures and 3 texts" in page and "$0.000036" in page
    by_key = page[page.index('id="by-key"') :]
    assert by_key.index(">app<") < by_key.index(">=cmd()<"), "the dearest first"
    answer = person.get("/account/usage.csv")
    assert "attachment" in answer.headers["content-disposition"]
    found = list(csv.DictReader(io.StringIO(answer.text)))
    assert sorted(row["key_name"] for row in found) == ["'=cmd()", "app"]
    empty = person.get("/account/usage?from=2001-01-01&to=2001-01-31").text
    assert "Nothing was used in these days" in empty and 'value="2001-01-01"' in empty
    wrong = person.get("/account/usage?from=yesterday")
    assert wrong.status_code == 400 and "“From” is 'yesterday'; it must be a day" in problem_on(wrong.text)


def test_use_of_others_is_not_seen(served: Served, person: Person) -> None:
    client, database = served
    _, secret = new_key(database, "stranger", terms=KeyTerms(name="their key"))
    client.post(EMBEDDINGS, json=BODY, headers=bearer(secret))
    for path in ("/account", "/account/usage", "/account/usage.csv", "/account/keys"):
        assert "their key" not in person.get(path).text


def test_prices_are_calculated_for_numbers_of_ones_own(person: Person) -> None:
    page = person.get("/account/prices?images=1,000,000&texts=500").text
    assert "$60.006" in page and 'value="1000000"' in page and "0 times" in page
    assert "16 times" in person.get("/account/prices").text
    assert "any number times" in person.get("/account/prices?images=0").text
    wrong = person.get("/account/prices?images=many")
    assert wrong.status_code == 400 and "“Pictures” is 'many'; it must be a whole" in problem_on(wrong.text)


def test_changing_the_password_signs_all_other_browsers_out(served: Served, person: Person) -> None:
    client, _ = served
    first = client.cookies["clipworks_session"]
    client.cookies.clear()
    person.sign_in()
    settings = "/account/settings"
    wrong = person.send(
        settings, "/account/password", {"current": "not it at all", "new": "eight blue pears"}
    )
    assert wrong.status_code == 403 and "current password is wrong" in problem_on(wrong.text)
    short = person.send(settings, "/account/password", {"current": PASSWORD, "new": "pears"})
    assert short.status_code == 400
    done = person.send(settings, "/account/password", {"current": PASSWORD, "new": "eight blue pears"})
    assert done.status_code == 303 and "was changed" in person.get(done.headers["location"]).text
    client.cookies.clear()
    client.cookies.set("clipworks_session", first)
    assert client.get("/account", follow_redirects=False).status_code == 303
    client.cookies.clear()
    assert person.sign_in().status_code == 403
    assert person.sign_in("eight blue pears").status_code == 303


def test_browsers_are_signed_out_one_by_one_or_all_at_once(served: Served, person: Person) -> None:
    client, database = served
    first = client.cookies["clipworks_session"]
    client.cookies.clear()
    person.sign_in()
    page = person.get("/account/settings").text
    assert page.count("This one") == 1 and page.count("Another one") == 1
    assert page.index("This one") < page.index("Another one")
    start = sessions.digest_of(first)[:16]
    answer = person.send("/account/settings", "/account/sign-out", {"session": start})
    assert answer.headers["location"] == "/account/settings?done=session"
    assert person.get("/account/settings").text.count("Another one") == 0
    answer = person.send("/account/settings", "/account/sign-out")
    assert answer.headers["location"] == "/sign-in?bye=1"
    with database.read() as connection:
        assert connection.execute(SESSIONS.select()).all() == []


def test_a_session_of_somebody_else_cannot_be_signed_out(served: Served, person: Person) -> None:
    client, database = served
    theirs = client.cookies["clipworks_session"]
    client.cookies.clear()
    other = Person(client, "other")
    other.sign_up()
    start = sessions.digest_of(theirs)[:16]
    other.send("/account/settings", "/account/sign-out", {"session": start})
    with database.read() as connection:
        assert len(connection.execute(SESSIONS.select()).all()) == 2


def test_closing_an_account_leaves_rows_that_lead_to_nobody(address: str) -> None:
    with paid_server(address) as (client, database):
        person = Person(client)
        person.sign_up()
        secret = person.make_key("my secret project")
        client.post(EMBEDDINGS, json=BODY, headers={**bearer(secret), "idempotency-key": "one"})
        settings = "/account/settings"
        for wrong in ({"name": "Mira", "current": PASSWORD}, {"name": "mira", "current": "no such word"}):
            assert person.send(settings, "/account/close", wrong).status_code in (400, 403)
        done = person.send(settings, "/account/close", {"name": "mira", "current": PASSWORD})
        assert "Your account was deleted." in client.get(done.headers["location"]).text
        assert client.post(EMBEDDINGS, json=BODY, headers=bearer(secret)).status_code == 401
        with database.read() as connection:
            everything = str([connection.execute(t.select()).all() for t in METADATA.sorted_tables])
        assert "mira" not in everything and "my secret project" not in everything
        assert [row.cost_micro_usd for row in rows(database, "settle")] == [TEXT_COST]
        assert rows(database, "adjust")[0].note == "the account was closed"
        assert_books_agree(database)
        assert person.sign_in().status_code == 403
        assert person.sign_up().status_code == 303, "the name is free again"


def test_the_account_of_an_operator_is_not_closed_by_a_form(served: Served, person: Person) -> None:
    with served[1].write() as connection:
        login = find_login(connection, "mira")
        assert login is not None
        set_operator(connection, login.account_id, True)
    fields = {"name": "mira", "current": PASSWORD}
    answer = person.send("/account/settings", "/account/close", fields)
    assert answer.status_code == 400 and "account of an operator" in problem_on(answer.text)


def test_pages_are_not_kept_and_load_nothing_from_elsewhere(person: Person) -> None:
    person.make_key()
    for path in ("/account", "/account/keys", "/account/usage", "/account/prices", "/account/settings"):
        answer = person.get(path)
        assert answer.headers["cache-control"] == "no-store", path
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', answer.text), path
        assert " style=" not in answer.text
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=", answer.text)
