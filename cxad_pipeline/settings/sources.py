"""The part of the configuration that says how foreign exports are read.

Belongs here: keys and their limits. Does not belong here: reading an export by them (`interactions.sources`).
"""

from __future__ import annotations

import datetime as dt
import string
from typing import Literal

from pydantic import Field, field_validator, model_validator

from cxad_pipeline.settings.nodes import Name, Node, Zone


class ColumnMapping(Node):
    """Where one of our columns comes from in a foreign export; exactly one of column, columns, constant, template."""

    column: str | None = Field(None, description="Column of the export.")
    columns: list[str] | None = Field(None, description="Columns joined by a space, such as a date and a time.")
    constant: str | None = Field(None, description="The same value for every row.")
    template: str | None = Field(
        None,
        description="Text with {column} for columns of the export, {file} for the file's name and {line} for the line.",
    )
    format: str | None = Field(None, description="strptime format of a time, such as '%y%m%d %H:%M:%S'; ISO 8601 else.")
    unit: Literal["seconds", "milliseconds", "minutes", "hours", "h:mm:ss", "fraction", "percent"] | None = Field(
        None, description="Unit in the export; turned into seconds, or percent."
    )
    codes: dict[str, str] = Field({}, description="The export's code -> our value.")
    other: str | None = Field(None, description="Value for codes not listed; without it they are kept as they are.")
    strict: bool = Field(False, description="Codes not listed are a reason to reject the row.")
    missing: list[str] = Field(
        ["", "NA", "N/A", "NULL", "null", "None", "nan", "NaN"], description="Texts that mean no value."
    )
    decimal: Literal[".", ","] = Field(".", description="Decimal sign of the numbers.")

    @model_validator(mode="after")
    def _one_origin(self) -> ColumnMapping:
        given = [name for name in ("column", "columns", "constant", "template") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of column, columns, constant, template; it has {', '.join(given) or 'none'}"
            )
        if self.strict and (not self.codes or self.other is not None):
            raise ValueError("strict needs codes, and no other")
        return self

    @field_validator("template")
    @classmethod
    def _fields_are_named(cls, value: str | None) -> str | None:
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(value or "") if name is not None]
        except ValueError as error:
            raise ValueError(f"must be text with {{column}} in it ({error})") from error
        if not all(names):
            raise ValueError("must name a column of the export between { and }")
        return value

    @field_validator("format")
    @classmethod
    def _whole_date(cls, value: str | None) -> str | None:
        if value is None:
            return None
        sample = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
        try:
            read = dt.datetime.strptime(sample.strftime(value), value)
        except ValueError as error:
            raise ValueError(f"must be a strptime format, such as '%d.%m.%Y %H:%M' ({error})") from error
        if read.date() != sample.date():
            raise ValueError("must hold year, month and day, such as '%d.%m.%Y %H:%M'")
        return value


class DropRule(Node):
    """Rows of the export that are no interactions; they are kept among the rejected rows with this reason."""

    column: str = Field(description="Column of the export.")
    equals: list[str] = Field(min_length=1, description="Values of that column for which a row is dropped.")
    reason: str = Field(min_length=1, description="Why, as it is written beside the row.")

    @field_validator("equals", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str | int | float) else value


class Source(Node):
    """How the files of one kind are read."""

    name: Name = Field(description="Name in reports.")
    files: str = Field(
        "*",
        description="Glob on the file's path below the input folder; the first source that fits reads it.",
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="Field separator of CSV files.")
    encoding: str = Field("utf-8-sig", description="Text encoding of CSV files.")
    timezone: Zone | None = Field(None, description="Zone of times without one; the common `timezone` where absent.")
    columns: dict[str, ColumnMapping] = Field(
        {}, description="Our column -> its origin. Empty: the export uses our names and units."
    )
    keep: list[str] = Field([], description="Further columns of the export to pass through when `columns` is given.")
    drop: list[DropRule] = Field([], description="Rows that are no interactions.")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            "".encode(value)  # knows text encodings only, unlike codecs.lookup
        except (LookupError, UnicodeError) as error:
            raise ValueError("must be a text encoding known to Python, such as utf-8 or cp1252") from error
        return value

    @field_validator("delimiter")
    @classmethod
    def _separates(cls, value: str) -> str:
        if value in '"\r\n':
            raise ValueError("must not be a quote or a line break")
        return value


class ExtraColumn(Node):
    """A column beside the standard ones, so that it can be validated and used as a feature."""

    name: Name = Field(description="Column name.")
    type: Literal["float", "integer", "string"] = Field(description="Type of its values.")
    meaning: str = Field(description="One sentence for the documentation and Dagster.")
    unit: str = Field("", description="Unit of a metric.")
    minimum: float | None = Field(None, description="Smallest allowed value.")
    maximum: float | None = Field(None, description="Largest allowed value.")
    bad_direction: Literal["high", "low"] | None = Field(None, description="Which end is bad for the customer.")
    label: str = Field("", description="The column in words.")

    @model_validator(mode="after")
    def _sensible_range(self) -> ExtraColumn:
        if self.type == "string" and (self.minimum is not None or self.maximum is not None):
            raise ValueError("minimum and maximum are for numbers")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}")
        return self
