"""What Alembic runs: the migrations, on the connection and in the transaction that `store.database` has begun.

Does not belong here: where the database is.
"""

from __future__ import annotations

from alembic import context

from cxad_pipeline.store.database import VERSION_TABLE
from cxad_pipeline.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
