"""How an older database comes to the form that the code knows, step by step (Alembic).

Belongs here: one module in `versions` for every change of `store.tables`, named by its number, which is also put into
`store.database.SCHEMA_VERSION`. Does not belong here: the tables as they are now (`store.tables`). A migration that a
release has shipped is never changed.
"""
