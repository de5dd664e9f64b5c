"""The tables of what is offered and wanted: votes, what an operator changed, and what happened to a model.

Who may change them: `migrations/`. Time is whole milliseconds since 1970 (UTC).
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table

from clipworks.serve.tables import METADATA

WISHES = Table(
    "wishes",
    METADATA,
    Column("account_id", String(40), ForeignKey("accounts.id"), primary_key=True),
    Column("model", String(200), primary_key=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("wishes_for_a_model", "model"),
)
"""Accounts that want a model: one vote each."""

MODEL_TERMS = Table(
    "model_terms",
    METADATA,
    Column("model", String(200), primary_key=True),
    Column("status", String(20)),
    Column("shutdown_date", String(10)),
    Column("usd_per_1k_images", String(40)),
    Column("usd_per_1k_texts", String(40)),
    Column("providers", String(4000)),
    Column("updated_at_ms", BigInteger, nullable=False),
)
"""What an operator set at run time; null is as the server was started. Providers: who is asked, in order."""

MODEL_EVENTS = Table(
    "model_events",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("model", String(200), nullable=False),
    Column("kind", String(10), nullable=False),
    Column("words", String(1000), nullable=False),
    Column("operator", String(200), nullable=False),
    Column("note", String(400), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("events_of_a_model", "model", "id"),
)
"""Append-only: `change` by an operator with a note, `live` when a model that was wanted can be used."""
