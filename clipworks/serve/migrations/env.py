"""What Alembic runs for each migration: on the connection, and in the transaction, that it was given."""

from alembic import context

from clipworks.serve.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
