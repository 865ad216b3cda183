"""Errors as callers see them: problem details (RFC 9457), one shape for all.

Belongs here: the shape, the exception that carries one, and turning the framework's own errors into it. Does not belong
here: when an error is raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class FaultDetails(BaseModel):
    """One thing that is wrong with a body."""

    message: str = Field(description="What is wrong and what is expected.")
    index: int | None = Field(None, description="Position of the record in the request, from 0.")
    interaction_id: str | None = Field(None, description="The record's, where it has a readable one.")
    field: str | None = Field(None, description="The column.")
    line: int | None = Field(None, description="Line of an NDJSON body, from 1.")


class Problem(BaseModel):
    """Problem details as of RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="Kind of problem; about:blank: the status says it all.")
    title: str = Field(description="The status in words.", examples=["Unprocessable Content"])
    status: int = Field(description="The HTTP status again.", examples=[422])
    detail: str = Field(description="What went wrong here, and what to do.")
    request_id: str | None = Field(None, description="Names the request in the service's log.")
    faults: list[FaultDetails] | None = Field(None, description="Of a bad body: the first 20 faults.")
    n_faults: int | None = Field(None, description="Of a bad body: how many faults there are in all.")


class ProblemError(Exception):
    """Ends a request with a problem.

    Parameters
    ----------
    status
        HTTP status.
    detail
        What went wrong here, and what to do; shown to the caller.
    headers
        Sent with it, such as Retry-After.
    **extensions
        Further members.
    """

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **extensions: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.extensions = status, detail, dict(headers or {}), extensions


def problem_response(
    status: int,
    detail: str,
    *,
    request_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    **extensions: Any,
) -> Response:
    """A problem as a response; members without a value are left out."""
    members = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": request_id,
        **extensions,
    }
    body = orjson.dumps({name: value for name, value in members.items() if value is not None})
    return Response(body, status_code=status, headers=dict(headers or {}), media_type=MEDIA_TYPE)
