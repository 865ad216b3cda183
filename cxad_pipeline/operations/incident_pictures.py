"""Pictures of a backtest and of a calibration, to be understood by whoever has never seen the code.

Belongs here: what is drawn, in which words. Does not belong here: what is replayed (`backtest`, `calibration`), where a
picture is shown.

Sizes are such that letters are some 12 pixels high where Dagster shows a picture, at 60 pixels to the inch.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from cxad_pipeline.alerting.wording import one_line, plural
from cxad_pipeline.incidents import State
from cxad_pipeline.incidents.incident import Incident
from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.incidents.incident_words import segment_words
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.operations.backtest import Backtest
from cxad_pipeline.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 8
"""Most incidents that are named, the most severe."""
PEAKS = 60
"""Most peaks that are shown of a calibration, the highest."""

_CRITICAL, _OTHER = "#c4314b", "#b86e00"
_THRESHOLD, _LINE, _GAP, _SPECIAL = "#1f4e8c", "0.35", "0.86", "#d5e8f7"
_FONT, _SMALL = 15, 14
_SEGMENT, _METRIC = 34, 20
"""Longest names, in characters."""
_DAY = 86_400
# In inches. Title, names, plot, axis and legend are below each other; names take a lane each where they would overlap.
_WIDTH, _LEFT, _RIGHT = 15.0, 1.1, 0.5
_TITLE, _LANE, _PLOT, _AXIS, _LEGEND = 0.55, 0.3, 3.4, 0.85, 0.45


def backtest_drawn(found: Backtest, settings: Settings) -> Figure:
    """The highest score of each window over time, the threshold, and the incidents with their names.

    Parameters
    ----------
    found
        What a replay came to.
    settings
        Of it: the words of metrics, the time zone.

    Returns
    -------
    Figure
        Incidents are spans; the most severe `NAMED` have a name above. Windows without data and special days are
        shaded: nothing is tested there.
    """
    from matplotlib.figure import Figure

    zone = ZoneInfo(settings.timezone)
    named = sorted(found.incidents, key=lambda incident: (-incident.severity, incident.started_at, incident.id))[:NAMED]
    texts = [f"{one_line(segment_words(one.segment), _SEGMENT)}: {_short(one, settings)}" for one in named]
    start, end = found.windows.start, found.windows.end
    width = _WIDTH - _LEFT - _RIGHT
    places = [
        ((_middle(one) - start) / (end - start), _inches(text) / width) for one, text in zip(named, texts, strict=True)
    ]
    lanes = _lanes(places)

    above = _TITLE + _LANE * (max(lanes, default=-1) + 1)
    height = above + _PLOT + _AXIS + _LEGEND
    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.add_axes((_LEFT / _WIDTH, (_AXIS + _LEGEND) / height, width / _WIDTH, _PLOT / height))
    _shade(axes, found)
    for critical, words in ((True, "critical: told at once"), (False, "not critical: digest")):
        colour = _CRITICAL if critical else _OTHER
        alike = [incident for incident in found.incidents if incident.critical is critical]
        for place, one in enumerate(alike):
            # An hour of a month is a pixel wide; its edge makes it seen.
            span = axes.axvspan(
                one.started_at.timestamp(), one.ended_at.timestamp(), facecolor=colour, edgecolor=colour, alpha=0.4
            )
            span.set(linewidth=2, gid=one.id, label=f"{words} ({len(alike)})" if place == 0 else None)
    moments = np.append(found.windows.starts, end)
    axes.step(moments, np.append(found.best, np.nan), where="post", color=_LINE, linewidth=1.2, label="highest score")
    axes.axhline(found.threshold, color=_THRESHOLD, linewidth=1.8, label=f"threshold {found.threshold:.1f}")
    for one, text, (share, size), lane in zip(named, texts, places, lanes, strict=True):
        _name(axes, text, share, size, 1 + (lane + 0.5) * _LANE / _PLOT, _CRITICAL if one.critical else _OTHER)
    highest = np.nanmax(np.append(found.best, found.threshold))
    axes.set(xlim=(start, end), ylim=(0, 1.08 * highest), xlabel=f"local time, {settings.timezone}")
    axes.set_ylabel("score of the\nmost unusual segment", fontsize=_FONT)
    axes.xaxis.label.set_fontsize(_FONT)
    ticks = _ticks(start, end, zone)
    axes.set_xticks([moment for moment, _ in ticks], [words for _, words in ticks])
    axes.set_xticks(_midnights(start, end, zone), minor=True)
    axes.tick_params(labelsize=_SMALL)
    figure.text(_LEFT / _WIDTH, 1 - 0.18 / height, _title(found), va="top", fontsize=_FONT + 1, weight="bold")
    figure.legend(loc="lower center", ncols=6, fontsize=_SMALL, frameon=False, handlelength=1.4, columnspacing=1.4)
    return figure


def peaks_drawn(model: IncidentModel) -> Figure:
    """The highest peaks of a calibration's replay, and the threshold that follows from the promise."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 5.4), layout="constrained")
    axes = figure.subplots()
    scores = model.monitor.replayed.score[:PEAKS]
    ranks = np.arange(1, len(scores) + 1)
    calls = scores >= model.threshold
    for chosen, colour, words in (
        (calls, _CRITICAL, "an incident"),
        (~calls, _LINE, "below the threshold: nobody is told"),
    ):
        if chosen.any():
            axes.plot(ranks[chosen], scores[chosen], "o", markersize=7, color=colour, label=words)
    axes.axhline(model.threshold, color=_THRESHOLD, linewidth=1.8, label=f"threshold {model.threshold:.1f}")
    axes.set_xlabel(f"peaks of {model.monitor.weeks:.1f} weeks of history, the highest first", fontsize=_FONT)
    axes.set_ylabel("score", fontsize=_FONT)
    axes.tick_params(labelsize=_SMALL)
    axes.set_title(
        f"{model.replayed_per_week:.1f} incidents a week in the replay of the history; promised at most "
        f"{model.promise.per_week:g}",
        fontsize=_FONT + 1,
        weight="bold",
        loc="left",
    )
    axes.legend(fontsize=_SMALL, loc="upper right")
    return figure


