"""Windows that were scored and never judged, since their run was killed in between: who asks for them, and once.

Belongs here: finding them in what Dagster remembers, and the runs that judge them. Does not belong here: windows that
were counted and not judged, which the next window takes along (`operations.judging`).
"""

import datetime as dt
import hashlib
from collections.abc import Collection

import dagster as dg

from cxad_pipeline.defs.partitions import ended_windows, neighbouring_runs, range_tags, scoring_windows
from cxad_pipeline.operations.judging import MEMORY
from cxad_pipeline.settings import Settings

PATIENCE = dt.timedelta(minutes=30)
"""So long after its scores a window may be without a judgement: its run may go on, or be tried again."""
_SCORES, _JUDGED = dg.AssetKey("ensemble_scores"), dg.AssetKey("incidents")
_ASKED_FOR = [dg.AssetKey("segment_statistics"), _JUDGED, dg.AssetKey("alert_notifications")]


def runs_to_judge(
    instance: dg.DagsterInstance, settings: Settings, now: dt.datetime, others: Collection[str]
) -> list[dg.RunRequest]:
    """The runs that judge windows whose latest scores nobody has judged.

    They don't score: the files may have gone since. Each is asked for once for the same scores and incident model,
    since what fails with these fails again. Windows from before the memory of incidents are left alone, and all are
    where there is no incident model.

    Parameters
    ----------
    instance
        Remembers what was made.
    settings
        The configuration.
    now
        The present time.
    others
        Windows that are to be scored again, which judges them, too.
    """
    model = instance.get_latest_materialization_event(dg.AssetKey("incident_model"))
    partitions = scoring_windows(settings)
    keys = {window.key for window in ended_windows(partitions, now - MEMORY, now, now)} - set(others)
    if not settings.incidents.enabled or model is None or not keys:
        return []
    made = dg.DagsterEventType.ASSET_MATERIALIZATION
    scored, judged = (instance.get_latest_storage_id_by_partition(asset, made, keys) for asset in (_SCORES, _JUDGED))
    of_run: dict[str, list[str]] = {}
    for key in sorted(scored):
        if judged.get(key, -1) < scored[key]:
            wanted = dg.AssetRecordsFilter(asset_key=_SCORES, asset_partitions=[key])
            record = instance.fetch_materializations(wanted, limit=1).records[0]
            if dt.datetime.fromtimestamp(record.timestamp, dt.UTC) <= now - PATIENCE:
                of_run.setdefault(record.run_id, []).append(key)
    # Windows that were scored together: so the same runs are asked for, whatever else comes to be asked for meanwhile.
    runs = [
        run
        for together in of_run.values()
        for run in neighbouring_runs(partitions, together, settings.schedule.max_windows_per_run)
    ]
    return [
        dg.RunRequest(
            run_key=_run_key(model.timestamp, [scored[key] for key in run]),
            tags=range_tags(run),
            asset_selection=_ASKED_FOR,
        )
        for run in runs
    ]


def _run_key(model: float, scored: list[int]) -> str:
    return hashlib.sha256(f"judge {model} {scored}".encode()).hexdigest()
