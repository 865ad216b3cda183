"""Why a row has its score: contributions of the original columns, and reasons in words.

Belongs here: folding features back to columns, the wording. Does not belong here: the contributions of features
to a forest's score (`forests.py`), and what is typical (`typical.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.local_time import DAY, FIRST_WEEKDAY, HOUR, MISSING_MOMENT, WEEKDAYS, zone_changes
from cxad_pipeline.detection.tables import Columns
from cxad_pipeline.detection.typical import StartTimes, TypicalRanges
from cxad_pipeline.interactions.schema import InteractionSchema

Direction = Literal["high", "low", "within", "rare", "common", "unseen", "missing"]

_PLAIN: tuple[Direction, ...] = ("within", "common")

RARE_SHARE = 0.05
"""What fewer training rows have is called rare: a category, no value at all, a start in hours as quiet as this."""


@dataclass(frozen=True)
class Reason:
    """One column's part in a score.

    Attributes
    ----------
    column
        Name of the column.
    value
        Its value in the row; None where missing. Of a moment, local weekday and time: `Sunday 03:12`.
    low, high
        Typical range of a number, 5th to 95th percentile; None for categories and moments.
    direction
        `high`, `low` or `within` that range; `rare`, `common` or `unseen` for a category or an hour; `missing`.
    share
        Part of the positive contributions of the row that is this column's, in [0, 1].
    segment
        The segment whose range it is, `voice/billing`, or its parent, `voice`, where training has too few of it; empty
        where it is that of all rows.
    text
        All of it in words.
    """

    column: str
    value: float | str | None
    low: float | None
    high: float | None
    direction: Direction
    share: float
    segment: str
    text: str


def fold(contributions: FloatArray, columns_of: Sequence[str], columns: Sequence[str]) -> FloatArray:
    """Add the contributions of features up to those of their columns.

    Parameters
    ----------
    contributions
        By feature, (n, d).
    columns_of
        The column of each feature, (d,).
    columns
        The columns, in the order wanted.

    Returns
    -------
    numpy.ndarray
        By column, (n, len(columns)); rows add up to what they did.
    """
    folded = np.zeros((len(contributions), len(columns)))
    position = {name: j for j, name in enumerate(columns)}
    for j, name in enumerate(columns_of):
        folded[:, position[name]] += contributions[:, j]
    return folded


def positive_shares(contributions: FloatArray) -> FloatArray:
    """Each column's part of the row's positive contributions, (n, columns); zeros where there are none."""
    positive = np.maximum(contributions, 0.0)
    total = positive.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(positive, total, out=np.zeros_like(positive), where=total > 0))


class Wording:
    """Puts columns and values into words.

    Parameters
    ----------
    labels
        Words and unit by column; columns of the contact centre's schema need none.
    """

    def __init__(self, labels: Mapping[str, tuple[str, str]]) -> None:
        self._labels = labels
        self._schema = InteractionSchema()

    def label(self, column: str) -> str:
        """The column in words."""
        return self._labels[column][0] if column in self._labels else self._schema.words(column)

    def amount(self, column: str, number: str) -> str:
        """A number with the unit of its column: `612 s`."""
        unit = self._schema[column].unit if column in self._schema else ""
        if column in self._labels:
            unit = self._labels[column][1]
        return f"{number} {unit}".rstrip()


class Narrator:
    """Gives the reasons of the rows of one table.

    Parameters
    ----------
    table
        The rows.
    typical
        What to compare them with.
    columns
        Columns that the contributions belong to, in their order.
    labels
        Words and unit by column.
    """

    def __init__(
        self,
        table: Columns,
        typical: TypicalRanges,
        columns: Sequence[str],
        labels: Mapping[str, tuple[str, str]],
    ) -> None:
        self._columns = columns
        self._typical = typical
        self._wording = Wording(labels)
        self._segment = typical.of_rows(table)
        self._position = {name: j for j, name in enumerate(typical.columns)}
        known = set(table.names)
        absent = np.full(table.n_rows, np.nan)
        self._numbers = {name: table.numeric(name) if name in known else absent for name in self._position}
        self._categories = {name: table.categories(name) for name in typical.category_shares if name in known}
        starts = typical.starts
        self._moments = table.seconds(starts.column) if starts is not None and starts.column in known else None

    def reasons(self, shares: FloatArray, top: int) -> list[list[Reason]]:
        """The top reasons of each row.

        Parameters
        ----------
        shares
            Parts of the positive contributions, (n, columns).
        top
            Most reasons per row.

        Returns
        -------
        list
            By row, greatest share first; columns without a share give no reason. A value inside its typical range,
            a common category and a value that is often missing say nothing to a reader: they are told only where a
            row has no other reason.
        """
        order = np.argsort(-shares, axis=1, kind="stable")
        found = []
        for row, (chosen, parts) in enumerate(zip(order.tolist(), shares.tolist(), strict=True)):
            telling: list[Reason] = []
            plain: list[Reason] = []
            for j in chosen:
                if parts[j] <= 0 or len(telling) == top:
                    break
                reason = self._reason(row, self._columns[j], parts[j])
                (plain if self._is_plain(reason) else telling).append(reason)
            found.append(telling or plain[:top])
        return found

    def _is_plain(self, reason: Reason) -> bool:
        often_missing = self._typical.missing_shares.get(reason.column, 0.0) >= RARE_SHARE
        return reason.direction in _PLAIN or (reason.direction == "missing" and often_missing)

    def _reason(self, row: int, name: str, share: float) -> Reason:
        typical = self._typical
        missing_share = typical.missing_shares.get(name)
        if name in self._position:
            group, j = int(self._segment[row]), self._position[name]
            segment = "/".join(typical.keys[group]) if group < len(typical.keys) else ""
            low, high = float(typical.low[group, j]), float(typical.high[group, j])
            value = float(self._numbers[name][row])
            if np.isnan(value):
                return missing_reason(name, missing_share, share, self._wording)
            return number_reason(name, value, low, high, segment, share, self._wording)
        if typical.starts is not None and name == typical.starts.column:
            moment = MISSING_MOMENT if self._moments is None else int(self._moments[row])
            if moment == MISSING_MOMENT:
                return missing_reason(name, missing_share, share, self._wording)
            return moment_reason(moment, typical.starts, share, self._wording)
        text = self._categories[name].text(row) if name in self._categories else None
        if text is None:
            return missing_reason(name, missing_share, share, self._wording)
        return category_reason(name, text, typical.category_shares[name].get(text), share, self._wording)


def missing_reason(column: str, missing_share: float | None, share: float, wording: Wording) -> Reason:
    """The reason that a missing value gives: `satisfaction missing (as in 0.3% of training)`."""
    said = f"{wording.label(column)} missing"
    if missing_share == 0:
        said += ", never in training"
    elif missing_share is not None:
        said += f" (as in {_percent(missing_share)} of training)"
    return Reason(column, None, None, None, "missing", share, "", said)


def number_reason(
    column: str, value: float, low: float, high: float, segment: str, share: float, wording: Wording
) -> Reason:
    """The reason that a number gives: `hold time 612 s, typical 10-140 s for voice/billing`."""
    label, whose = wording.label(column), f" for {segment}" if segment else ""
    if np.isnan(low):
        text = f"{label} {wording.amount(column, _number(value))}, never given in training{whose}"
        return Reason(column, value, None, None, "unseen", share, segment, text)
    direction: Direction = "high" if value > high else "low" if value < low else "within"
    crossed = high if direction == "high" else low
    digits = 3
    while direction != "within" and _number(value, digits) == _number(crossed, digits):
        digits += 1  # "140.4 s, typical 10-140.2 s": the same words for both would say that it is no higher
    low_said, high_said = _number(low, digits), _number(high, digits)
    # "-5 to -2", since "-5--2" cannot be read.
    typical = low_said if low_said == high_said else f"{low_said}{' to ' if low < 0 else '-'}{high_said}"
    text = f"{label} {wording.amount(column, _number(value, digits))}, typical {wording.amount(column, typical)}{whose}"
    return Reason(column, value, low, high, direction, share, segment, text)


def category_reason(column: str, value: str, training_share: float | None, share: float, wording: Wording) -> Reason:
    """The reason that a category gives: `channel fax, rare (0.3% of training)`."""
    label = wording.label(column)
    if training_share is None:
        return Reason(column, value, None, None, "unseen", share, "", f"{label} {value}, not seen in training")
    rare = training_share < RARE_SHARE
    how = ", rare" if rare else ""
    text = f"{label} {value}{how} ({_percent(training_share)} of training)"
    return Reason(column, value, None, None, "rare" if rare else "common", share, "", text)


def moment_reason(moment: int, starts: StartTimes, share: float, wording: Wording) -> Reason:
    """The reason that a moment gives: `time Sunday 03:12, rare (0.04% of training in that hour of the week)`.

    Rare are the quietest hours, those that together have less than 5% of the training rows.
    """
    local = int(zone_changes(starts.timezone).local(np.array([moment]))[0])
    weekday, second = (local // DAY + FIRST_WEEKDAY) % 7, local % DAY
    hour = second // HOUR
    value = f"{WEEKDAYS[weekday]} {hour:02d}:{second % HOUR // 60:02d}"
    training_share = starts.share(weekday, hour)
    rare = starts.share_as_rare(weekday, hour) < RARE_SHARE
    direction: Direction = "unseen" if training_share == 0 else "rare" if rare else "common"
    when = "in that hour of the week" if starts.by_weekday else "in that hour of the day"
    if direction == "unseen":
        how = f", no training {when}"
    else:
        how = f"{', rare' if rare else ''} ({_percent(training_share)} of training {when})"
    return Reason(
        starts.column, value, None, None, direction, share, "", f"{wording.label(starts.column)} {value}{how}"
    )


def _percent(share: float) -> str:
    """A share above 0 as people write it: `63%`, `0.3%`."""
    percent = 100 * share
    if percent < 0.01:
        return "under 0.01%"
    return f"{percent:.0f}%" if percent >= 10 else f"{percent:.2g}%"


def _number(value: float, digits: int = 3) -> str:
    """A number as people write it: with three digits, or as many as are asked for, and never fewer than are whole."""
    value += 0.0  # no minus before zero
    if not 100 <= abs(value) < 1e7:
        return f"{value:.{digits}g}"
    decimals = max(digits - len(f"{abs(value):.0f}"), 0)
    return f"{value:,.{decimals}f}"
