"""Accounts, keys and the ledger.

The tables are written out here and not taken from `tables.py`, which goes on to later versions.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and make the ledger append-only by the database itself."""
    _make_owners()
    _make_ledger()
    _make_charges()
    _forbid_changes()


def _make_owners() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("balance_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("balance_micro_usd >= 0", name="balance_is_not_negative"),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("account_id", sa.String(40), sa.ForeignKey("accounts.id"), nullable=False, index=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("models", sa.String(4000), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger),
        sa.Column("revoked_at_ms", sa.BigInteger),
        sa.Column("budget_micro_usd", sa.BigInteger),
        sa.Column("budget_period", sa.String(10), nullable=False),
        sa.Column("spent_period", sa.String(10), nullable=False),
        sa.Column("spent_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("images_per_minute", sa.Integer),
        sa.Column("bytes_per_minute", sa.BigInteger),
    )
    op.create_table(
        "secrets",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("key_id", sa.String(40), sa.ForeignKey("keys.id"), nullable=False, index=True),
        sa.Column("start", sa.String(10), nullable=False),
        sa.Column("ending", sa.String(4), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger),
    )


def _make_ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
        ),
        sa.Column("account_id", sa.String(40), sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("key_id", sa.String(40)),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("amount_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("charge_id", sa.String(40)),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("model", sa.String(200)),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("images", sa.Integer, nullable=False),
        sa.Column("texts", sa.Integer, nullable=False),
        sa.Column("cost_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("usd_per_1k_images", sa.String(40)),
        sa.Column("usd_per_1k_texts", sa.String(40)),
        sa.Column("request_id", sa.String(100)),
        sa.Column("note", sa.String(400)),
        sa.UniqueConstraint("charge_id", "kind", name="a_charge_ends_once"),
        sa.CheckConstraint(
            "kind IN ('grant', 'reserve', 'settle', 'release', 'adjust')", name="kind_is_one_of_five"
        ),
    )
    op.create_index("ledger_of_an_account", "ledger", ["account_id", "created_at_ms"])
    op.create_index("ledger_of_a_key", "ledger", ["key_id", "day"])


def _make_charges() -> None:
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("account_id", sa.String(40), sa.ForeignKey("accounts.id"), nullable=False, index=True),
        sa.Column("key_id", sa.String(40), nullable=False),
        sa.Column("amount_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("period", sa.String(10), nullable=False),
        sa.Column("server", sa.String(200), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "repeats",
        sa.Column("account_id", sa.String(40), sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("repeat_key", sa.String(255), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("charge_id", sa.String(40), nullable=False, index=True),
        sa.Column("cost_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("is_settled", sa.Boolean, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False, index=True),
        sa.Column("body", sa.LargeBinary),
        sa.Column("media_type", sa.String(200)),
    )


def _forbid_changes() -> None:
    words = "the ledger is append-only"
    if op.get_bind().dialect.name == "sqlite":
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER ledger_no_{event.lower()} BEFORE {event} ON ledger "
                f"BEGIN SELECT RAISE(ABORT, '{words}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{words}'; END $$"
    )
    op.execute(
        "CREATE TRIGGER ledger_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
