"""Every error has one shape: problem details (RFC 9457)."""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.exceptions import HTTPException
from front_examples import SECRET, Answer, ask, settings_with_keys, small_app
from starlette.testclient import TestClient

from cxad_pipeline.serving import problems
from cxad_pipeline.serving.limits import Rate
from cxad_pipeline.settings.serving import ServingSettings

JSON = [(b"host", b"localhost"), (b"content-type", b"application/json")]
MEMBERS = {"type", "title", "status", "detail", "request_id"}


async def stalled() -> Any:
    await asyncio.Event().wait()


def keyed(path: str, method: str, **headers: str) -> Answer:
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    return asyncio.run(ask(small_app(settings_with_keys()), path, method, headers=sent))


def plain(
    path: str, method: str = "GET", serving: ServingSettings | None = None, front: Any = None, **how: Any
) -> Answer:
    return asyncio.run(ask(small_app(serving, **(front or {})), path, method, **how))


def over_rate() -> Answer:
    app = small_app(ServingSettings(requests_per_minute=1))
    with pytest.MonkeyPatch.context() as patch:
        # Between two minutes one more would pass.
        patch.setattr("cxad_pipeline.serving.front.Rate", partial(Rate, clock=lambda: 630.0))
        return [asyncio.run(ask(app, "/models")) for _ in range(2)][-1]


def when_full() -> Answer:
    async def main() -> Answer:
        app = small_app(ServingSettings(max_concurrent=1))
        first = asyncio.create_task(ask(app, "/score", "POST", receive=stalled))
        await asyncio.sleep(0)
        found = await ask(app, "/models")
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return found

    return asyncio.run(main())


ERRORS = {
    "no key": (401, lambda: keyed("/score", "POST")),
    "unknown key": (401, lambda: keyed("/score", "POST", authorization="Bearer nobody's")),
    "no role": (403, lambda: keyed("/score", "POST", authorization="Bearer read-key")),
    "not local": (403, lambda: plain("/score", "POST", client=("192.0.2.1", 1))),
    "unknown path": (404, lambda: plain("/nowhere")),
    "wrong method": (405, lambda: plain("/score", "DELETE")),
    "slow body": (408, lambda: plain("/score", "POST", front={"body_seconds": 0.01}, receive=stalled)),
    "slow body that the framework reads": (
        408,
        lambda: plain("/api/review", "POST", front={"body_seconds": 0.01}, receive=stalled),
    ),
    "long body": (413, lambda: plain("/score", "POST", ServingSettings(max_body_bytes=1), body=[b"xx"])),
    "long announced body": (
        413,
        lambda: plain("/score", "POST", headers=[(b"host", b"localhost"), (b"content-length", b"9" * 5000)]),
    ),
    "bad query": (422, lambda: plain("/score?limit=0", "POST")),
    "bad path": (422, lambda: plain("/api/anomalies/x")),
    "bad body": (422, lambda: plain("/api/review", "POST", headers=JSON, body=[b'{"anomaly": "x"}'])),
    "body that is no JSON": (422, lambda: plain("/api/review", "POST", headers=JSON, body=[b"{"])),
    "over the rate": (429, over_rate),
    "bug": (500, lambda: plain("/fail")),
    "of our own": (503, lambda: plain("/busy")),
    "too many at a time": (503, when_full),
}


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_has_one_shape(name: str) -> None:
    status, cause = ERRORS[name]
    found = cause()
    assert found.status == status
    assert found.headers["content-type"] == "application/problem+json"
    assert int(found.headers["content-length"]) == len(found.content)
    document = found.json()
    problem = problems.Problem.model_validate(document)
    assert document.keys() >= MEMBERS
    assert document.keys() - MEMBERS <= {"faults", "n_faults", "concerns"}
    assert problem.status == status
    assert problem.type == "about:blank"
    assert problem.title == {413: "Content Too Large", 422: "Unprocessable Content"}.get(
        status, HTTPStatus(status).phrase
    )
    assert len(problem.detail) > 10
    assert problem.request_id == found.headers["x-request-id"]
    assert SECRET not in found.content.decode()
    if status in (429, 503):
        assert int(found.headers["retry-after"]) >= 1
    if status == 401:
        assert found.headers["www-authenticate"].startswith("Bearer")


def test_a_wrong_method_is_told_every_right_one() -> None:
    found = plain("/api/anomalies/3", "POST")
    assert found.status == 405
    assert found.headers["allow"] == "DELETE, GET"
    assert plain("/score", "GET").headers["allow"] == "POST"


def test_bad_parameters_are_named_without_their_values() -> None:
    found = plain("/score?limit=4711abc", "POST").json()
    assert "limit" in found["detail"]
    assert found["faults"] == [{"field": "limit", "message": found["faults"][0]["message"]}]
    assert found["n_faults"] == 1
    assert "4711abc" not in str(found)
    several = plain("/api/review", "POST", headers=JSON, body=[b'{"anomaly": "4711abc"}']).json()
    assert {fault["field"] for fault in several["faults"]} == {"anomaly", "real"}
    assert several["n_faults"] == 2
    assert "4711abc" not in str(several)


def test_an_app_without_a_front_answers_in_the_same_shape() -> None:
    app = FastAPI()
    problems.install(app)

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "Short and stout, and no coffee.", headers={"X-Kind": "tea"})

    @app.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError(SECRET)

    client = TestClient(app, raise_server_exceptions=False)
    found = client.get("/teapot")
    assert (found.status_code, found.headers["x-kind"]) == (418, "tea")
    assert found.json()["detail"] == "Short and stout, and no coffee."
    found = client.get("/bug")
    assert found.json().keys() == MEMBERS - {"request_id"}
    assert SECRET not in found.text


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def test_openapi_documents_every_error_by_the_one_schema() -> None:
    app = small_app()
    document = app.openapi()
    assert app.openapi() is document
    schemas = document["components"]["schemas"]
    assert {reference.rpartition("/")[2] for reference in references(document)} <= schemas.keys()
    assert "HTTPValidationError" not in schemas
    for path in document["paths"].values():
        for operation in path.values():
            errors = {status: found for status, found in operation["responses"].items() if not status.startswith("2")}
            assert "default" in errors
            for found in errors.values():
                (media_type,) = found["content"]
                assert media_type == "application/problem+json"
                assert found["content"][media_type]["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert "410" in document["paths"]["/api/anomalies/{number}"]["get"]["responses"]
