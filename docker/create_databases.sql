-- Run once by PostgreSQL's image, when its volume is empty. Dagster and MLflow each keep a table named alembic_version,
-- so that they can't share a database.
CREATE DATABASE dagster;
CREATE DATABASE mlflow;
