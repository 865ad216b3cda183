"""Keys of the REST API and of the store.

Belongs here: what a user may set for serving, and where found anomalies are kept. Does not belong here: what the values
are used for (`serving`, `store`).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import Field, field_serializer, field_validator

from cxad_pipeline.settings.nodes import Node, without_password

Role = Literal["score", "read", "reviewer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)


class ApiKey(Node):
    """One caller of the API; the key itself is kept nowhere."""

    sha256: str = Field(description="SHA-256 of the key, in hexadecimal; `cxad key` makes a key and this.")
    roles: list[Role] = Field(
        min_length=1,
        description="score: POST /score; read: models, metrics, stream, anomalies; reviewer: read, feedback and "
        "/reload; admin: all.",
    )

    @field_validator("sha256")
    @classmethod
    def _digest(cls, value: str) -> str:
        if not re.fullmatch("[0-9a-f]{64}", value):
            raise ValueError("must be the 64 hexadecimal digits that `cxad key` prints, and not the key itself")
        return value


class StreamSettings(Node):
    """The live stream of scored interactions."""

    events_per_second: float = Field(
        50, gt=0, description="Above this rate events are sampled; anomalies go before others."
    )
    buffer: int = Field(1000, ge=1, description="Events kept for a client that comes back with Last-Event-ID.")
    heartbeat_seconds: float = Field(15, gt=0, description="A comment is sent after so long without an event.")


class ServingSettings(Node):
    """The REST API; its port is `ports.api`."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on. Any but a loopback address needs `keys`.",
    )
    workers: int = Field(1, ge=1, description="Processes that serve.")
    state: str = Field(
        "data/state/serving",
        min_length=1,
        description="A local folder: the last good model, and anomalies on their way to the store.",
    )
    poll_seconds: float = Field(30, gt=0, description="How often MLflow is asked for a new champion.")
    max_records: int = Field(10_000, ge=1, description="Most interactions in one request.")
    max_body_bytes: int = Field(16_777_216, ge=1, description="Longest body of a request; beyond it, 413.")
    max_concurrent: int = Field(64, ge=1, description="Most requests in flight, for each process; beyond it, 503.")
    requests_per_minute: int | None = Field(
        60_000,
        ge=1,
        description="Most requests of one key, or of one address where there are no keys, for each process; beyond it, "
        "429. null: no limit.",
    )
    keys: dict[str, ApiKey] = Field({}, description="Callers by name. None: open to this machine alone.")
    cors_origins: list[Annotated[str, Field(pattern=r"^https?://[^/*\s]+$")]] = Field(
        [], description="Origins whose web pages may call the API, such as https://desk.example.org."
    )
    stream: StreamSettings = Field(default_factory=StreamSettings, description="The live stream.")
    max_spool_bytes: int = Field(
        268_435_456,
        ge=1,
        description="Most bytes of anomalies that wait for the store; beyond it they are counted as lost.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe lines of the log; at info, one for each request."
    )
    shutdown_seconds: int = Field(20, ge=1, description="How long requests in flight may take to end when it stops.")


class StoreSettings(Node):
    """The database of anomalies and feedback."""

    url: str = Field(
        "sqlite:///data/state/store.db",
        description="SQLite file, or postgresql://; host, user and password may come from PGHOST, PGUSER, PGPASSWORD.",
    )
    retention_days: int | None = Field(
        400,
        ge=1,
        description="How long messages that were sent or given up, counts of segments, their baselines and unjudged "
        "anomalies are kept; null: for ever.",
    )

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        if not re.match(r"sqlite:///.|postgresql(\+psycopg2)?://", value):
            raise ValueError("must be sqlite:///path/of/file.db or postgresql://host/database")
        return value

    @field_serializer("url", when_used="json")
    def _public(self, url: str) -> str:
        return without_password(url)
