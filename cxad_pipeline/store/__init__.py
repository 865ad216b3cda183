"""The SQL store: what was found, and what people said of it.

Belongs here: tables, migrations, and the functions that write and read them (SQLAlchemy 2, Alembic; SQLite or
PostgreSQL). Does not belong here: how anomalies are found, and who may read them.
"""
