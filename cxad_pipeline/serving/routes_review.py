"""What reviewers ask and say: anomalies, feedback, silences.

Belongs here: these routes, and the questions that they put to the store. Does not belong here: queries (`store`), what
the keys mean (`review_schema`), who has which role (`security`), incidents (`routes_incidents`).
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from cxad_pipeline.serving.bodies import JSON
from cxad_pipeline.serving.incident_answers import silence_answer
from cxad_pipeline.serving.known_segments import require_values
from cxad_pipeline.serving.problems import ProblemError, problems
from cxad_pipeline.serving.query import LARGEST_ID, in_zone
from cxad_pipeline.serving.review_schema import (
    AnomalyPage,
    AnomalyQuery,
    FeedbackAnswer,
    FeedbackBody,
    PrecisionList,
    PrecisionQuery,
    SilenceAnswer,
    SilenceBody,
    SilenceDetails,
    SilenceList,
    SilenceQuery,
    silence_form,
)
from cxad_pipeline.serving.security import Caller, Requirement
from cxad_pipeline.serving.small_bodies import FAULTS, described, read_body
from cxad_pipeline.serving.store_access import AWAY, StoreAccess

if TYPE_CHECKING:
    from cxad_pipeline.store.database import Store

_OVER = "The end lies in the past."
_GONE = f"`until`: {_OVER} Or another incident, which the answer names, has taken in this one, or it was withdrawn."
_NO_INCIDENT = "No incident of this incident_id is stored; GET /api/incidents lists them."
_NOT_FLAGGED = (
    "Verdicts are kept for interactions that were found unusual, and none of this interaction_id is stored: it was not "
    "scored, not found unusual, or only just now, and then it is there within seconds. GET /api/anomalies lists them."
)

SilenceId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="As GET /api/silences says.", examples=[4])]


def review_routes(
    store: StoreAccess,
    *,
    read: Requirement,
    review: Requirement,
    subjects: Sequence[str],
    zone: dt.tzinfo = dt.UTC,
    dimensions: Sequence[str] = ("queue", "channel", "language"),
    configured: Mapping[str, frozenset[str]] = {},
    expected_for: dt.timedelta = dt.timedelta(days=7),
) -> APIRouter:
    """The routes, for one store.

    Parameters
    ----------
    store
        What they ask.
    read, review
        Who may read, and who may give feedback and make silences.
    subjects
        What incidents can be about: metrics and the like, by name.
    zone
        Of times that carry none.
    dimensions
        That segments have.
    configured
        Values that are known of each before any contact had them (`configured_values`).
    expected_for
        How long `expected` keeps quiet unless somebody says until when.
    """
    routes = APIRouter(tags=["Review"])
    silence_body = silence_form(dimensions, subjects)

    @routes.get(
        "/api/anomalies",
        summary="Interactions that were found unusual",
        response_model=AnomalyPage,
        responses=problems({503: AWAY}),
        dependencies=[Depends(read)],
    )
    async def list_anomalies(query: Annotated[AnomalyQuery, Query()]) -> Any:
        """The latest contact first, with the latest verdict beside each. What /score has just found follows soon.

        Once anything was counted, a queue, channel or language that no contact ever had is 422.
        """
        return _json(await store.ask(lambda opened: _anomalies(opened, query, zone, dimensions, configured)))

    @routes.post(
        "/api/feedback",
        summary="Say whether an anomaly or an incident was real",
        status_code=201,
        response_model=FeedbackAnswer,
        responses=problems({**FAULTS, 404: "No such anomaly or incident is stored.", 409: _GONE, 503: AWAY}),
        openapi_extra=described(FeedbackBody),
    )
    async def give_feedback(request: Request, caller: Annotated[Caller, Depends(review)]) -> Any:
        """Add a verdict; earlier ones are kept, the latest counts. Nothing is scored or judged anew.

        `expected` makes a silence with an end; another verdict later on gives it up. Of an incident, `new_trend` starts
        the baseline again and `false_alarm` moves the segment's threshold, within bounds, both at the next calibration.
        """
        body = await read_body(request, FeedbackBody)
        at = dt.datetime.now(dt.UTC)
        until = at + expected_for if body.until is None else _ahead(in_zone(body.until, zone), at, "until")
        said = await store.ask(lambda opened: _say(opened, body, caller.name, at, until))
        if said is None:
            raise ProblemError(404, _NO_INCIDENT if body.interaction_id is None else _NOT_FLAGGED)
        return said

    @routes.get(
        "/api/feedback/precision",
        summary="How often it was right, by segment",
        response_model=PrecisionList,
        responses=problems({503: AWAY}),
        dependencies=[Depends(read)],
    )
    async def precision(query: Annotated[PrecisionQuery, Query()]) -> Any:
        """What people have said of incidents, the latest verdict on each, by the segment that it was given for."""
        since = None if query.since is None else in_zone(query.since, zone)
        return _json(await store.ask(lambda opened: _precision(opened, since)))

    @routes.get(
        "/api/silences",
        summary="What nobody is told of",
        response_model=SilenceList,
        responses=problems({503: AWAY}),
        dependencies=[Depends(read)],
    )
    async def list_silences(query: Annotated[SilenceQuery, Query()]) -> Any:
        """Silences that hold now, or all of them, with owner, reason and end; the one that ends last first."""
        return _json(await store.ask(lambda opened: _silences(opened, query.active)))

    @routes.post(
        "/api/silences",
        summary="Have nobody told of a segment for a time",
        status_code=201,
        response_model=SilenceAnswer,
        responses={
            200: {"description": "There was one already, which is extended.", "model": SilenceAnswer},
            **problems({**FAULTS, 409: f"`ends_at`: {_OVER}", 503: AWAY}),
        },
        openapi_extra=described(silence_body),
    )
    async def add_silence(request: Request, response: Response, caller: Annotated[Caller, Depends(review)]) -> Any:
        """Incidents of this segment, and of those inside it, are found and shown, and nobody is told of them.

        One that holds for the same segment and metric already, whoever made it, is extended: the later end of the two
        counts, and the owner and the reason of this request. The answer is 200 then. End it to have it end earlier.
        """
        body = await read_body(request, silence_body)
        at = dt.datetime.now(dt.UTC)
        ends_at = _ahead(in_zone(body.ends_at, zone), at, "ends_at")
        kept = await store.ask(lambda opened: _silence(opened, body, caller.name, at, ends_at, dimensions))
        if kept["extended"]:
            response.status_code = 200
        return kept

    @routes.delete(
        "/api/silences/{silence_id}",
        summary="End a silence now",
        response_model=SilenceDetails,
        responses=problems({404: "There is no such silence.", 503: AWAY}),
    )
    async def end_silence(silence_id: SilenceId, caller: Annotated[Caller, Depends(review)]) -> Any:
        """People are told again from now on. One that has ended already stays as it is."""
        ended = await store.ask(lambda opened: _end(opened, silence_id, caller.name))
        if ended is None:
            raise ProblemError(404, f"There is no silence {silence_id}.")
        return ended

    return routes


def _json(content: Any) -> Response:
    """The answer as it is sent: what is stored is ours, and not checked again."""
    return Response(json.dumps(content, allow_nan=False).encode(), media_type=JSON)


def _ahead(moment: dt.datetime, now: dt.datetime, name: str) -> dt.datetime:
    """A moment that is still to come.

    Raises
    ------
    ProblemError
        409: a valid time, and no longer of use.
    """
    if moment <= now:
        raise ProblemError(409, f"{name} = {moment.isoformat()} lies in the past; give a time that is still to come.")
    return moment


def _anomalies(
    store: "Store",
    query: AnomalyQuery,
    zone: dt.tzinfo,
    dimensions: Sequence[str],
    configured: Mapping[str, frozenset[str]],
) -> dict[str, Any]:
    from cxad_pipeline.store.anomalies import AnomalyFilter, find_anomalies

    given = query.model_dump(exclude={"cursor", "limit"})
    for name in ("since", "until"):
        given[name] = None if given[name] is None else in_zone(given[name], zone)
    with store.reading() as connection:
        page, following = find_anomalies(connection, AnomalyFilter(**given), limit=query.limit, cursor=query.cursor)
        if not page:
            pairs = tuple((name, given[name]) for name in ("queue", "channel", "language") if given[name] is not None)
            require_values(connection, pairs, dimensions, configured)
    return {"anomalies": page, "next": following}


def _say(store: "Store", body: FeedbackBody, by: str, at: dt.datetime, until: dt.datetime) -> dict[str, Any] | None:
    from cxad_pipeline.store.feedback import add_feedback, add_incident_feedback
    from cxad_pipeline.store.gone_incidents import GoneIncidentError

    expected = body.verdict == "expected"
    given: dict[str, Any] = {"by": by, "note": body.note, "at": at, "until": until if expected else None}
    with store.writing() as connection:
        if body.incident_id is not None:
            try:
                said = add_incident_feedback(
                    connection, body.incident_id, body.verdict, **given, expected_for=until - at
                )
            except GoneIncidentError as error:
                raise ProblemError(409, f"incident_id: {error}.") from error
        else:
            said = add_feedback(connection, str(body.interaction_id), body.verdict, **given)
    if said is None:
        return None
    return {
        **said.verdict,
        "interaction_id": body.interaction_id,
        "incident_id": body.incident_id,
        "silence": None if said.silence is None else silence_answer(said.silence),
        "released": [silence_answer(silence) for silence in said.released],
    }


def _precision(store: "Store", since: dt.datetime | None) -> dict[str, Any]:
    from cxad_pipeline.store.feedback import precision_by_segment

    with store.reading() as connection:
        found = precision_by_segment(connection, since or dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
    return {"segments": [vars(entry) | {"segment": dict(entry.segment)} for entry in found]}


def _silences(store: "Store", active: bool) -> dict[str, Any]:
    from cxad_pipeline.store.silences import find_silences

    with store.reading() as connection:
        found = find_silences(connection, active_at=dt.datetime.now(dt.UTC) if active else None)
    return {"silences": [silence_answer(silence) for silence in found]}


def _silence(
    store: "Store", body: SilenceBody, owner: str, at: dt.datetime, ends_at: dt.datetime, dimensions: Sequence[str]
) -> dict[str, Any]:
    from cxad_pipeline.store.known_segments import UnknownSegmentError, check_segment
    from cxad_pipeline.store.silences import add_silence

    segment = tuple((name, body.segment[name]) for name in dimensions if name in body.segment)
    with store.writing() as connection:
        if not body.new_segment:
            try:
                check_segment(connection, segment)
            except UnknownSegmentError as error:
                detail = f"segment: {error}; `new_segment`: true, if it is still to come."
                raise ProblemError(422, detail, faults=[{"message": str(error), "field": "segment"}]) from error
        kept, before = add_silence(
            connection,
            scope="incidents",
            segment=segment,
            metric=body.metric,
            owner=owner,
            reason=body.reason,
            starts_at=at,
            ends_at=ends_at,
        )
    return {**silence_answer(kept), "extended": before is not None}


def _end(store: "Store", silence_id: int, by: str) -> dict[str, Any] | None:
    from cxad_pipeline.store.silences import end_silence

    with store.writing() as connection:
        ended = end_silence(connection, silence_id, at=dt.datetime.now(dt.UTC), by=by)
    return None if ended is None else silence_answer(ended)
