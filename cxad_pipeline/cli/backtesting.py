"""Calibration and backtest from a terminal, in words.

Belongs here: running them, rows of the summary, the picture. Does not belong here: arguments
(`calibrating`).
"""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg

from cxad_pipeline.cli.instance import Materialized, run_job
from cxad_pipeline.files import Folder
from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.incidents.incident_words import segment_words, what
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.operations.backtest import Backtest, backtest
from cxad_pipeline.operations.incident_pictures import backtest_drawn
from cxad_pipeline.settings import Settings

PICTURE = "incident_backtest.png"


def calibrate(settings: Settings, instance: dg.DagsterInstance) -> list[Materialized]:
    """Run the calibration job."""
    return run_job("calibration_job", settings, instance)


def replay(settings: Settings, days: int) -> tuple[Backtest, str]:
    """Replay the last days; gives what it came to and where the picture was written."""
    found = backtest(settings, days, dt.datetime.now(dt.UTC))
    processed = Folder(settings.paths.processed)
    with processed.replacing(PICTURE) as sink:
        backtest_drawn(found, settings).savefig(sink, format="png", dpi=100)
    return found, processed.address(PICTURE)


def listing(found: Backtest, settings: Settings) -> list[str]:
    """A line for each incident of a replay: when, how severe, whether told at once, where, what."""
    schema = schema_of(settings)

    def unit(name: str) -> str:
        return schema[name].unit if name in schema else ""

    rows = [
        (
            _period(incident, ZoneInfo(settings.timezone)),
            f"severity {incident.severity:.0f}",
            "at once" if incident.critical else "digest",
            segment_words(incident.segment),
            what(incident, schema.words, unit),
        )
        for incident in found.incidents
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    return ["  ".join([*map(str.ljust, row[:4], widths), row[4]]) for row in rows]


def summary_rows(found: Backtest, picture: str, settings: Settings) -> list[tuple[str, str]]:
    """What a replay came to, as rows of the summary; times in the configured zone, as those of the listing."""
    zone = ZoneInfo(settings.timezone)
    first, last = (dt.datetime.fromtimestamp(int(s), zone) for s in (found.windows.start, found.windows.end))
    raised = ", ".join(f"{segment_words(segment)} +{shift:g}" for segment, shift in found.raised.items())
    return [
        ("days", f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} {settings.timezone}"),
        ("incidents", f"{len(found.incidents)}, {sum(i.critical for i in found.incidents)} of them told at once"),
        ("a week", f"{found.replayed_per_week:.1f}; promised at most {found.promised_per_week:g}"),
        ("threshold", f"{found.threshold:.2f}"),
        *([("raised by false alarms", raised)] if raised else []),
        ("judged", found.judged_by),
        *([("left out", f"{found.left_out}, as in a calibration")] if found.left_out else []),
        ("picture", picture),
        *([("warning", found.warning)] if found.warning else []),
    ]


def _period(incident: Incident, zone: ZoneInfo) -> str:
    start, end = incident.started_at.astimezone(zone), incident.ended_at.astimezone(zone)
    same = start.date() == (end - dt.timedelta(seconds=1)).date()
    return f"{start:%Y-%m-%d %H:%M} to {end:%H:%M}" if same else f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"
