"""What the service says of itself, and the reload of its model.

Belongs here: `/`, `/health`, `/livez`, `/readyz`, `/models`, `/reload`, `/metrics`. Does not belong here: where the
facts come from (`model_store`, `metrics`).
"""

import datetime as dt
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from cxad_pipeline import __version__
from cxad_pipeline.serving.health import alert_concerns, concerns
from cxad_pipeline.serving.problems import ProblemError, problems
from cxad_pipeline.serving.routes_scoring import NO_MODEL
from cxad_pipeline.serving.service import Service

NAME = "cx-anomaly-detector"
_RELOAD_SECONDS = 60.0
_NOT_LOADED = {503: "No model is loaded."}
_METRICS = {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "application/openmetrics-text")}


class Root(BaseModel):
    """What this is, and where to go from here."""

    service: str = Field(examples=[NAME])
    version: str = Field(description="Of this service.", examples=[__version__])
    links: dict[str, str] = Field(description="Name -> path.")


class Alive(BaseModel):
    """A probe's answer."""

    status: str = Field(examples=["ok"])


class Health(BaseModel):
    """How the service is."""

    status: str = Field(description="`ok`, or `degraded`: it scores, and something else needs care.")
    models: list[str] = Field(description="Loaded models.", examples=[["iforest", "rcf"]])
    version: str = Field(description="Version of the registered model that scores.", examples=["3"])
    run_id: str = Field(description="MLflow run that registered it.")
    loaded_at: dt.datetime = Field(description="When this process loaded it.")
    concerns: list[str] = Field(description="What needs care, in words; empty when all is well.")
    details: dict[str, Any] | None = Field(
        None,
        description="MLflow, the store, alerts, the sidecar process and the spool; for callers that may read.",
    )


class ModelDetails(BaseModel):
    """One model of the ensemble."""

    algorithm: str = Field(examples=["isolation_forest"])
    threshold: float = Field(description="Raw score from which on an interaction is flagged.")
    train_timestamp: str | None = Field(description="When it was trained.")
    n_samples: int = Field(description="Training interactions.")
    n_features: int = Field(description="Features that the model sees.")


class Models(BaseModel):
    """The models that score."""

    models: dict[str, ModelDetails] = Field(description="By name.")
    ensemble_available: bool = Field(description="Whether `model=ensemble` may be asked for.")
    loaded_at: dt.datetime = Field(description="When this process loaded them.")
    version: str = Field(description="Version of the registered model.", examples=["3"])
    run_id: str = Field(description="MLflow run that registered it.")


class Reloaded(BaseModel):
    """What came of a reload."""

    changed: bool = Field(description="Whether another version scores now.")
    version: str = Field(description="Version that scores now.")
    previous_version: str | None = Field(description="Version that scored before; null: none did.")
    run_id: str
    loaded_at: dt.datetime


def status_routes(service: Service) -> APIRouter:
    """The routes, for one service."""
    routes = APIRouter(tags=["Status"])
    read, review = service.keyring.require("read"), service.keyring.require("reviewer")

    @routes.get("/", summary="What this is", response_model=Root)
    async def root() -> Root:
        """Name, version and links of the service."""
        links = {
            "docs": "/docs", "openapi": "/openapi.json", "health": "/health", "models": "/models", "score": "/score",
            "stream": "/api/stream", "anomalies": "/api/anomalies", "incidents": "/api/incidents",
            "metrics": "/metrics",
        }  # fmt: skip
        return Root(service=NAME, version=__version__, links=links)

    @routes.get("/livez", summary="Whether the process answers", response_model=Alive)
    async def livez() -> Alive:
        """For a liveness probe: only a process that is stuck fails it."""
        return Alive(status="ok")

    @routes.get("/readyz", summary="Whether it can score", response_model=Alive, responses=problems(_NOT_LOADED))
    async def readyz() -> Alive:
        """For a readiness probe: a model is loaded."""
        if service.models.current is None:
            raise ProblemError(503, NO_MODEL, headers={"Retry-After": "5"})
        return Alive(status="ok")

    @routes.get("/health", summary="How it is", response_model=Health, responses=problems(_NOT_LOADED))
    async def health(request: Request) -> Health:
        """Models, their version, and what needs care: MLflow or the store away, anomalies that were lost.

        Who may read is also told of alerts that were given up.
        """
        snapshot, status = service.models.current, service.models.status()
        found, caller = concerns(status, service.spool.lost), request.state.caller
        spool = {"bytes": service.spool.size_bytes, "lost": service.spool.lost}
        details = None
        if caller is not None and "read" in caller.roles:
            details = {**status, "spool": spool}
            found += alert_concerns(status)
        if snapshot is None:
            why = "; ".join(found) or "there is no copy on disk, and MLflow has not been asked yet"
            raise ProblemError(
                503,
                f"No model is loaded: {why}. Train one (`cxad train`), or wait.",
                headers={"Retry-After": "5"},
                models=[],
                concerns=found,
                details=details,
            )
        return Health(
            status="degraded" if found else "ok",
            models=snapshot.detector.member_names,
            version=snapshot.version,
            run_id=snapshot.run_id,
            loaded_at=snapshot.loaded_at,
            concerns=found,
            details=details,
        )

    @routes.get(
        "/models",
        summary="The models that score",
        response_model=Models,
        responses=problems(_NOT_LOADED),
        dependencies=[Depends(read)],
    )
    async def models() -> Models:
        """Algorithm, threshold and training of every model."""
        snapshot = service.models.current
        if snapshot is None:
            raise ProblemError(503, NO_MODEL, headers={"Retry-After": "5"})
        detector = snapshot.detector
        algorithms = {model.name: model.algorithm for model in detector.config.models}
        return Models(
            models={
                name: ModelDetails(
                    algorithm=algorithms[name],
                    threshold=member.threshold,
                    train_timestamp=detector.train_timestamp,
                    n_samples=detector.n_samples,
                    n_features=detector.n_features,
                )
                for name, member in detector.members.items()
            },
            ensemble_available=True,
            loaded_at=snapshot.loaded_at,
            version=snapshot.version,
            run_id=snapshot.run_id,
        )

    @routes.post(
        "/reload",
        summary="Load the champion again",
        response_model=Reloaded,
        responses=problems({503: "MLflow or the model can't be read; the old model goes on scoring."}),
        dependencies=[Depends(review)],
    )
    async def reload() -> Reloaded:
        """Look at MLflow now instead of at the next poll. The old model scores until the new one is ready."""
        outcome = await service.models.reload(_RELOAD_SECONDS)
        snapshot = service.models.current
        if outcome.error is not None or snapshot is None:
            raise ProblemError(503, outcome.error or NO_MODEL, headers={"Retry-After": "10"})
        return Reloaded(
            changed=outcome.changed,
            version=snapshot.version,
            previous_version=outcome.before,
            run_id=snapshot.run_id,
            loaded_at=snapshot.loaded_at,
        )

    @routes.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": _METRICS, "description": "The metrics."}},
        dependencies=[Depends(read)],
    )
    async def metrics(request: Request) -> Response:
        """Counters, histograms and gauges in Prometheus' format."""
        content, media_type = service.metrics.exposition(request.headers.get("accept", ""))
        return Response(content, media_type=media_type)

    return routes
