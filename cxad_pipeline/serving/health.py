"""Whether the service is well, in words.

Belongs here: what counts as a concern. Does not belong here: where the facts come from (`model_store`, `spool`), and
the route (`routes_status`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def concerns(status: Mapping[str, Any], lost: int) -> list[str]:
    """What needs care, without names of machines, since whoever asks for `/health` reads it.

    Parameters
    ----------
    status
        As `ModelStore.status` gives it.
    lost
        Anomalies that this process could not keep for the store.

    Returns
    -------
    list of str
        Empty when all is well.
    """
    found = []
    mlflow, store = status["mlflow"], status["store"] or {}
    serves = status["model"] is not None
    going_on = "; the last good model goes on scoring" if serves else ""
    if mlflow.get("reachable") is False:
        found.append(f"MLflow has not answered since {mlflow.get('since')}{going_on}")
    elif mlflow.get("refused"):
        found.append(f"the champion in MLflow was refused{going_on}")
    elif mlflow.get("reachable") and mlflow.get("champion") is None:
        found.append(f"MLflow has no champion{going_on}")
    elif status["last_error"]:
        found.append(f"the champion could not be taken over{going_on}")
    if store.get("why"):
        waiting = store.get("waiting_records")
        found.append(f"the store has not answered since {store.get('since')}; {waiting} anomalies wait for it")
    if lost:
        found.append(f"{lost} anomalies could not be kept for the store")
    return found
