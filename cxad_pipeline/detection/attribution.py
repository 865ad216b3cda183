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
from cxad_pipeline.detection.tables import Columns
from cxad_pipeline.detection.typical import TypicalRanges
from cxad_pipeline.interactions.schema import InteractionSchema

Direction = Literal["high", "low", "within", "rare", "common", "unseen", "missing"]

_PLAIN: tuple[Direction, ...] = ("within", "common")

RARE_SHARE = 0.05
"""What fewer training rows have is called rare: a category, or no value at all."""


@dataclass(frozen=True)
class Reason:
    """One column's part in a score.

    Attributes
    ----------
    column
        Name of the column.
    value
        Its value in the row; None where missing.
    low, high
        Typical range of a number, 5th to 95th percentile; None for categories.
    direction
        `high`, `low` or `within` that range; `rare`, `common` or `unseen` for a category; `missing`.
    share
        Part of the positive contributions of the row that is this column's, in [0, 1].
    segment
        The segment whose range it is, `voice/billing`; empty where it is that of all rows.
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
        for row, chosen in enumerate(order):
            reasons = [self._reason(row, self._columns[j], float(shares[row, j])) for j in chosen if shares[row, j] > 0]
            telling = [reason for reason in reasons if not self._is_plain(reason)]
            found.append((telling or reasons)[:top])
        return found

    def _is_plain(self, reason: Reason) -> bool:
        often_missing = self._typical.missing_shares.get(reason.column, 0.0) >= RARE_SHARE
        return reason.direction in _PLAIN or (reason.direction == "missing" and often_missing)

    def _reason(self, row: int, name: str, share: float) -> Reason:
        typical = self._typical
        if name in self._position:
            group, j = int(self._segment[row]), self._position[name]
            segment = "/".join(typical.keys[group]) if group < len(typical.keys) else ""
            low, high = float(typical.low[group, j]), float(typical.high[group, j])
            return number_reason(name, float(self._numbers[name][row]), low, high, segment, share, self._wording)
        value = self._categories[name].text(row) if name in self._categories else None
        training_share = None if value is None else typical.category_shares[name].get(value)
        return category_reason(name, value, training_share, share, self._wording)


def number_reason(
    column: str, value: float, low: float, high: float, segment: str, share: float, wording: Wording
) -> Reason:
    """The reason that a number gives: `hold time 612 s, typical 10-140 s for voice/billing`."""
    label = wording.label(column)
    if np.isnan(value):
        return Reason(column, None, None, None, "missing", share, "", f"{label} missing")
    said = f"{label} {wording.amount(column, _number(value))}"
    if np.isnan(low):
        return Reason(column, value, None, None, "unseen", share, segment, f"{said}, never given in training")
    direction: Direction = "high" if value > high else "low" if value < low else "within"
    # "-5 to -2", since "-5--2" cannot be read.
    typical = f"{_number(low)}{' to ' if low < 0 else '-'}{_number(high)}" if low != high else _number(low)
    whose = f" for {segment}" if segment else ""
    text = f"{said}, typical {wording.amount(column, typical)}{whose}"
    return Reason(column, value, low, high, direction, share, segment, text)


def category_reason(
    column: str, value: str | None, training_share: float | None, share: float, wording: Wording
) -> Reason:
    """The reason that a category gives: `channel fax, rare (0.3% of training)`."""
    label = wording.label(column)
    if value is None:
        return Reason(column, None, None, None, "missing", share, "", f"{label} missing")
    if training_share is None:
        return Reason(column, value, None, None, "unseen", share, "", f"{label} {value}, not seen in training")
    rare = training_share < RARE_SHARE
    how = ", rare" if rare else ""
    text = f"{label} {value}{how} ({100 * training_share:.2g}% of training)"
    return Reason(column, value, None, None, "rare" if rare else "common", share, "", text)


def _number(value: float) -> str:
    """A number as people write it: whole from 100 on, else three digits."""
    if abs(value) >= 1e7:
        return f"{value:.3g}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
