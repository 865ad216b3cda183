"""POST /score: interactions in, scores out.

Belongs here: the order of the steps, and which of them run beside the event loop. Does not belong here: reading a body
(`bodies`), scoring (`scoring`), writing an answer (`answers`).
"""

import asyncio
import datetime as dt
import json
import time
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Request, Response
from starlette.routing import BaseRoute, Route

from cxad_pipeline.interactions.record import record_json_schema
from cxad_pipeline.serving import answers
from cxad_pipeline.serving.answer_schema import ScoreAnswer
from cxad_pipeline.serving.batch import Batch, BodyError, TooManyRecordsError
from cxad_pipeline.serving.bodies import ARROW, JSON, MEDIA_TYPES, NDJSON, UnsupportedMediaTypeError, kind_of
from cxad_pipeline.serving.memory import LARGE_BODY, give_back
from cxad_pipeline.serving.problems import ProblemError, problems
from cxad_pipeline.serving.request_log import note
from cxad_pipeline.serving.scoring import Answer, anomaly_records, choices, live_event, score
from cxad_pipeline.serving.security import KEY_SCHEME
from cxad_pipeline.serving.service import Service
from cxad_pipeline.serving.snapshot import Snapshot
from cxad_pipeline.store.records import AnomalyRecord

# A body of so few bytes, some hundred interactions, takes a millisecond; a thread would cost a fifth of it. To explain
# takes ten times as long as to score.
_BESIDE_THE_LOOP, _BESIDE_THE_LOOP_EXPLAINED = 24_000, 2_400

PATH, RECORD = "/score", "Interaction"
_MOST_NAMED = 20  # fields in a header
NO_MODEL = (
    "No model is loaded: there is no copy on disk, and none came from MLflow yet; /health says why. Train one "
    "(`cxad train`), or wait."
)
_HEADERS = {
    "X-Model-Version": {"description": "Version that scored, `v3`.", "schema": {"type": "string"}},
    "X-Ignored-Fields": {
        "description": "Fields that the schema does not know, `name=records`, the first 20; only where there are any.",
        "schema": {"type": "string"},
    },
}
_PROBLEMS = {
    400: "An unknown model; the allowed ones are listed.",
    408: "The body did not arrive in time.",
    413: "More records or bytes than one request may have.",
    415: "A body that is neither JSON, NDJSON nor an Arrow IPC stream.",
    422: "A bad body: every fault with record and field. Nothing was scored.",
    429: "Too many requests; Retry-After says when to come back.",
    503: "No model is loaded, or too many requests are in flight; Retry-After says when to come back.",
}
_OTHER_KINDS = {
    NDJSON: {"schema": {"type": "string", "description": "One entry a line, with model_version."}},
    ARROW: {
        "schema": {
            "type": "string",
            "format": "binary",
            "description": "interaction_id and, by model, `<name>_score` and `<name>_anomaly`, as in batch scoring; "
            "totals and version in the schema's metadata.",
        }
    },
}


@dataclass(frozen=True, eq=False)
class _Scored:
    """What came of one body, the answer's bytes included."""

    batch: Batch
    answer: Answer
    records: list[AnomalyRecord]
    content: bytes
    scored_at: dt.datetime


def scoring_routes(service: Service) -> list[BaseRoute]:
    """The routes, for one service: one that answers and one that documents.

    What FastAPI does around an endpoint takes as long as scoring an interaction. So Starlette's own route answers, and
    FastAPI's, behind it, is there for the OpenAPI document.
    """
    may_score = service.keyring.require("score")

    async def score_interactions(request: Request) -> Response:
        """Score interactions with the champion.

        The answer is of the body's kind: JSON, NDJSON with a line for each interaction, or an Arrow IPC stream.
        """
        await may_score(request)
        model, explain = _parameters(request)
        started = time.perf_counter()
        media_type = request.headers.get("content-type", JSON)
        try:
            kind = kind_of(media_type)
        except UnsupportedMediaTypeError as error:
            raise ProblemError(415, str(error), headers={"Accept-Post": ", ".join(MEDIA_TYPES)}) from error
        if (encoding := request.headers.get("content-encoding", "identity")) != "identity":
            raise ProblemError(
                415,
                f"Bodies packed by {encoding[:60]!r} are not read; send it plain.",
                headers={"Accept-Encoding": "identity"},
            )
        snapshot = service.models.current
        if snapshot is None:
            raise ProblemError(503, NO_MODEL, headers={"Retry-After": "5"})
        allowed = choices(snapshot.detector)
        if model not in allowed:
            raise ProblemError(400, f"unknown model {model[:60]!r}; allowed: {', '.join(allowed)}")
        body = await request.body()

        def work() -> _Scored:
            return _scored(service, snapshot, body, kind, model, explain, started)

        try:
            # The first Arrow body imports pyarrow.
            if kind != ARROW and len(body) <= (_BESIDE_THE_LOOP_EXPLAINED if explain else _BESIDE_THE_LOOP):
                scored = work()
            else:
                scored = await asyncio.get_running_loop().run_in_executor(service.scoring_threads, work)
        except BodyError as error:
            faults = [asdict(fault) for fault in error.faults]
            raise ProblemError(422, str(error), faults=faults, n_faults=error.n_faults) from error
        except TooManyRecordsError as error:
            raise ProblemError(413, str(error)) from error
        # Before the answer: what a caller has been told of is not lost when this process is killed.
        service.spool.append(scored.records)
        _publish(service, scored)
        _count(service, request, scored)
        return Response(scored.content, media_type=kind, headers=_headers(scored.answer))

    documented = APIRouter(tags=["Scoring"])
    documented.post(
        PATH,
        summary="Score interactions",
        operation_id="score",
        response_model=ScoreAnswer,
        responses={200: {"content": _OTHER_KINDS, "headers": _HEADERS}, **problems(_PROBLEMS)},
        openapi_extra=_documentation(service),
    )(score_interactions)
    return [Route(PATH, score_interactions, methods=["POST"]), *documented.routes]


