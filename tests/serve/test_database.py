"""Opening a database: new, old, newer, wrong, unreachable; one clear sentence for each."""

import os
import stat
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError, OperationalError

from clipworks.errors import ConfigError, MissingExtraError
from clipworks.serve import database as module
from clipworks.serve.database import REVISIONS, Database, Prepared, open_database
from clipworks.serve.repeats import Answer, Repeat, earlier
from clipworks.serve.tables import ACCOUNTS, METADATA
from tests.serve.cluster import new_database
from tests.serve.paying import new_key, order_of, reserve, settle


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/accounts.db"
    return new_database(request.getfixturevalue("postgres"))


def test_the_tables_are_those_of_the_code(database: Database) -> None:
    with database.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
    assert differences == []


def test_the_newest_migration_is_the_one_that_is_asked_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(module.__file__).parent / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    assert [one.revision for one in scripts.walk_revisions()][::-1] == list(REVISIONS)


def test_opening_again_changes_nothing(address: str) -> None:
    first = open_database(address)
    new_key(first)
    first.close()
    again = open_database(address)
    with again.read() as connection:
        assert len(connection.execute(ACCOUNTS.select()).all()) == 1
    again.close()


def test_servers_that_start_together_make_the_tables_once(address: str) -> None:
    opened: list[Database] = []
    errors: list[Exception] = []

    def open_one() -> None:
        try:
            opened.append(open_database(address))
        except ConfigError as error:
            errors.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in opened:
        one.close()
    assert errors == [] and len(opened) == 4


def test_tables_of_a_newer_version_are_refused(database: Database, address: str) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="version 9999.*newer clipworks"):
        open_database(address)


def test_answers_that_version_1_kept_are_told_again_without_a_fingerprint(address: str) -> None:
    opened = open_database(address)
    key, _ = new_key(opened)
    repeat = Repeat(key="order-1", digest="d" * 64)
    order = order_of(key, repeat=repeat)
    settle(opened, order, reserve(opened, order).charge_id, Answer(body=b"{}", media_type="text/plain"))
    with opened.write() as connection:
        for later in ("sessions", "logins", "tallies", "wishes", "model_terms", "model_events"):
            connection.exec_driver_sql(f"DROP TABLE {later}")
        connection.exec_driver_sql("ALTER TABLE repeats DROP COLUMN fingerprint")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    opened.close()
    opened = open_database(address)
    with opened.read() as connection:
        known = earlier(connection, key.account_id, repeat)
    assert known is not None and known.answer == Answer(body=b"{}", media_type="text/plain", fingerprint="")
    opened.close()


def test_a_file_of_sqlite_is_for_its_owner_only_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "50% off" / "accounts.db"
    open_database(f"sqlite:///{path}").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_home_folder_can_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    open_database("sqlite:///~/accounts.db").close()
    assert (tmp_path / "accounts.db").exists()


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database at all, but long enough to be read as one" * 30)
    with pytest.raises(ConfigError, match=r"notes\.txt cannot be used: file is not a database"):
        open_database(f"sqlite:///{tmp_path}/notes.txt")
    assert (tmp_path / "notes.txt").read_text().startswith("not a database")


def test_a_place_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (f"{tmp_path}/file/accounts.db", str(tmp_path)):
        with pytest.raises(ConfigError, match="cannot be used: .*CLIPWORKS_DATABASE"):
            open_database(f"sqlite:///{place}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else_is_said(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    path.touch(0o000)
    with pytest.raises(ConfigError, match="Permission denied"):
        open_database(f"sqlite:///{path}")


@pytest.mark.parametrize(
    "address",
    ["", "accounts.db", "mysql://u:s3cret@h/d", "sqlite://", "sqlite:///:memory:", "http://a:s3cret@b"],
)
def test_an_address_that_cannot_be_used_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(ConfigError, match="address of the database") as refused:
        open_database(address)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("also", ["", "&password=s3cret"])
def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path: Path, also: str) -> None:
    pytest.importorskip("psycopg")
    address = f"postgresql://me:s3cret@/data?host={tmp_path}{also}"
    with pytest.raises(ConfigError, match="cannot be used: .*Check CLIPWORKS_DATABASE") as refused:
        open_database(address)
    assert "s3cret" not in str(refused.value) and "me:***@/data?host=" in str(refused.value)


def test_postgresql_is_given_up_where_it_does_not_answer_in_time(postgres: str) -> None:
    opened = open_database(f"{new_database(postgres)}&options=-c%20application_name%3Dmine")
    asked = ("statement_timeout", "lock_timeout", "tcp_user_timeout", "application_name")
    with opened.read() as connection:
        found = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in asked[:2] + asked[3:]]
        driver = connection.connection.driver_connection
        assert found == ["10s", "10s", "mine"]
        assert driver is not None and driver.info.get_parameters()["tcp_user_timeout"] == "10000"
    opened.close()


def test_a_lock_of_postgresql_that_is_not_given_up_is_an_error_in_time(postgres: str) -> None:
    address = new_database(postgres)
    holder, waiter = open_database(address), open_database(address, statement_seconds=0.2)
    with holder.write() as connection:
        connection.exec_driver_sql("LOCK TABLE accounts")
        with pytest.raises(OperationalError, match="timeout"), waiter.read() as other:
            other.execute(select(ACCOUNTS))
    holder.close()
    waiter.close()


def test_a_database_that_must_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no such database: .*accounts.db"):
        open_database(f"sqlite:///{tmp_path}/new/accounts.db", must_exist=True)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_driver_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "clipworks.serve.postgres", raising=False)
    with pytest.raises(MissingExtraError, match=r"clipworks\[postgres\]"):
        open_database("postgresql://me@/data")


def test_a_prepared_statement_runs_in_the_transaction_and_fails_as_any_other(database: Database) -> None:
    insert = Prepared(ACCOUNTS.insert(), ACCOUNTS.c.keys())
    find = Prepared(
        select(ACCOUNTS.c.name, ACCOUNTS.c.balance_micro_usd).where(ACCOUNTS.c.id == bindparam("one"))
    )
    values = {"id": "acct_1", "name": "secret name", "balance_micro_usd": 1 << 40, "created_at_ms": 5}
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        assert insert.run(connection, values) == 1
        raise ZeroDivisionError
    with database.read() as connection:
        assert find.one_or_none(connection, {"one": "acct_1"}) is None, "it was undone"
    with database.write() as connection:
        insert.run(connection, values)
    with pytest.raises(IntegrityError) as refused, database.write() as connection:
        insert.run(connection, values)
    assert "secret name" not in str(refused.value).replace(str(refused.value.orig), "")
    with database.read() as connection:
        row = find.one_or_none(connection, {"one": "acct_1"})
        assert (row.name, row.balance_micro_usd) == ("secret name", 1 << 40)
