"""What reviewers ask and say: GET /api/anomalies, POST /api/feedback.

Belongs here: both routes, and what they answer while the store is away. Does not belong here: queries (`store`), who
has which role (`security`), what a verdict brings about.

The database is asked in threads, a few at once: a slow one takes no thread and no event loop from scoring; who waits
for it too long gets 503.
"""

import asyncio
import datetime as dt
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from cxad_pipeline.interactions.record import LONGEST_TEXT, TEXT_PATTERN, TIMESTAMP_PATTERN
from cxad_pipeline.serving.answer_schema import Flag, ReasonDetails
from cxad_pipeline.serving.bodies import JSON
from cxad_pipeline.serving.problems import ProblemError, problems
from cxad_pipeline.serving.security import Caller, Requirement

if TYPE_CHECKING:
    from cxad_pipeline.store.database import Store

Verdict = Literal["confirmed", "expected", "false_alarm", "new_trend"]
Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)

_AT_ONCE = 4
_WAIT_SECONDS = 2.0
_RETRY_SECONDS = 10
_LONGEST_NOTE = 2000
_LONGEST_BODY = 32_768  # a note and an id of characters that JSON writes with six bytes each
_CURSOR_PATTERN = "^[A-Za-z0-9_-]{22}$"
_AWAY = "The store does not answer; Retry-After says when to come back."
_VERDICT = (
    "confirmed: a real problem; expected: unusual, and known to be; false_alarm: nothing unusual; new_trend: what is "
    "usual has changed."
)
_INTERACTION: dict[str, Any] = {
    "interaction_id": "I-20261013-004711",
    "timestamp": "2026-10-13T09:30:00.000000Z",
    "hold_time_seconds": 612.0,
    "queue": "billing",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class VerdictDetails(_Part):
    """What somebody said of an interaction."""

    verdict: Verdict = Field(description=_VERDICT, examples=["confirmed"])
    by: str = Field(description="Name of the API key.", examples=["quality-desk"])
    at: dt.datetime = Field(description="When, in UTC.", examples=["2026-10-13T11:02:41.120000Z"])
    note: str = Field(description="In their own words; may be empty.", examples=["Line to billing was down."])


class AnomalyDetails(_Part):
    """One interaction that was found unusual."""

    interaction_id: str = Field(description="As given to /score.", examples=["I-20261013-004711"])
    timestamp: dt.datetime = Field(description="Start of the contact, UTC.", examples=["2026-10-13T09:30:00.000000Z"])
    scored_at: dt.datetime = Field(description="When it was scored, UTC.", examples=["2026-10-13T09:41:07.314159Z"])
    model: str = Field(description="What was asked for: both, ensemble or one model.", examples=["both"])
    model_version: str = Field(description="Version of the registered model that scored.", examples=["v3"])
    severity: float = Field(ge=0, le=100, description="How rare the score is on a log scale.", examples=[74.2])
    scores: dict[str, float] = Field(description="Score by model.", examples=[{"iforest": 0.6124, "rcf": 2.2041}])
    is_anomaly: dict[str, Flag] = Field(description="By model.", examples=[{"iforest": 1, "rcf": 1, "ensemble": 1}])
    reasons: list[ReasonDetails] = Field(description="Highest share first.")
    interaction: dict[str, Any] = Field(description="The record that was scored.", examples=[_INTERACTION])
    source: str = Field(description="By which way it came.", examples=["api"])
    verdict: VerdictDetails | None = Field(description="The latest on the interaction; null: nobody has said anything.")


class AnomalyPage(_Part):
    """Anomalies, the latest contact first."""

    anomalies: list[AnomalyDetails]
    next: str | None = Field(
        description="Pass it as `cursor`, with the same filters, for the next page; null: this is the last.",
        examples=["AAZMB6ZfKAAAAAAAAAAoyg"],
    )


def _moment(text: object) -> dt.datetime:
    if isinstance(text, str):  # in an address `+` stands for a blank, which few people know
        text = re.sub(r"(?<=[Tt]..:..:..) (?=\d\d:?\d\d$)", "+", text)
    if not isinstance(text, str) or not re.fullmatch(TIMESTAMP_PATTERN, text):
        raise PydanticCustomError(
            "moment", "must be a date and time of ISO 8601, such as 2026-10-13T00:00:00Z (in an address, + is %2B)"
        )
    return dt.datetime.fromisoformat(text.upper())


Moment = Annotated[
    dt.datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "pattern": TIMESTAMP_PATTERN})
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT, pattern=TEXT_PATTERN)]


class AnomalyQuery(_Part):
    """Which anomalies are wanted."""

    since: Moment | None = Field(
        None,
        description="Contacts that began then or later: ISO 8601; without zone, in the configured `timezone`.",
        examples=["2026-10-13T00:00:00Z"],
    )
    until: Moment | None = Field(
        None, description="Contacts that began before then, likewise.", examples=["2026-10-14T00:00:00Z"]
    )
    min_severity: float | None = Field(
        None, ge=0, le=100, allow_inf_nan=False, description="This severe or more.", examples=[60]
    )
    channel: Text | None = Field(None, description="Of this channel.", examples=["voice"])
    language: Text | None = Field(None, description="In this language.", examples=["en"])
    queue: Text | None = Field(None, description="Of this queue.", examples=["billing"])
    interaction_id: Text | None = Field(
        None,
        description="One interaction, by every model version that found it unusual.",
        examples=["I-20261013-004711"],
    )
    cursor: str | None = Field(None, pattern=_CURSOR_PATTERN, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=500, description="Most anomalies of a page.")


