"""The store as routes ask it: in threads, a few questions at once, and 503 while it is away.

Belongs here: turns, threads, and what a caller is told meanwhile. Does not belong here: queries (`store`), opening the
store (`service`).

A slow database takes no thread and no event loop from scoring; who waits for it too long gets 503.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import anyio.to_thread

from cxad_pipeline.serving.problems import ProblemError

if TYPE_CHECKING:
    from cxad_pipeline.store.database import Store

Answer = TypeVar("Answer")

AWAY = "The store does not answer; Retry-After says when to come back."
"""What a route's OpenAPI says of its 503."""

_log = logging.getLogger(__name__)

_AT_ONCE = 4
_WAIT_SECONDS = 2.0
_RETRY_SECONDS = 10


class StoreAccess:
    """Asks the store in threads, for a few callers at once; all routes of a service share one.

    Parameters
    ----------
    store_of
        Gives the store, opening it when it is first called; it is called in a thread, and raises StoreError when it
        can't (`store.database.store_opener`).
    """

    def __init__(self, store_of: Callable[[], Store]) -> None:
        self._store_of = store_of
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._threads = anyio.CapacityLimiter(_AT_ONCE)

    async def ask(self, question: Callable[[Store], Answer]) -> Answer:
        """Its answer.

        Raises
        ------
        ProblemError
            503 where the store is away, or all turns are taken for too long; what the question raises itself.
        """

        def asked() -> Answer:
            from cxad_pipeline.store.database import StoreError

            try:
                return question(self._store_of())
            except StoreError as error:
                _log.warning("the store can't be asked", extra={"reason": str(error)})
                raise _away("The store does not answer; scoring goes on, and nothing is lost.") from error

        async with self._turn():
            return await anyio.to_thread.run_sync(asked, limiter=self._threads)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            await asyncio.wait_for(self._turns.acquire(), _WAIT_SECONDS)
        except TimeoutError as error:
            raise _away("The store is busy.") from error
        try:
            yield
        finally:
            self._turns.release()


def _away(detail: str) -> ProblemError:
    return ProblemError(503, detail, headers={"Retry-After": str(_RETRY_SECONDS)})
