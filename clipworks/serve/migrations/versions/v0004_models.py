"""Votes for models, what an operator sets at run time, and what happened to each model."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "wishes",
        sa.Column("account_id", sa.String(40), sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("model", sa.String(200), primary_key=True),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("wishes_for_a_model", "wishes", ["model"])
    op.create_table(
        "model_terms",
        sa.Column("model", sa.String(200), primary_key=True),
        sa.Column("status", sa.String(20)),
        sa.Column("shutdown_date", sa.String(10)),
        sa.Column("usd_per_1k_images", sa.String(40)),
        sa.Column("usd_per_1k_texts", sa.String(40)),
        sa.Column("providers", sa.String(4000)),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "model_events",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
        ),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("words", sa.String(1000), nullable=False),
        sa.Column("operator", sa.String(200), nullable=False),
        sa.Column("note", sa.String(400), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("events_of_a_model", "model_events", ["model", "id"])
