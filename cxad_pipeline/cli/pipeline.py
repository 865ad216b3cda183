"""Training and scoring from a terminal, and what they came to in words.

Belongs here: jobs for landed files, one after the other, and rows of the summaries. Does not belong here: arguments
(`commands`), running one job (`instance`).
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from cxad_pipeline.alerting.wording import plural
from cxad_pipeline.cli.instance import Materialized, run_job
from cxad_pipeline.cli.scoring import unknown_rows
from cxad_pipeline.cli.terminal import say
from cxad_pipeline.defs.partitions import ended_windows, neighbouring_runs, range_tags, scoring_windows
from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.landing import list_landed
from cxad_pipeline.interactions.landing_index import LandingIndex
from cxad_pipeline.interactions.sources import readers
from cxad_pipeline.settings import Settings

_DELIVERIES = {
    "sent": "sent",
    "failed": "failed; the delivery sensor (`cxad up`) tries again",
    "dead": "given up, see `cxad alerts --dead`",
}


class NothingToScoreError(RuntimeError):
    """No landed file touches a window that has ended; the message says where files are expected."""


@dataclass
class ScoringTotals:
    """What scoring came to, over all its runs."""

    model: str
    landed: int = 0
    windows: int = 0
    rows_in: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    scored: int = 0
    anomalies: int = 0
    model_version: str = ""
    unknown: Counter[str] = field(default_factory=Counter)
    opened: int = 0
    changed: int = 0
    alerts: Counter[str] = field(default_factory=Counter)
    files: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def add(self, made: Sequence[Materialized]) -> None:
        """Count what a run has made."""
        for item in made:
            value = item.metadata
            if item.asset == "raw_interactions":
                self.windows += 1
                self.rows_in += int(value["rows_in"])
            elif item.asset == "rejected_interactions":
                self.rejected.update(value["kinds"])
            elif item.asset == "ensemble_scores":
                self.scored += int(value["dagster/row_count"])
                self.model_version = str(value["model_version"])
                self.unknown.update(value["unknown_categories"])
            elif item.asset == "incidents" and "opened" in value:
                self.opened += int(value["opened"])
                self.changed += int(value["changed"])
            elif item.asset == "alert_notifications" and "sent" in value:
                self.alerts.update({name: int(value[name]) for name in ("sent", "failed", "dead")})
            elif item.asset == "anomaly_export" and value.get("dagster/row_count"):
                self.anomalies += int(value["anomalies"])
                self.files.append(str(value["file"]))


def train(settings: Settings, instance: dg.DagsterInstance, labels: str | None = None) -> list[Materialized]:
    """Run the training job on the landed training files."""
    wait_until_settled(Folder(settings.paths.training), settings)
    config = {"evaluation_report": {"labels": labels}} if labels else None
    return run_job("training_job", settings, instance, config=config)


def has_trained(instance: dg.DagsterInstance) -> bool:
    """Whether a training on this instance has made a detector."""
    return instance.get_latest_materialization_event(dg.AssetKey("ensemble_model")) is not None


def evaluate(settings: Settings, instance: dg.DagsterInstance, labels: str | None) -> list[Materialized]:
    """Make the evaluation report of the stored detector again."""
    config = {"evaluation_report": {"labels": labels}} if labels else None
    return run_job("training_job", settings, instance, assets=["evaluation_report"], config=config)


def score_landed(
    settings: Settings,
    instance: dg.DagsterInstance,
    *,
    model: str,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
) -> ScoringTotals:
    """Run the scoring job on all ended windows that landed files touch.

    Parameters
    ----------
    settings, instance
        The configuration, and where runs are recorded.
    model
        What is exported: `ensemble`, or one model.
    since, until
        Only windows that end after `since` and start before `until`.

    Raises
    ------
    NothingToScoreError
        If no landed file touches such a window.
    RunFailedError
        If a run failed; the windows of earlier runs stay scored.
    """
    landed = Folder(settings.paths.inference)
    wait_until_settled(landed, settings)
    now = dt.datetime.now(dt.UTC)
    listing = list_landed(landed, settings, now)
    partitions = scoring_windows(settings)
    index = LandingIndex(Folder(settings.paths.storage), landed, readers(settings), settings)
    touched: set[str] = set()
    totals = ScoringTotals(model)
    for stat in listing.ready:
        entry = index.of(stat)
        totals.landed += entry.all_rows
        if entry.unreadable:
            say(entry.unreadable, bold=True)
            totals.unreadable.append(stat.path)
        first, last = entry.period
        ended = ended_windows(partitions, max(first, since or first), min(last, until or last), now)
        touched.update(entry.windows(ended))
    if not touched:
        from_then = max(settings.schedule.first_window, since or settings.schedule.first_window)
        before = f" and started before {until:%Y-%m-%d %H:%M}" if until else ""
        advice = "ask for other times" if since or until else "set schedule.first_window"
        raise NothingToScoreError(
            f"none of {plural(len(listing.ready), 'file')} in {landed.uri} has rows in a window that has ended "
            f"since {from_then:%Y-%m-%d %H:%M}{before}; land files there, or {advice}"
        )
    runs = neighbouring_runs(partitions, sorted(touched), settings.schedule.max_windows_per_run)
    for number, keys in enumerate(runs, start=1):
        say(f"scoring windows {keys[0]} to {keys[-1]} (run {number} of {len(runs)})", bold=True)
        config = {"anomaly_export": {"model": model}}
        totals.add(run_job("scoring_job", settings, instance, config=config, tags=range_tags(keys)))
    return totals


def wait_until_settled(folder: Folder, settings: Settings) -> None:
    """Wait for files that changed a moment ago; a person who starts a command means them, too."""
    listing = list_landed(folder, settings, dt.datetime.now(dt.UTC))
    if listing.unsettled:
        seconds = settings.landing.settle_seconds
        names = ", ".join(stat.path for stat in listing.unsettled)
        say(f"waiting {seconds:g} s, since {names} changed a moment ago")
        time.sleep(seconds)


def metadata_of(made: Sequence[Materialized], asset: str) -> dict[str, Any]:
    """Metadata of the last materialization of an asset in a run."""
    found: dict[str, Any] = {}
    for item in made:
        if item.asset == asset:
            found = dict(item.metadata)
    return found


def training_rows(made: Sequence[Materialized]) -> list[tuple[str, str]]:
    """What a training came to, as rows of the summary."""
    rows, champion = metadata_of(made, "training_interactions"), metadata_of(made, "champion_model")
    thresholds = metadata_of(made, "ensemble_model").get("thresholds", {})
    rejected = metadata_of(made, "rejected_training_interactions").get("kinds", {})
    left_out = metadata_of(made, "features").get("left_out", [])
    incidents = metadata_of(made, "incident_model")
    state = "champion" if champion.get("promoted") else "challenger"
    return [
        ("training rows in", f"{rows.get('rows_in', 0):,}"),
        ("training rows rejected", _kinds_in_words(rejected)),
        *([("columns left out", f"{', '.join(left_out)}: no training row has a value")] if left_out else []),
        ("thresholds", _by_model(thresholds, ".4g")),
        (
            "ROC-AUC, injected faults",
            _by_model(metadata_of(made, "evaluation_report").get("injected_roc_auc", {}), ".3f"),
        ),
        *([("promise", _calibration_in_words(incidents))] if incidents else []),
        *_warning(incidents),
        ("model version", f"v{champion.get('version')}, {state} ({champion.get('reason')})"),
        ("report written", "\n".join(metadata_of(made, "evaluation_report").get("files", []))),
    ]


def calibration_rows(made: Sequence[Materialized]) -> list[tuple[str, str]]:
    """What a calibration came to, as rows of the summary."""
    model = metadata_of(made, "incident_model")
    shifts = ", ".join(f"{segment} +{shift:g}" for segment, shift in model["threshold_shifts"].items())
    return [
        ("history", f"{model['history']}, {plural(model['contacts'], 'contact')}"),
        ("promise", _calibration_in_words(model)),
        ("threshold", f"{model['threshold']:.2f}"),
        ("raised by false alarms", shifts or "nowhere"),
        ("too little history", f"{plural(model['segments_without_enough_history'], 'segment')}: counted, not tested"),
        *_warning(model),
    ]


def _warning(calibration: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [("warning", str(calibration["warning"]))] if "warning" in calibration else []


def _calibration_in_words(model: Mapping[str, Any]) -> str:
    if model["segments_without_enough_history"] == model["segments"]:
        return (
            f"nothing is tested yet: {float(model['weeks_of_history']):.1f} weeks of history, two are needed; contacts "
            "are counted meanwhile"
        )
    return (
        f"{plural(model['segments'], 'segment')}, {float(model['weeks_of_history']):.1f} weeks of history; promised "
        f"at most {model['promised_per_week']:g} a week, {float(model['replayed_per_week']):.1f} in the replay"
    )


def evaluation_rows(made: Sequence[Materialized]) -> list[tuple[str, str]]:
    """What an evaluation came to, as rows of the summary."""
    report = metadata_of(made, "evaluation_report")
    labels = getattr(report["labels"], "records", [])  # a word stands for no labels
    found = [
        f"{row['model']}: {row['found']} of {row['labelled']} found, precision {row['precision'] or 0:.2f}"
        for row in (record.data for record in labels)
        if row["kind"] == "any"
    ]
    rows = [
        ("held-out rows", f"{report['dagster/row_count']:,}"),
        ("ROC-AUC, injected faults", _by_model(report["injected_roc_auc"], ".3f")),
    ]
    return [
        *rows,
        *([("labelled anomalies", "\n".join(found))] if found else []),
        ("files written", "\n".join(report["files"])),
    ]


def scoring_rows(totals: ScoringTotals) -> list[tuple[str, str]]:
    """What scoring came to, as rows of the summary."""
    share = f" ({totals.anomalies / totals.scored:.2%})" if totals.scored else ""
    alerts = ", ".join(f"{totals.alerts[name]:,} {words}" for name, words in _DELIVERIES.items() if totals.alerts[name])
    return [
        ("windows", f"{totals.windows:,}"),
        ("rows in", f"{totals.rows_in:,}{_outside(totals.landed - totals.rows_in)}"),
        ("rejected", _kinds_in_words(totals.rejected)),
        ("scored", f"{totals.scored:,} by {totals.model_version or 'no model'}"),
        *unknown_rows(totals.unknown),
        ("anomalies", f"{totals.anomalies:,}{share} by {totals.model}"),
        ("incidents", f"{totals.opened:,} opened, {totals.changed:,} changed"),
        ("messages", alerts or "none"),
        *([("can't be read", "\n".join(totals.unreadable))] if totals.unreadable else []),
        ("files written", _in_short(totals.files)),
    ]


def _by_model(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {value:{form}}" for name, value in values.items())


def _outside(rows: int) -> str:
    if rows <= 0:
        return ""
    return f" ({rows:,} more have landed for other windows, or before schedule.first_window)"


def _kinds_in_words(kinds: Mapping[str, int]) -> str:
    total = sum(kinds.values())
    named = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    return f"{total:,} ({named})" if total else "0"


def _in_short(files: Sequence[str]) -> str:
    if len(files) <= 3:
        return "\n".join(files) or "none"
    return f"{files[0]}\n... {len(files) - 2:,} more ...\n{files[-1]}"
