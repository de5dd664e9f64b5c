"""Keys: shown once, stored as a hash, ended at once, rotated without losing anything."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from clipworks.serve import keys
from clipworks.serve.database import Database
from clipworks.serve.keys import KeyTerms, period_of
from clipworks.serve.problems import RequestError
from clipworks.serve.tables import KEYS, SECRETS
from tests.serve.paying import new_key


def found(database: Database, secret: str) -> Any:
    with database.read() as connection:
        return keys.find_key(connection, secret)


def test_a_key_is_random_and_only_its_hash_is_stored(database: Database) -> None:
    key, secret = new_key(database)
    _, other = new_key(database)
    assert secret.startswith("cw_") and len(secret) >= 3 + 32 and secret != other
    with database.read() as connection:
        stored = [tuple(row) for row in connection.execute(SECRETS.select())]
        stored += [tuple(row) for row in connection.execute(KEYS.select())]
    assert secret not in repr(stored)
    assert hashlib.sha256(secret.encode()).hexdigest() in repr(stored)
    assert key.label == f"{secret[:7]}…{secret[-4:]}"
    assert found(database, secret).id == key.id


@pytest.mark.parametrize("secret", ["", "cw_", "cw_0", "x" * 5000, "ü", "\ud800", "' OR 1=1 --"])
def test_other_words_open_nothing(database: Database, secret: str) -> None:
    new_key(database)
    assert found(database, secret) is None


def test_a_revoked_key_opens_nothing(database: Database) -> None:
    key, secret = new_key(database)
    with database.write() as connection:
        first = keys.revoke_key(connection, key)
        assert keys.revoke_key(connection, key).revoked_at_ms == first.revoked_at_ms is not None
    assert found(database, secret) is None
    with pytest.raises(RequestError, match="was revoked"), database.write() as connection:
        keys.rotate_key(connection, first, grace_seconds=0)


def test_a_key_opens_nothing_after_its_time(database: Database) -> None:
    _, early = new_key(database, terms=KeyTerms(name="old", expires_at_ms=keys.now_ms() - 1))
    _, later = new_key(database, terms=KeyTerms(name="young", expires_at_ms=keys.now_ms() + 60_000))
    assert found(database, early) is None and found(database, later) is not None


def test_a_rotated_key_keeps_everything_and_the_old_secret_its_time_of_grace(database: Database) -> None:
    key, old = new_key(database, terms=KeyTerms(name="mine", budget_micro_usd=5, requests_per_minute=7))
    with database.write() as connection:
        rotated, new = keys.rotate_key(connection, key, grace_seconds=60)
    assert found(database, old).id == found(database, new).id == key.id
    assert rotated.terms == key.terms and rotated.label == f"{new[:7]}…{new[-4:]}"
    with database.write() as connection:
        _, newest = keys.rotate_key(connection, key, grace_seconds=0)
    assert found(database, old) is None and found(database, new) is None
    assert found(database, newest).id == key.id
    for seconds in (-1.0, 91 * 86400.0, float("nan")):
        with pytest.raises(RequestError, match="grace_seconds"), database.write() as connection:
            keys.rotate_key(connection, key, grace_seconds=seconds)


def test_a_key_is_named_by_its_id_or_by_a_name_that_only_it_has(database: Database) -> None:
    with database.read() as connection, pytest.raises(RequestError, match="no keys yet"):
        keys.key_named(connection, "app")
    key, _ = new_key(database, terms=KeyTerms(name="app"))
    with database.read() as connection:
        assert keys.key_named(connection, "app").id == keys.key_named(connection, key.id).id
        with pytest.raises(RequestError, match="Nearest: app"):
            keys.key_named(connection, "apq")
    new_key(database, terms=KeyTerms(name="app"))
    with database.read() as connection:
        with pytest.raises(RequestError, match="2 keys have the name"):
            keys.key_named(connection, "app")
        assert len(keys.list_keys(connection)) == len(keys.list_keys(connection, key.account_id)) == 2
        assert keys.list_keys(connection, "acct_none") == []


def test_a_key_whose_id_is_the_name_of_others_is_rotated_and_revoked_all_the_same(database: Database) -> None:
    """Who makes keys chooses their names: they must not keep an operator from ending a key."""
    key, _ = new_key(database)
    for owner in ("one", "another"):
        new_key(database, owner, terms=KeyTerms(name=key.id))
    with database.write() as connection:
        assert keys.key_named(connection, key.id).account_id == key.account_id
        _, secret = keys.rotate_key(connection, key, grace_seconds=0)
        assert keys.revoke_key(connection, key).id == key.id
        assert keys.key_named(connection, key.id).id == key.id
    with database.read() as connection:
        assert keys.find_key(connection, secret) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "name"),
        ({"scopes": ()}, "without scopes"),
        ({"scopes": ("inference", "root")}, "root"),
        ({"models": ("a,b",)}, "models"),
        ({"models": ("x" * 4001,)}, "models"),
        ({"budget_period": "year"}, "budget_period"),
        ({"budget_micro_usd": -1}, "budget"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"images_per_minute": 1 << 31}, "images_per_minute"),
        ({"bytes_per_minute": -5}, "bytes_per_minute"),
    ],
)
def test_terms_that_make_no_sense_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        replace(KeyTerms(name="a"), **change)


def test_periods_are_days_weeks_from_monday_and_months_in_utc() -> None:
    sunday_night = 1_795_391_999_000  # 2026-11-22 23:59:59
    assert [period_of(kind, sunday_night) for kind in keys.PERIODS] == [
        "",
        "2026-11-22",
        "2026-11-16",
        "2026-11",
    ]
    assert [period_of(kind, sunday_night + 1000) for kind in keys.PERIODS] == [
        *("", "2026-11-23", "2026-11-23", "2026-11")
    ]
