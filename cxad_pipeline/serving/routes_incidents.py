"""Incidents, and what people were told of them: a list, one in full, the budget.

Belongs here: these routes, and the questions that they put to the store. Does not belong here: queries (`store`), what
the keys mean (`incident_schema`), how answers are written (`incident_answers`), verdicts and silences
(`routes_review`), messages by themselves (`routes_alerts`), windows of segments (`routes_segments`).
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import Field, StringConstraints, create_model

from cxad_pipeline.serving.bodies import JSON
from cxad_pipeline.serving.incident_answers import call_answer, delivery_answer, incident_answer, moment
from cxad_pipeline.serving.incident_schema import (
    Budget,
    IncidentPage,
    IncidentStatus,
    Part,
    WholeIncident,
)
from cxad_pipeline.serving.known_segments import require_values
from cxad_pipeline.serving.problems import ProblemError, problems
from cxad_pipeline.serving.query import INCIDENT_PATTERN, Cursor, Moment, StrictBool, Text, in_zone
from cxad_pipeline.serving.security import Requirement
from cxad_pipeline.serving.store_access import AWAY, StoreAccess

if TYPE_CHECKING:
    from cxad_pipeline.incidents.incident import Incident
    from cxad_pipeline.store.database import Store

_MOST_ALERTS = 100

IncidentId = Annotated[
    str, StringConstraints(pattern=INCIDENT_PATTERN), Path(description="Its id.", examples=["20261013-3f9a2c"])
]


class IncidentQuery(Part):
    """Which incidents are wanted; the query of each deployment has its dimensions, too."""

    status: list[IncidentStatus] = Field(
        ["open", "resolved"],
        description="In one of these states; may be given several times.",
        examples=[["open"]],
        max_length=4,
    )
    since: Moment | None = Field(
        None,
        description="Those that ended after then: ISO 8601; without zone, in the configured `timezone`.",
        examples=["2026-10-13T00:00:00Z"],
    )
    until: Moment | None = Field(
        None, description="Those that began before then, likewise.", examples=["2026-10-14T00:00:00Z"]
    )
    min_severity: float | None = Field(
        None, ge=0, le=100, allow_inf_nan=False, description="This severe or more.", examples=[40]
    )
    critical: StrictBool | None = Field(None, description="true: those that people are told of at once.")
    cursor: Cursor | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=500, description="Most incidents of a page.")


def incident_query(dimensions: Sequence[str]) -> type[IncidentQuery]:
    """The query of a deployment with these dimensions; one that is named like another filter has none."""
    fields: dict[str, Any] = {
        name: (Text | None, Field(None, description=f"Those whose segment has this {name}."))
        for name in dimensions
        if name not in IncidentQuery.model_fields
    }
    return create_model("IncidentQuery", __base__=IncidentQuery, **fields)


def incident_routes(
    store: StoreAccess,
    *,
    read: Requirement,
    title: "Callable[[Incident], str]",
    promised_per_week: float,
    zone: dt.tzinfo = dt.UTC,
    dimensions: Sequence[str] = ("queue", "channel", "language"),
    configured: Mapping[str, frozenset[str]] = {},
) -> APIRouter:
    """The routes, for one store.

    Parameters
    ----------
    store
        What they ask.
    read
        Who may.
    title
        Puts an incident into a line (`incident_answers.titles`).
    promised_per_week
        The budget while nothing is calibrated.
    zone
        Of times that carry none.
    dimensions
        That segments have.
    configured
        Values that are known of each before any contact had them (`configured_values`).
    """
    routes = APIRouter(tags=["Incidents"])
    query_model = incident_query(dimensions)

    @routes.get(
        "/api/incidents",
        summary="Segments that are, or were, going wrong",
        response_model=IncidentPage,
        responses=problems({503: AWAY}),
        dependencies=[Depends(read)],
    )
    async def list_incidents(query: Annotated[query_model, Query()]) -> Any:  # type: ignore[valid-type]
        """The latest first, with a title, causes, examples and the latest verdict; open and resolved ones by default.

        `alert_score` and `alert_severity` are as they were when people were told, `score` and `severity` as they are
        now. Once anything was counted, a value that no contact ever had is 422.
        """
        return _json(await store.ask(lambda opened: _incidents(opened, query, dimensions, configured, zone, title)))

    @routes.get(
        "/api/incidents/{incident_id}",
        summary="One incident in full",
        response_model=WholeIncident,
        responses=problems({404: "There is no such incident.", 503: AWAY}),
        dependencies=[Depends(read)],
    )
    async def one_incident(incident_id: IncidentId) -> Any:
        """With the windows that it is made of, and the messages about it on each channel, up to 100."""
        found = await store.ask(lambda opened: _incident(opened, incident_id, title))
        if found is None:
            raise ProblemError(404, f"There is no incident {incident_id}.")
        return _json(found)

    @routes.get(
        "/api/budget",
        summary="The promised number of incidents, and the achieved one",
        response_model=Budget,
        responses=problems({503: AWAY}),
        dependencies=[Depends(read)],
    )
    async def budget() -> Any:
        """What was promised, what the replay of history raised with that threshold, and what there really was.

        The data's clock counts: incidents that began in the last 7 and 28 days before the end of the newest data,
        without merged and withdrawn ones. Messages tell the same count.
        """
        return _json(await store.ask(lambda opened: _budget(opened, promised_per_week)))

    return routes


def _json(content: Any) -> Response:
    """The answer as it is sent: what is stored is ours, and not checked again."""
    return Response(json.dumps(content, allow_nan=False).encode(), media_type=JSON)


def _incidents(
    store: "Store",
    query: IncidentQuery,
    dimensions: Sequence[str],
    configured: Mapping[str, frozenset[str]],
    zone: dt.tzinfo,
    title: "Callable[[Incident], str]",
) -> dict[str, Any]:
    from cxad_pipeline.store.incidents import IncidentFilter, find_incidents

    given = query.model_dump()
    wanted = IncidentFilter(
        since=None if query.since is None else in_zone(query.since, zone),
        until=None if query.until is None else in_zone(query.until, zone),
        statuses=query.status,
        min_severity=query.min_severity,
        critical=query.critical,
        pairs=tuple(
            (name, given[name])
            for name in dimensions
            if name not in IncidentQuery.model_fields and given[name] is not None
        ),
    )
    with store.reading() as connection:
        page, following = find_incidents(connection, wanted, limit=query.limit, cursor=query.cursor)
        if not page:
            require_values(connection, wanted.pairs, dimensions, configured)
    return {"incidents": [incident_answer(stored, title) for stored in page], "next": following}


def _incident(store: "Store", incident_id: str, title: "Callable[[Incident], str]") -> dict[str, Any] | None:
    from cxad_pipeline.store.incidents import get_incident
    from cxad_pipeline.store.outbox_status import find_deliveries

    with store.reading() as connection:
        stored = get_incident(connection, incident_id)
        if stored is None:
            return None
        alerts, _ = find_deliveries(connection, topic=f"incident:{incident_id}", limit=_MOST_ALERTS)
    return {
        **incident_answer(stored, title),
        "calls": [call_answer(call) for call in sorted(stored.calls, key=lambda call: (call.window, call.segment))],
        "alerts": [delivery_answer(delivery) for delivery in alerts],
    }


def _budget(store: "Store", promised_per_week: float) -> dict[str, Any]:
    from cxad_pipeline.store.budget import MONTH, WEEK, budget_status

    with store.reading() as connection:
        status = budget_status(connection, promised_per_week)
    latest = status.calibration
    counts = ((WEEK.days, status.used), (MONTH.days, status.used_in_month))
    return {
        "promised_per_week": status.promised_per_week,
        "replayed_per_week": None if latest is None else latest.replayed_per_week,
        "threshold": None if latest is None else latest.threshold,
        "calibrated_at": None if latest is None else moment(latest.at),
        "until": None if status.until is None else moment(status.until),
        "achieved": [
            {"days": days, "incidents": count, "per_week": round(7 * count / days, 3)} for days, count in counts
        ],
    }
