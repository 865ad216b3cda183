"""Keys of incidents, alerts and drift.

Belongs here: what a user may set about who is told of what, when and how. Does not belong here: what the values are
used for (`incidents`, `alerting`, `operations`).
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from cxad_pipeline.settings.hosts import is_loopback
from cxad_pipeline.settings.nodes import Cron, Node, Share

_EMAIL = r"^[^@\s<>,;\"]+@[^@\s<>,;\"]+$"

WebAddress = Annotated[str, Field(pattern=r"^https?://[^\s/]"), AfterValidator(lambda url: url.rstrip("/"))]
"""Where a page begins; paths are put behind it."""


class WatchedMetric(Node):
    """A metric that incidents are looked for in."""

    name: str = Field(min_length=1, description="Column.")
    bad: Literal["high", "low"] = Field(description="Which end is bad; the other one never calls anybody.")


class IncidentSettings(Node):
    """Segments that go wrong."""

    enabled: bool = Field(True, description="Look for incidents.")
    metrics: list[WatchedMetric] = Field(
        [], description="Metrics that are watched. None: those of features.numeric whose bad end the schema knows."
    )
    window_minutes: int = Field(
        60,
        ge=5,
        le=1440,
        description="Length of the windows that are tested; scoring windows are made of them.",
    )
    history_days: int = Field(
        28, ge=14, le=400, description="Days before the latest contact that calibration learns from."
    )
    budget_per_week: float = Field(5, gt=0, description="The promise: so many incidents a week at most.")
    min_effect: float = Field(0.2, ge=0, description="Smallest relative effect that calls somebody: 0.2 is 20 %.")
    min_contacts: int = Field(5, ge=2, description="Contacts of a segment in a window from which on it is tested.")
    resolve_after: int = Field(
        3, ge=3, description="Tested windows without a finding after which an incident is resolved."
    )
    late_minutes: int = Field(
        0, ge=0, le=10_080, description="A window is judged so long after its end; before that its state is `late`."
    )
    special_days: list[dt.date] = Field(
        [], description="Holidays and the like, local days: nothing is learned from them and nothing tested on them."
    )
    max_threshold_shift: float = Field(
        1.0,
        ge=0,
        le=3,
        description="How far false alarms may raise the threshold of a segment, in powers of ten of its rarity.",
    )

    @field_validator("metrics")
    @classmethod
    def _distinct(cls, given: list[WatchedMetric]) -> list[WatchedMetric]:
        names = [metric.name for metric in given]
        if len(set(names)) < len(names):
            raise ValueError(f"named twice: {', '.join(sorted({name for name in names if names.count(name) > 1}))}")
        return given


class SlackSettings(Node):
    """Slack by a bot token: one message for each incident, edited and threaded.

    That both are set is checked where messages are sent (`alerting.channels`): other services share the configuration
    and have no business with the token.
    """

    channel: str | None = Field(None, description="Channel that the bot posts to: its ID, such as C0123456789.")
    token: SecretStr | None = Field(None, description="Token of the bot, xoxb-... Environment only: SLACK_BOT_TOKEN.")
    api_url: str = Field(
        "https://slack.com/api/", pattern=r"^https?://", description="Where Slack's API is; for proxies."
    )


class EmailSettings(Node):
    """E-mail by SMTP; off while `to` is empty."""

    to: list[Annotated[str, Field(pattern=_EMAIL)]] = Field([], description="Who gets the messages.")
    sender: Annotated[str, Field(pattern=_EMAIL)] | None = Field(None, description="Address of the sender.")
    host: str = Field("localhost", min_length=1, description="SMTP server.")
    port: int = Field(587, ge=1, le=65_535, description="Its port.")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls",
        description="starttls and tls verify the server's certificate; none encrypts nothing, so a login goes with it "
        "only to this machine.",
    )
    ca_file: str | None = Field(None, description="Certificates to trust instead of the system's.")
    user: str | None = Field(None, description="User name; null: no login.")
    password: SecretStr | None = Field(None, description="Environment only: CXAD_ALERTS__EMAIL__PASSWORD.")

    @model_validator(mode="after")
    def _whole(self) -> EmailSettings:
        if self.to and self.sender is None:
            raise ValueError("sender is not set; e-mail needs one")
        if self.user is not None and self.security == "none" and not is_loopback(self.host):
            raise ValueError(f"security = none sends the password to {self.host} in the clear; use starttls or tls")
        return self


class AlertSettings(Node):
    """What is told, when and where."""

    enabled: bool = Field(True, description="Send alerts. Also ENABLE_ALERTS.")
    slack_webhook_url: SecretStr | None = Field(
        None,
        description="Slack incoming webhook, the simpler way. Environment only: SLACK_WEBHOOK_URL.",
    )
    slack: SlackSettings = Field(default_factory=SlackSettings, description="Slack by a bot token.")
    email: EmailSettings = Field(default_factory=EmailSettings, description="E-mail.")
    apprise_urls: SecretStr | None = Field(
        None,
        description="Addresses of Apprise, separated by blanks: PagerDuty, Teams and others. Environment only: "
        "APPRISE_URLS.",
    )
    critical_severity: float = Field(
        40, ge=0, le=100, description="Incidents this severe are told at once, others in the digest."
    )
    wait_minutes: float = Field(0, ge=0, description="How long a first message waits for what is found meanwhile.")
    update_minutes: float = Field(
        60, ge=0, description="Shortest time between two messages of one incident that has become materially worse."
    )
    repeat_hours: float = Field(24, gt=0, description="An incident that goes on is told again after so long.")
    digest_cron: Cron = Field("0 7 * * *", description="When the digest is sent, on the clock of schedule.timezone.")
    max_age_hours: float | None = Field(
        None,
        gt=0,
        description="What ended longer ago is recorded and not told, so that a backfill is quiet.",
    )
    max_attempts: int = Field(
        20, ge=1, le=100, description="Attempts after which a message is a dead letter; 20 of them take a night."
    )
    dagster_url: WebAddress | None = Field(
        None,
        description="Address at which those who read messages open Dagster, such as https://dagster.example.com; null: "
        "messages have no links to it.",
    )
    mlflow_url: WebAddress | None = Field(None, description="Likewise of MLflow.")
    links: dict[str, str] = Field(
        {
            "Dagster": "{dagster}/assets/incidents?partition={window}",
            "MLflow": "{mlflow}/#/models/{model}",
        },
        description="Label -> address shown below incidents and the digest; {dagster} is dagster_url, {mlflow} "
        "mlflow_url, {window} the scoring window's key, {incident} the incident's id, {model} mlflow.registered_model, "
        "{port} ports.dagster, {api_port} ports.api. An address for which one of them is not known is left out.",
    )
    run_link: str | None = Field(
        "{dagster}/runs/{run_id}",
        description="Address of a run's page in messages about failed runs, likewise.",
    )

    @field_validator("slack_webhook_url")
    @classmethod
    def _address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip().startswith(("https://", "http://")):
            raise ValueError("must be the whole address of the webhook, https://... (it is not shown: it is a secret)")
        return value


class FeedbackSettings(Node):
    """What verdicts bring about."""

    expected_days: float = Field(7, gt=0, le=366, description="How long `expected` silences, unless an end is given.")


class DriftSettings(Node):
    """Recent interactions against those that the models were trained on."""

    recent_windows: int = Field(28, ge=1, description="Scoring windows up to the present one that are compared.")
    min_contacts: int = Field(200, ge=50, description="Fewer recent contacts of a segment are not compared.")
    max_psi: float = Field(0.25, gt=0, description="Population stability index beyond which a feature has drifted.")
    max_ks: Share = Field(0.2, description="Kolmogorov-Smirnov distance beyond which a feature has drifted.")
    retrain: bool = Field(True, description="Drift asks for a training run.")
    cooldown_hours: float = Field(72, ge=0, description="At most one such run in so many hours.")
