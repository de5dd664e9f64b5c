"""`clipworks keys` and `clipworks accounts`."""

import json
import shlex
import sqlite3
from pathlib import Path

import click
import pytest

from clipworks.cli.accounts import accounts
from clipworks.cli.keys import keys
from clipworks.serve.keys import GRACE_SECONDS
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "accounts.db"
    monkeypatch.setenv("CLIPWORKS_DATABASE", f"sqlite:///{path}")
    return path


def test_a_key_is_printed_once_and_pays_from_an_account_of_its_name(run: Run) -> None:
    made = json.loads(run("keys", "create", "--name", "demo", "--credit", "5", "--json").stdout)
    assert made["key"].startswith("cw_") and made["account"] == "demo"
    assert made["scopes"] == ["inference", "usage"] and made["models"] is None
    shown = json.loads(run("accounts", "show", "demo", "--json").stdout)
    assert (shown["balance_usd"], shown["keys"][0]["name"]) == ("5.000000", "demo")
    listed = run("keys", "list").stdout
    assert made["key"] not in listed and made["label"] in listed and "open" in listed


def test_without_json_the_key_alone_is_on_stdout(run: Run) -> None:
    result = run("keys", "create", "--name", "demo")
    assert result.stdout.startswith("cw_") and result.stdout.count("\n") == 1
    assert "shown only now" in result.stderr
    assert json.loads(run("accounts", "list", "--json").stdout)["balance_usd"] == "1.000000"


def test_a_second_key_of_an_account_adds_the_credit_that_is_named(run: Run) -> None:
    first = run("keys", "create", "--name", "demo", "--credit", "5")
    other = run("keys", "create", "--name", "other", "--account", "demo", "--credit", "1.5")
    assert "of a new account 'demo'" in first.stderr and "of account 'demo'" in other.stderr
    run("keys", "create", "--name", "third", "--account", "demo")
    assert json.loads(run("accounts", "show", "demo", "--json").stdout)["balance_usd"] == "6.500000"
    assert len(run("keys", "list", "--account", "demo", "--json").stdout.splitlines()) == 3


def test_terms_of_a_key_are_named_settings(run: Run) -> None:
    terms = ("--set", "budget_usd=2", "--set", "budget_period=day", "--set", "requests_per_minute=60")
    arguments = ("--scope", "inference", "--allow", "pictogram", "--set", "expires_in_days=1.5", "--json")
    made = json.loads(run("keys", "create", "--name", "a", *terms, *arguments).stdout)
    assert (made["limit"], made["limit_reset"], made["models"]) == (2.0, "day", ["pictogram"])
    assert made["rate_limit"]["requests_per_minute"] == 60 and made["expires_at"]
    assert "until" in run("keys", "list").stdout
    refused = run("keys", "create", "--name", "b", "--set", "budget=2", status=1)
    assert "Nearest: budget_usd" in refused.stderr


def test_a_key_is_rotated_and_revoked_by_name(run: Run) -> None:
    first = run("keys", "create", "--name", "demo").stdout.strip()
    result = run("keys", "rotate", "demo", "--grace-hours", "0")
    second = result.stdout.strip()
    assert "works no longer" in result.stderr
    assert "24 hours more" in run("keys", "rotate", "demo").stderr
    assert second.startswith("cw_") and second != first
    assert json.loads(run("keys", "rotate", "demo", "--json").stdout)["key"] != second
    assert "revoked 20" in run("keys", "revoke", "demo").stdout
    assert "was revoked" in run("keys", "rotate", "demo", status=1).stderr
    assert "Nearest: demo" in run("keys", "revoke", "dmo", status=1).stderr


