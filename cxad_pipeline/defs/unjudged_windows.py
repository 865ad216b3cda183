"""Windows that were scored and never judged, since their run was killed in between: who asks for them, and how often.

Belongs here: finding them in what Dagster remembers, and the runs that judge them. Does not belong here: windows that
were counted and not judged, which the next window takes along (`operations.judging`).
"""

import datetime as dt
import hashlib
from collections.abc import Collection

import dagster as dg
from dagster._core.execution.plan.objects import ErrorSource
from dagster._core.storage.tags import RUN_KEY_TAG

from cxad_pipeline.defs.partitions import ended_windows, neighbouring_runs, range_tags, scoring_windows
from cxad_pipeline.operations.judging import MEMORY
from cxad_pipeline.settings import Settings

PATIENCE = dt.timedelta(minutes=30)
"""So long after its scores a window may be without a judgement: its run may go on, or be tried again. So long, too,
after a run that was asked for here has been killed."""
MOST_KILLED = 5
"""After so many killed runs for the same scores no other is asked for: what they do is what gets them killed."""
_SCORES, _JUDGED = dg.AssetKey("ensemble_scores"), dg.AssetKey("incidents")
_ASKED_FOR = [dg.AssetKey("segment_statistics"), _JUDGED, dg.AssetKey("alert_notifications")]


def runs_to_judge(
    instance: dg.DagsterInstance, settings: Settings, now: dt.datetime, others: Collection[str]
) -> list[dg.RunRequest]:
    """The runs that judge windows whose latest scores nobody has judged.

    They don't score: the files may have gone since. Each is asked for once for the same scores and incident model,
    since what fails with these fails again. A run that was killed says nothing of that, and is asked for again. Windows
    from before the memory of incidents are left alone, and all are where there is no incident model.

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
            run_key=_run_key(instance, f"judge {model.timestamp} {[scored[key] for key in run]}", now),
            tags=range_tags(run),
            asset_selection=_ASKED_FOR,
        )
        for run in runs
    ]


def _run_key(instance: dg.DagsterInstance, what: str, now: dt.datetime) -> str:
    """Of what is asked for and of the runs that have been killed over it.

    Dagster passes over a run request whose key a run has had, so another run takes another key.
    """
    killed: list[str] = []
    while True:
        key = hashlib.sha256(" ".join([what, *killed]).encode()).hexdigest()
        latest = instance.get_run_records(dg.RunsFilter(tags={RUN_KEY_TAG: key}), limit=1)
        if len(killed) == MOST_KILLED - 1 or not latest or not _was_killed(instance, latest[0], now):
            return key
        killed.append(latest[0].dagster_run.run_id)


def _was_killed(instance: dg.DagsterInstance, record: dg.RunRecord, now: dt.datetime) -> bool:
    """Whether a run has ended for a while, and no step failed by itself; one that a person canceled was not killed."""
    run = record.dagster_run
    ended = dt.datetime.fromtimestamp(record.end_time or record.update_timestamp.timestamp(), dt.UTC)
    if run.status is not dg.DagsterRunStatus.FAILURE or ended > now - PATIENCE:
        return False
    steps = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    events = [entry.dagster_event for entry in steps if entry.dagster_event is not None]
    return all(event.step_failure_data.error_source is ErrorSource.INTERRUPT for event in events)
