"""Whether the service is well, in words.

Belongs here: what counts as a concern. Does not belong here: where the facts come from (`model_store`, `spool`), and
the route (`routes_status`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OF_ITS_OWN = "give each service a serving.state of its own (its log names the other one)"


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
        Empty when all is well. A service that has just started, and has not asked MLflow yet, is well.
    """
    found = []
    mlflow, store, sidecar = status["mlflow"], status["store"] or {}, status["sidecar"]
    going_on = "; the last good model goes on scoring" if status["model"] is not None else ""
    if sidecar["works_for_another"]:
        found.append(f"another service uses the state folder: the champion is not followed{going_on}; {_OF_ITS_OWN}")
    elif status["copy_of_another"]:
        found.append(
            "the model in the state folder is another service's, or of an earlier configuration, and does not serve; "
            f"{_OF_ITS_OWN}"
        )
    elif status["copy_refused"]:
        found.append(f"the champion could not be taken over{going_on}")
    if sidecar["missing"]:
        found.append(f"the sidecar process does not run: the champion is not followed and anomalies wait{going_on}")
    if mlflow.get("reachable") is False:
        found.append(f"MLflow has not answered since {mlflow.get('since')}{going_on}")
    elif mlflow.get("refused"):
        found.append(f"the champion in MLflow was refused{going_on}")
    elif mlflow.get("reachable") and mlflow.get("champion") is None:
        found.append(f"MLflow has no champion{going_on}")
    found += [f"the sidecar's {part} has failed and is started again" for part in sidecar["failures"]]
    if store.get("why"):
        waiting = store.get("waiting_records") or 0
        wait = "anomaly waits" if waiting == 1 else "anomalies wait"
        found.append(f"the store has not answered since {store.get('since')}; {waiting} {wait} for it")
    if lost:
        found.append(f"{lost} {'anomaly' if lost == 1 else 'anomalies'} could not be kept for the store")
    return found


def alert_concerns(status: Mapping[str, Any]) -> list[str]:
    """What needs care of alerts; for callers that may read, since scoring is not concerned.

    Parameters
    ----------
    status
        As `ModelStore.status` gives it.
    """
    dead = (status.get("alerts") or {}).get("dead") or 0
    if not dead:
        return []
    were = "message was" if dead == 1 else "messages were"
    return [
        f"{dead} {were} given up by the alerts: GET /api/alerts?state=dead says why; POST /api/alerts/retry, or "
        "`cxad alerts --retry`, sends again; POST /api/alerts/drop, or `cxad alerts --drop`, puts away"
    ]
