"""`clipworks accounts`: who pays for requests, and the money they have."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from clipworks.cli.output import SETTINGS, count_of, json_option, note, print_json, print_table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from clipworks.serve.database import Database
    from clipworks.serve.settings import ServeSettings

_Command = TypeVar("_Command", bound=Callable[..., Any])

_SIGNED = {**SETTINGS, "ignore_unknown_options": True}
"""For commands that take an amount: -2.50 is no option."""


def database_option() -> Callable[[_Command], _Command]:
    """The option --database, which is the server's setting."""
    return click.option(
        "--database",
        envvar="CLIPWORKS_DATABASE",
        metavar="ADDRESS",
        help="Database of accounts, as for `clipworks serve`.",
    )


@click.group(context_settings=SETTINGS)
def accounts() -> None:
    """Manage who pays for requests: accounts, their credit, and the check of their books.

    \b
    Example:
      clipworks accounts create --name "The Museum" --credit 25
      clipworks accounts grant "The Museum" 10 --note "second invoice"
      clipworks accounts audit
    """


@accounts.command(context_settings=SETTINGS)
@click.option("--name", required=True, help="Name of the account; no two are the same.")
@click.option("--credit", metavar="USD", help="Credit to begin with.  [default: CLIPWORKS_SIGNUP_CREDIT_USD]")
@database_option()
@json_option("the account")
def create(name: str, credit: str | None, database: str | None, as_json: bool) -> None:
    """Make an account with some credit.

    \b
    Example:
      clipworks accounts create --name "The Museum" --credit 25
    """
    with writing(database) as (connection, settings):
        from clipworks.serve.accounts import create_account
        from clipworks.serve.admin import account_details

        account = create_account(connection, name, credit_micro_usd=credit_of(credit, settings))
    _show([account_details(account)], as_json)


@accounts.command("list", context_settings=SETTINGS)
@database_option()
@json_option("one object per account, one a line")
def list_(database: str | None, as_json: bool) -> None:
    """List all accounts with what they have left.

    \b
    Example:
      clipworks accounts list
    """
    with reading(database) as connection:
        from clipworks.serve.accounts import list_accounts
        from clipworks.serve.admin import account_details

        found = [account_details(account) for account in list_accounts(connection)]
    _show(found, as_json)


@accounts.command(context_settings=SETTINGS)
@click.argument("account")
@database_option()
@json_option("the account with its totals and its keys")
def show(account: str, database: str | None, as_json: bool) -> None:
    """Show one account, by name or id: credit, use and keys.

    \b
    Example:
      clipworks accounts show "The Museum"
    """
    with reading(database) as connection:
        from clipworks.serve.accounts import account_named
        from clipworks.serve.admin import account_details
        from clipworks.serve.keys import list_keys
        from clipworks.serve.prices import show_usd
        from clipworks.serve.usage import credit_of as total_of

        found = account_named(connection, account)
        total = total_of(connection, found.id)
        details = {
            **account_details(found),
            "granted_usd": show_usd(total.granted_micro_usd),
            "spent_usd": show_usd(total.spent_micro_usd),
            "keys": [{"id": key.id, "name": key.terms.name} for key in list_keys(connection, found.id)],
        }
    if as_json:
        print_json(details)
        return
    keys = ", ".join(key["name"] for key in details["keys"]) or "none"
    print_table((), [(name, keys if name == "keys" else str(value)) for name, value in details.items()])


@accounts.command(context_settings=SETTINGS)
@click.argument("account")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="How many rows, the newest ones.",
)
@database_option()
@json_option("one object per row, one a line")
def history(account: str, limit: int, database: str | None, as_json: bool) -> None:
    """List the rows of an account's ledger, newest first: every move of its money.

    \b
    Example:
      clipworks accounts history "The Museum" --limit 100
    """
    with reading(database) as connection:
        from clipworks.serve.accounts import account_named
        from clipworks.serve.audit import entries_of
        from clipworks.serve.billing import entry_details

        found = account_named(connection, account)
        entries = [entry_details(entry) for entry in entries_of(connection, found.id, limit=limit)]
    if as_json:
        for entry in entries:
            print_json(entry)
        return
    columns = ("at", "kind", "amount_usd", "cost_usd", "model", "images", "texts", "request_id", "note")
    rows = [[str(entry[name] or "") for name in columns] for entry in entries]
    print_table(("at", "kind", "amount USD", "cost USD", *columns[4:7], "request", "note"), rows)


@accounts.command(context_settings=_SIGNED)
@click.argument("account")
@click.argument("usd")
@click.option("--note", "words", default="", help="Why; kept with the row.")
@database_option()
@json_option("the account")
def grant(account: str, usd: str, words: str, database: str | None, as_json: bool) -> None:
    """Give an account credit.

    \b
    Example:
      clipworks accounts grant "The Museum" 10 --note "second invoice"
    """
    with writing(database) as (connection, _):
        from clipworks.serve.accounts import account_named
        from clipworks.serve.admin import account_details
        from clipworks.serve.ledger import grant as grant_credit
        from clipworks.serve.prices import parse_usd

        found = account_named(connection, account)
        grant_credit(connection, found.id, parse_usd(usd, "USD"), note=words)
        details = account_details(account_named(connection, found.id))
    _show([details], as_json)


