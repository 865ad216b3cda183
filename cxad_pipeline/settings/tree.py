"""The typed tree of the configuration.

Belongs here: every key that a user may set, its type, range, default and meaning; `sources` holds those that describe
foreign exports, `models` those of the ensemble's members, `operations` those of incidents, alerts and drift, `serving`
those of the REST API and the store. Does not belong here: where the values come from (`reading`) and what they are used
for.
"""

from __future__ import annotations

import datetime as dt
from functools import cached_property
from itertools import chain, islice
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim
from pydantic import BeforeValidator, Field, field_serializer, model_validator

from cxad_pipeline.settings.models import IsolationForestModel, ModelSettings, RandomCutForestModel
from cxad_pipeline.settings.nodes import Cron, Location, Moment, Names, Node, Percentile, Share, Zone, without_password
from cxad_pipeline.settings.operations import AlertSettings, DriftSettings, FeedbackSettings, IncidentSettings
from cxad_pipeline.settings.serving import ServingSettings, StoreSettings
from cxad_pipeline.settings.sources import ExtraColumn, Source


class InteractionSettings(Node):
    """What a record is, beyond the standard columns."""

    extra_columns: list[ExtraColumn] = Field([], description="Columns beside the standard ones.")


class PathSettings(Node):
    """Where files lie: folders, or s3://bucket/prefix. Relative folders are below the working directory."""

    training: Location = Field("data/input/training", description="Landed files to train on.")
    inference: Location = Field("data/input/inference", description="Landed files to score.")
    storage: Location = Field("data/storage", description="What the assets keep: Parquet, models, alert records.")
    processed: Location = Field("data/processed", description="What people open: CSV exports and figures.")
    dagster_home: str = Field(
        "data/state/dagster", description="Dagster's own state, a local folder; the variable DAGSTER_HOME wins."
    )


class LandingSettings(Node):
    """When a landed file is taken."""

    settle_seconds: float = Field(
        5, ge=0, description="A file changed more recently may still be written and is left for later."
    )
    extensions: list[str] = Field(
        [".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet"],
        description="Endings of files to read; others are ignored.",
    )


class FeatureSettings(Node):
    """Columns the models see. A column that no training row has is left out, with a warning."""

    numeric: list[str] = Field(
        ["csat", "ies", "complaints", "aht_seconds", "hold_time_seconds", "transfers"], description="Metrics."
    )
    categorical: list[str] = Field(["channel", "language", "queue"], description="Categories, one-hot encoded.")
    relative_to: list[str] = Field(
        ["channel", "queue"],
        description="Categories, from coarse to fine: each metric is also compared with the baseline of its own "
        "segment. Empty: it is not.",
    )
    time: bool = Field(
        False, description="Hour of the day and weekday of the start, on the clock of `timezone`, are features."
    )
    missing_indicators: bool = Field(
        False, description="That a metric is missing is a feature, where some training rows lack it."
    )

    @model_validator(mode="after")
    def _something(self) -> FeatureSettings:
        names = self.numeric + self.categorical
        if not self.numeric:
            raise ValueError("numeric is empty: name at least one metric; without any, no version could pass the gate")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        for name in dict.fromkeys([*names, *self.relative_to]):
            if name in ("interaction_id", "timestamp"):
                raise ValueError(f"{name} is no feature; for hour and weekday set features.time")
        for name in self.relative_to:
            if name in self.numeric:
                raise ValueError(f"relative_to: {name} is a metric; segments are made of categories")
            if self.relative_to.count(name) > 1:
                raise ValueError(f"relative_to: {name} is named twice")
        return self


class PreprocessingSettings(Node):
    """From columns to features."""

    imputation: Literal["median", "mean", "zero"] = Field(
        "median", description="Value that stands for a missing metric."
    )
    scaling: Literal["robust", "standard", "none"] = Field(
        "robust",
        description="robust: median and quartiles, compressed beyond 3 ranges; standard: mean and deviation.",
    )


class EnsembleSettings(Node):
    """How the models' verdicts become one."""

    strategy: Literal["average", "max", "voting"] = Field("average", description="Rule that joins the models.")
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field({}, description="Model -> weight; 1 where absent.")
    threshold_percentile: Percentile = Field(99, description="The ensemble's own percentile.")


