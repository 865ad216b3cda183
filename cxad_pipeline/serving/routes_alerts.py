"""Messages and what became of them: a list, and dead letters that are sent again or put away.

Belongs here: these routes, and the questions that they put to the store. Does not belong here: queries (`store`), what
the keys mean (`incident_schema`), the messages of one incident (`routes_incidents`).
"""

import json
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from cxad_pipeline.serving.bodies import JSON
from cxad_pipeline.serving.incident_answers import delivery_answer
from cxad_pipeline.serving.incident_schema import AlertPage, DeliveryState, Dropped, Part, Revived
from cxad_pipeline.serving.problems import problems
from cxad_pipeline.serving.query import Cursor, Number
from cxad_pipeline.serving.security import Requirement
from cxad_pipeline.serving.small_bodies import FAULTS, described, read_body
from cxad_pipeline.serving.store_access import AWAY, StoreAccess

if TYPE_CHECKING:
    from cxad_pipeline.store.database import Store


class AlertQuery(Part):
    """Which messages are wanted."""

    state: DeliveryState | None = Field(None, description="pending, sent, dead or dropped.", examples=["dead"])
    cursor: Cursor | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=500, description="Most messages of a page.")


class DeadLetters(Part):
    """Which dead letters are meant."""

    ids: Annotated[list[Number], Field(min_length=1, max_length=500)] | None = Field(
        None,
        description="Of messages, as /api/alerts says; those that are not dead stay as they are. Without it: all.",
        examples=[[12, 13]],
    )


def alert_routes(store: StoreAccess, *, read: Requirement, review: Requirement) -> APIRouter:
    """The routes, for one store.

    Parameters
    ----------
    store
        What they ask.
    read, review
        Who may read, and who may have messages sent again or put away.
    """
    routes = APIRouter(tags=["Incidents"])

    @routes.get(
        "/api/alerts",
        summary="Messages and what became of them",
        response_model=AlertPage,
        responses=problems({503: AWAY}),
        dependencies=[Depends(read)],
    )
    async def list_alerts(query: Annotated[AlertQuery, Query()]) -> Any:
        """One entry for each message and channel, the latest first; of what a message says, its first line."""
        return Response(
            json.dumps(await store.ask(lambda opened: _alerts(opened, query)), allow_nan=False), media_type=JSON
        )

    @routes.post(
        "/api/alerts/retry",
        summary="Send dead letters again",
        response_model=Revived,
        responses=problems({**FAULTS, 503: AWAY}),
        openapi_extra=described(DeadLetters),
        dependencies=[Depends(review)],
    )
    async def retry(request: Request) -> Any:
        """They are pending again, due at once, with all their attempts before them. Dagster's sensor sends them."""
        body = await read_body(request, DeadLetters)
        return {"revived": await store.ask(lambda opened: _revived(opened, body))}

    @routes.post(
        "/api/alerts/drop",
        summary="Put dead letters away",
        response_model=Dropped,
        responses=problems({**FAULTS, 503: AWAY}),
        openapi_extra=described(DeadLetters),
        dependencies=[Depends(review)],
    )
    async def drop(request: Request) -> Any:
        """They stay in `/api/alerts`; no digest, check or metric counts them, and they are not sent again."""
        body = await read_body(request, DeadLetters)
        return {"dropped": await store.ask(lambda opened: _dropped(opened, body))}

    return routes


def _alerts(store: "Store", query: AlertQuery) -> dict[str, Any]:
    from cxad_pipeline.store.outbox_status import find_deliveries

    with store.reading() as connection:
        page, following = find_deliveries(connection, state=query.state, limit=query.limit, cursor=query.cursor)
    return {"alerts": [delivery_answer(delivery) for delivery in page], "next": following}


def _revived(store: "Store", body: DeadLetters) -> int:
    from cxad_pipeline.store.outbox_status import revive

    with store.writing() as connection:
        return revive(connection, body.ids)


def _dropped(store: "Store", body: DeadLetters) -> int:
    from cxad_pipeline.store.outbox_status import drop

    with store.writing() as connection:
        return drop(connection, body.ids)
