"""The REST API: the champion behind a light service.

Belongs here: requests in, answers out, and what a service needs around that. Does not belong here: how scores come
about (`detection`), models in MLflow (`registry`), tables (`store`). Nothing here imports Dagster, scikit-learn or
pandas; pyarrow is imported with the first Arrow body, MLflow's client and SQLAlchemy in a process of their own
(`sidecar`) or where the store is read.
"""