class TrainingSettings(Node):
    """Which rows train, and when a model is good enough."""

    start: Moment | None = Field(None, description="Rows before this moment do not train.")
    end: Moment | None = Field(None, description="Rows from this moment on do not train.")
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25, description="Share of rows kept for thresholds and calibration."
    )
    min_rows: int = Field(200, ge=20, description="Fewer training rows are an error.")
    random_state: int = Field(0, ge=0, description="Seed of everything random in training.")
    retrain_new_rows: int = Field(
        1000, ge=1, description="New training rows after which the training sensor asks for a run."
    )
    max_auc_loss: Share = Field(
        0.02,
        description="A new version may rank injected faults this much worse (ROC-AUC) than the champion.",
    )
    min_auc: Share = Field(0.6, description="A version that ranks injected faults worse than this is never promoted.")


class SegmentSettings(Node):
    """How interactions are grouped for people."""

    dimensions: Names = Field(["queue", "channel", "language"], description="Categories that name a segment.")


class ScheduleSettings(Node):
    """When things run."""

    enabled: bool = Field(
        True,
        description="Schedules and sensors start switched on. Also ENABLE_SCHEDULER.",
    )
    batch_score_cron: Cron = Field("0 */6 * * *", description="Ends of the scoring windows. Also BATCH_SCORE_CRON.")
    retrain_cron: Cron = Field("30 2 * * 0", description="When the models are trained again.")
    timezone: Zone = Field("UTC", description="Zone of the two cron expressions.")
    first_window: Moment = Field(
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        description="Rows before this moment are in no scoring window.",
    )
    last_window: Moment | None = Field(
        None, description="Rows from this moment on are in no scoring window; for data sets that have an end."
    )
    max_windows_per_run: int = Field(28, ge=1, description="Neighbouring windows that one run takes together.")


class CheckSettings(Node):
    """Limits of the asset checks."""

    max_rejected_share: Share = Field(0.05, description="Share of rejected rows beyond which the check warns.")
    max_anomaly_rate_ratio: float = Field(
        5, gt=1, description="Anomaly rate, as a multiple of the expected rate, beyond which the check warns."
    )
    max_score_shift: Share = Field(
        0.2,
        description="Kolmogorov-Smirnov distance between a window's scores and the held-out ones that warns.",
    )


class MLflowSettings(Node):
    """Where models and their runs are kept."""

    tracking_uri: str = Field("sqlite:///data/state/mlflow.db", description="MLflow server, or a database.")
    artifacts: str | None = Field(
        "data/state/mlartifacts",
        description="Artifacts of a new experiment: a folder or s3://; null with an MLflow server that decides itself.",
    )
    experiment: str = Field("cx-anomaly-detector", min_length=1, description="Experiment.")
    registered_model: str = Field("cx-anomaly-detector", min_length=1, description="Registered model.")

    @field_serializer("tracking_uri", when_used="json")
    def _public(self, uri: str) -> str:
        return without_password(uri)


class PortSettings(Node):
    """Ports of the user interfaces."""

    api: int = Field(8000, ge=1, le=65_535, description="REST API and dashboard. Also API_PORT.")
    dagster: int = Field(3000, ge=1, le=65_535, description="Dagster UI.")
    mlflow: int = Field(5000, ge=1, le=65_535, description="MLflow UI.")


def _as_list(entries: object) -> object:
    """Entries of a named list may come as a map of name to entry; that is how single keys are overridden."""
    if isinstance(entries, dict):
        return [{"name": name, **entry} if isinstance(entry, dict) else entry for name, entry in entries.items()]
    return entries


# The ensemble and the API's choices; names of assets, of their inputs and of runs in MLflow.
_RESERVED_MODEL_NAMES = {"ensemble", "both", "champion", "challenger", "training", "features", "context", "config"}