def _title(found: Backtest) -> str:
    number = len(found.incidents)
    said = f"{plural(number, 'incident')}, {found.replayed_per_week:.1f} a week" if number else "No incident"
    most = f" (named: the {NAMED} most severe)" if number > NAMED else ""
    return f"{said}; promised at most {found.promised_per_week:g} a week{most}"


def _short(incident: Incident, settings: Settings) -> str:
    """What is wrong, in two or three words."""
    plain = {"volume": "more contacts", "complaints": "more complaints", "together": "several metrics"}
    if incident.kind in plain:
        return plain[incident.kind]
    lately = "lately " if incident.kind in ("drift", "slow drift") else ""
    return f"{one_line(schema_of(settings).words(incident.metric), _METRIC)} {lately}{incident.direction}"


def _middle(incident: Incident) -> float:
    return (incident.started_at.timestamp() + incident.ended_at.timestamp()) / 2


def _shade(axes: Axes, found: Backtest) -> None:
    """Shade the windows in which nothing is tested."""
    for state, colour, words in (
        (State.MISSING, _GAP, "no data"),
        (State.SPECIAL_DAY, _SPECIAL, "special day"),
    ):
        inside = np.concatenate(([False], found.states == state, [False]))
        borders = found.windows.start + found.windows.seconds * np.flatnonzero(inside[1:] != inside[:-1])
        for place, (first, last) in enumerate(zip(borders[::2], borders[1::2], strict=True)):
            axes.axvspan(first, last, color=colour, linewidth=0, label=words if place == 0 else None)


def _inches(text: str) -> float:
    """Room that a name needs: its width with blanks around it, and what hinting adds where an inch has few pixels."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    # A dollar sign would begin a formula.
    drawn = TextPath((0, 0), text.replace("$", "S"), prop=FontProperties(size=_SMALL))
    return 1.08 * float(drawn.get_extents().width) / 72 + 0.3


def _lanes(places: Sequence[tuple[float, float]]) -> list[int]:
    """A lane for each name, given where it points to and its width, as shares of the plot; 0 is the lowest.

    From right to left, so that the lines
    down from upper lanes pass the names below.
    """
    lanes = [0] * len(places)
    taken: list[list[tuple[float, float]]] = []
    for number in sorted(range(len(places)), key=lambda each: -places[each][0]):
        first, last = _extent(*places[number])
        free = (lane for lane, others in enumerate(taken) if all(last < begin or first > end for begin, end in others))
        lanes[number] = next(free, len(taken))
        if lanes[number] == len(taken):
            taken.append([])
        taken[lanes[number]].append((first, last))
    return lanes


def _extent(place: float, size: float) -> tuple[float, float]:
    """From where to where a name reaches: from its place, up to its place, or from the left edge where it is long."""
    if place + size <= 1:
        return place, place + size
    return (place - size, place) if size <= place else (0.0, size)


def _name(axes: Axes, text: str, place: float, size: float, height: float, colour: str) -> None:
    """A name above the plot, and a line from there to its incident."""
    axes.plot([place, place], [1, height], color=colour, linewidth=1, transform=axes.transAxes, clip_on=False)
    first, last = _extent(place, size)
    axes.text(
        last if last == place else first,
        height,
        f" {text} ",
        color=colour,
        fontsize=_SMALL,
        ha="right" if last == place else "left",
        va="center",
        transform=axes.transAxes,
        parse_math=False,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )


def _midnights(start: int, end: int, zone: ZoneInfo) -> list[float]:
    first = dt.datetime.fromtimestamp(start, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    days = (first + dt.timedelta(days=number) for number in range((end - start) // _DAY + 2))
    return [day.timestamp() for day in days if start <= day.timestamp() <= end]


def _ticks(start: int, end: int, zone: ZoneInfo) -> list[tuple[float, str]]:
    """Moments to be written on the axis, on the clock of a zone: every six hours, midnights, or those of Mondays."""
    midnights = [dt.datetime.fromtimestamp(moment, zone) for moment in _midnights(start, end, zone)]
    days = (end - start) / _DAY
    if days <= 3:
        first = dt.datetime.fromtimestamp(start, zone).replace(hour=0, minute=0, second=0, microsecond=0)
        hours = [first + dt.timedelta(hours=6 * number) for number in range(4 * 5)]
        shown = [(hour.timestamp(), f"{hour.day} {hour:%b}\n{hour:%H:%M}") for hour in hours]
        return [tick for tick in shown if start <= tick[0] <= end]
    if days > 18:
        midnights = [day for day in midnights if day.weekday() == 0]
    most = 9
    apart = -(-len(midnights) // most)
    return [(day.timestamp(), f"{day:%a} {day.day} {day:%b}") for day in midnights[::apart]]
