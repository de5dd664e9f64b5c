"""People sign in: their passwords, their sessions, and how often they tried."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; accounts that are there already have nobody who signs in."""
    op.create_table(
        "logins",
        sa.Column("account_id", sa.String(40), sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("password", sa.String(200)),
        sa.Column("issuer", sa.String(200)),
        sa.Column("subject", sa.String(255)),
        sa.Column("pages_key_id", sa.String(40)),
        sa.Column("is_operator", sa.Boolean, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("issuer", "subject", name="a_person_has_one_account"),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("account_id", sa.String(40), sa.ForeignKey("accounts.id"), nullable=False, index=True),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "tallies",
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("subject", sa.String(64), primary_key=True),
        sa.Column("began_at_ms", sa.BigInteger, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
    )
