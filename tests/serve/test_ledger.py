"""Money: every move is a row, balances are their sums, nothing is overdrawn and a charge ends once."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from clipworks.serve import accounts, audit, keys, ledger
from clipworks.serve.database import Database, open_database
from clipworks.serve.keys import KeyTerms, now_ms
from clipworks.serve.problems import RequestError
from clipworks.serve.tables import ACCOUNTS, KEYS, LEDGER
from clipworks.serve.usage import credit_of, usage_of
from tests.serve.cluster import new_sqlite
from tests.serve.paying import (
    assert_books_agree,
    balance,
    code_of,
    new_key,
    order_of,
    release,
    reserve,
    rows,
    settle,
)


def test_a_request_is_reserved_then_settled_and_the_rows_keep_its_price(database: Database) -> None:
    key, _ = new_key(database, credit=1000)
    order = order_of(key, images=3, texts=1)
    reserved = reserve(database, order)
    assert reserved.cost_micro_usd == 142  # 3 x 47 and a half, rounded up
    assert reserved.balance_micro_usd == balance(database) == 858
    settle(database, order, reserved.charge_id)
    (row,) = rows(database, "settle")
    assert (row.amount_micro_usd, row.cost_micro_usd, row.images, row.texts) == (0, 142, 3, 1)
    assert (row.usd_per_1k_images, row.usd_per_1k_texts, row.request_id) == ("0.047", "0.0005", "req_1")
    assert_books_agree(database)


def test_what_is_released_comes_back_once(database: Database) -> None:
    key, _ = new_key(database, credit=100)
    reserved = reserve(database, order_of(key))
    assert release(database, reserved.charge_id)
    assert not release(database, reserved.charge_id)
    assert not release(database, reserved.charge_id, may_refund=True)
    assert balance(database) == 100
    assert_books_agree(database)


def test_a_settled_charge_is_not_released_but_can_be_refunded_once(database: Database) -> None:
    key, _ = new_key(database, credit=100)
    order = order_of(key)
    charge_id = settle(database, order, reserve(database, order).charge_id)
    assert not release(database, charge_id)
    assert balance(database) == 53
    assert release(database, charge_id, may_refund=True)
    assert not release(database, charge_id, may_refund=True)
    assert balance(database) == 100
    with database.read() as connection:
        assert credit_of(connection, key.account_id).spent_micro_usd == 0
        assert keys.key_named(connection, key.id).spent_micro_usd == 0
        (row,) = usage_of(connection, key.account_id, first_day="1970-01-01", last_day="9999-01-01")
        assert (row.requests, row.images, row.cost_micro_usd) == (0, 0, 0)
    assert_books_agree(database)


def test_settling_twice_spends_once(database: Database) -> None:
    key, _ = new_key(database, credit=100)
    order = order_of(key)
    reserved = reserve(database, order)
    assert settle(database, order, reserved.charge_id) == settle(database, order, reserved.charge_id)
    assert balance(database) == 53 and len(rows(database, "settle")) == 1


def test_a_charge_that_was_taken_for_abandoned_is_paid_anew_or_not_at_all(database: Database) -> None:
    key, _ = new_key(database, credit=100)
    order = order_of(key)
    reserved = reserve(database, order)
    release(database, reserved.charge_id)
    again = settle(database, order, reserved.charge_id)
    assert again != reserved.charge_id and balance(database) == 53
    late = reserve(database, order)
    release(database, late.charge_id)
    other = settle(database, order, reserve(database, order).charge_id)
    assert code_of(lambda: settle(database, order, late.charge_id)) == (402, "credit_balance_exhausted")
    assert release(database, other, may_refund=True)
    assert_books_agree(database)


def test_what_was_set_aside_and_not_needed_comes_back_with_the_row_that_spends_the_rest(
    database: Database,
) -> None:
    key, _ = new_key(database, credit=200, terms=KeyTerms(name="a", budget_micro_usd=190))
    reserved = reserve(database, order_of(key, images=4))
    assert (reserved.cost_micro_usd, balance(database)) == (188, 12)
    charge_id = settle(database, order_of(key, images=1), reserved.charge_id)
    assert balance(database) == 153
    (row,) = rows(database, "settle")
    assert (row.amount_micro_usd, row.cost_micro_usd, row.images) == (141, 47, 1)
    with database.read() as connection:
        assert keys.key_named(connection, key.id).spent_micro_usd == 47
        assert credit_of(connection, key.account_id).spent_micro_usd == 47
    assert release(database, charge_id, may_refund=True) and balance(database) == 200
    with database.read() as connection:
        assert keys.key_named(connection, key.id).spent_micro_usd == 0
    assert_books_agree(database)


def test_no_more_is_set_aside_than_there_is(database: Database) -> None:
    key, _ = new_key(database, credit=47)
    reserve(database, order_of(key))
    assert code_of(lambda: reserve(database, order_of(key))) == (402, "credit_balance_exhausted")
    assert balance(database) == 0


def test_the_budget_of_a_key_is_kept_and_begins_anew_with_its_period(database: Database) -> None:
    terms = KeyTerms(name="child", budget_micro_usd=100, budget_period="day")
    key, _ = new_key(database, terms=terms)
    first = reserve(database, order_of(key))
    reserve(database, order_of(key))
    assert code_of(lambda: reserve(database, order_of(key))) == (402, "key_budget_exhausted")
    assert balance(database) == 1_000_000 - 94, "a refused charge moves nothing"
    release(database, first.charge_id)
    reserve(database, order_of(key))
    with database.write() as connection:
        connection.execute(KEYS.update().values(spent_period="2020-01-01"))
    reserve(database, order_of(key))
    with database.read() as connection:
        assert keys.key_named(connection, key.id).spent_micro_usd == 47


def test_a_revoked_key_spends_nothing_even_when_it_was_let_in_before(database: Database) -> None:
    key, _ = new_key(database)
    with database.write() as connection:
        keys.revoke_key(connection, key)
    assert code_of(lambda: reserve(database, order_of(key))) == (401, "invalid_api_key")
    assert balance(database) == 1_000_000


def test_what_is_abandoned_is_found_by_time_and_by_process(database: Database) -> None:
    key, _ = new_key(database)
    late = reserve(database, replace(order_of(key), expires_at_ms=now_ms() - 1))
    orphan = reserve(database, replace(order_of(key), server="dead"))
    reserve(database, order_of(key))
    with database.read() as connection:
        assert ledger.abandoned(connection) == [late.charge_id]
        found = ledger.abandoned(connection, ["dead"])
        assert sorted(found) == sorted([late.charge_id, orphan.charge_id])
        assert set(ledger.servers_at_work(connection)) == {"dead", "here"}


def test_grants_and_adjustments_stay_within_reason(database: Database) -> None:
    key, _ = new_key(database, credit=0)
    with database.write() as connection:
        assert ledger.grant(connection, key.account_id, 70, note="a present") == 70
        assert ledger.adjust(connection, key.account_id, -20, note="too much") == 50
    for amount in (0, -1, ledger.MAX_MICRO_USD + 1):
        with pytest.raises(RequestError, match="grant must be"), database.write() as connection:
            ledger.grant(connection, key.account_id, amount)
    with pytest.raises(RequestError, match="has less than 0.000051"), database.write() as connection:
        ledger.adjust(connection, key.account_id, -51, note="more")
    with pytest.raises(RequestError, match="note"), database.write() as connection:
        ledger.adjust(connection, key.account_id, 5, note=" ")
    with pytest.raises(RequestError, match="must not be 0"), database.write() as connection:
        ledger.adjust(connection, key.account_id, 0, note="nothing")
    assert balance(database) == 50
    assert_books_agree(database)


@pytest.mark.parametrize("change", [LEDGER.update().values(amount_micro_usd=10**9), LEDGER.delete()])
def test_the_database_itself_refuses_to_change_a_row(database: Database, change: Any) -> None:
    new_key(database)
    with pytest.raises(DBAPIError, match="append-only"), database.write() as connection:
        connection.execute(change)
    assert_books_agree(database)


def test_the_database_itself_refuses_a_balance_below_0(database: Database) -> None:
    new_key(database)
    with pytest.raises(DBAPIError, match="balance_is_not_negative"), database.write() as connection:
        connection.execute(ACCOUNTS.update().values(balance_micro_usd=-1))


def test_the_check_finds_a_balance_that_is_not_the_sum_of_its_rows(database: Database) -> None:
    key, _ = new_key(database, credit=100)
    reserved = reserve(database, order_of(key))
    with database.write() as connection:
        connection.execute(ACCOUNTS.update().values(balance_micro_usd=99))
        (difference,) = audit.check(connection)
        assert "0.000099" in difference.words and "0.000053" in difference.words
        connection.execute(ACCOUNTS.update().values(balance_micro_usd=53))
        connection.exec_driver_sql("DELETE FROM reservations")
        (difference,) = audit.check(connection)
        assert reserved.charge_id in difference.words


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["grant", "adjust", "reserve", "settle", "settle less", "release", "refund"]),
        st.integers(0, 5),
        st.integers(0, 4),
    ),
    max_size=40,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    opened = open_database(new_sqlite(tmp_path_factory.mktemp("ledger")))
    yield opened
    opened.close()


@given(actions=ACTIONS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_moves_leaves_a_balance_that_is_the_sum_of_its_rows(
    shared: Database, actions: list[tuple[str, int, int]]
) -> None:
    """A model beside it: what is free, what is set aside and what is spent, in plain numbers."""
    name = uuid.uuid4().hex
    key, _ = new_key(shared, name, credit=150)
    order, less = order_of(key), order_of(key, images=0, texts=4)
    free, in_work, spent = 150, [], []
    for kind, place, size in actions:
        if kind == "grant" and size:
            with shared.write() as connection:
                ledger.grant(connection, key.account_id, size)
            free += size
        elif kind == "adjust" and 0 < size <= free:
            with shared.write() as connection:
                ledger.adjust(connection, key.account_id, -size, note="test")
            free -= size
        elif kind == "reserve" and free < 47:
            assert code_of(lambda: reserve(shared, order))[0] == 402
        elif kind == "reserve":
            in_work.append(reserve(shared, order).charge_id)
            free -= 47
        elif kind == "settle" and in_work:
            spent.append((settle(shared, order, in_work.pop(place % len(in_work))), 47))
        elif kind == "settle less" and in_work:
            spent.append((settle(shared, less, in_work.pop(place % len(in_work))), 2))
            free += 45
        elif kind == "release" and in_work:
            assert release(shared, in_work.pop(place % len(in_work)))
            free += 47
        elif kind == "refund" and spent:
            charge_id, cost = spent.pop(place % len(spent))
            assert release(shared, charge_id, may_refund=True)
            free += cost
        assert balance(shared, name) == free >= 0
    with shared.read() as connection:
        assert audit.check(connection) == []
        assert credit_of(connection, key.account_id).spent_micro_usd == sum(cost for _, cost in spent)
        assert keys.key_named(connection, key.id).spent_micro_usd == sum(
            cost for _, cost in spent
        ) + 47 * len(in_work)


def test_threads_that_spend_together_never_overdraw(database: Database) -> None:
    key, _ = new_key(database, credit=47 * 20)
    order = order_of(key)

    def spend(_: int) -> bool:
        try:
            settle(database, order, reserve(database, order).charge_id)
        except RequestError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend, range(40))) == 20
    assert balance(database) == 0
    assert_books_agree(database)


def test_an_account_is_found_by_name_and_by_id_and_the_nearest_is_named(tmp_path: Path) -> None:
    database = open_database(new_sqlite(tmp_path))
    with database.write() as connection:
        with pytest.raises(RequestError, match="no accounts yet"):
            accounts.account_named(connection, "museum")
        made = accounts.create_account(connection, "museum", credit_micro_usd=0)
        assert accounts.account_named(connection, made.id) == accounts.account_named(connection, "museum")
        with pytest.raises(RequestError, match="Nearest: museum"):
            accounts.account_named(connection, "musuem")
        with pytest.raises(RequestError, match="already"):
            accounts.create_account(connection, "museum", credit_micro_usd=0)
        for name in ("", " ", "x" * 201, "a\nb"):
            with pytest.raises(RequestError, match="name is"):
                accounts.create_account(connection, name, credit_micro_usd=0)
        with pytest.raises(RequestError, match="credit"):
            accounts.create_account(connection, "poor", credit_micro_usd=-1)
        assert [one.name for one in accounts.list_accounts(connection)] == ["museum"]
    database.close()
