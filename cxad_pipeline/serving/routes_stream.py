"""The live stream over HTTP.

Belongs here: `GET /api/stream`, as server-sent events. Does not belong here: which events there are (`stream`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Header, Query
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from cxad_pipeline.serving.live_events import Wanted
from cxad_pipeline.serving.problems import problems
from cxad_pipeline.serving.query import StrictBool
from cxad_pipeline.serving.stream import LiveStream
from cxad_pipeline.serving.subscription import Subscription

_log = logging.getLogger(__name__)

PATH = "/api/stream"

# A client that takes nothing for so long is sent away, since it holds a place that others may want.
_SEND_SECONDS = 60.0
_GRACE_SECONDS = 2.0
_RETRY_MILLISECONDS = 3000
_SEPARATOR = "\n"

_EXAMPLE = """retry: 3000
id: 5f0c81d2a9b4-16

id: 5f0c81d2a9b4-17
event: interaction
data: {"channel":"voice","language":"en","queue":"billing","interaction_id":"c-1041",\
"timestamp":"2026-10-12T08:15:00.000000Z","scored_at":"2026-10-12T08:21:04.120000Z","model_version":"v3",\
"severity":91.4,"scores":{"iforest":0.71,"rcf":2.9},"is_anomaly":{"iforest":1,"rcf":1,"ensemble":1},"anomaly":true,\
"reasons":["hold_time_seconds is 1840 (typical: 0 to 95)"]}

id: 5f0c81d2a9b4-29
event: dropped
data: {"missed":12}

"""

_Id = Annotated[str | None, Query(description="As the header Last-Event-ID, for clients that can't set one.")]
_IdHeader = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="Id of the last event that the client got; the stream goes on after it. Goes before the parameter.",
    ),
]
# No value is refused: what the service scores is nowhere counted, so that nobody knows which values are still to come.
_Text = Annotated[str | None, Query(description="Only interactions with this value; any may come, so none is refused.")]


class _LiveResponse(EventSourceResponse):
    """The events of one subscription, which ends with the response."""

    def __init__(self, subscription: Subscription, heartbeat_seconds: float) -> None:
        self._subscription = subscription
        self._stopping = anyio.Event()
        super().__init__(
            _frames(subscription, heartbeat_seconds),
            ping=0,
            sep=_SEPARATOR,
            send_timeout=_SEND_SECONDS,
            data_sender_callable=self._end_with_the_server,
            shutdown_event=self._stopping,
            shutdown_grace_period=_GRACE_SECONDS,
        )

    async def _end_with_the_server(self) -> None:
        await self._stopping.wait()
        self._subscription.end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            _log.warning("live stream: a client took nothing for %g seconds and was sent away", _SEND_SECONDS)
        finally:
            self._subscription.close()


async def _frames(subscription: Subscription, heartbeat_seconds: float) -> AsyncIterator[bytes]:
    # An id without data is no event to the client, but it is what the client comes back with.
    told = subscription.place
    yield ServerSentEvent(id=told, retry=_RETRY_MILLISECONDS, sep=_SEPARATOR).encode()
    while True:
        try:
            async with asyncio.timeout(heartbeat_seconds):
                messages = await anext(subscription)
        except TimeoutError:
            # The place goes on also while the client wants none of what comes.
            news, told = subscription.place != told, subscription.place
            yield ServerSentEvent(comment="heartbeat", id=told if news else None, sep=_SEPARATOR).encode()
        except StopAsyncIteration:
            return
        else:
            told = messages[-1].id
            yield b"".join([message.frame for message in messages])


def stream_routes(stream: LiveStream, *, read: Callable[..., Any]) -> APIRouter:
    """The route.

    Parameters
    ----------
    stream
        What is sent.
    read
        Dependency that lets only those pass who may read.
    """
    routes = APIRouter(tags=["Live"])

    @routes.get(
        PATH,
        summary="Scored interactions as they come",
        dependencies=[Depends(read)],
        response_class=EventSourceResponse,
        responses={
            200: {
                "description": "Server-sent events, without end.",
                "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
            },
            **problems({503: "Too many listen, or the service is about to stop; Retry-After says when to come back."}),
        },
    )
    async def live(
        anomalies_only: Annotated[StrictBool, Query(description="Without the ordinary interactions.")] = False,
        min_severity: Annotated[float, Query(ge=0, le=100, description="Least severity.")] = 0.0,
        channel: _Text = None,
        language: _Text = None,
        queue: _Text = None,
        last_event_id: _Id = None,
        last_event_id_header: _IdHeader = None,
    ) -> EventSourceResponse:
        """Server-sent events: `interaction`, one scored interaction as JSON. `dropped`, `{"missed": n}`: the client
        was too slow, or so many events of another worker process did not arrive; the number counts also those that the
        parameters would have left out. `gap`: the client has come back, and what it has missed is no longer there
        in full; what is there follows.

        Above the rate `serving.stream.events_per_second` interactions are sampled, anomalies before others; what is
        left out there is counted in the metrics. A comment is sent after a while without an event.
        """
        segment = {"channel": channel, "language": language, "queue": queue}
        wanted = Wanted(
            anomalies_only, min_severity, tuple((name, value) for name, value in segment.items() if value is not None)
        )
        subscription = stream.subscribe(last_event_id_header or last_event_id, wanted)
        return _LiveResponse(subscription, stream.heartbeat_seconds)

    return routes
