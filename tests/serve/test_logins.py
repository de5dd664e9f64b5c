"""Logins, sessions and what is counted, on both kinds of database; passwords."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from clipworks.errors import BusyError
from clipworks.serve import accounts, closing, logins, passwords, sessions, signing_up, tallies
from clipworks.serve.database import Database
from clipworks.serve.keys import KeyTerms, create_key, key_with_id
from clipworks.serve.logins import Proof
from clipworks.serve.passwords import Passwords
from clipworks.serve.problems import RequestError
from clipworks.serve.tables import KEYS, SESSIONS, TALLIES
from clipworks.serve.visitors import forget_old
from tests.serve.paying import assert_books_agree, code_of

PROOF = Proof(password="$argon2id$...")


def sign_up(database: Database, name: str = "mira", proof: Proof = PROOF) -> str:
    with database.write() as connection:
        return signing_up.sign_up(connection, name, proof, credit_micro_usd=5).id


def at_once(work: Callable[[int], Any], number: int) -> list[Any]:
    """What so many threads get, or their errors."""
    found: list[Any] = [None] * number
    start = threading.Barrier(number)

    def run(place: int) -> None:
        start.wait()
        try:
            found[place] = work(place)
        except RequestError as error:
            found[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_of_many_who_want_a_name_at_once_one_has_it(database: Database) -> None:
    found = at_once(lambda place: sign_up(database, ("mira", "MIRA")[place % 2]), 6)
    assert sum(isinstance(one, str) for one in found) == 1
    assert all("is taken" in str(one) for one in found if not isinstance(one, str))
    with database.read() as connection:
        (account,) = accounts.list_accounts(connection)
        login = logins.login_of(connection, account.id)
        assert login is not None and login.pages_key_id is not None and not login.is_operator
    assert_books_agree(database)


def test_tries_of_many_at_once_are_all_counted(database: Database) -> None:
    def count(place: int) -> int:
        with database.write() as connection:
            return tallies.count(connection, "sign-in", "mira", window_seconds=10**6)

    assert sorted(at_once(count, 8)) == list(range(1, 9))
    with database.write() as connection:
        assert tallies.count(connection, "sign-in", "other", window_seconds=10**6) == 1
        assert "mira" not in str(connection.execute(TALLIES.select()).all()), "names are not kept"
        tallies.clear(connection, "sign-in", "mira")
        assert tallies.count(connection, "sign-in", "mira", window_seconds=10**6) == 1
        assert 0 < tallies.seconds_left(900) <= 900


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_an_address_counts_as_the_network_of_a_household(address: str, network: str) -> None:
    assert tallies.network_of(address) == network


def test_sessions_and_what_was_counted_long_ago_are_swept_away(database: Database) -> None:
    account = sign_up(database)
    with database.write() as connection:
        old = sessions.begin_session(connection, account, seconds=-1)
        new = sessions.begin_session(connection, account, seconds=60)
        tallies.count(connection, "sign-in", "mira", window_seconds=900)
        connection.execute(TALLIES.update().values(began_at_ms=1))
        tallies.count(connection, "sign-in", "mira", window_seconds=900)
        assert sessions.find_session(connection, old) is None
        forget_old(connection)
        assert sessions.find_session(connection, new) is not None
        assert len(connection.execute(SESSIONS.select()).all()) == 1
        assert len(connection.execute(TALLIES.select()).all()) == 1
        assert sessions.find_session(connection, "x" * 10_000) is None
        assert sessions.find_session(connection, "") is None


def test_a_person_of_an_issuer_has_one_account(database: Database) -> None:
    proof = Proof(issuer="https://id.example.org", subject="person-1")
    account = sign_up(database, proof=proof)
    assert code_of(lambda: sign_up(database, "again", proof))[0] == 400
    with database.read() as connection:
        found = logins.login_at(connection, "https://id.example.org", "person-1")
        assert found is not None and found.account_id == account and found.password is None
        assert logins.login_at(connection, "https://other.example.org", "person-1") is None
        assert len(accounts.list_accounts(connection)) == 1


def test_an_account_of_the_command_line_gets_a_login_once(database: Database) -> None:
    with database.write() as connection:
        museum = accounts.create_account(connection, "The  Museum", credit_micro_usd=0)
        login = logins.add_login(connection, museum.id, museum.name, PROOF)
        assert login.name == "the museum" and not login.is_operator
        assert logins.find_login(connection, "THE MUSEUM") == login
    with database.write() as connection, pytest.raises(RequestError, match="is taken"):
        logins.add_login(connection, museum.id, museum.name, PROOF)


@pytest.mark.parametrize("name", ["The Museum", "THE MUSEUM", "ＴＨＥ  Ｍuseum"])
def test_nobody_signs_up_with_the_name_of_an_account_of_the_command_line(
    database: Database, name: str
) -> None:
    with database.write() as connection:
        owner = accounts.create_account(connection, "The Museum", credit_micro_usd=0)
    with pytest.raises(RequestError, match="is taken"):
        sign_up(database, name)
    with database.write() as connection:  # so its owner still gets a login by that name
        assert logins.add_login(connection, owner.id, owner.name, PROOF).account_id == owner.id


def test_the_name_of_a_closed_account_is_free_again(database: Database) -> None:
    account = sign_up(database)
    with database.write() as connection:
        closing.close_account(connection, account)
    assert sign_up(database, "MIRA") != account


def test_the_key_of_the_pages_is_made_anew_only_where_it_has_ended(database: Database) -> None:
    account = sign_up(database)
    with database.write() as connection:
        first = logins.renew_pages_key(connection, account)
        assert logins.renew_pages_key(connection, account) == first
        connection.execute(KEYS.update().values(revoked_at_ms=5))
        second = logins.renew_pages_key(connection, account)
        assert second != first
        key = key_with_id(connection, second)
        assert key is not None and key.terms.scopes == ("inference", "usage")
        other, _ = create_key(connection, account, KeyTerms(name="app"))
        assert key_with_id(connection, other.id) == other and key_with_id(connection, "none") is None


def test_a_password_is_the_same_however_its_signs_are_put_together() -> None:
    async def check() -> list[bool]:
        known = Passwords()
        digest = await known.digest("caf\u00e9 sept pommes")
        tries = ("cafe\u0301 sept pommes", "cafe sept pommes", "caf\u00e9 sept pommes\0")
        return [await known.is_right(word, digest) for word in tries]

    assert asyncio.run(check()) == [True, False, False]


def test_a_digest_that_is_none_opens_nothing() -> None:
    async def check() -> list[bool]:
        known = Passwords()
        return [
            await known.is_right("seven green apples", digest) for digest in (None, "", "x", "$argon2id$")
        ]

    assert asyncio.run(check()) == [False] * 4


def test_too_many_who_sign_in_at_once_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_MAX_WAITING", 2)

    async def check() -> list[Any]:
        known = Passwords()
        tasks = [known.digest("seven green apples") for _ in range(4)]
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(check())
    assert [isinstance(one, BusyError) for one in found] == [False, False, True, True]
