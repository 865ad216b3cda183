"""What a picture of a backtest says is there, can be read at the size of Dagster's page, and is right."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from incident_store_world import incident
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from operations_world import make_settings, model_of

from cxad_pipeline.incidents import State, Windows
from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.incidents.kinds import Kind
from cxad_pipeline.incidents.segments import Key
from cxad_pipeline.operations.backtest import Backtest
from cxad_pipeline.operations.incident_pictures import NAMED, backtest_drawn, peaks_drawn
from cxad_pipeline.settings import Settings

BERLIN = Settings(timezone="Europe/Berlin")
START = int(dt.datetime(2026, 9, 14, 22, tzinfo=dt.UTC).timestamp())  # midnight there
DOTS_PER_INCH = 60  # as `defs.metadata.picture` has it
LEAST_PIXELS = 10
SEGMENTS: list[Key] = [
    (("queue", "billing"), ("channel", "voice")),
    (),
    (("queue", "technical support"), ("channel", "chat"), ("language", "de")),
    (("queue", r"a name that $\nobody expects$ and <b>long</b>"),),
]
KINDS: list[Kind] = ["far tail", "shift", "volume", "slow drift", "together", "complaints"]


def one(number: int, begin: int, hours: int, severity: float) -> Incident:
    start = dt.datetime.fromtimestamp(START + 3600 * begin, dt.UTC)
    return incident(
        0,
        id=f"i{number}",
        segment=SEGMENTS[number % len(SEGMENTS)],
        kind=KINDS[number % len(KINDS)],
        started_at=start,
        ended_at=start + dt.timedelta(hours=hours),
        severity=severity,
        critical=severity >= 40,
    )


def replay(*incidents: Incident, days: int = 28) -> Backtest:
    windows = Windows(START, 24 * days, 3600, "Europe/Berlin")
    states = np.full(windows.number, State.TESTED)
    rarity = np.random.default_rng(0).gamma(2, 0.5, windows.number)
    return Backtest(incidents, windows, rarity, states, 4.2, 5, 7 * len(incidents) / days, "", None)


def scattered(number: int, *, last: int = 660, seed: int = 1) -> list[Incident]:
    random = np.random.default_rng(seed)
    rows = zip(
        random.integers(0, last, number), random.integers(1, 9, number), random.uniform(5, 95, number), strict=True
    )
    return [one(place, int(begin), int(hours), float(severity)) for place, (begin, hours, severity) in enumerate(rows)]


def texts_of(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def names_of(figure: Figure) -> list[Text]:
    """What is written above the plot."""
    return list(figure.axes[0].texts)


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize(
    "incidents",
    [
        [],
        scattered(1),
        scattered(8),
        scattered(40),
        scattered(40, seed=2),
        [one(n, 300 + n // 4, 1, 90.0 - n) for n in range(12)],  # all at once
        [one(n, 640 + 2 * n, 2, 50.0) for n in range(12)],  # at the right edge
        [replace(one(0, 336, 1, 50.0), segment=(("queue", "W" * 99),), metric="M" * 99)],
    ],
    ids=["0", "1", "8", "40", "40 others", "at once", "at the end", "long"],
)
def test_all_that_is_written_can_be_read(incidents: list[Incident]) -> None:
    figure = backtest_drawn(replay(*incidents), BERLIN)
    figure.set_dpi(DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    boxes = {}
    for text in texts_of(figure):
        box = boxes[text] = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= width, text.get_text()
        assert 0 <= box.y0 < box.y1 <= height, text.get_text()
        assert text.get_fontsize() * DOTS_PER_INCH / 72 >= LEAST_PIXELS, text.get_text()
    for first, second in combinations(boxes, 2):
        assert not boxes[first].overlaps(boxes[second]), (first.get_text(), second.get_text())
    assert len(names_of(figure)) == min(len(incidents), NAMED)


def test_each_incident_is_a_span_of_its_time_and_the_most_severe_have_names() -> None:
    incidents = scattered(40)
    figure = backtest_drawn(replay(*incidents), BERLIN)
    spans = {patch.get_gid(): patch for patch in figure.axes[0].patches if patch.get_gid()}
    assert {name: (span.get_x(), span.get_x() + span.get_width()) for name, span in spans.items()} == {
        each.id: (each.started_at.timestamp(), each.ended_at.timestamp()) for each in incidents
    }
    severe = sorted(incidents, key=lambda each: each.severity)[-NAMED:]
    middles = sorted((each.started_at + (each.ended_at - each.started_at) / 2).timestamp() for each in severe)
    pointed = sorted(START + text.get_position()[0] * 28 * 86_400 for text in names_of(figure))
    assert pointed == pytest.approx(middles)
    (title,) = (text.get_text() for text in figure.texts)
    assert title == "40 incidents, 10.0 a week; promised at most 5 a week (named: the 8 most severe)"


def test_a_name_is_the_segment_and_what_is_wrong_in_short() -> None:
    metric = "aht_seconds"
    several = [
        incident(0, kind=kind, segment=(("queue", "q"),), metric=metric)
        for kind in ("near tail", "drift", "volume", "together", "complaints")
    ]
    figure = backtest_drawn(replay(*several), BERLIN)
    assert {text.get_text().strip() for text in names_of(figure)} == {
        "q: handle time high",
        "q: handle time lately high",
        "q: more contacts",
        "q: several metrics",
        "q: more complaints",
    }


def test_the_legend_tells_critical_incidents_from_others_and_has_nothing_that_is_not_there() -> None:
    critical, other = one(0, 10, 3, 80.0), one(1, 30, 3, 20.0)
    figure = backtest_drawn(replay(critical, other, one(2, 50, 3, 30.0)), BERLIN)
    words = ["critical: told at once (1)", "not critical: digest (2)"]
    assert legend_of(figure) == [*words, "highest score", "threshold 4.2"]
    handles = dict(zip(legend_of(figure), figure.legends[0].legend_handles, strict=True))
    spans = {patch.get_gid(): patch.get_facecolor() for patch in figure.axes[0].patches}
    assert [handles[word].get_facecolor() for word in words] == [spans[critical.id], spans[other.id]]
    assert spans[critical.id] != spans[other.id]
    assert legend_of(backtest_drawn(replay(), BERLIN)) == ["highest score", "threshold 4.2"]
    (title,) = (text.get_text() for text in backtest_drawn(replay(), BERLIN).texts)
    assert title == "No incident; promised at most 5 a week"


def test_days_without_data_and_special_days_are_shaded() -> None:
    found = replay()
    found.states[[5, 6, 40]] = State.MISSING
    found.states[-24:] = State.SPECIAL_DAY
    figure = backtest_drawn(found, BERLIN)
    shaded = [
        ((patch.get_x() - START) / 3600, (patch.get_x() + patch.get_width() - START) / 3600)
        for patch in figure.axes[0].patches
    ]
    assert shaded == [(5, 7), (40, 41), (27 * 24, 28 * 24)]
    assert legend_of(figure)[:2] == ["no data", "special day"]


@pytest.mark.parametrize(
    ("days", "first", "second"),
    [(1, "15 Sep\n00:00", "15 Sep\n06:00"), (7, "Tue 15 Sep", "Wed 16 Sep"), (28, "Mon 21 Sep", "Mon 28 Sep")],
)
def test_times_are_local_and_say_so(days: int, first: str, second: str) -> None:
    (axes,) = backtest_drawn(replay(days=days), BERLIN).axes
    assert axes.get_xlabel() == "local time, Europe/Berlin"
    assert [label.get_text() for label in axes.get_xticklabels()][:2] == [first, second]
    shown = dt.datetime.fromtimestamp(axes.get_xticks()[1], ZoneInfo("Europe/Berlin"))
    assert f"{shown.day} {shown:%b}" in second
    assert f"{shown:%H:%M}" == (second[-5:] if days == 1 else "00:00")


def test_midnights_stay_midnights_when_clocks_change() -> None:
    (axes,) = backtest_drawn(replay(days=70), BERLIN).axes
    ticks = [dt.datetime.fromtimestamp(tick, ZoneInfo("Europe/Berlin")) for tick in axes.get_xticks()]
    assert len(ticks) > 4
    assert {tick.hour for tick in ticks} == {0}
    assert {tick.utcoffset() for tick in ticks} == {dt.timedelta(hours=1), dt.timedelta(hours=2)}


def test_the_picture_of_a_calibration_shows_peaks_threshold_and_promise(tmp_path: Path) -> None:
    model = model_of(make_settings(tmp_path, f"sqlite:///{tmp_path}/store.db"))
    figure = peaks_drawn(model)
    (axes,) = figure.axes
    assert axes.get_legend() is not None
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ["an incident", "below the threshold: nobody is told", f"threshold {model.threshold:.1f}"]
    above, below = (np.asarray(line.get_ydata()) for line in axes.lines[:2])
    assert above.min() >= model.threshold > below.max()
    assert f"{model.replayed_per_week:.1f} incidents a week" in axes.get_title(loc="left")
    assert "promised at most 5" in axes.get_title(loc="left")
    assert all(text.get_fontsize() * DOTS_PER_INCH / 72 >= LEAST_PIXELS for text in texts_of(figure))
