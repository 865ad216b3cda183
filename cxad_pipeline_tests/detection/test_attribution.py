"""Contributions folded and shared by hand, and the wording of reasons."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import pytest

from cxad_pipeline.detection.attribution import (
    Narrator,
    Wording,
    category_reason,
    fold,
    missing_reason,
    moment_reason,
    number_reason,
    positive_shares,
)
from cxad_pipeline.detection.local_time import DAY, HOUR
from cxad_pipeline.detection.tables import columns_of
from cxad_pipeline.detection.typical import StartTimes, TypicalRanges


def test_folding_adds_the_features_of_a_column_and_keeps_the_sum():
    contributions = np.array([[1.0, 2.0, -3.0, 4.0]])
    folded = fold(contributions, ["x", "c", "c", "y"], ["y", "x", "c"])
    np.testing.assert_array_equal(folded, [[4.0, 1.0, -1.0]])


def test_only_what_makes_a_row_unusual_has_a_share():
    shares = positive_shares(np.array([[3.0, 1.0, -8.0], [-1.0, -2.0, 0.0]]))
    np.testing.assert_array_equal(shares, [[0.75, 0.25, 0.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("column", "value", "low", "high", "segment", "direction", "text"),
    [
        ("hold_time_seconds", 612.0, 10.0, 140.0, "voice", "high", "hold time 612 s, typical 10-140 s for voice"),
        ("csat", 1.0, 3.0, 5.0, "", "low", "satisfaction 1, typical 3-5"),
        ("transfers", 2.0, 0.0, 2.0, "", "within", "transfers 2, typical 0-2"),
        ("own_column", 4.25, 4.0, 4.0, "", "high", "own column 4.25, typical 4"),
        ("balance", -7.5, -5.0, -2.0, "", "low", "balance -7.5, typical -5 to -2"),
        ("aht_seconds", 12345.6, 60.0, 900.0, "", "high", "handle time 12,346 s, typical 60-900 s"),
    ],
)
def test_numbers_in_words(column: str, value: float, low: float, high: float, segment: str, direction: str, text: str):
    reason = number_reason(column, value, low, high, segment, 0.5, Wording({}))
    assert (reason.text, reason.direction, reason.low, reason.high) == (text, direction, low, high)


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (140.4, 10.0, 140.2, "satisfaction 140.4, typical 10-140.2"),
        (9.8, 9.8004, 12.0, "satisfaction 9.8, typical 9.8004-12"),
        (1234.56, 0.0, 1234.52, "satisfaction 1,234.6, typical 0-1,234.5"),
        (140.4, 10.0, 140.45, "satisfaction 140, typical 10-140"),
        (3.0, 2.0001, 2.0004, "satisfaction 3, typical 2"),
        (3.0, -0.0, 2.0, "satisfaction 3, typical 0-2"),
    ],
)
def test_a_value_outside_its_range_never_reads_as_one_of_its_ends(value: float, low: float, high: float, text: str):
    assert number_reason("csat", value, low, high, "", 0.5, Wording({})).text == text


def test_a_number_that_its_segment_never_has_is_told_of_that_segment():
    reason = number_reason("csat", 3.0, np.nan, np.nan, "email/sales", 0.5, Wording({}))
    assert reason.text == "satisfaction 3, never given in training for email/sales"


def test_missing_numbers_and_categories_in_words():
    words = Wording({"csat": ("score", "points")})
    assert missing_reason("csat", 0.0312, 0.1, Wording({})).text == "satisfaction missing (as in 3.1% of training)"
    assert missing_reason("csat", 0.0, 0.1, Wording({})).text == "satisfaction missing, never in training"
    assert missing_reason("csat", None, 0.1, Wording({})).text == "satisfaction missing"
    assert number_reason("csat", 2.0, 1, 5, "", 0.1, words).text == "score 2 points, typical 1-5 points"
    assert category_reason("channel", "fax", 0.003, 0.1, words).text == "channel fax, rare (0.3% of training)"
    assert category_reason("channel", "voice", 0.6, 0.1, words).text == "channel voice (60% of training)"
    assert category_reason("channel", "telex", None, 0.1, words).text == "channel telex, not seen in training"
    assert category_reason("channel", "voice", 0.999, 0.1, words).text == "channel voice (100% of training)"
    assert category_reason("channel", "fax", 1e-6, 0.1, words).text == "channel fax, rare (under 0.01% of training)"
    assert missing_reason("channel", None, 0.1, words).direction == "missing"


MONDAY = int(dt.datetime(2026, 6, 1, tzinfo=dt.UTC).timestamp())


def weeks_of_starts(weeks: int) -> np.ndarray:
    """Ten starts at 09:30 and at 10:30 UTC each day; one start on Sundays at 03:15."""
    starts = []
    for day in range(7 * weeks):
        starts += [MONDAY + day * DAY + hour * HOUR + 1800 for hour in (9, 10) for _ in range(10)]
        if day % 7 == 6:
            starts.append(MONDAY + day * DAY + 3 * HOUR + 900)
    return np.array(starts)


@pytest.mark.parametrize(
    ("moment", "text", "direction"),
    [
        # 20 of 4,230 starts: on the ten Sundays of winter time the local clock says 04:15.
        (
            dt.datetime(2026, 6, 14, 3, 12),
            "time Sunday 05:12, rare (0.47% of training in that hour of the week)",
            "rare",
        ),
        (dt.datetime(2026, 6, 15, 9, 59), "time Monday 11:59 (7.1% of training in that hour of the week)", "common"),
        (dt.datetime(2026, 6, 16, 0, 0), "time Tuesday 02:00, no training in that hour of the week", "unseen"),
        # In winter the same hour of the local clock is another one in UTC.
        (dt.datetime(2026, 12, 14, 10, 0), "time Monday 11:00 (7.1% of training in that hour of the week)", "common"),
    ],
)
def test_moments_in_words_by_the_local_clock(moment: dt.datetime, text: str, direction: str):
    table = columns_of({"start": weeks_of_starts(30)})
    starts = StartTimes.fit(table, "start", "Europe/Berlin")
    assert starts.by_weekday
    second = int(moment.replace(tzinfo=dt.UTC).timestamp())
    reason = moment_reason(second, starts, 0.5, Wording({"start": ("time", "")}))
    assert (reason.text, reason.direction, reason.column) == (text, direction, "start")
    assert reason.value == text.removeprefix("time ")[: len(str(reason.value))]


def test_few_rows_speak_of_hours_of_the_day():
    starts = StartTimes.fit(columns_of({"start": weeks_of_starts(1)}), "start", "UTC")
    reason = moment_reason(MONDAY + 9 * HOUR, starts, 0.5, Wording({}))
    assert reason.text == "start Monday 09:00 (50% of training in that hour of the day)"


def test_a_number_usual_in_the_centre_and_not_in_its_segment_names_the_segment():
    rng = np.random.default_rng(0)
    n = 3000
    channel = np.array(["chat", "email", "voice"])[np.arange(n) % 3]
    queue = np.array(["billing", "sales"])[np.arange(n) % 2]
    hold = np.where(channel == "voice", 200.0, 10.0) * rng.uniform(0.5, 1.5, n)
    training = columns_of({"hold_time_seconds": hold, "queue": queue, "channel": channel})
    typical = TypicalRanges.fit(training, ["hold_time_seconds"], ["channel"], ["channel", "queue"])
    rows = {
        "hold_time_seconds": np.array([200.0] * 4),
        "channel": ["chat", "voice", "chat", "fax"],
        "queue": ["sales", "sales", "refunds", "sales"],
    }
    narrator = Narrator(columns_of(rows), typical, ["hold_time_seconds"], {})
    (chat,), (voice,), (parent,), (unknown,) = narrator.reasons(np.ones((4, 1)), top=3)
    of_chat = np.percentile(hold[(channel == "chat") & (queue == "sales")], [5, 95])
    assert (chat.direction, chat.segment) == ("high", "chat/sales")
    assert (chat.low, chat.high) == pytest.approx(tuple(of_chat))
    assert chat.text == f"hold time 200 s, typical {of_chat[0]:.3g}-{of_chat[1]:.3g} s for chat/sales"
    assert (voice.direction, voice.segment) == ("within", "voice/sales")
    # A queue that chat has never had: the range of chat. A channel that is not known: that of all rows.
    assert (parent.direction, parent.segment) == ("high", "chat")
    assert (parent.low, parent.high) == pytest.approx(tuple(np.percentile(hold[channel == "chat"], [5, 95])))
    assert (unknown.direction, unknown.segment) == ("within", "")


def test_what_is_often_missing_is_told_only_where_there_is_no_other_reason():
    hold = np.r_[np.full(10, np.nan), np.arange(90.0)]
    csat = np.r_[np.arange(99.0), np.nan]
    typical = TypicalRanges.fit(columns_of({"hold": hold, "csat": csat}), ["hold", "csat"], [], [])
    rows = columns_of({"hold": np.array([np.nan, np.nan]), "csat": np.array([np.nan, 50.0])})
    narrator = Narrator(rows, typical, ["hold", "csat"], {})
    rare, often = narrator.reasons(np.full((2, 2), 0.5), top=3)
    assert [reason.text for reason in rare] == ["satisfaction missing (as in 1% of training)"]
    assert [reason.text for reason in often] == [
        "hold missing (as in 10% of training)",
        "satisfaction 50, typical 4.9-93.1",
    ]


def test_the_top_reasons_are_those_that_remain_when_every_column_is_told_and_the_plain_ones_left_out():
    random = np.random.default_rng(4)
    n, columns = 400, ["hold", "csat", "aht", "channel", "queue", "start"]
    training = {name: random.normal(size=2000) for name in ("hold", "csat", "aht")}
    training["hold"][:200] = np.nan
    training["csat"][:10] = np.nan
    training["channel"] = random.choice(["voice", "chat", "fax"], 2000, p=[0.6, 0.38, 0.02])
    training["queue"] = random.choice(["sales", "billing"], 2000)
    training["start"] = MONDAY + random.integers(8 * HOUR, 16 * HOUR, 2000)
    rows = {name: random.normal(scale=2, size=n) for name in ("hold", "csat", "aht")}
    for name in ("hold", "csat"):
        rows[name][random.random(n) < 0.3] = np.nan
    rows["channel"] = random.choice(["voice", "chat", "fax", "telex"], n)
    rows["queue"] = random.choice(["sales", "billing", ""], n)
    rows["start"] = MONDAY + random.integers(0, DAY, n)
    typical = TypicalRanges.fit(columns_of(training), columns[:3], columns[3:5], ["queue"], "start", "UTC")
    narrator = Narrator(columns_of(rows), typical, columns, {})
    shares = random.choice([0.0, 0.1, 0.2, 0.3], (n, len(columns)))
    # A column with all of the share is told, whatever is to be said of it.
    alone = [narrator.reasons(np.tile(one, (n, 1)), top=1) for one in np.eye(len(columns))]
    few = 0
    for top in (0, 1, 2, 3, 6):
        for row, found in enumerate(narrator.reasons(shares, top)):
            order = [j for j in np.argsort(-shares[row], kind="stable") if shares[row, j] > 0]
            told = [dataclasses.replace(alone[j][row][0], share=float(shares[row, j])) for j in order]
            telling = [
                reason
                for reason in told
                if reason.direction not in ("within", "common")
                and not (reason.direction == "missing" and reason.column == "hold")
            ]
            assert found == (telling or told)[:top]
            few += bool(told) and not telling
    assert few > 20
