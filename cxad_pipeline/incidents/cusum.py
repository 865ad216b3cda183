"""Cumulative sums over windows: what each window is too small to show.

They are window-limited (Lai 1995, JRSS B 57): the sum of a window begins at 0 `MEMORY` windows before it. So what is
said of a window depends on these alone, and not on how many windows are tested together: scored again by itself, it
says the same.

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
"""Highest value of a sum: it comes down to 0 within a day of ordinary windows after the longest fault."""
MEMORY = 48
"""Windows, that of the sum included, that it is made of, tested or not."""
LATELY, NOT_BEFORE = 3, 12
"""Tested windows over which a sum must not have come down to speak of something that goes on, and among how many
windows they are: what was found before a closed night says nothing of the morning."""


def cusum(
    z: FloatArray, shift: FloatArray, tested: BoolArray, drift: float
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """One-sided sums S = max(0, S + z - drift) over the windows, per segment: Steiner et al. (2000), Biostatistics 1.

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
        Whether it still goes on, (s, t): of the windows since the sum was last 0, those of `LATELY` added as much as
        was taken off or more. At its highest value the sum itself would not show it.
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
            level, run, length = 0.0, 0.0, 0.0
            for u in range(max(t - MEMORY + 1, 0), t + 1):
                if tested[s, u]:
                    level = min(max(level + min(z[s, u], MOST_OF_ONE) - drift, 0.0), most)
                    if level > 0.0:
                        run += shift[s, u]
                        length += 1.0
                    else:
                        run, length = 0.0, 0.0
            sums[s, t] = level
            means[s, t] = run / length if length > 0.0 else 0.0
            added, left = 0.0, min(length, float(LATELY))
            for u in range(t, max(t - NOT_BEFORE, -1), -1):
                if tested[s, u] and left > 0.0:
                    added += min(z[s, u], MOST_OF_ONE) - drift
                    left -= 1.0
            lasts[s, t] = length > 0.0 and added >= 0.0
