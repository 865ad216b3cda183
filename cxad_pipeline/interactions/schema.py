"""The columns of an interaction: the one place that says what a record is.

Belongs here: name, type, unit, range and meaning of every column. Does not belong here: any library's own
schema object. Arrow (`arrow_schema`), Pandera (`contract`) and `docs/data-contract.md` are derived from
this module, each in a module of its own, so that whoever needs one does not import the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["string", "timestamp", "float", "integer"]
Direction = Literal["high", "low"]


@dataclass(frozen=True)
class Column:
    """One column of an interaction.

    Attributes
    ----------
    name
        Column name in files, tables and API bodies.
    type
        `string`, `timestamp` (UTC, microseconds), `float` or `integer`.
    meaning
        What a reader of the data needs to know, in one sentence.
    unit
        Unit of a metric, empty where there is none.
    minimum, maximum
        Inclusive range of a metric, None where unbounded.
    required
        A row without a value is rejected. Only identity and time are required.
    bad_direction
        Which end of the range is bad for the customer; None where neither is.
    label
        The column in words, as people read it in reasons and alerts.
    """

    name: str
    type: ColumnType
    meaning: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    required: bool = False
    bad_direction: Direction | None = None
    label: str = ""

    @property
    def is_metric(self) -> bool:
        """Whether the column is a number."""
        return self.type in ("float", "integer")

    @property
    def words(self) -> str:
        """The column in words: `hold_time_seconds` reads "hold time"."""
        return self.label or self.name.replace("_", " ")

    def range_in_words(self) -> str:
        """The allowed range as people write it, for error messages and the documentation."""
        if self.type == "timestamp":
            return "ISO 8601"
        if self.required:
            return "non-empty"
        if self.minimum is None and self.maximum is None:
            return "any"
        if self.maximum is None:
            return f">= {self.minimum:g}"
        if self.minimum is None:
            return f"<= {self.maximum:g}"
        return f"{self.minimum:g}-{self.maximum:g}"


ID = "interaction_id"
TIMESTAMP = "timestamp"

COLUMNS: tuple[Column, ...] = (
    Column(ID, "string", "Unique name of the interaction.", required=True, label="interaction"),
    Column(
        TIMESTAMP,
        "timestamp",
        "Start of the contact; a time without zone is in the configured `timezone`; stored in UTC.",
        required=True,
        label="time",
    ),
    Column(
        "csat",
        "float",
        "Satisfaction score of the customer's survey.",
        minimum=1,
        maximum=5,
        bad_direction="low",
        label="satisfaction",
    ),
    Column(
        "ies",
        "float",
        "Internal efficiency score.",
        minimum=0,
        maximum=100,
        bad_direction="low",
        label="efficiency score",
    ),
    Column(
        "complaints",
        "integer",
        "Complaints raised in or about the contact.",
        minimum=0,
        bad_direction="high",
        label="complaints",
    ),
    Column(
        "aht_seconds",
        "float",
        "Handle time: talk, hold and after-call work.",
        unit="s",
        minimum=0,
        bad_direction="high",
        label="handle time",
    ),
    Column(
        "hold_time_seconds",
        "float",
        "Time the customer was kept waiting.",
        unit="s",
        minimum=0,
        bad_direction="high",
        label="hold time",
    ),
    Column(
        "transfers",
        "integer",
        "Hand-overs to another agent or queue.",
        minimum=0,
        bad_direction="high",
        label="transfers",
    ),
    Column("channel", "string", "voice, chat, email; others are allowed and counted."),
    Column("language", "string", "Language code, such as en or de."),
    Column("queue", "string", "Queue, such as billing, support or sales."),
)


class InteractionSchema:
    """The columns of a deployment: the standard ones and those that its configuration adds.

    Parameters
    ----------
    extra
        Columns beside `COLUMNS`, from `interactions.extra_columns` of the configuration.

    Raises
    ------
    ValueError
        If an extra column repeats a standard one or another extra one.
    """

    def __init__(self, extra: Iterable[Column] = ()) -> None:
        self.columns: tuple[Column, ...] = COLUMNS + tuple(extra)
        self._by_name = {column.name: column for column in self.columns}
        if len(self._by_name) != len(self.columns):
            names = [column.name for column in self.columns]
            repeated = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"columns defined twice: {', '.join(repeated)}")

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Column:
        return self._by_name[name]

    @property
    def names(self) -> list[str]:
        """Column names in their order."""
        return [column.name for column in self.columns]

    @property
    def required(self) -> list[str]:
        """Columns without which a row is rejected."""
        return [column.name for column in self.columns if column.required]

    def words(self, name: str) -> str:
        """A column's name as people read it, also for columns that the schema does not know."""
        return self._by_name[name].words if name in self._by_name else name.replace("_", " ")