def _scored(
    service: Service, snapshot: Snapshot, body: bytes, kind: str, model: str, explain: bool, started: float
) -> _Scored:
    """Everything that may run beside the event loop."""
    batch = service.bodies.read(body, kind)
    answer = score(snapshot, batch, model, explain)
    scored_at = dt.datetime.now(dt.UTC)
    records = anomaly_records(snapshot, batch, answer, scored_at)
    elapsed_ms = (time.perf_counter() - started) * 1000
    if kind == NDJSON:
        content = answers.to_ndjson(answer)
    elif kind == ARROW:
        content = answers.to_arrow(answer, elapsed_ms)
    else:
        content = answers.to_json(answer, elapsed_ms)
    if max(len(body), len(content)) > LARGE_BODY:
        give_back()
    return _Scored(batch, answer, records, content, scored_at)


def _headers(answer: Answer) -> dict[str, str]:
    """What every kind of answer says; an NDJSON answer has no other place for it."""
    headers = {"X-Model-Version": answer.label}
    if answer.ignored:
        named = list(answer.ignored.items())[:_MOST_NAMED]
        headers["X-Ignored-Fields"] = ", ".join(f"{quote(name)}={count}" for name, count in named)
    return headers


def _publish(service: Service, scored: _Scored) -> None:
    chosen = service.stream.choose(scored.answer.decisive)
    if not chosen:
        return
    found = dict(zip(np.flatnonzero(scored.answer.decisive).tolist(), scored.records, strict=True))
    service.stream.publish(
        [live_event(scored.batch, scored.answer, row, found.get(row), scored.scored_at) for row in chosen]
    )


def _count(service: Service, request: Request, scored: _Scored) -> None:
    answer, n_rows = scored.answer, scored.batch.n_rows
    flagged = {name: int(np.count_nonzero(flags)) for name, flags in answer.flags.items()}
    service.metrics.scored(n_rows, flagged, scored.batch.ignored, answer.unknown_categories)
    note(request, records=n_rows, anomalies=answer.n_anomalies, model_version=answer.label)


def _parameters(request: Request) -> tuple[str, bool]:
    """`model` and `explain`.

    Raises
    ------
    ProblemError
        422 if there are others, or `explain` is neither true nor false.
    """
    if not request.scope["query_string"]:
        return "both", False
    given = request.query_params
    if unknown := sorted(set(given) - {"model", "explain"}):
        raise ProblemError(422, f"There is no query parameter {unknown[0][:60]!r}; there are 'model' and 'explain'.")
    explain = given.get("explain", "false").lower()
    if explain not in ("true", "false"):
        raise ProblemError(422, f"The query parameter 'explain' must be true or false; got {explain[:60]!r}.")
    return given.get("model", "both"), explain == "true"


def record_schemas(service: Service) -> dict[str, Any]:
    """What OpenAPI's components need for the documentation of this route."""
    return {RECORD: record_json_schema(service.schema)}


def _documentation(service: Service) -> dict[str, Any]:
    """Key, parameters and bodies as OpenAPI shows them, the records from the one schema."""
    most = f"At most {service.settings.serving.max_records:,} interactions (serving.max_records); more answer 413."
    columns = record_json_schema(service.schema)["properties"]
    record = {name: shown["examples"][0] for name, shown in columns.items() if "examples" in shown}
    array = {"type": "array", "items": {"$ref": f"#/components/schemas/{RECORD}"}, "description": most}
    line = {
        "type": "string",
        "description": f"One interaction a line, each a JSON object as in the array, such as `{json.dumps(record)}`.",
    }
    stream = {"type": "string", "format": "binary", "description": "A table with these columns, not compressed."}
    models = ["both", "ensemble", *service.settings.model_names]
    parameters = [
        {
            "name": "model",
            "in": "query",
            "description": "`both`: every model, flagged where any flags; `ensemble`: the ensemble, too; or the name "
            "of one model.",
            "schema": {"type": "string", "enum": models, "default": "both"},
        },
        {
            "name": "explain",
            "in": "query",
            "description": "Add severity, reasons and typical ranges.",
            "schema": {"type": "boolean", "default": False},
        },
    ]
    content = {
        JSON: {"schema": array, "example": [record]},
        NDJSON: {"schema": line},
        ARROW: {"schema": stream},
    }
    found: dict[str, Any] = {"parameters": parameters, "requestBody": {"required": True, "content": content}}
    return found if service.keyring.empty else found | {"security": [{KEY_SCHEME: []}]}
