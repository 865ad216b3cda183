"""Hour and weekday as features: local clocks against `zoneinfo`, days when they change, all forms of a moment."""

from __future__ import annotations

import datetime as dt
import json
import math
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxad_pipeline.detection import DetectorConfig
from cxad_pipeline.detection.features import FeatureMap
from cxad_pipeline.detection.local_time import MISSING_MOMENT, weekdays_and_hours, zone_changes
from cxad_pipeline.detection.tables import TableError, columns_of

ZONES = ("UTC", "Europe/Berlin", "Asia/Jerusalem", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca")
NAMES = ["start hour sine", "start hour cosine", "start weekday sine", "start weekday cosine"]


def fitted(timezone: str = "Europe/Berlin") -> FeatureMap:
    config = DetectorConfig(numeric=["x"], timestamp="start", timezone=timezone)
    return FeatureMap.fit({"x": np.arange(4.0), "start": np.arange(4) * 3600}, config)


def by_hand(moment: dt.datetime, timezone: str) -> list[float]:
    local = moment.astimezone(ZoneInfo(timezone))
    hour = 2 * math.pi * (local.hour + local.minute / 60 + local.second / 3600) / 24
    weekday = 2 * math.pi * local.weekday() / 7
    return [0.5 * f(angle) for angle in (hour, weekday) for f in (math.sin, math.cos)]


@given(
    st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2099, 12, 30), timezones=st.just(dt.UTC)),
    st.sampled_from(ZONES),
)
def test_the_local_clock_is_that_of_zoneinfo(moment: dt.datetime, timezone: str):
    local = moment.astimezone(ZoneInfo(timezone))
    weekday, hour = weekdays_and_hours(np.array([int(moment.timestamp())]), timezone)
    assert (weekday[0], hour[0]) == (local.weekday(), local.hour)


MAPS = {timezone: fitted(timezone) for timezone in ZONES}


@given(
    st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2099, 12, 30), timezones=st.just(dt.UTC)),
    st.sampled_from(ZONES),
)
def test_hours_and_weekdays_lie_on_circles(moment: dt.datetime, timezone: str):
    moment = moment.replace(microsecond=0)
    X = MAPS[timezone].transform({"start": [moment]})
    np.testing.assert_allclose(X[0, 1:], by_hand(moment, timezone), atol=1e-6)


@pytest.mark.parametrize(
    ("utc", "weekday", "hour"),
    [
        ("2026-03-29T00:59:59", 6, 1),  # the last second of winter time in Berlin
        ("2026-03-29T01:00:00", 6, 3),
        ("2026-10-25T00:59:59", 6, 2),  # the last second of summer time
        ("2026-10-25T01:00:00", 6, 2),  # the same local hour for the second time
        ("2026-10-25T22:59:59", 6, 23),
        ("2026-10-25T23:00:00", 0, 0),
    ],
)
def test_the_days_on_which_clocks_change(utc: str, weekday: int, hour: int):
    moment = np.array([np.datetime64(utc)]).astype("datetime64[s]").astype(np.int64)
    found = weekdays_and_hours(moment, "Europe/Berlin")
    assert (int(found[0][0]), int(found[1][0])) == (weekday, hour)
    X = fitted().transform({"start": moment})
    aware = dt.datetime.fromisoformat(utc).replace(tzinfo=dt.UTC)
    np.testing.assert_allclose(X[0, 1:], by_hand(aware, "Europe/Berlin"), atol=1e-6)


def test_every_change_of_a_zone_is_found_to_the_second():
    changes = zone_changes("Europe/Berlin")
    first = [np.datetime64(moment, "s").item() for moment in changes.moments.tolist()[:2]]
    assert first == [dt.datetime(1980, 4, 6, 1), dt.datetime(1980, 9, 28, 1)]
    assert set(changes.offsets.tolist()) == {3600, 7200}
    assert len(changes.moments) == 2 * (2099 - 1980 + 1)
    assert len(zone_changes("UTC").moments) == 0


