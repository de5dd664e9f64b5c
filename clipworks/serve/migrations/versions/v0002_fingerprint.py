"""Answers that are kept for an `Idempotency-Key` keep the fingerprint that was said with them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; answers that were kept before are told again without one."""
    op.add_column("repeats", sa.Column("fingerprint", sa.String(64)))
