"""The pages of the operator: who sees them, what they show, and what they do to money."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from clipworks.serve import accounts, keys, ledger
from clipworks.serve.database import Database
from clipworks.serve.keys import KeyTerms
from clipworks.serve.logins import find_login, set_operator
from clipworks.serve.tables import ACCOUNTS
from tests.serve.cluster import new_sqlite
from tests.serve.paying import assert_books_agree, balance, bearer, new_key, paid_server, rows
from tests.serve.people import Person, problem_on

BODY = {"model": "colours", "input": ["red"]}

Served = tuple[TestClient, Database]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with paid_server(new_sqlite(tmp_path)) as server:
        yield server


@pytest.fixture
def boss(served: Served) -> Person:
    client, database = served
    person = Person(client, "boss")
    person.sign_up()
    promote(database, "boss")
    return person


def promote(database: Database, name: str, is_operator: bool = True) -> None:
    with database.write() as connection:
        login = find_login(connection, name)
        assert login is not None
        set_operator(connection, login.account_id, is_operator)


def id_of(database: Database, name: str) -> str:
    with database.read() as connection:
        return accounts.account_named(connection, name).id


def once_on(person: Person, path: str) -> str:
    found = re.search(r'name="once" value="(\w+)"', person.get(path).text)
    assert found is not None
    return found[1]


def test_nobody_else_sees_the_operators_pages_and_the_right_ends_at_once(served: Served) -> None:
    client, database = served
    assert client.get("/operator", follow_redirects=False).status_code == 303
    person = Person(client)
    person.sign_up()
    token = person.token("/account")
    mine = f"/operator/accounts/{id_of(database, 'mira')}"
    for path in ("/operator", "/operator/ledger", "/operator/health", mine):
        assert client.get(path).status_code == 404, path
    data = {"form_token": token, "amount_usd": "100", "note": "for me", "once": "x"}
    for action in ("grant", "adjust"):
        assert client.post(f"{mine}/{action}", data=data).status_code == 404
    assert "Operator" not in client.get("/account").text
    promote(database, "mira")
    assert client.get("/operator").status_code == 200 and "Operator" in client.get("/account").text
    promote(database, "mira", False)
    assert client.get("/operator").status_code == 404
    assert balance(database, "mira") == 1_000_000


def test_accounts_are_listed_found_and_turned_over(served: Served, boss: Person) -> None:
    client, database = served
    new_key(database, "<b>100% bold</b>")
    values = [
        {"id": f"acct_{n:032}", "name": f"many {n}", "balance_micro_usd": 0, "created_at_ms": n}
        for n in range(105)
    ]
    with database.write() as connection:
        connection.execute(ACCOUNTS.insert(), values)
    page = boss.get("/operator").text
    assert "107 accounts have $2.00 left together" in page and "&lt;b&gt;100% bold" in page
    assert "<b>100%" not in page and "many 104" in page and "many 1<" not in page and "Older" in page
    second = boss.get("/operator?page=2").text
    assert "many 1<" in second and "Newer" in second and "Older" not in second
    found = boss.get("/operator?q=0%25+BOLD").text
    assert "&lt;b&gt;" in found and "boss</a>" not in found
    assert "No account is called that." in boss.get("/operator?q=100_").text
    for page in ("-1", "0", "9" * 20, "1" * 5000, "٣"):
        assert boss.get("/operator", params={"page": page}).status_code == 200


def test_credit_is_given_and_put_right_with_a_note_once_for_each_form(served: Served, boss: Person) -> None:
    client, database = served
    new_key(database, "museum", credit=1_000_000)
    page = f"/operator/accounts/{id_of(database, 'museum')}"
    fields = {"amount_usd": "2.5", "note": "second invoice", "once": once_on(boss, page)}
    codes = [boss.send(page, f"{page}/grant", fields).status_code for _ in range(3)]
    assert codes == [303, 400, 400] and balance(database, "museum") == 3_500_000
    fields = {"amount_usd": "-0.5", "note": "granted twice", "once": once_on(boss, page)}
    assert boss.send(page, f"{page}/adjust", fields).status_code == 303
    assert balance(database, "museum") == 3_000_000
    assert "It is done" in boss.get(f"{page}?done=money").text and "It is done" not in boss.get(page).text
    by = f"(by {id_of(database, 'boss')})"
    assert [row.note for row in rows(database, "adjust")] == [f"granted twice {by}"]
    shown = boss.get(page).text
    assert "second invoice" in shown and "−$0.50" in shown
    assert_books_agree(database)


def test_a_form_moves_money_once_also_after_midnight(
    served: Served, boss: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = served[1]
    page, clock = f"/operator/accounts/{id_of(database, 'boss')}", [20_000 * 86_400_000 - 1000]
    for module in ("tallies", "site.operator_page"):
        monkeypatch.setattr(f"clipworks.serve.{module}.now_ms", lambda: clock[0])
    fields = {"amount_usd": "2", "note": "invoice", "once": once_on(boss, page)}
    codes = []
    for later in (0, 2000, 86_500_000):
        clock[0] += later
        codes.append(boss.send(page, f"{page}/grant", fields).status_code)
    assert codes == [303, 400, 400] and balance(database, "boss") == 3_000_000


@pytest.mark.parametrize(
    ("action", "fields", "words"),
    [
        ("grant", {"amount_usd": "much", "note": "x"}, "“US dollars” is 'much'; it must be"),
        ("grant", {"amount_usd": "-1", "note": "x"}, "above 0"),
        ("grant", {"amount_usd": "1", "note": " "}, "Say why"),
        ("adjust", {"amount_usd": "-5", "note": "x"}, "has less than"),
        ("adjust", {"amount_usd": "0.0000001", "note": "x"}, "six decimals"),
    ],
)
def test_amounts_that_will_not_do_move_nothing(
    served: Served, boss: Person, action: str, fields: dict[str, str], words: str
) -> None:
    database = served[1]
    page = f"/operator/accounts/{id_of(database, 'boss')}"
    answer = boss.send(page, f"{page}/{action}", {**fields, "once": once_on(boss, page)})
    assert answer.status_code == 400 and words in problem_on(answer.text)
    assert balance(database, "boss") == 1_000_000


def test_a_key_of_anybody_is_revoked(served: Served, boss: Person) -> None:
    client, database = served
    key, secret = new_key(database, "museum", terms=KeyTerms(name="leaked"))
    page = f"/operator/accounts/{key.account_id}"
    wrong = boss.send(page, f"/operator/accounts/{id_of(database, 'boss')}/keys/{key.id}/revoke")
    assert wrong.status_code == 404
    assert boss.send(page, f"{page}/keys/{key.id}/revoke").status_code == 303
    assert client.post("/v1/embeddings", json=BODY, headers=bearer(secret)).status_code == 401
    with database.read() as connection:
        assert keys.key_named(connection, key.id).revoked_at_ms is not None


def test_the_ledger_is_filtered_and_turned_over(served: Served, boss: Person) -> None:
    client, database = served
    key, secret = new_key(database, "museum")
    new_key(database, "library")
    assert client.post("/v1/embeddings", json=BODY, headers=bearer(secret)).status_code == 200
    with database.write() as connection:
        for number in range(101):
            ledger.grant(connection, key.account_id, 1, note=f"gift {number}")

    def shown(query: str) -> Any:
        return boss.get(f"/operator/ledger?{query}").text

    assert shown("kind=settle").count("<tr>") == 1 + 1
    assert shown("account=library&kind=grant").count("<tr>") == 1 + 1
    assert shown(f"kind=reserve&key_id={key.id}&model=colours").count("<tr>") == 1 + 1
    assert "No rows like that." in shown("account=library&kind=settle")
    assert "No rows like that." in shown("to=2001-01-01")
    page = shown("account=museum")
    assert page.count("<tr>") == 1 + 100
    older = re.search(r'href="/operator/ledger\?([^"]*before=\d+)"', page)
    assert older is not None
    assert shown(older[1].replace("&amp;", "&")).count("<tr>") == 1 + 4
    assert "There is no account" in problem_on(shown("account=nobody"))
    assert "kind must be one of" in problem_on(shown("kind=theft"))
    assert "must be a day" in problem_on(shown("from=now"))


def test_health_tells_models_requests_errors_and_books(served: Served, boss: Person) -> None:
    client, database = served
    _, secret = new_key(database, "museum")
    assert client.post("/v1/embeddings", json=BODY, headers=bearer(secret)).status_code == 200
    client.get("/v1/usage")
    page = boss.get("/operator/health").text
    assert "colours" in page and ">live<" in page and "0.00 %" in page and "answers" in page
    row = re.search(r"<code>/v1/embeddings</code></th>(.*)</tr>", page)
    assert row is not None and re.findall(r"<td>(\d+)</td>", row[1]) == ["1", "0", "0", "0"]
    assert "Every balance is the sum of its rows." in boss.get("/operator/health?audit=1").text
    with database.write() as connection:
        connection.execute(ACCOUNTS.update().where(ACCOUNTS.c.name == "museum").values(balance_micro_usd=7))
    assert "its rows sum to" in boss.get("/operator/health?audit=1").text


def test_an_account_that_is_not_there_is_a_404(boss: Person) -> None:
    assert boss.get("/operator/accounts/acct_none").status_code == 404
