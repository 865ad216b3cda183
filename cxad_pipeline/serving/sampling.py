"""Which scored interactions become events when there are more than the stream may carry.

Belongs here: the rate and the choice. Does not belong here: what becomes of the chosen ones (`stream`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt


class Sampler:
    """A token bucket that lets anomalies go before others.

    It fills with `rate` tokens a second and holds those of two seconds. Ordinary interactions leave the half of it, so
    that an anomaly finds a token also while ordinary ones take all that comes in.

    Parameters
    ----------
    rate
        Events a second in the long run.
    clock
        Seconds that never go back.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._kept_for_anomalies = max(1.0, rate)
        self._most = 2 * self._kept_for_anomalies
        self._tokens, self._at = self._most, clock()
        self._lock = threading.Lock()
        self.sampled_out = 0

    def choose(self, decisive: npt.NDArray[np.bool_]) -> list[int]:
        """Rows of a batch that become events, in their order.

        Parameters
        ----------
        decisive
            (n,), whether the row is an anomaly.
        """
        n_rows = len(decisive)
        if n_rows == 0:
            return []
        anomalies = np.flatnonzero(decisive)
        n_others = n_rows - len(anomalies)
        with self._lock:
            self._fill()
            n_first = min(len(anomalies), max(0, int(self._tokens)))
            self._tokens -= n_first
            n_second = min(n_others, max(0, int(self._tokens - self._kept_for_anomalies)))
            self._tokens -= n_second
            self.sampled_out += n_rows - n_first - n_second
        if n_first + n_second == n_rows:
            return list(range(n_rows))
        chosen = _spread(anomalies, n_first)
        if n_second:
            others = np.flatnonzero(np.logical_not(decisive))
            chosen = np.sort(np.concatenate([chosen, _spread(others, n_second)]))
        return [int(row) for row in chosen]

    def spend(self, n: int) -> None:
        """Take tokens for events of other worker processes, so that the rate holds for all of them together."""
        with self._lock:
            self._fill()
            self._tokens -= n

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now


def _spread(rows: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """`n` of the rows, evenly over all of them: the middle one of each of n parts."""
    return rows[(2 * np.arange(n) + 1) * len(rows) // (2 * n)] if n else rows[:0]
