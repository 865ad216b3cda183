"""How much a caller may ask for.

Belongs here: rate, concurrency, and size and duration of a body, each as a small object that says no. Does not belong
here: who is limited by what, and in which order (`front`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable
from functools import lru_cache

from starlette.types import Message, Receive

from cxad_pipeline.serving.problems import ProblemError

# Keys that nobody has, for each address in a minute; keys are 256 bits, so this is about noise and badly chosen keys.
WRONG_KEYS_PER_MINUTE = 30
# A body has to arrive as a whole within this time. A slow sender keeps one of `max_concurrent` places until then.
BODY_SECONDS = 30.0
# Each takes some hundred bytes.
_MOST_CALLERS = 4096
_OTHERS = "others"
_MINUTE = 60.0


class Rate:
    """So many a minute for each caller, by a sliding window counter.

    The last minute is taken as if its requests had come evenly: what it still weighs is its count times the share of it
    that lies within 60 seconds, as in the library `limits`, with which tests compare this. Its storage in memory starts
    a thread a hundred times a second under load and goes through all callers each time; here a minute is one dict, and
    the one before the last is dropped whole.

    Parameters
    ----------
    per_minute
        How many.
    most_callers
        Beyond so many callers in one minute, new ones are counted together, so that memory stays bounded.
    clock
        Seconds that never go back.
    """

    def __init__(
        self, per_minute: int, most_callers: int = _MOST_CALLERS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute, self._most_callers, self._clock = per_minute, most_callers, clock
        self._minute = 0
        self._last: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def hit(self, who: str) -> int:
        """Count one.

        Returns
        -------
        int
            0 if it is within the limit; else after how many seconds to try again, and nothing is counted.
        """
        wait = self.reached(who)
        if not wait:
            who = self._counted_as(who)
            self._counts[who] = self._counts.get(who, 0) + 1
        return wait

    def reached(self, who: str) -> int:
        """After how many seconds one more would be within the limit: 0 if it is so now. Counts nothing."""
        left = self._turn()
        who = self._counted_as(who)
        last, count = self._last.get(who, 0), self._counts.get(who, 0)
        if last * left / _MINUTE + count < self._per_minute:
            return 0
        free = self._per_minute - count
        return int(left - _MINUTE * free / last if free else left) + 1

    @property
    def n_counts(self) -> int:
        """How many counts are kept: one or two for each caller."""
        return len(self._counts) + len(self._last)

    def _turn(self) -> float:
        """Begin a new minute when it is time; gives the seconds left of this one."""
        minute, gone = divmod(self._clock(), _MINUTE)
        if minute != self._minute:
            self._last = self._counts if minute == self._minute + 1 else {}
            self._minute, self._counts = int(minute), {}
        return _MINUTE - gone

    def _counted_as(self, who: str) -> str:
        if len(self._counts) < self._most_callers or who in self._counts or who in self._last:
            return who
        return _OTHERS


class Places:
    """So many requests at a time.

    Parameters
    ----------
    most
        How many.
    """

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0

    def take(self) -> bool:
        """Take a place, if there is one."""
        if self.taken >= self.most:
            return False
        self.taken += 1
        return True

    def give_back(self) -> None:
        """Make a place free again."""
        self.taken -= 1


class Body:
    """A request's body on its way in: no longer than allowed, and in time.

    Parameters
    ----------
    receive
        Gives the parts.
    most_bytes
        Longest body.
    seconds
        How long it may take to arrive, from now on.

    Attributes
    ----------
    refused
        What is wrong with the body, as soon as that is known. The app may have made an answer of its own of the
        exception that `receive` raised then; this one holds.
    """

    __slots__ = ("_complete", "_deadline", "_most_bytes", "_n_bytes", "_receive", "_seconds", "refused")

    def __init__(self, receive: Receive, most_bytes: int, seconds: float) -> None:
        self._receive, self._most_bytes, self._seconds = receive, most_bytes, seconds
        self._n_bytes, self._complete = 0, False
        self._deadline = asyncio.get_running_loop().time() + seconds
        self.refused: ProblemError | None = None

    async def receive(self) -> Message:
        """Give the next part.

        Raises
        ------
        ProblemError
            413 if the body is too long, 408 if it did not arrive in time.
        """
        if self._complete:
            return await self._receive()
        if self.refused is not None:
            raise self.refused
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            self.refused = ProblemError(
                408, f"The body did not arrive within {self._seconds:g} seconds.", headers={"Connection": "close"}
            )
            raise self.refused from error
        if message["type"] == "http.request":
            self._n_bytes += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._n_bytes > self._most_bytes:
                self.refused = too_long(self._most_bytes)
                raise self.refused
        return message


def too_long(most_bytes: int) -> ProblemError:
    """The problem of a body that is too long."""
    return ProblemError(
        413, f"The body is longer than {most_bytes} bytes (serving.max_body_bytes). Send fewer interactions at a time."
    )


@lru_cache(maxsize=4096)
def address_group(host: str) -> str:
    """Whom an address belongs to: itself, or for IPv6 its /64, of which one customer has every address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]  # a proxy's word for somebody, such as `unknown`
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address.packed[:8] + bytes(8), 64)))
