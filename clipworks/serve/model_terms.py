"""What an operator sets of a model while the server runs, and the notes that say who did it and why."""

import datetime
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from clipworks.serve.keys import now_ms
from clipworks.serve.model_tables import MODEL_EVENTS, MODEL_TERMS
from clipworks.serve.prices import Price
from clipworks.serve.problems import RequestError
from clipworks.serve.roster import Status

MAX_NOTE = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelTerms:
    """What is set of one model; what is None is as the server was started."""

    model: str
    """Its id."""
    status: Status | None = None
    """Whether it is served."""
    shutdown_date: datetime.date | None = None
    """First day on which a deprecated model is no longer served."""
    price: Price | None = None
    """What it costs."""
    providers: tuple[str, ...] | None = None
    """Names of who is asked, in order; the others are not asked."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is set."""
        return replace(self, model="") == ModelTerms(model="")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEvent:
    """What happened to a model."""

    model: str
    """Its id."""
    kind: str
    """`change` or `live`."""
    words: str
    """What."""
    operator: str
    """Account of who did it; nothing where nobody did."""
    note: str
    """Why, in the operator's words."""
    created_at_ms: int
    """When, milliseconds since 1970."""


def read_terms(connection: Connection) -> dict[str, ModelTerms]:
    """Everything that is set, by model."""
    return {row.model: _terms(row) for row in connection.execute(select(MODEL_TERMS))}


def write_terms(connection: Connection, terms: ModelTerms, *, words: str, operator: str, note: str) -> None:
    """Set what is said of a model, in place of what was set before, and note who did it.

    Args:
        words: what changes.
        operator: account of who changes it.
        note: why.

    Raises:
        RequestError: there is no note, or a text is too long.
    """
    if not note.strip() or len(note) > MAX_NOTE:
        raise RequestError(
            f"A change needs a note of 1 to {MAX_NOTE} characters.", "Say why in a word.", param="note"
        )
    _put(connection, terms)
    connection.execute(
        MODEL_EVENTS.insert().values(
            model=terms.model,
            kind="change",
            words=words[:1000],
            operator=operator,
            note=note.strip(),
            created_at_ms=now_ms(),
        )
    )


def events(connection: Connection, *, limit: int) -> list[ModelEvent]:
    """What happened to models, the newest first."""
    newest = select(MODEL_EVENTS).order_by(MODEL_EVENTS.c.id.desc()).limit(limit)
    return [
        ModelEvent(
            model=row.model,
            kind=row.kind,
            words=row.words,
            operator=row.operator,
            note=row.note,
            created_at_ms=row.created_at_ms,
        )
        for row in connection.execute(newest)
    ]


def described(terms: ModelTerms, before: ModelTerms) -> str:
    """What changes from some terms to others, in words; nothing where nothing does."""
    parts = []
    if (terms.status, terms.shutdown_date) != (before.status, before.shutdown_date):
        parts.append(f"status {_status(before)} -> {_status(terms)}")
    if terms.price != before.price:
        parts.append(f"price {_price(before)} -> {_price(terms)}")
    if terms.providers != before.providers:
        parts.append(f"providers {_list(before.providers)} -> {_list(terms.providers)}")
    return "; ".join(parts)


def _put(connection: Connection, terms: ModelTerms) -> None:
    mine = MODEL_TERMS.c.model == terms.model
    if terms.is_empty:
        connection.execute(MODEL_TERMS.delete().where(mine))
        return
    values = {
        "status": terms.status,
        "shutdown_date": None if terms.shutdown_date is None else terms.shutdown_date.isoformat(),
        "usd_per_1k_images": None if terms.price is None else terms.price.usd_per_1k_images,
        "usd_per_1k_texts": None if terms.price is None else terms.price.usd_per_1k_texts,
        "providers": None if terms.providers is None else ",".join(terms.providers),
        "updated_at_ms": now_ms(),
    }
    change = MODEL_TERMS.update().where(mine).values(values)
    if connection.execute(change).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(MODEL_TERMS.insert().values(model=terms.model, **values))
    except IntegrityError:  # another operator set it between the two statements: the last one holds
        connection.execute(change)


def _terms(row: Any) -> ModelTerms:
    price = None
    if row.usd_per_1k_images is not None:
        price = Price(
            model=row.model,
            usd_per_1k_images=row.usd_per_1k_images,
            usd_per_1k_texts=row.usd_per_1k_texts,
        )
    return ModelTerms(
        model=row.model,
        status=row.status,
        shutdown_date=None if row.shutdown_date is None else datetime.date.fromisoformat(row.shutdown_date),
        price=price,
        providers=None if row.providers is None else tuple(row.providers.split(",")),
    )


def _status(terms: ModelTerms) -> str:
    until = f" until {terms.shutdown_date}" if terms.shutdown_date else ""
    return f"{terms.status or 'as started'}{until}"


def _price(terms: ModelTerms) -> str:
    price = terms.price
    return "as started" if price is None else f"{price.usd_per_1k_images}/{price.usd_per_1k_texts}"


def _list(names: tuple[str, ...] | None) -> str:
    return "as started" if names is None else ", ".join(names)
