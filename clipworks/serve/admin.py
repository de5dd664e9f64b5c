"""/v1/admin: accounts, credit and keys for who holds a key with the scope `admin`."""

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clipworks.serve import accounts, keys, ledger
from clipworks.serve.accounts import Account
from clipworks.serve.billing import key_details, no_accounts
from clipworks.serve.bodies import Payload, read_payload
from clipworks.serve.clock import show_time
from clipworks.serve.key_gate import KeyGate
from clipworks.serve.keys import KeyTerms
from clipworks.serve.prices import show_usd
from clipworks.serve.problems import RequestError, shown
from clipworks.serve.terms import LIMIT_FIELDS, micro_usd, read_terms

ACCOUNT_FIELDS = ("name", "credit_usd")
MONEY_FIELDS = ("amount_usd", "note")
KEY_FIELDS = (
    *("name", "account", "scopes", "models", "expires_in_days", "budget_usd", "budget_period"),
    *LIMIT_FIELDS,
)
ROTATE_FIELDS = ("grace_seconds",)


class Admin:
    """The routes of an administrator; on a server without keys they answer that there are no accounts."""

    def __init__(self, gate: KeyGate | None) -> None:
        self._gate = gate

    async def accounts(self, request: Request) -> Response:
        """GET: every account. POST `name`, `credit_usd`: a new one."""
        if request.method == "GET":
            found = await self._gate_of().books.report(accounts.list_accounts)
            return JSONResponse({"object": "list", "data": [account_details(one) for one in found]})
        given = await self._read(request, ACCOUNT_FIELDS)
        credit = given.get("credit_usd", self._gate_of().settings.signup_credit_usd)
        work = partial(
            accounts.create_account,
            name=keys.check_name(given.get("name")),
            credit_micro_usd=micro_usd(credit, "credit_usd"),
        )
        return JSONResponse(account_details(await self._gate_of().books.write(work)), 201)

    async def account(self, request: Request) -> Response:
        """GET: one account, by id or name."""
        work = partial(accounts.account_named, name=request.path_params["id"])
        return JSONResponse(account_details(await self._gate_of().books.report(work)))

    async def grant(self, request: Request) -> Response:
        """POST `amount_usd`, `note`: give credit."""
        return await self._move(request, ledger.grant)

    async def adjust(self, request: Request) -> Response:
        """POST `amount_usd`, which may be negative, and `note`: put a balance right."""
        return await self._move(request, ledger.adjust)

    async def keys(self, request: Request) -> Response:
        """GET: every key. POST: a new one; the answer shows its secret, once."""
        if request.method == "GET":
            return JSONResponse({"object": "list", "data": await self._gate_of().books.report(_describe_all)})
        given = await self._read(request, KEY_FIELDS)
        account = given.get("account")
        if not isinstance(account, str):
            raise RequestError(
                "The field 'account' is missing.",
                "Give its id or name.",
                code="missing_field",
                param="account",
            )
        work = partial(create_key, account=account, terms=read_terms(given))
        return JSONResponse(await self._gate_of().books.write(work), 201, {"cache-control": "no-store"})

    async def key(self, request: Request) -> Response:
        """GET: one key. DELETE: revoke it, at once and for ever."""
        name = request.path_params["id"]
        if request.method == "GET":
            return JSONResponse(await self._gate_of().books.report(partial(_describe, name=name)))
        return JSONResponse(await self._gate_of().books.write(partial(_revoke, name=name)))

    async def rotate(self, request: Request) -> Response:
        """POST `grace_seconds`: a new secret; the old one works that long. The answer shows it, once."""
        headers = request.headers
        is_empty = "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"
        given = {} if is_empty else await self._read(request, ROTATE_FIELDS)
        grace = given.get("grace_seconds", keys.GRACE_SECONDS)
        if isinstance(grace, bool) or not isinstance(grace, int | float):
            raise RequestError(
                f"grace_seconds is {shown(grace)}; it must be a number.", param="grace_seconds"
            )
        work = partial(_rotate, name=request.path_params["id"], grace_seconds=float(grace))
        return JSONResponse(await self._gate_of().books.write(work), headers={"cache-control": "no-store"})

    async def _move(self, request: Request, move: Callable[..., int]) -> Response:
        given = await self._read(request, MONEY_FIELDS)
        amount, note = micro_usd(given.get("amount_usd"), "amount_usd"), given.get("note", "")
        if not isinstance(note, str):
            raise RequestError("note must be a text.", param="note")
        work = partial(_moved, name=request.path_params["id"], move=partial(move, note=note), amount=amount)
        return JSONResponse(account_details(await self._gate_of().books.write(work)), 201)

    async def _read(self, request: Request, fields: tuple[str, ...]) -> Payload:
        return await read_payload(request, self._gate_of().settings, fields=fields)

    def _gate_of(self) -> KeyGate:
        if self._gate is None:
            raise no_accounts()
        return self._gate


def account_details(account: Account) -> dict[str, Any]:
    """An account as the API and the command line show it."""
    return {
        "id": account.id,
        "name": account.name,
        "balance_usd": show_usd(account.balance_micro_usd),
        "created_at": show_time(account.created_at_ms),
    }


def create_key(connection: Connection, account: str, terms: KeyTerms) -> dict[str, Any]:
    """A new key of an account, by id or name, with its secret under `key`."""
    owner = accounts.account_named(connection, account)
    keys.check_is_free(connection, owner.id, terms.name)
    key, secret = keys.create_key(connection, owner.id, terms)
    return {"key": secret, **key_details(connection, key)}


def _rotate(connection: Connection, name: str, grace_seconds: float) -> dict[str, Any]:
    found = keys.key_named(connection, name)
    key, secret = keys.rotate_key(connection, found, grace_seconds=grace_seconds)
    return {"key": secret, **key_details(connection, key)}


def _revoke(connection: Connection, name: str) -> dict[str, Any]:
    return key_details(connection, keys.revoke_key(connection, keys.key_named(connection, name)))


def _describe(connection: Connection, name: str) -> dict[str, Any]:
    return key_details(connection, keys.key_named(connection, name))


def _describe_all(connection: Connection) -> list[dict[str, Any]]:
    return [key_details(connection, key) for key in keys.list_keys(connection)]


def _moved(connection: Connection, name: str, move: Callable[..., int], amount: int) -> Account:
    account = accounts.account_named(connection, name)
    move(connection, account.id, amount)
    return accounts.account_named(connection, account.id)
