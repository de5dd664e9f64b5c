"""The ledger: money moves here, in whole millionths of a US dollar, and every move is a row that stays.

    grant, adjust   an owner of the server gives credit or puts something right
    reserve         money is set aside before the work
    settle          the answer is ready: what was set aside is spent
    release         there is no answer: it goes back (or is refunded, where it was spent already)

A balance is the sum of its rows. It changes by one conditional statement in the transaction that
writes the row, so that no order of things overdraws it. A charge is ended by whoever deletes its
reservation: it ends once, whichever process does it.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import BigInteger, Connection, bindparam, case, or_, select

from clipworks.serve import repeats
from clipworks.serve.database import Prepared
from clipworks.serve.keys import check_text, now_ms, period_of
from clipworks.serve.prices import Price, show_usd
from clipworks.serve.problems import RequestError
from clipworks.serve.repeats import Answer, Answered, Repeat
from clipworks.serve.tables import ACCOUNTS, KEYS, LEDGER, RESERVATIONS

MAX_MICRO_USD = 10**15
"""The largest amount of one row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is to be paid for one request."""

    account_id: str
    """Who pays."""
    key_id: str
    """In whose budget it counts."""
    budget_period: str
    """How often that budget begins anew."""
    model: str
    """Id of the model that does the work."""
    images: int
    """Pictures in it."""
    texts: int
    """Texts in it."""
    price: Price
    """The price at that moment, which the rows keep."""
    request_id: str
    """Where the logs speak of it."""
    server: str
    """The process that does the work."""
    expires_at_ms: int
    """When anybody may take it for abandoned."""
    repeat: Repeat | None
    """The client's own name for it, if it gave one."""

    @property
    def cost_micro_usd(self) -> int:
        """What it costs, millionths of a US dollar."""
        return self.price.cost_micro_usd(images=self.images, texts=self.texts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reserved:
    """Money that is set aside, or a charge that was settled when the same request came before."""

    charge_id: str
    """Names the rows of this charge."""
    cost_micro_usd: int
    """What the request costs."""
    balance_micro_usd: int | None
    """What is left to spend; None where nothing was moved."""
    is_settled: bool
    """Whether it was paid before, by an equal request with the same `Idempotency-Key`."""
    answer: Answer | None = None
    """What that request was answered, where it was paid before and the answer was kept."""


def grant(connection: Connection, account_id: str, amount_micro_usd: int, *, note: str = "") -> int:
    """Give credit; the new balance.

    Raises:
        RequestError: the amount is not above 0 or too large, or the note cannot be kept.
    """
    if not 0 < amount_micro_usd <= MAX_MICRO_USD:
        raise RequestError("A grant must be above 0 and at most 1,000,000,000 dollars.", param="amount_usd")
    return _move(connection, account_id, "grant", amount_micro_usd, note)


def adjust(connection: Connection, account_id: str, amount_micro_usd: int, *, note: str) -> int:
    """Put a balance right, up or down but never below 0; the new balance.

    Raises:
        RequestError: the amount is 0 or too large, there is no note or one that cannot be kept, or the
            balance is less than is taken.
    """
    if amount_micro_usd == 0 or abs(amount_micro_usd) > MAX_MICRO_USD:
        raise RequestError("An adjustment must not be 0 or over 1,000,000,000 dollars.", param="amount_usd")
    if not note.strip():
        raise RequestError("An adjustment needs a note that says why.", code="missing_field", param="note")
    return _move(connection, account_id, "adjust", amount_micro_usd, note)


def reserve(connection: Connection, order: Order) -> Reserved:
    """Set aside what a request costs; all of it or nothing.

    Raises:
        RequestError: the account or the key's budget has not enough (402), the key was revoked (401), or
            the request's `Idempotency-Key` stands for another request or for one in work (409).
    """
    charge_id, cost = f"chg_{uuid.uuid4().hex}", order.cost_micro_usd
    known = _claim(connection, order, charge_id)
    if known is not None:
        return paid_before(known)
    balance = _take(connection, order)
    _RESERVE.run(
        connection,
        {
            "id": charge_id,
            "account_id": order.account_id,
            "key_id": order.key_id,
            "amount_micro_usd": cost,
            "period": period_of(order.budget_period, now_ms()),
            "server": order.server,
            "expires_at_ms": order.expires_at_ms,
        },
    )
    _write(connection, "reserve", order, charge_id, amount_micro_usd=-cost)
    return Reserved(charge_id=charge_id, cost_micro_usd=cost, balance_micro_usd=balance, is_settled=False)


def paid_before(known: Answered) -> Reserved:
    """The charge of a request that is sent again: nothing is set aside."""
    return Reserved(
        charge_id=known.charge_id,
        cost_micro_usd=known.cost_micro_usd,
        balance_micro_usd=None,
        is_settled=True,
        answer=known.answer,
    )


def settle(connection: Connection, order: Order, charge_id: str, answer: Answer | None = None) -> str:
    """Spend what was set aside; the charge's id, a new one where it was taken for abandoned meanwhile.

    Once this has returned the request is paid for. What was set aside beyond `order` goes back.

    Args:
        answer: what is kept for the next request with the same `Idempotency-Key`.

    Raises:
        RequestError: it was taken for abandoned and its money is gone; the answer must not be given.
    """
    held = _END.one_or_none(connection, {"charge": charge_id})
    cost = order.cost_micro_usd
    if held is not None:
        amount = held.amount_micro_usd - cost
        if amount:
            _give_back(connection, order.account_id, order.key_id, amount, held.period)
    else:
        if connection.execute(
            select(LEDGER.c.id).where(LEDGER.c.charge_id == charge_id, LEDGER.c.kind == "settle")
        ).first():
            return charge_id
        charge_id, amount = f"chg_{uuid.uuid4().hex}", -cost
        if _claim(connection, order, charge_id) is not None:
            raise repeats.in_progress()  # it was sent again meanwhile and answered; the next one gets that
        _take(connection, order)
    _write(connection, "settle", order, charge_id, amount_micro_usd=amount)
    if order.repeat is not None:
        repeats.keep(connection, charge_id, cost, answer)
    return charge_id


def release(connection: Connection, charge_id: str, *, may_refund: bool = False) -> bool:
    """Give back what was set aside, once.

    Args:
        may_refund: whether to undo the charge also where it was settled. Only who knows that the answer
            was not given may say so.

    Returns:
        Whether money moved; False where the charge was given back before.
    """
    row = _END.one_or_none(connection, {"charge": charge_id})
    if row is None:
        return may_refund and _refund(connection, charge_id)
    _give_back(connection, row.account_id, row.key_id, row.amount_micro_usd, row.period)
    repeats.free(connection, charge_id)
    _ENTER.run(
        connection,
        {
            **_row(row.account_id, "release", row.amount_micro_usd),
            "key_id": row.key_id,
            "charge_id": charge_id,
        },
    )
    return True


def abandoned(connection: Connection, dead_servers: Collection[str] = ()) -> list[str]:
    """Ids of the charges that nobody will end: past their time, or begun by a process that has died."""
    condition = RESERVATIONS.c.expires_at_ms <= now_ms()
    if dead_servers:
        condition = or_(condition, RESERVATIONS.c.server.in_(list(dead_servers)))
    return list(connection.execute(select(RESERVATIONS.c.id).where(condition)).scalars())


def servers_at_work(connection: Connection) -> list[str]:
    """The processes that have charges in work, as they call themselves."""
    return list(connection.execute(select(RESERVATIONS.c.server).distinct()).scalars())


_COST, _AMOUNT = bindparam("cost", type_=BigInteger), bindparam("amount", type_=BigInteger)
_LOWER = Prepared(
    ACCOUNTS.update()
    .where(ACCOUNTS.c.id == bindparam("payer"), ACCOUNTS.c.balance_micro_usd >= _COST)
    .values(balance_micro_usd=ACCOUNTS.c.balance_micro_usd - _COST)
    .returning(ACCOUNTS.c.balance_micro_usd)
)
_SPENT = case((KEYS.c.spent_period == bindparam("period"), KEYS.c.spent_micro_usd), else_=0) + _COST
_COUNT = Prepared(
    KEYS.update()
    .where(
        KEYS.c.id == bindparam("spender"),
        KEYS.c.revoked_at_ms.is_(None),
        or_(KEYS.c.budget_micro_usd.is_(None), _SPENT <= KEYS.c.budget_micro_usd),
    )
    .values(spent_micro_usd=_SPENT, spent_period=bindparam("period"))
)
_RAISE = Prepared(
    ACCOUNTS.update()
    .where(ACCOUNTS.c.id == bindparam("payer"))
    .values(balance_micro_usd=ACCOUNTS.c.balance_micro_usd + _AMOUNT)
)
_COUNT_BACK = Prepared(
    KEYS.update()
    .where(
        KEYS.c.id == bindparam("spender"),
        KEYS.c.spent_period == bindparam("period"),
        KEYS.c.spent_micro_usd >= _AMOUNT,
    )
    .values(spent_micro_usd=KEYS.c.spent_micro_usd - _AMOUNT)
)
_RESERVE = Prepared(RESERVATIONS.insert(), RESERVATIONS.c.keys())
_END = Prepared(RESERVATIONS.delete().where(RESERVATIONS.c.id == bindparam("charge")).returning(RESERVATIONS))
_ENTER = Prepared(LEDGER.insert().inline(), LEDGER.c.keys()[1:])  # the database numbers the rows


def _claim(connection: Connection, order: Order, charge_id: str) -> Answered | None:
    """Let the order's `Idempotency-Key`, if it has one, stand for a charge; or what it stands for."""
    if order.repeat is None:
        return None
    return repeats.claim(
        connection,
        order.account_id,
        order.repeat,
        charge_id=charge_id,
        cost_micro_usd=order.cost_micro_usd,
        at_ms=now_ms(),
    )


def _take(connection: Connection, order: Order) -> int:
    """Lower the balance and count the key's budget, both or none (the caller's transaction is undone)."""
    cost = order.cost_micro_usd
    left = _LOWER.one_or_none(connection, {"payer": order.account_id, "cost": cost})
    if left is None:
        raise RequestError(
            f"The credit is used up: the request costs {show_usd(cost)} US dollars, the account has less.",
            "Ask the owner of this server for more; /account and GET /v1/credits say what is left.",
            code="credit_balance_exhausted",
        )
    period = period_of(order.budget_period, now_ms())
    if not _COUNT.run(connection, {"spender": order.key_id, "period": period, "cost": cost}):
        raise _refused_by_key(connection, order)
    return int(left.balance_micro_usd)


def _refused_by_key(connection: Connection, order: Order) -> RequestError:
    row = connection.execute(select(KEYS.c.revoked_at_ms).where(KEYS.c.id == order.key_id)).one_or_none()
    if row is None or row.revoked_at_ms is not None:
        return RequestError("The key was revoked.", "Use another one.", code="invalid_api_key")
    return RequestError(
        f"The budget of this key is used up: the request costs {show_usd(order.cost_micro_usd)} US dollars.",
        "GET /v1/key says how much it may spend and when that begins anew.",
        code="key_budget_exhausted",
    )


def _give_back(connection: Connection, account_id: str, key_id: str, amount: int, period: str) -> None:
    _RAISE.run(connection, {"payer": account_id, "amount": amount})
    _COUNT_BACK.run(connection, {"spender": key_id, "period": period, "amount": amount})


def _refund(connection: Connection, charge_id: str) -> bool:
    """Undo a settled charge in new rows: the answer was paid for and could not be given."""
    rows = connection.execute(select(LEDGER).where(LEDGER.c.charge_id == charge_id)).all()
    kinds = {row.kind: row for row in rows}
    if "settle" not in kinds or "release" in kinds:
        return False
    paid = kinds["settle"]
    budget = connection.execute(select(KEYS.c.budget_period).where(KEYS.c.id == paid.key_id)).scalar_one()
    period = period_of(budget, paid.created_at_ms)
    _give_back(connection, paid.account_id, paid.key_id, paid.cost_micro_usd, period)
    repeats.free(connection, charge_id)
    kept = ("key_id", "charge_id", "model", "usd_per_1k_images", "usd_per_1k_texts", "request_id")
    counts = ("requests", "images", "texts", "cost_micro_usd")
    values = {
        **_row(paid.account_id, "release", paid.cost_micro_usd),
        **{name: getattr(paid, name) for name in kept},
        **{name: -getattr(paid, name) for name in counts},
    }
    _ENTER.run(connection, values)
    return True


def _move(connection: Connection, account_id: str, kind: str, amount: int, note: str) -> int:
    check_text(note, "note")
    balance = connection.execute(
        ACCOUNTS.update()
        .where(ACCOUNTS.c.id == account_id, ACCOUNTS.c.balance_micro_usd + amount >= 0)
        .values(balance_micro_usd=ACCOUNTS.c.balance_micro_usd + amount)
        .returning(ACCOUNTS.c.balance_micro_usd)
    ).scalar_one_or_none()
    if balance is None:
        raise RequestError(
            f"The account has less than {show_usd(-amount)} US dollars.", "Take less.", param="amount_usd"
        )
    _ENTER.run(connection, {**_row(account_id, kind, amount), "note": note[:400] or None})
    return int(balance)


def _write(connection: Connection, kind: str, order: Order, charge_id: str, *, amount_micro_usd: int) -> None:
    values = {
        **_row(order.account_id, kind, amount_micro_usd),
        "key_id": order.key_id,
        "charge_id": charge_id,
        "model": order.model[:200],
        "usd_per_1k_images": order.price.usd_per_1k_images,
        "usd_per_1k_texts": order.price.usd_per_1k_texts,
        "request_id": order.request_id[:100],
    }
    if kind == "settle":
        values |= {
            "requests": 1,
            "images": order.images,
            "texts": order.texts,
            "cost_micro_usd": order.cost_micro_usd,
        }
    _ENTER.run(connection, values)


def _row(account_id: str, kind: str, amount_micro_usd: int) -> dict[str, str | int | None]:
    """A row with nothing but an amount."""
    now = now_ms()
    return {
        "account_id": account_id,
        "key_id": None,
        "kind": kind,
        "amount_micro_usd": amount_micro_usd,
        "charge_id": None,
        "created_at_ms": now,
        "day": period_of("day", now),
        "model": None,
        "requests": 0,
        "images": 0,
        "texts": 0,
        "cost_micro_usd": 0,
        "usd_per_1k_images": None,
        "usd_per_1k_texts": None,
        "request_id": None,
        "note": None,
    }
