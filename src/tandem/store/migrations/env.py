"""How Alembic runs a step: on the connection that `store.sql.migrate` hands in, inside its transaction."""

from __future__ import annotations

from alembic import context

from tandem.store.sql import metadata

# The naming convention of `metadata` names the constraints that a step declares without a name.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