def test_accounts_are_made_given_credit_and_put_right(run: Run) -> None:
    assert "25.000000" in run("accounts", "create", "--name", "The Museum", "--credit", "25").stdout
    assert "35.000000" in run("accounts", "grant", "The Museum", "10", "--note", "invoice").stdout
    adjusted = run("accounts", "adjust", "The Museum", "-34.5", "--note", "twice", "--json").stdout
    assert json.loads(adjusted)["balance_usd"] == "0.500000"
    assert "has less" in run("accounts", "adjust", "The Museum", "-1", "--note", "x", status=1).stderr
    assert "0.500000" in run("accounts", "show", "The Museum").stdout
    assert (
        "--credit is 'much'" in run("accounts", "create", "--name", "b", "--credit", "much", status=1).stderr
    )
    assert "There is an account" in run("accounts", "create", "--name", "The Museum", status=1).stderr


def test_the_check_says_which_account_does_not_agree(run: Run, database: Path) -> None:
    run("accounts", "create", "--name", "a", "--credit", "1")
    assert "1 account checked" in run("accounts", "audit").stderr
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE accounts SET balance_micro_usd = 5")
    connection.close()
    assert "0.000005" in run("accounts", "audit", status=1).stdout
    assert "1.000000" in json.loads(run("accounts", "audit", "--json", status=1).stdout)["difference"]


_READING = (
    *("accounts list", "accounts show demo", "accounts history demo", "accounts audit"),
    *("keys list", "keys show demo"),
)


@pytest.mark.parametrize("words", _READING)
def test_what_only_reads_waits_for_no_writer(run: Run, database: Path, words: str) -> None:
    run("keys", "create", "--name", "demo")
    writer = sqlite3.connect(database, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        run(*words.split())
    finally:
        writer.close()


@pytest.mark.parametrize("words", _READING)
def test_what_only_reads_makes_no_database(run: Run, database: Path, words: str) -> None:
    assert "There is no such database" in run(*words.split(), status=1).stderr
    assert not database.exists()


def test_the_command_and_the_route_rotate_alike() -> None:
    assert isinstance(keys, click.Group)
    (hours,) = (one for one in keys.commands["rotate"].params if one.name == "grace_hours")
    assert hours.default == GRACE_SECONDS / 3600


def test_a_database_that_cannot_be_used_is_one_sentence(run: Run, tmp_path: Path) -> None:
    result = run("keys", "list", "--database", f"sqlite:///{tmp_path}", status=1)
    assert result.stderr.startswith("Error: The database") and result.stderr.count("\n") == 1


def test_a_key_is_shown_with_its_limits_and_never_with_its_secret(run: Run) -> None:
    secret = run("keys", "create", "--name", "demo", "--set", "requests_per_minute=60").stdout.strip()
    shown = run("keys", "show", "demo").stdout
    assert "requests_per_minute  60" in shown and "state                open" in shown
    assert secret not in shown and secret[:7] in shown
    found = json.loads(run("keys", "show", "demo", "--json").stdout)
    assert found["usage"] == 0 and found["rate_limit"]["requests_per_minute"] == 60
    assert "key" not in found


def test_the_history_of_an_account_has_every_move_newest_first(run: Run) -> None:
    run("accounts", "create", "--name", "a", "--credit", "1")
    run("accounts", "grant", "a", "2", "--note", "more")
    run("accounts", "adjust", "a", "-0.5", "--note", "put right")
    lines = run("accounts", "history", "a").stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["kind", "adjust", "grant", "grant"]
    assert "-0.500000" in lines[1] and "put right" in lines[1] and "sign-up credit" in lines[3]
    (newest,) = run("accounts", "history", "a", "--limit", "1", "--json").stdout.splitlines()
    assert json.loads(newest)["amount_usd"] == "-0.500000" and json.loads(newest)["cost_usd"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("accounts create --name demo", "There is an account 'demo' already."),
        ("accounts create --name b --credit -1", "--credit is '-1'; it must be a decimal number from 0 up"),
        ("accounts create --name b --credit 0.0000001", "a US dollar has six decimals"),
        ("accounts show nobody", "There is no account 'nobody'."),
        ("accounts show deno", "Nearest: demo"),
        ("accounts show demo --database oracle://x", "The address of the database cannot be read."),
        ("accounts grant demo ten", "USD is 'ten'; it must be a decimal number"),
        ("accounts grant demo -1", "USD is '-1'; it must be a decimal number from 0 up"),
        ("accounts grant demo 0", "A grant must be above 0"),
        ("accounts adjust demo -9 --note x", "The account has less than 9.000000 US dollars."),
        ("accounts adjust demo 0 --note x", "An adjustment must not be 0"),
        ("accounts adjust demo 1 --note ''", "An adjustment needs a note"),
        ("accounts history nobody", "There is no account 'nobody'."),
        ("accounts list --database sqlite://", "The address of the database names no file."),
        ("accounts audit --database postgresql://127.0.0.1:1/x", "cannot be used"),
        ("keys create --name ''", "name is ''; it must have from 1 to 200 printable characters."),
        ("keys create --name b --scope root", "scopes holds 'root'; it may hold inference, usage, admin."),
        ("keys create --name b --set budget_period=year", "budget_period holds 'year'"),
        ("keys create --name b --set expires_in_days=0", "expires_in_days is 0.0"),
        ("keys create --name b --credit much", "--credit is 'much'"),
        ("keys list --account deno", "Nearest: demo"),
        ("keys show nothing", "There is no key 'nothing'."),
        ("keys revoke nothing", "There is no key 'nothing'."),
        ("keys rotate nothing", "There is no key 'nothing'."),
        ("keys rotate twice", "2 keys have the name 'twice'. Give an id: key_"),
    ],
)
def test_a_wrong_input_is_one_clear_sentence(run: Run, words: str, message: str) -> None:
    run("keys", "create", "--name", "demo")
    run("keys", "create", "--name", "twice", "--account", "demo")
    run("keys", "create", "--name", "twice")
    before = run("keys", "list").stdout
    result = run(*shlex.split(words), status=1)
    assert result.stderr.startswith("Error: ") and message in result.stderr
    assert result.stderr.count("\n") == 1 and result.stdout == ""
    assert run("keys", "list").stdout == before and "1.000000" in run("accounts", "list").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("accounts create", "Missing option '--name'"),
        ("accounts adjust demo 1", "Missing option '--note'"),
        ("accounts history demo --limit 0", "0 is not in the range"),
        ("keys rotate demo --grace-hours -1", "-1.0 is not in the range"),
        ("keys rotate demo --grace-hours soon", "'soon' is not a valid float"),
        ("keys show", "Missing argument 'KEY'"),
    ],
)
def test_wrong_usage_is_status_2(run: Run, words: str, message: str) -> None:
    assert message in run(*shlex.split(words), status=2).stderr


