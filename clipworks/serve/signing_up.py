"""Signing up: a new account with its credit, and somebody who signs in for it."""

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from clipworks.serve.accounts import Account, create_account, find_account
from clipworks.serve.logins import CLOSED, Proof, add_login, find_login, fold, taken
from clipworks.serve.tables import ACCOUNTS, LOGINS


def sign_up(connection: Connection, name: str, proof: Proof, *, credit_micro_usd: int) -> Account:
    """A new account, with somebody who signs in for it.

    Raises:
        RequestError: the name is taken or cannot be one.
    """
    check_is_free(connection, name)
    try:
        with connection.begin_nested():
            account = create_account(connection, name, credit_micro_usd=credit_micro_usd)
    except IntegrityError as error:  # another server made it between the two statements
        raise taken(name) from error
    add_login(connection, account.id, name, proof)
    return account


def check_is_free(connection: Connection, name: str) -> None:
    """Whether nobody has a name, be it in other capitals.

    Raises:
        RequestError: somebody has it.
    """
    if find_login(connection, name) is not None or find_account(connection, name) is not None:
        raise taken(name)
    # Else "MUSEUM" would take the login that the owner of the operator's account "Museum" is to get.
    if fold(name) in map(fold, _names_without_login(connection)):
        raise taken(name)


def _names_without_login(connection: Connection) -> list[str]:
    """Names of accounts that an operator made and nobody signs in for yet."""
    chosen = (
        select(ACCOUNTS.c.name)
        .outerjoin(LOGINS, LOGINS.c.account_id == ACCOUNTS.c.id)
        .where(LOGINS.c.account_id.is_(None), ~ACCOUNTS.c.name.startswith(CLOSED, autoescape=True))
    )
    return list(connection.execute(chosen).scalars())
