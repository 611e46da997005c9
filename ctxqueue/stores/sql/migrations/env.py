"""Run by Alembic, with the connection that `upgrading` gives it."""

from __future__ import annotations

from alembic import context

from ctxqueue.stores.sql.schema import VERSION_TABLE, metadata
from ctxqueue.stores.sql.upgrading import is_ours

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    include_name=is_ours,
    render_as_batch=True,  # SQLite cannot alter a column
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
