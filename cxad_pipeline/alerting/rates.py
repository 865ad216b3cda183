"""The two statistical rules of a digest: when a window's rate is high, and which segment comes first.

Belongs here: rules over counts, without any table or message. Does not belong here: tests of segments over time
and the promised number of incidents; they come with the incidents and judge far more carefully than a digest.
"""

from __future__ import annotations

import math

COUNT_VARIATION = 0.6
"""Coefficient of variation of the true anomaly rate between windows.

Counts of flagged interactions vary more than a Poisson count does, because hours of the day and weekdays differ and
because the threshold itself is an estimate. The value is read off one data set: an Isolation Forest with a 99 %
threshold on the Technion call centre (January 1999), 6-hour windows of at least 30 calls, three seeds. In the 48
windows of the training weeks the variation about the promised rate was 0.59 to 0.60, and a Poisson bound at 1 % fired
in 6 % of them; in the 24 windows after them it was 0.33 to 0.42, at about half the promised rate.
Other centres will differ.
"""

FALSE_HIGH_SHARE = 0.005
"""Share of ordinary windows that may be called high under the model of `smallest_high_count`: one in 200, which is one
in 50 days with four windows a day. The share has not been verified on data: that would take thousands of windows."""

MINIMUM_ANOMALIES = 5
"""Fewer anomalies than this never make a rate high nor a segment stand out."""

WILSON_Z = 1.96
"""Normal quantile of the Wilson bound: the lower end of a two-sided 95 % interval."""


def smallest_high_count(expected: float) -> int:
    """Smallest number of anomalies in a window that is called high.

    The count of an ordinary window is taken as negative binomial with mean `expected` and variance
    `expected + (COUNT_VARIATION * expected) ** 2`; the answer is the smallest k with P(count >= k) at most
    `FALSE_HIGH_SHARE`, and at least `MINIMUM_ANOMALIES`. It is a plain bound for one window, without hour of the week,
    season or memory of earlier windows.

    Parameters
    ----------
    expected
        Expected number of anomalies, scored interactions times the promised share; not negative.

    Returns
    -------
    int
        The count from which on the rate is high.
    """
    size = 1 / COUNT_VARIATION**2
    failure = size / (size + expected)
    probability = failure**size  # P(count = 0); far from underflow for any count that fits in memory
    at_most = probability
    count = 0
    while at_most < 1 - FALSE_HIGH_SHARE:
        probability *= (count + size) / (count + 1) * (1 - failure)
        count += 1
        at_most += probability
    return max(count + 1, MINIMUM_ANOMALIES)


def wilson_lower(anomalies: int, scored: int) -> float:
    """Lower bound of a share, cautious where there are few observations.

    Parameters
    ----------
    anomalies, scored
        Anomalies among the scored interactions; `scored` is at least 1.

    Returns
    -------
    float
        Lower end of the Wilson score interval, 0 to 1 (E. B. Wilson, JASA 1927).
    """
    z2 = WILSON_Z**2
    share = anomalies / scored
    middle = share + z2 / (2 * scored)
    spread = WILSON_Z * math.sqrt(share * (1 - share) / scored + z2 / (4 * scored**2))
    return max(0.0, (middle - spread) / (1 + z2 / scored))
