"""Cumulative sums over windows: what each window is too small to show.

They are window-limited (Lai 1995, JRSS B 57): the sum of a window begins at 0 `MEMORY` windows before it. So what is
said of a window depends on these alone, and not on how many windows are tested together: scored again by itself, it
says the same.

A sum remembers: hours after a fault, and on the next morning after a closed night, it is still nearly as high as at the
fault's end, and an ordinary window that happens to be a little worse would call again. So a sum that comes down from
its highest value begins anew at 0, and speaks only while the last tested windows deviate by themselves.

Belongs here: the recursion and what it says about the run. Does not belong here: the deviations that it adds up.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.kernels import compiled

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MOST_OF_ONE = 4.0
"""What one window can add, before the drift: a drift is made of several."""
MOST = 12.0
"""Highest value of a sum: the longest fault is soon forgotten when it has ended."""
ENDED = 2.0
"""What a sum has added up has ended when it has come down so far from its highest value: some ordinary windows."""
MEMORY = 48
"""Windows, that of the sum included, that it is made of, tested or not."""
LATELY, NOT_BEFORE = 3, 12
"""Tested windows that have to deviate for a sum to speak of something that goes on, and among how many windows they all
have to be: what was found before a closed night says nothing of the morning."""
LEAST_LATELY = 2.33
"""Standard errors by which their mean has to: by chance that of one in 100 does."""


def cusum(
    z: FloatArray, shift: FloatArray, tested: BoolArray, drift: float
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """One-sided sums S = max(0, S + z - drift) over the windows, per segment: Steiner et al. (2000), Biostatistics 1.

    How far a sum is below its highest value is the same recursion the other way round, and finds the end of what it
    has added up: Page (1954), Biometrika 41.

    Parameters
    ----------
    z
        Standardised deviations in the bad direction, (s, t).
    shift
        The deviations themselves, (s, t).
    tested
        Windows that count; the sum passes the others unchanged, (s, t).
    drift
        What is taken off in each window.

    Returns
    -------
    FloatArray
        The sums, (s, t).
    FloatArray
        Mean deviation since the sum was last 0, (s, t).
    BoolArray
        Whether it still goes on, (s, t): of the windows since the sum was last 0, the last `LATELY`, or all where they
        are fewer, are among the last `NOT_BEFORE`, and deviate by `LEAST_LATELY`. The sum itself does not show it.
    """
    sums, means, lasts = np.zeros(z.shape), np.zeros(z.shape), np.zeros(z.shape, dtype=np.bool_)
    z, shift, tested = np.ascontiguousarray(z), np.ascontiguousarray(shift), np.ascontiguousarray(tested)
    _cusums(z, shift, tested, drift, MOST, sums, means, lasts)
    return sums, means, lasts


@compiled
def _cusums(
    z: FloatArray,
    shift: FloatArray,
    tested: BoolArray,
    drift: float,
    most: float,
    sums: FloatArray,
    means: FloatArray,
    lasts: BoolArray,
) -> None:
    for s in range(z.shape[0]):
        for t in range(z.shape[1]):
            level, highest, run, length = 0.0, 0.0, 0.0, 0.0
            for u in range(max(t - MEMORY + 1, 0), t + 1):
                if tested[s, u]:
                    level = min(max(level + min(z[s, u], MOST_OF_ONE) - drift, 0.0), most)
                    highest = max(highest, level)
                    if level > 0.0 and highest - level < ENDED:
                        run += shift[s, u]
                        length += 1.0
                    else:
                        level, highest, run, length = 0.0, 0.0, 0.0, 0.0
            sums[s, t] = level
            means[s, t] = run / length if length > 0.0 else 0.0
            wanted = min(length, float(LATELY))
            found, lately = 0.0, 0.0
            for u in range(t, max(t - NOT_BEFORE, -1), -1):
                if tested[s, u] and found < wanted:
                    lately += min(z[s, u], MOST_OF_ONE)
                    found += 1.0
            lasts[s, t] = length > 0.0 and found == wanted and lately >= LEAST_LATELY * np.sqrt(wanted)