@accounts.command(context_settings=_SIGNED)
@click.argument("account")
@click.argument("usd")
@click.option("--note", "words", required=True, help="Why; kept with the row.")
@database_option()
@json_option("the account")
def adjust(account: str, usd: str, words: str, database: str | None, as_json: bool) -> None:
    """Put a balance right, up or down; it never goes below 0.

    \b
    Example:
      clipworks accounts adjust "The Museum" -2.50 --note "granted twice"
    """
    with writing(database) as (connection, _):
        from clipworks.serve.accounts import account_named
        from clipworks.serve.admin import account_details
        from clipworks.serve.ledger import adjust as adjust_balance
        from clipworks.serve.prices import parse_usd

        found = account_named(connection, account)
        amount = parse_usd(usd, "USD", may_be_negative=True)
        adjust_balance(connection, found.id, amount, note=words)
        details = account_details(account_named(connection, found.id))
    _show([details], as_json)


@accounts.command(context_settings=SETTINGS)
@database_option()
@json_option("one object per account whose books do not agree, one a line")
@click.pass_context
def audit(context: click.Context, database: str | None, as_json: bool) -> None:
    """Recompute every balance from its rows; status 1 where one differs.

    \b
    Example:
      clipworks accounts audit
    """
    with reading(database) as connection:
        from clipworks.serve.accounts import list_accounts
        from clipworks.serve.audit import check

        differences, num_accounts = check(connection), len(list_accounts(connection))
    for found in differences:
        if as_json:
            print_json({"account": found.account_id, "difference": found.words})
        else:
            click.echo(f"{found.account_id}: {found.words}")
    if differences:
        context.exit(1)
    note(f"{count_of(num_accounts, 'account')} checked: every balance is the sum of its rows.")


@accounts.command(context_settings=SETTINGS)
@click.argument("account")
@click.option(
    "--password-file",
    type=click.File("r", encoding="utf-8"),
    help="File with the password in its first line, - for stdin.  [default: it is asked for]",
)
@database_option()
@json_option("the account")
def password(account: str, password_file: IO[str] | None, database: str | None, as_json: bool) -> None:
    """Set the password that an account is signed in to with on the pages, also where there was none.

    Every browser that is signed in is signed out.

    \b
    Example:
      clipworks accounts password "The Museum"
    """
    if password_file is not None:
        chosen = password_file.readline().rstrip("\n")
    else:
        chosen = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    with writing(database) as (connection, _):
        from clipworks.serve.accounts import account_named
        from clipworks.serve.admin import account_details
        from clipworks.serve.logins import Proof, add_login, login_of, set_password
        from clipworks.serve.passwords import check_password, digest_now
        from clipworks.serve.sessions import end_sessions

        found = account_named(connection, account)
        check_password(chosen, found.name)
        if login_of(connection, found.id) is None:
            add_login(connection, found.id, found.name, Proof(password=digest_now(chosen)))
        else:
            set_password(connection, found.id, digest_now(chosen))
        end_sessions(connection, found.id)
        details = account_details(found)
    _show([details], as_json)
    note(f"{found.name!r} signs in with it at /sign-in.")


@accounts.command(context_settings=SETTINGS)
@click.argument("account")
@click.option("--off", is_flag=True, help="Take the right away.")
@database_option()
@json_option("the account")
def operator(account: str, off: bool, database: str | None, as_json: bool) -> None:
    """Let who signs in for an account see the pages of the operator: all accounts, credit, ledger, health.

    \b
    Example:
      clipworks accounts operator mira
      clipworks accounts operator mira --off
    """
    with writing(database) as (connection, _):
        from clipworks.errors import ConfigError
        from clipworks.serve.accounts import account_named
        from clipworks.serve.admin import account_details
        from clipworks.serve.logins import login_of, set_operator

        found = account_named(connection, account)
        if login_of(connection, found.id) is None:
            raise ConfigError(
                f"Nobody signs in for the account {found.name!r}.",
                f"Set a password first: clipworks accounts password {found.name!r}.",
            )
        set_operator(connection, found.id, not off)
        details = account_details(found)
    _show([details], as_json)
    note(f"{found.name!r} {'sees the pages of the operator no more' if off else 'sees /operator now'}.")


@contextmanager
def writing(address: str | None) -> Iterator[tuple["Connection", "ServeSettings"]]:
    """A transaction on the server's database, and the server's settings.

    Raises:
        ConfigError: the database or a setting cannot be used.
        MissingExtraError: the server's packages are not installed.
    """
    with _opened(address, must_exist=False) as (database, settings), database.write() as connection:
        yield connection, settings


@contextmanager
def reading(address: str | None) -> Iterator["Connection"]:
    """One state of the server's database, which nobody waits for.

    Raises:
        ConfigError: there is no such database, or it or a setting cannot be used.
        MissingExtraError: the server's packages are not installed.
    """
    with _opened(address, must_exist=True) as (database, _), database.read() as connection:
        yield connection


@contextmanager
def _opened(address: str | None, *, must_exist: bool) -> Iterator[tuple["Database", "ServeSettings"]]:
    from clipworks.cli.serve import read_settings, require_serve_extra

    require_serve_extra()
    from clipworks.serve.database import open_database
    from clipworks.serve.settings import ServeSettings

    settings = ServeSettings(**{**read_settings({"database": address}), "host": "127.0.0.1"})
    # Who sits at a terminal can end a long report on his own.
    database = open_database(settings.database, must_exist=must_exist, statement_seconds=0)
    try:
        yield database, settings
    finally:
        database.close()


def credit_of(given: str | None, settings: "ServeSettings") -> int:
    """The credit of a new account, millionths of a US dollar: what was given, or what everybody gets.

    Raises:
        ConfigError: it is no amount.
    """
    from clipworks.serve.prices import parse_usd

    return parse_usd(str(settings.signup_credit_usd) if given is None else given, "--credit")


def _show(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for details in found:
            print_json(details)
        return
    rows = [(one["name"], one["id"], one["balance_usd"], one["created_at"]) for one in found]
    print_table(("name", "id", "balance USD", "since"), rows)