def test_midnight_is_near_the_minute_before_and_sunday_near_monday():
    X = fitted("UTC").transform({"start": np.array(["2026-06-07T23:59", "2026-06-08T00:00"], "datetime64[m]")})
    assert np.linalg.norm(X[0, 1:3] - X[1, 1:3]) < 0.003
    week = fitted("UTC").transform({"start": np.arange(7) * 86_400})[:, 3:]
    steps = np.linalg.norm(week - np.roll(week, 1, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-5)


def test_every_form_of_a_moment_gives_the_same_features():
    moments = [
        dt.datetime(2026, 7, 4, 3, 12, 5, tzinfo=dt.UTC),
        None,
        dt.datetime(2026, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
    ]
    seconds = [None if moment is None else int(moment.timestamp()) for moment in moments]
    stamps = np.array([moment and moment.replace(tzinfo=None) for moment in moments], dtype="datetime64[us]")
    berlin = [moment and moment.astimezone(ZoneInfo("Europe/Berlin")) for moment in moments]
    forms = [
        {"start": stamps},
        {"start": stamps.astype("datetime64[ns]")},
        {"start": np.array(moments, dtype=object)},
        {"start": berlin},
        {"start": [moment and moment.replace(tzinfo=None) for moment in moments]},
        {"start": np.array(seconds, dtype=object)},
        {"start": np.array([np.nan if second is None else second for second in seconds])},
        pa.table({"start": pa.array(moments, pa.timestamp("us", "UTC"))}),
        pa.table({"start": pa.array(moments, pa.timestamp("ns", "Europe/Berlin"))}),
        pa.table({"start": pa.chunked_array([pa.array(seconds[:1], pa.int64()), pa.array(seconds[1:], pa.int64())])}),
        pa.table({"start": pa.array(seconds, pa.float64())}),
        pd.DataFrame({"start": pd.to_datetime(moments, utc=True)}),
        pd.DataFrame({"start": pd.to_datetime(berlin, utc=True).tz_convert("Asia/Tokyo")}),
    ]
    feature_map = fitted()
    expected = np.array([by_hand(moments[0], "Europe/Berlin"), [0.0] * 4, by_hand(moments[2], "Europe/Berlin")])
    for form in forms:
        encoded = feature_map.encode(columns_of(form))
        np.testing.assert_allclose(encoded.X[:, 1:], expected, atol=1e-6)
        assert encoded.missing_counts == {"x": 3, "start": 1}


def test_a_table_without_the_column_has_no_moment_anywhere():
    encoded = fitted().encode(columns_of({"x": [1.0, 2.0]}))
    np.testing.assert_array_equal(encoded.X[:, 1:], 0)
    assert encoded.missing_counts == {"x": 0, "start": 2}


def test_time_features_belong_to_the_timestamp_column():
    feature_map = fitted()
    assert feature_map.names == ["x", *NAMES]
    assert feature_map.columns_of == ["x"] + ["start"] * 4
    assert feature_map.columns == ["x", "start"]
    again = FeatureMap.from_dict(json.loads(json.dumps(feature_map.to_dict())))
    rows = {"x": np.arange(50.0), "start": np.arange(50) * 12_345_678}
    np.testing.assert_array_equal(again.transform(rows), feature_map.transform(rows))


def test_a_column_without_any_moment_is_dropped():
    table = pa.table({"x": [1.0, 2.0], "start": pa.nulls(2, pa.timestamp("s"))})
    feature_map = FeatureMap.fit(table, DetectorConfig(numeric=["x"], timestamp="start"))
    assert feature_map.names == ["x"]
    assert feature_map.dropped == ("start",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array(["2026-01-01"]), "column 'start' is to be a timestamp and holds text; give datetimes, or seconds"),
        (np.array(["2026-01-01", None], dtype=object), "is to be a timestamp and holds text"),
        (np.array([True]), "holds bool"),
        (np.array([True], dtype=object), "holds bool"),
        (np.array([1_780_000_000_000]), "holds 1780000000000 as seconds since 1970, .* beyond the year 9999; convert"),
        (np.array([-1_780_000_000_000]), "beyond the year 9999"),
        (np.array([1.78e12]), "convert it from milliseconds"),
        (np.array([1e300]), "beyond the year 9999"),
        (np.array([1e300], dtype=object), "beyond the year 9999"),
    ],
)
def test_what_is_no_moment_is_refused(values: np.ndarray, message: str):
    with pytest.raises(TableError, match=message):
        columns_of({"start": values}).seconds("start")


@pytest.mark.parametrize(
    ("values", "message"), [(["2026-01-01"], "holds string"), ([1_780_000_000_000], "milliseconds")]
)
def test_what_is_no_moment_in_arrow_is_refused(values: list, message: str):
    with pytest.raises(TableError, match=message):
        columns_of(pa.table({"start": values})).seconds("start")


def test_numpys_missing_moment_is_ours():
    assert int(np.datetime64("NaT", "s").astype(np.int64)) == MISSING_MOMENT
