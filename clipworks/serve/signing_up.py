"""Signing up: a new account with its credit, and somebody who signs in for it."""

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from clipworks.serve.accounts import Account, create_account, find_account
from clipworks.serve.logins import Proof, add_login, find_login, taken


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
