"""The way to the database: what waits together is one transaction, and nobody suffers for another's fault."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import OperationalError

from clipworks.errors import BusyError
from clipworks.serve import accounts, books
from clipworks.serve.books import Books
from clipworks.serve.database import open_database
from clipworks.serve.problems import RequestError
from clipworks.serve.tables import ACCOUNTS
from tests.serve.cluster import new_sqlite


def run_open(address: str, work: Callable[[Books], Coroutine[Any, Any, None]]) -> None:
    """Run `work(desk)` while the books are open."""

    async def run() -> None:
        desk = Books(open_database(address))
        async with desk.open():
            await work(desk)

    asyncio.run(run())


def make(name: str) -> Any:
    return lambda connection: accounts.create_account(connection, name, credit_micro_usd=5).name


def count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(ACCOUNTS)).scalar_one())


class Hold:
    """Work that takes its turn and waits there, so that what comes after it is one batch."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, connection: Connection) -> None:
        self.begun.set()
        assert self.go_on.wait(60)


def test_what_fails_is_undone_and_the_rest_of_its_transaction_is_not(address: str) -> None:
    async def work(desk: Books) -> None:
        hold = Hold()
        holding = asyncio.ensure_future(desk.write(hold))
        await asyncio.to_thread(hold.begun.wait, 60)

        def fail(connection: Connection) -> None:
            make("undone")(connection)
            raise RequestError("no")

        asked = [desk.write(make("a")), desk.write(fail), desk.write(make("a")), desk.write(make("b"))]
        asking = [asyncio.ensure_future(one) for one in asked]
        await asyncio.sleep(0)
        hold.go_on.set()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        await holding
        names = sorted(one for one in outcomes if isinstance(one, str))
        assert names == ["a", "b"]
        assert [str(one) for one in outcomes if isinstance(one, RequestError) and "no" == str(one)] == ["no"]
        assert await desk.read(count) == 2

    run_open(address, work)


def test_a_fault_in_the_work_is_a_503_and_the_next_is_done(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(desk: Books) -> None:
        def fault(connection: Connection) -> None:
            make("undone")(connection)
            raise ZeroDivisionError("a fault of ours")

        with pytest.raises(RequestError, match="ZeroDivisionError") as refused:
            await desk.write(fault)
        assert refused.value.code == "accounts_unavailable" and refused.value.retry_after_seconds
        assert "a fault of ours" in caplog.text
        assert await desk.write(make("a")) == "a" and await desk.read(count) == 1

    run_open(address, work)


def test_a_fault_in_one_piece_of_work_fails_no_other(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work(desk: Books) -> None:
        def fault(connection: Connection) -> None:
            make("undone")(connection)
            raise ZeroDivisionError("a fault of ours")

        for ask in (desk.write, desk.read):
            hold = Hold()
            holding = asyncio.ensure_future(ask(hold))
            await asyncio.to_thread(hold.begun.wait, 60)
            given = [make("a"), fault, make("b")] if ask == desk.write else [count, lambda _: 1 // 0, count]
            asking = [asyncio.ensure_future(ask(one)) for one in given]
            await asyncio.sleep(0)
            hold.go_on.set()
            first, second, third = await asyncio.gather(*asking, return_exceptions=True)
            await holding
            assert (first, third) == (("a", "b") if ask == desk.write else (2, 2))
            assert isinstance(second, RequestError) and second.code == "accounts_unavailable"
        assert "a fault of ours" in caplog.text

    run_open(address, work)


def test_where_the_transaction_is_gone_nothing_in_it_is_said_to_be_done(tmp_path: Any) -> None:
    async def work(desk: Books) -> None:
        hold = Hold()
        holding = asyncio.ensure_future(desk.write(hold))
        await asyncio.to_thread(hold.begun.wait, 60)

        def fail(connection: Connection) -> None:
            connection.exec_driver_sql("ROLLBACK")  # as SQLite does on its own where the disk is full
            raise OperationalError("INSERT", {}, Exception("disk full"))

        asking = [asyncio.ensure_future(desk.write(one)) for one in (make("a"), fail, make("b"))]
        await asyncio.sleep(0)
        hold.go_on.set()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        await holding
        assert [getattr(one, "code", "") for one in outcomes] == ["accounts_unavailable"] * 3
        assert await desk.read(count) == 0

    run_open(new_sqlite(tmp_path), work)


def test_nobody_waits_behind_a_report(tmp_path: Any) -> None:
    async def work(desk: Books) -> None:
        hold = Hold()
        reporting = asyncio.ensure_future(desk.report(hold))
        await asyncio.to_thread(hold.begun.wait, 60)
        try:
            assert await asyncio.wait_for(desk.read(count), 30) == 0
        finally:
            hold.go_on.set()
        await reporting

    run_open(new_sqlite(tmp_path), work)


def test_a_database_that_does_not_answer_is_a_503(address: str) -> None:
    async def work(desk: Books) -> None:
        def away(connection: Connection) -> None:
            raise OperationalError("SELECT", {}, Exception("gone"))

        for ask in (desk.read, desk.write):
            with pytest.raises(RequestError, match="OperationalError"):
                await ask(away)

    run_open(address, work)


def test_what_is_given_up_before_its_turn_is_not_done(tmp_path: Any) -> None:
    async def work(desk: Books) -> None:
        hold = Hold()
        holding = asyncio.ensure_future(desk.write(hold))
        await asyncio.to_thread(hold.begun.wait, 60)
        given_up = asyncio.ensure_future(desk.write(make("never")))
        await asyncio.sleep(0)
        given_up.cancel()
        hold.go_on.set()
        await holding
        await asyncio.gather(given_up, return_exceptions=True)
        assert await desk.write(make("later")) == "later" and await desk.read(count) == 1

    run_open(new_sqlite(tmp_path), work)


def test_more_than_may_wait_is_refused_with_a_time(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "CAPACITY", 1)

    async def work(desk: Books) -> None:
        hold = Hold()
        holding = asyncio.ensure_future(desk.write(hold))
        await asyncio.to_thread(hold.begun.wait, 60)
        waiting = asyncio.ensure_future(desk.write(make("a")))
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="wait for the database") as refused:
            await desk.write(make("b"))
        assert refused.value.retry_after_seconds == 1.0
        hold.go_on.set()
        assert await waiting == "a"
        await holding

    run_open(new_sqlite(tmp_path), work)


def test_closing_finishes_what_is_in_work_and_refuses_what_waits(address: str) -> None:
    async def run() -> None:
        database = open_database(address)
        desk, holds = Books(database), [Hold() for _ in range(8 if "postgresql" in address else 1)]
        async with desk.open():
            holding = [asyncio.ensure_future(desk.write(hold)) for hold in holds]
            for hold in holds:
                await asyncio.to_thread(hold.begun.wait, 60)
            waiting = asyncio.ensure_future(desk.write(make("a")))
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.01, lambda: [hold.go_on.set() for hold in holds])
        assert await asyncio.gather(*holding) == [None] * len(holds)
        with pytest.raises(BusyError, match="the server is stopping"):
            await waiting
        with pytest.raises(BusyError, match="the server is stopping"):
            await desk.read(count)

    asyncio.run(run())
