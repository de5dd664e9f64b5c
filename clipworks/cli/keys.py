"""`clipworks keys`: what opens a server that asks for keys."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from clipworks.cli.accounts import credit_of, database_option, reading, writing
from clipworks.cli.output import SETTINGS, json_option, note, print_json, print_table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from clipworks.serve.accounts import Account
    from clipworks.serve.settings import ServeSettings


@click.group(context_settings=SETTINGS)
def keys() -> None:
    """Make, show, revoke and rotate the keys of a server that asks for them.

    A key is shown once, when it is made; only its hash is stored.

    \b
    Example:
      clipworks keys create --name demo --credit 5
      clipworks serve --require-keys
      clipworks keys show demo
    """


@keys.command(context_settings=SETTINGS)
@click.option("--name", required=True, help="Name of the key.")
@click.option("--account", help="Account that pays; made where there is none.  [default: the key's name]")
@click.option(
    "--credit", metavar="USD", help="Credit for the account.  [default: the sign-up credit if it is new]"
)
@click.option("--scope", "scopes", multiple=True, help="inference, usage or admin.  [default: the first two]")
@click.option("--allow", "models", multiple=True, metavar="MODEL", help="Model it may use.  [default: all]")
@click.option(
    "--set",
    "choices",
    multiple=True,
    metavar="NAME=VALUE",
    help="expires_in_days, budget_usd, budget_period (total, day, week, month), requests_per_minute, "
    "images_per_minute or bytes_per_minute.",
)
@database_option()
@json_option('{"key": "cw_...", ...}, the key and what it may do')
def create(
    name: str,
    account: str | None,
    credit: str | None,
    scopes: tuple[str, ...],
    models: tuple[str, ...],
    choices: tuple[str, ...],
    database: str | None,
    as_json: bool,
) -> None:
    """Make a key, and the account that pays where there is none.

    --scope, --allow and --set may be given several times.

    \b
    Example:
      clipworks keys create --name demo --credit 5
      clipworks keys create --name app --account "The Museum" --set budget_usd=2 --set budget_period=day
      clipworks keys create --name boss --scope admin --scope usage
    """
    with writing(database) as (connection, settings):
        from clipworks.options import with_settings
        from clipworks.serve.admin import create_key
        from clipworks.serve.keys import KeyChoices
        from clipworks.serve.terms import read_terms

        chosen = asdict(with_settings(KeyChoices(), choices))
        given = {"name": name, "scopes": list(scopes) or None, "models": list(models) or None}
        terms = read_terms({**given, **chosen})
        owner, is_new = _owner(connection, settings, account or name, credit)
        details = create_key(connection, owner.id, terms)
    if as_json:
        print_json(details)
        return
    click.echo(details["key"])
    whose = f"a new account {owner.name!r}" if is_new else f"account {owner.name!r}"
    note(f"The key {name!r} of {whose}. It is shown only now: keep it.")


@keys.command("list", context_settings=SETTINGS)
@click.option("--account", help="Keys of this account only.")
@database_option()
@json_option("one object per key, one a line")
def list_(account: str | None, database: str | None, as_json: bool) -> None:
    """List keys; their secrets are not known.

    \b
    Example:
      clipworks keys list
    """
    with reading(database) as connection:
        from clipworks.serve.accounts import account_named
        from clipworks.serve.billing import key_details
        from clipworks.serve.keys import list_keys

        owner = None if account is None else account_named(connection, account).id
        found = [key_details(connection, key) for key in list_keys(connection, owner)]
    _show(found, as_json)


@keys.command(context_settings=SETTINGS)
@click.argument("key")
@database_option()
@json_option("the key, what it may do and what it spent")
def show(key: str, database: str | None, as_json: bool) -> None:
    """Show one key, by name or id: what it may do, its limits, and what it spent.

    \b
    Example:
      clipworks keys show demo
    """
    with reading(database) as connection:
        from clipworks.serve.billing import key_details
        from clipworks.serve.keys import key_named

        details = key_details(connection, key_named(connection, key))
    if as_json:
        print_json(details)
        return
    plain = {**details, **details["rate_limit"], "state": _state(details)}
    names = ("id", "name", "label", "account", "state", "scopes", "models", "created_at", "limit")
    names += ("limit_remaining", "limit_reset", *details["rate_limit"], "usage", "usage_daily")
    print_table((), [(name, _words(plain[name])) for name in (*names, "usage_weekly", "usage_monthly")])


@keys.command(context_settings=SETTINGS)
@click.argument("key")
@database_option()
@json_option("the key")
def revoke(key: str, database: str | None, as_json: bool) -> None:
    """End a key, by name or id, at once: also on servers that run.

    \b
    Example:
      clipworks keys revoke demo
    """
    with writing(database) as (connection, _):
        from clipworks.serve.billing import key_details
        from clipworks.serve.keys import key_named, revoke_key

        details = key_details(connection, revoke_key(connection, key_named(connection, key)))
    _show([details], as_json)


@keys.command(context_settings=SETTINGS)
@click.argument("key")
@click.option(
    "--grace-hours",
    type=click.FloatRange(0, 90 * 24),
    default=24.0,
    show_default=True,
    help="How long the old secret still works.",
)
@database_option()
@json_option('{"key": "cw_...", ...}')
def rotate(key: str, grace_hours: float, database: str | None, as_json: bool) -> None:
    """Give a key a new secret; budget, limits and use go on.

    \b
    Example:
      clipworks keys rotate demo --grace-hours 1
    """
    with writing(database) as (connection, _):
        from clipworks.serve.billing import key_details
        from clipworks.serve.keys import key_named, rotate_key

        rotated, secret = rotate_key(connection, key_named(connection, key), grace_seconds=grace_hours * 3600)
        details = {"key": secret, **key_details(connection, rotated)}
    if as_json:
        print_json(details)
        return
    click.echo(secret)
    words = f"works for {grace_hours:g} hours more" if grace_hours else "works no longer"
    note(f"The old secret of {rotated.terms.name!r} {words}. The new one is shown only now: keep it.")


def _owner(
    connection: "Connection", settings: "ServeSettings", name: str, credit: str | None
) -> "tuple[Account, bool]":
    """The account of a name, with credit added where some is given, or a new one; whether it is new."""
    from clipworks.serve.accounts import account_named, create_account, find_account
    from clipworks.serve.ledger import grant

    found = find_account(connection, name)
    if found is None:
        return create_account(connection, name, credit_micro_usd=credit_of(credit, settings)), True
    if credit is not None:
        amount = credit_of(credit, settings)
        if amount:
            grant(connection, found.id, amount, note="given with a new key")
    return account_named(connection, found.id), False


def _show(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for details in found:
            print_json(details)
        return
    rows = [
        (one["name"], one["label"], one["account"], ", ".join(one["scopes"]), _state(one), one["id"])
        for one in found
    ]
    print_table(("name", "key", "account", "scopes", "state", "id"), rows)


def _state(details: dict[str, Any]) -> str:
    if details["revoked_at"]:
        return f"revoked {details['revoked_at']}"
    return f"until {details['expires_at']}" if details["expires_at"] else "open"


def _words(value: object) -> str:
    """A value of a key in a table: money with its six decimals, nothing for no limit."""
    if isinstance(value, list):
        return ", ".join(value)
    return "" if value is None else f"{value:.6f}" if isinstance(value, float) else str(value)