class Settings(Node):
    """The whole configuration."""

    timezone: Zone = Field("UTC", description="Zone of timestamps that carry none.")
    paths: PathSettings = Field(default_factory=PathSettings, description="Where files lie.")
    landing: LandingSettings = Field(default_factory=LandingSettings, description="When a landed file is taken.")
    sources: Annotated[list[Source], BeforeValidator(_as_list)] = Field(
        [Source(name="interactions")], min_length=1, description="Kinds of files and how they are read."
    )
    interactions: InteractionSettings = Field(default_factory=InteractionSettings, description="What a record is.")
    features: FeatureSettings = Field(default_factory=FeatureSettings, description="Columns the models see.")
    preprocessing: PreprocessingSettings = Field(
        default_factory=PreprocessingSettings, description="From columns to features."
    )
    models: Annotated[list[ModelSettings], BeforeValidator(_as_list)] = Field(
        [
            IsolationForestModel(name="iforest", algorithm="isolation_forest"),
            RandomCutForestModel(name="rcf", algorithm="random_cut_forest"),
        ],
        min_length=1,
        description="Members of the ensemble; docs/algorithms.md says which algorithms there are.",
    )
    ensemble: EnsembleSettings = Field(
        default_factory=EnsembleSettings, description="How the models' verdicts become one."
    )
    training: TrainingSettings = Field(
        default_factory=TrainingSettings, description="Which rows train, and the promotion gate."
    )
    segments: SegmentSettings = Field(default_factory=SegmentSettings, description="How interactions are grouped.")
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings, description="When things run.")
    checks: CheckSettings = Field(default_factory=CheckSettings, description="Limits of the asset checks.")
    incidents: IncidentSettings = Field(default_factory=IncidentSettings, description="Segments that go wrong.")
    alerts: AlertSettings = Field(default_factory=AlertSettings, description="What is told, when and where.")
    feedback: FeedbackSettings = Field(default_factory=FeedbackSettings, description="What verdicts bring about.")
    drift: DriftSettings = Field(default_factory=DriftSettings, description="Recent interactions against training.")
    mlflow: MLflowSettings = Field(default_factory=MLflowSettings, description="Where models are kept.")
    ports: PortSettings = Field(default_factory=PortSettings, description="Ports of the user interfaces.")
    serving: ServingSettings = Field(default_factory=ServingSettings, description="The REST API.")
    store: StoreSettings = Field(default_factory=StoreSettings, description="The database of found anomalies.")

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        extra = [column.name for column in self.interactions.extra_columns]
        twice = sorted({name for name in extra if extra.count(name) > 1})
        if twice:
            raise ValueError(f"interactions.extra_columns: named twice: {', '.join(twice)}")
        names = [model.name for model in self.models]
        reserved = sorted(_RESERVED_MODEL_NAMES & set(names))
        if reserved:
            raise ValueError(f"models: the name {reserved[0]} is reserved; choose another")
        unknown = sorted(set(self.ensemble.weights) - set(names))
        if unknown:
            raise ValueError(f"ensemble.weights: no model is named {', '.join(unknown)}; models: {', '.join(names)}")
        if sum(self.ensemble.weights.get(name, 1.0) for name in names) <= 0:
            raise ValueError("ensemble.weights: all are 0; at least one model needs a weight above 0")
        self._check_incident_windows()
        if self.training.start and self.training.end and self.training.start >= self.training.end:
            raise ValueError(f"training: start {self.training.start} is not before end {self.training.end}")
        return self

    def _check_incident_windows(self) -> None:
        """Scoring windows must be made of whole incident windows, or one contact's hour would be judged in halves."""
        if not self.incidents.enabled:
            return
        seconds = 60 * self.incidents.window_minutes
        if 86_400 % seconds:
            raise ValueError(f"incidents.window_minutes: {self.incidents.window_minutes} minutes do not divide a day")
        zone = ZoneInfo(self.schedule.timezone)
        winter, summer = (
            islice(CronSim(self.schedule.batch_score_cron, dt.datetime(2026, month, 1, tzinfo=zone)), 200)
            for month in (1, 7)
        )
        for tick in chain(winter, summer):
            if tick.timestamp() % seconds:
                raise ValueError(
                    f"incidents.window_minutes: {self.incidents.window_minutes} minutes do not fit into the windows "
                    f"that schedule.batch_score_cron cuts (one ends at {tick:%H:%M} {self.schedule.timezone}); give "
                    "a divisor of both, such as 30 or 15"
                )

    @cached_property
    def model_names(self) -> list[str]:
        """Names of the ensemble's members in their order."""
        return [model.name for model in self.models]