@pytest.mark.parametrize("group", [accounts, keys])
def test_every_command_has_json_a_database_and_an_example(group: click.Group) -> None:
    for name, command in group.commands.items():
        options = {parameter.name for parameter in command.params}
        assert {"as_json", "database"} <= options, name
        assert f"clipworks {group.name} {name}" in (command.help or ""), name


def test_a_password_lets_an_account_sign_in_and_only_then_be_an_operator(run: Run, tmp_path: Path) -> None:
    run("accounts", "create", "--name", "museum")
    refused = run("accounts", "operator", "museum", status=1)
    assert "Nobody signs in" in refused.stderr and "accounts password" in refused.stderr
    (tmp_path / "word").write_text("seven green apples\n")
    said = run("accounts", "password", "museum", "--password-file", str(tmp_path / "word"))
    assert "/sign-in" in said.stderr and "museum" in said.stdout and "apples" not in said.stderr + said.stdout
    (tmp_path / "weak").write_text("museum1\n")
    weak = run("accounts", "password", "museum", "--password-file", str(tmp_path / "weak"), status=1)
    assert "from 10 to 200" in weak.stderr
    assert "sees /operator now" in run("accounts", "operator", "museum").stderr
    with sqlite3.connect(tmp_path / "accounts.db") as connection:
        assert connection.execute("SELECT name, is_operator FROM logins").fetchall() == [("museum", 1)]
    assert "no more" in run("accounts", "operator", "museum", "--off").stderr
    with sqlite3.connect(tmp_path / "accounts.db") as connection:
        assert connection.execute("SELECT is_operator FROM logins").fetchall() == [(0,)]
