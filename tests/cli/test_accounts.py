"""`clipworks keys` and `clipworks accounts`."""

import json
import sqlite3
from pathlib import Path

import pytest

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
    run("keys", "create", "--name", "demo", "--credit", "5")
    run("keys", "create", "--name", "other", "--account", "demo", "--credit", "1.5")
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
    second = run("keys", "rotate", "demo", "--grace-hours", "0").stdout.strip()
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
    assert "1 accounts checked" in run("accounts", "check").stderr
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE accounts SET balance_micro_usd = 5")
    connection.close()
    assert "0.000005" in run("accounts", "check", status=1).stdout
    assert "1.000000" in json.loads(run("accounts", "check", "--json", status=1).stdout)["difference"]


def test_a_database_that_cannot_be_used_is_one_sentence(run: Run, tmp_path: Path) -> None:
    result = run("keys", "list", "--database", f"sqlite:///{tmp_path}", status=1)
    assert result.stderr.startswith("Error: The database") and result.stderr.count("\n") == 1
