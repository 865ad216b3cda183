"""How a contact centre behaves on a normal day: volumes, mixes, durations, and what customers make of them.

Belongs here: the assumptions about the centre, as constants and as draws from them. Does not belong here:
what goes wrong (`simulated_faults`), nor dates, tables and files (`simulation`).

The centre serves in four languages from one site whose clock is UTC. Handle times are log-normal, as measured
in call centres (Brown et al., 2005, "Statistical Analysis of a Telephone Call Center", JASA 100); the hourly
counts are overdispersed, as theirs are. An answered e-mail knows no hold: the column holds 0, which is what the
flat exports of the usual suites write, not an empty cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

QUEUES = ("billing", "support", "sales", "retention", "technical")
CHANNELS = ("voice", "chat", "email")
LANGUAGES = ("en", "de", "fr", "es")
VOICE, CHAT, EMAIL = range(3)
TECHNICAL = QUEUES.index("technical")

#: Contacts of an ordinary week at volume scale 1.
WEEKLY_CONTACTS = 25_000
QUEUE_SHARE = np.array([0.28, 0.30, 0.16, 0.08, 0.18])
#: Share of each channel (columns) in each queue (rows).
CHANNEL_SHARE = np.array(
    [[0.60, 0.18, 0.22], [0.52, 0.30, 0.18], [0.62, 0.30, 0.08], [0.80, 0.12, 0.08], [0.48, 0.34, 0.18]]
)
#: Weight of Monday to Sunday, per channel.
WEEKDAY_WEIGHT = np.array(
    [
        [1.20, 1.06, 1.00, 0.98, 0.94, 0.42, 0.20],
        [1.10, 1.02, 1.00, 0.98, 0.98, 0.75, 0.60],
        [1.10, 1.00, 1.00, 0.98, 0.96, 0.72, 0.68],
    ]
)
#: Weight of the 24 hours, per channel: calls dip at lunch, chat peaks in the evening, e-mail is nearly flat.
HOUR_WEIGHT = np.array(
    [
        [4, 3, 3, 3, 3, 5, 12, 38, 78, 100, 104, 98, 72, 76, 92, 94, 86, 74, 56, 40, 28, 16, 9, 6],
        [6, 4, 3, 3, 3, 4, 8, 20, 42, 60, 68, 70, 64, 66, 74, 80, 86, 92, 98, 100, 92, 72, 44, 18],
        [34, 32, 30, 30, 30, 32, 36, 42, 48, 50, 50, 48, 46, 46, 48, 48, 46, 44, 42, 42, 42, 40, 38, 36],
    ]
)
#: Only support and technical answer the telephone outside 07:00-21:00 and on Sundays.
ALWAYS_OPEN = np.array([False, True, False, False, True])
OPENS, CLOSES = 7, 21

#: How thin the rota is against the forecast, per hour: breaks at lunch, the change of shift, the evening.
STRETCH = np.array(
    [
        *(1.00, 1.00, 1.00, 1.00, 1.00, 0.98, 0.92, 0.90, 0.98, 1.06, 1.06, 1.02),
        *(1.14, 1.10, 0.98, 0.98, 1.00, 1.06, 1.04, 1.08, 1.10, 1.04, 1.02, 1.00),
    ]
)
#: Monday's extra pressure, which the rota never quite meets.
MONDAY_STRETCH = 1.04
#: Coefficient of variation of a day's volume, and of an hour's volume in one queue, beyond Poisson.
DAY_VARIATION, HOUR_VARIATION = 0.05, 0.12

#: Weight of each language (columns) in each queue (rows).
LANGUAGE_WEIGHT = np.array(
    [
        [0.44, 0.30, 0.15, 0.11],
        [0.46, 0.28, 0.15, 0.11],
        [0.42, 0.26, 0.17, 0.15],
        [0.38, 0.36, 0.16, 0.10],
        [0.54, 0.26, 0.12, 0.08],
    ]
)
#: Smaller language teams keep their callers waiting for longer.
LANGUAGE_WAIT = np.array([1.0, 1.0, 1.15, 1.35])

#: Median handle time in seconds without a transfer, queue x channel, and its sigma on the log scale.
HANDLE_MEDIAN = np.array([[270, 420, 700], [350, 520, 820], [300, 400, 600], [430, 560, 760], [620, 800, 1200]])
HANDLE_SIGMA = np.array(
    [[0.52, 0.44, 0.52], [0.54, 0.45, 0.55], [0.46, 0.40, 0.50], [0.52, 0.44, 0.52], [0.50, 0.46, 0.55]]
)
#: Longer handling per hand-over, as a share.
HANDLE_PER_TRANSFER = 0.25
SHORTEST_HANDLE = 12.0

#: Chance to wait at all, at load 1, as log odds; how it rises with load; the wait's median in s and sigma.
WAIT_LOG_ODDS = np.array([0.1, 0.3, -np.inf])
WAIT_LOG_ODDS_PER_LOAD = 5.0
WAIT_MEDIAN = np.array([58.0, 16.0, 0.0])
WAIT_MEDIAN_PER_LOAD = 2.4
WAIT_SIGMA = np.array([0.85, 0.60, 0.0])

#: Mean transfers per call in each queue, and the share of it on each channel.
TRANSFER_MEAN = np.array([0.11, 0.14, 0.06, 0.10, 0.22])
TRANSFER_CHANNEL = np.array([1.0, 0.7, 0.5])

#: Satisfaction before noise: per channel, and per queue on top.
MOOD_CHANNEL = np.array([4.65, 4.70, 4.35])
MOOD_QUEUE = np.array([-0.05, 0.05, 0.20, -0.30, -0.10])
#: Share of customers who came angry, whatever the agent does, and by how many points.
ANGRY_SHARE, ANGRY_POINTS = 0.06, 3.0
#: Share of contacts whose survey is answered, for a customer of middling opinion.
RESPONSE_CHANNEL = np.array([0.21, 0.38, 0.13])


@dataclass
class Contacts:
    """The contacts of one day in time order, as arrays of shape (n,); faults change them in place.

    Attributes
    ----------
    second
        Second of the day.
    queue, channel, language
        Positions in `QUEUES`, `CHANNELS`, `LANGUAGES`.
    aht, hold
        Seconds.
    transfers
        Count.
    mood, effort, complaint_draw, response_draw, surge
        Noise that later steps use. It is drawn here so that a fault changes what it touches and nothing else.
    csat_shift, complaint_excess
        What an incident takes from satisfaction (points), and adds to the expected complaints.
    """

    second: Integers
    queue: Integers
    channel: Integers
    language: Integers
    aht: Floats
    hold: Floats
    transfers: Integers
    mood: Floats
    effort: Floats
    complaint_draw: Floats
    response_draw: Floats
    surge: Floats
    csat_shift: Floats
    complaint_excess: Floats

    def __len__(self) -> int:
        return len(self.second)


@dataclass
class Outcomes:
    """What came of the contacts: satisfaction (NaN where no survey came back), efficiency, complaints."""

    csat: Floats
    ies: Floats
    complaints: Integers


def _expected_week() -> Floats:
    weight = WEEKDAY_WEIGHT[:, :, None] * HOUR_WEIGHT[:, None, :]
    week = np.broadcast_to(weight, (len(QUEUES), *weight.shape)).copy()
    closed = np.zeros((7, 24), dtype=bool)
    closed[:, :OPENS] = closed[:, CLOSES:] = closed[6] = True
    week[~ALWAYS_OPEN, VOICE] *= ~closed
    week /= week.sum(axis=(2, 3), keepdims=True)
    week *= (WEEKLY_CONTACTS * QUEUE_SHARE[:, None] * CHANNEL_SHARE)[:, :, None, None]
    return week


#: Expected contacts at volume scale 1: queue x channel x weekday (Monday first) x hour, shape (5, 3, 7, 24).
EXPECTED_WEEK: Floats = _expected_week()


def _language_thresholds() -> Floats:
    # German customers call early, English and Spanish speaking ones (overseas) late.
    tilt = np.ones((24, len(LANGUAGES)))
    tilt[:10, 1] = 1.25
    tilt[17:] *= [1.25, 0.8, 0.95, 1.35]
    weight = LANGUAGE_WEIGHT[:, None, :] * tilt
    cumulated: Floats = np.cumsum(weight, axis=2) / weight.sum(axis=2, keepdims=True)
    return cumulated[:, :, :-1]


_LANGUAGE_THRESHOLDS = _language_thresholds()


def draw_contacts(rng: np.random.Generator, weekday: int, volume_scale: float) -> Contacts:
    """Draw one normal day.

    Parameters
    ----------
    rng
        Source of all noise of this day.
    weekday
        0 is Monday.
    volume_scale
        Factor on `EXPECTED_WEEK`. Staff grows with it, so that waits do not depend on it.

    Returns
    -------
    Contacts
        In time order.
    """
    day = rng.gamma(DAY_VARIATION**-2, DAY_VARIATION**2)
    hour = rng.gamma(HOUR_VARIATION**-2, HOUR_VARIATION**2, size=(len(QUEUES), 24))
    pressure = day * hour
    counts = rng.poisson(EXPECTED_WEEK[:, :, weekday] * pressure[:, None, :] * volume_scale)
    load_of_hour = pressure * STRETCH * (MONDAY_STRETCH if weekday == 0 else 1.0)

    queue, channel, hour_of_day = np.unravel_index(np.repeat(np.arange(counts.size), counts.ravel()), counts.shape)
    n = len(queue)
    second = hour_of_day * 3600 + rng.integers(0, 3600, size=n)
    order = np.argsort(second, kind="stable")
    second, queue, channel, hour_of_day = second[order], queue[order], channel[order], hour_of_day[order]

    language = (rng.random(n)[:, None] > _LANGUAGE_THRESHOLDS[queue, hour_of_day]).sum(axis=1)
    transfers = rng.poisson(TRANSFER_MEAN[queue] * TRANSFER_CHANNEL[channel])
    spread = HANDLE_SIGMA[queue, channel] * rng.standard_normal(n)
    aht = HANDLE_MEDIAN[queue, channel] * np.exp(spread) * (1 + HANDLE_PER_TRANSFER * transfers)

    excess = load_of_hour[queue, hour_of_day] - 1
    waits = rng.random(n) < 1 / (1 + np.exp(-WAIT_LOG_ODDS[channel] - WAIT_LOG_ODDS_PER_LOAD * excess))
    typical = WAIT_MEDIAN[channel] * LANGUAGE_WAIT[language] * np.exp(WAIT_MEDIAN_PER_LOAD * excess)
    hold = np.where(waits, typical * np.exp(WAIT_SIGMA[channel] * rng.standard_normal(n)), 0.0)

    angry = rng.random(n) < ANGRY_SHARE
    return Contacts(
        second=second,
        queue=queue,
        channel=channel,
        language=language,
        aht=np.maximum(aht, SHORTEST_HANDLE),
        hold=hold,
        transfers=transfers,
        mood=0.8 * rng.standard_normal(n) - ANGRY_POINTS * angry,
        effort=rng.standard_normal(n),
        complaint_draw=rng.random(n),
        response_draw=rng.random(n),
        surge=rng.gamma(4.0, 0.25, size=n),
        csat_shift=np.zeros(n),
        complaint_excess=np.zeros(n),
    )


def outcomes_of(contacts: Contacts) -> Outcomes:
    """What customers and the centre make of the contacts: a function of them and of their noise, no more draws.

    Satisfaction falls with hold, transfers and overlong handling; surveys come back more often from customers of
    strong opinion; complaints are rare and grow with hold, transfers and dissatisfaction; efficiency falls with
    transfers and with handle times above the usual ones of the queue and channel.
    """
    excess = np.log(contacts.aht / HANDLE_MEDIAN[contacts.queue, contacts.channel])
    satisfaction = (
        MOOD_CHANNEL[contacts.channel]
        + MOOD_QUEUE[contacts.queue]
        - 0.42 * np.log1p(contacts.hold / 60)
        - 0.45 * contacts.transfers
        - 0.30 * excess
        - contacts.csat_shift
        + contacts.mood
    )
    csat = np.clip(np.rint(satisfaction), 1, 5)
    opinion = np.where(csat == 1, 1.35, np.where(csat == 5, 1.15, np.where(csat == 3, 0.80, 0.95)))
    answered = contacts.response_draw < RESPONSE_CHANNEL[contacts.channel] * opinion

    log_rate = -5.4 + 0.5 * contacts.transfers + 0.3 * contacts.hold / 300 + 0.75 * (4 - np.maximum(satisfaction, 1))
    rate = np.minimum(np.exp(np.minimum(log_rate, 0.0)), 0.5) + contacts.complaint_excess
    complaints = sum((contacts.complaint_draw < rate * share).astype(np.int64) for share in (1.0, 0.12, 0.012))

    ies = 78 - 8.5 * contacts.transfers - 11 * excess - 1.2 * np.log1p(contacts.hold / 60) + 5.5 * contacts.effort
    return Outcomes(
        csat=np.where(answered, csat, np.nan),
        ies=np.clip(np.round(ies, 1), 0, 100),
        complaints=np.asarray(complaints, dtype=np.int64),
    )