class FeedbackBody(_Part):
    """What somebody says of an interaction."""

    interaction_id: Text = Field(description="Of a stored anomaly.", examples=["I-20261013-004711"])
    verdict: Verdict = Field(description=_VERDICT, examples=["confirmed"])
    note: str = Field(
        "",
        max_length=_LONGEST_NOTE,
        pattern=TEXT_PATTERN,
        description="In your own words; no personal data.",
        examples=["Line to billing was down."],
    )


class FeedbackAnswer(VerdictDetails):
    """The verdict as it was added."""

    interaction_id: str = Field(description="As given.", examples=["I-20261013-004711"])


def review_routes(
    store_of: Callable[[], "Store"], *, read: Requirement, review: Requirement, zone: dt.tzinfo = dt.UTC
) -> APIRouter:
    """The routes, for one store.

    Parameters
    ----------
    store_of
        Gives the store, opening it when it is first called; it is called in a thread, and raises StoreError when it
        can't (`store.database.store_opener`).
    read, review
        Who may read anomalies, and who may give feedback.
    zone
        Of times that carry none.
    """
    routes = APIRouter(tags=["Review"])
    database = _Database(store_of)

    @routes.get(
        "/api/anomalies",
        summary="Anomalies found by the API",
        response_model=AnomalyPage,
        responses=problems({503: _AWAY}),
        dependencies=[Depends(read)],
    )
    async def list_anomalies(query: Annotated[AnomalyQuery, Query()]) -> Any:
        """The latest contact first, with the latest verdict beside each. What /score has just found follows soon."""
        return Response(await database.ask(lambda store: _page(store, query, zone)), media_type="application/json")

    @routes.post(
        "/api/feedback",
        summary="Say whether an anomaly was real",
        status_code=201,
        response_model=FeedbackAnswer,
        responses=problems(
            {
                404: "No anomaly of that interaction is stored.",
                413: f"The body is longer than {_LONGEST_BODY:,} bytes.",
                415: "The body is no JSON.",
                422: "A field is missing, unknown or not as it should be.",
                503: _AWAY,
            }
        ),
        openapi_extra={
            "requestBody": {"required": True, "content": {JSON: {"schema": FeedbackBody.model_json_schema()}}}
        },
    )
    async def give_feedback(request: Request, caller: Annotated[Caller, Depends(review)]) -> Any:
        """Add a verdict; earlier ones are kept, the latest counts. Nothing is scored anew."""
        # Read here: as a parameter it would be read, and parsed, before anybody is asked for a key.
        body = await _feedback(request)
        said = await database.ask(lambda store: _say(store, body, caller.name))
        if said is None:
            raise ProblemError(
                404, "No anomaly of this interaction_id is stored; one that was just found is there within seconds."
            )
        return {"interaction_id": body.interaction_id, **said}

    return routes


async def _feedback(request: Request) -> FeedbackBody:
    """The body of a request.

    Raises
    ------
    ProblemError
        413 or 415.
    RequestValidationError
        If it is no valid feedback.
    """
    if request.headers.get("content-type", JSON).partition(";")[0].strip().lower() != JSON:
        raise ProblemError(415, f"Feedback is read as {JSON}.", headers={"Accept-Post": JSON})
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > _LONGEST_BODY:
            raise ProblemError(413, f"The body is longer than {_LONGEST_BODY:,} bytes.")
    try:
        return FeedbackBody.model_validate_json(bytes(content))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from error


class _Database:
    """Asks the store in threads, for a few callers at once."""

    def __init__(self, store_of: Callable[[], "Store"]) -> None:
        self._store_of = store_of
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._threads = anyio.CapacityLimiter(_AT_ONCE)

    async def ask(self, question: Callable[["Store"], Answer]) -> Answer:
        """Its answer.

        Raises
        ------
        ProblemError
            503 where the store is away, or all turns are taken for too long.
        """

        def asked() -> Answer:
            from cxad_pipeline.store.database import StoreError

            try:
                return question(self._store_of())
            except StoreError as error:
                _log.warning("the store of anomalies can't be asked", extra={"reason": str(error)})
                raise _away("The store of anomalies does not answer; scoring goes on, and nothing is lost.") from error

        async with self._turn():
            return await anyio.to_thread.run_sync(asked, limiter=self._threads)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            await asyncio.wait_for(self._turns.acquire(), _WAIT_SECONDS)
        except TimeoutError as error:
            raise _away("The store of anomalies is busy.") from error
        try:
            yield
        finally:
            self._turns.release()


def _away(detail: str) -> ProblemError:
    return ProblemError(503, detail, headers={"Retry-After": str(_RETRY_SECONDS)})


def _page(store: "Store", query: AnomalyQuery, zone: dt.tzinfo) -> bytes:
    """The answer as it is sent: what is stored is ours, and not checked again."""
    from cxad_pipeline.store.anomalies import AnomalyFilter, find_anomalies

    given = query.model_dump(exclude={"cursor", "limit"})
    for name in ("since", "until"):
        if given[name] is not None and given[name].tzinfo is None:
            given[name] = given[name].replace(tzinfo=zone)
    wanted = AnomalyFilter(**given)
    with store.reading() as connection:
        page, following = find_anomalies(connection, wanted, limit=query.limit, cursor=query.cursor)
    return json.dumps({"anomalies": page, "next": following}).encode()


def _say(store: "Store", body: FeedbackBody, by: str) -> dict[str, Any] | None:
    from cxad_pipeline.store.feedback import add_feedback

    with store.writing() as connection:
        said = add_feedback(connection, body.interaction_id, body.verdict, by=by, note=body.note)
    return None if said is None else dict(said)
