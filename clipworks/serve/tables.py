"""The tables of accounts, keys and money. Who may change them: `migrations/`, one step per version.

Money is whole millionths of a US dollar, time is whole milliseconds since 1970 (UTC), lists are words
with commas between them. The statements that read and write stand in the modules of their nouns.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

METADATA = MetaData()

ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("balance_micro_usd", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    CheckConstraint("balance_micro_usd >= 0", name="balance_is_not_negative"),
)
"""Who pays. The balance is the sum of the account's rows in the ledger, changed in the same transaction."""

KEYS = Table(
    "keys",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("scopes", String(200), nullable=False),
    Column("models", String(4000), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
    Column("budget_micro_usd", BigInteger),
    Column("budget_period", String(10), nullable=False),
    Column("spent_period", String(10), nullable=False),
    Column("spent_micro_usd", BigInteger, nullable=False),
    Column("requests_per_minute", Integer),
    Column("images_per_minute", Integer),
    Column("bytes_per_minute", BigInteger),
)
"""What may be spent and done in an account's name; `spent_micro_usd` counts within `spent_period`."""

SECRETS = Table(
    "secrets",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("key_id", String(40), ForeignKey("keys.id"), nullable=False, index=True),
    Column("start", String(10), nullable=False),
    Column("ending", String(4), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
)
"""The words that open a key, as SHA-256; a rotated key has an old one for a while."""

LEDGER = Table(
    "ledger",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("account_id", String(40), ForeignKey("accounts.id"), nullable=False),
    Column("key_id", String(40)),
    Column("kind", String(10), nullable=False),
    Column("amount_micro_usd", BigInteger, nullable=False),
    Column("charge_id", String(40)),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("day", String(10), nullable=False),
    Column("model", String(200)),
    Column("requests", Integer, nullable=False),
    Column("images", Integer, nullable=False),
    Column("texts", Integer, nullable=False),
    Column("cost_micro_usd", BigInteger, nullable=False),
    Column("usd_per_1k_images", String(40)),
    Column("usd_per_1k_texts", String(40)),
    Column("request_id", String(100)),
    Column("note", String(400)),
    UniqueConstraint("charge_id", "kind", name="a_charge_ends_once"),
    CheckConstraint(
        "kind IN ('grant', 'reserve', 'settle', 'release', 'adjust')", name="kind_is_one_of_five"
    ),
    Index("ledger_of_an_account", "account_id", "created_at_ms"),
    Index("ledger_of_a_key", "key_id", "day"),
)
"""Append-only. `amount_micro_usd` moves the balance; requests to cost count what was answered."""

RESERVATIONS = Table(
    "reservations",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("key_id", String(40), nullable=False),
    Column("amount_micro_usd", BigInteger, nullable=False),
    Column("period", String(10), nullable=False),
    Column("server", String(200), nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False, index=True),
)
"""Charges in work: whoever deletes the row ends the charge, so it ends once."""

REPEATS = Table(
    "repeats",
    METADATA,
    Column("account_id", String(40), ForeignKey("accounts.id"), primary_key=True),
    Column("repeat_key", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("charge_id", String(40), nullable=False, index=True),
    Column("cost_micro_usd", BigInteger, nullable=False),
    Column("is_settled", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False, index=True),
    Column("body", LargeBinary),
    Column("media_type", String(200)),
    Column("fingerprint", String(64)),
)
"""Idempotency keys that were used lately, the charge that each stands for, and what was answered."""

LOGINS = Table(
    "logins",
    METADATA,
    Column("account_id", String(40), ForeignKey("accounts.id"), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("password", String(200)),
    Column("issuer", String(200)),
    Column("subject", String(255)),
    Column("pages_key_id", String(40)),
    Column("is_operator", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    UniqueConstraint("issuer", "subject", name="a_person_has_one_account"),
)
"""Who signs in for an account: with a password, kept as Argon2 digests it, or at an OpenID Connect issuer."""

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("account_id", String(40), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False, index=True),
)
"""Browsers that are signed in: the SHA-256 of what each one's cookie holds."""

TALLIES = Table(
    "tallies",
    METADATA,
    Column("kind", String(20), primary_key=True),
    Column("subject", String(64), primary_key=True),
    Column("began_at_ms", BigInteger, primary_key=True),
    Column("number", Integer, nullable=False),
)
"""How often something was tried by somebody, whose name or address stands here as SHA-256, in a while."""
