"""What the branches of the configuration are made of.

Belongs here: the base of every branch, and the types of values that several branches share.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("must be an IANA time zone, such as UTC or Europe/Berlin") from error
    return name


def _cron(expression: str) -> str:
    try:
        if len(expression.split()) != 5:
            raise CronSimError("Wrong number of fields")
        CronSim(expression, dt.datetime(2026, 1, 1))
    except CronSimError as error:
        raise ValueError(f"must be a cron expression of five fields, such as '0 */6 * * *' ({error})") from error
    return expression


def _utc(moment: object) -> object:
    """Dates and times without zone are UTC in the configuration, so that a window never depends on the machine."""
    if isinstance(moment, str):
        try:
            moment = dt.datetime.fromisoformat(moment)
        except ValueError as error:
            raise ValueError("must be an ISO 8601 date or time, such as 2026-10-12T06:00") from error
    if isinstance(moment, int | float):
        raise ValueError("must be an ISO 8601 date or time, such as 2026-10-12T06:00")
    if isinstance(moment, dt.date) and not isinstance(moment, dt.datetime):
        moment = dt.datetime.combine(moment, dt.time())
    if isinstance(moment, dt.datetime):
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    return moment


def _location(path: str) -> str:
    scheme, found, bucket = path.partition("://")
    if not path.strip() or (found and (scheme != "s3" or not bucket.strip("/"))):
        raise ValueError("must be a folder or s3://bucket/prefix")
    return path


def _each_once(names: list[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"named twice: {', '.join(twice)}")
    return names


Location = Annotated[str, AfterValidator(_location)]
Zone = Annotated[str, AfterValidator(_known_zone)]
Cron = Annotated[str, AfterValidator(_cron)]
Moment = Annotated[AwareDatetime, BeforeValidator(_utc)]
Percentile = Annotated[float, Field(gt=50, lt=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Names = Annotated[list[str], Field(min_length=1), AfterValidator(_each_once)]


class Node(BaseModel):
    """A branch of the tree: unknown keys are refused and nothing changes after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False, protected_namespaces=()
    )

    @model_validator(mode="before")
    @classmethod
    def _no_flag_as_number(cls, given: object) -> object:
        """Python takes true for 1; in a configuration file it is a slip."""
        for name, value in given.items() if isinstance(given, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields and cls.model_fields[name].annotation is not bool:
                raise ValueError(f"{name} = {value!r}: must not be true or false; put a text in quotes")
        return given


def without_password(address: str) -> str:
    """An address as it is shown (`cxad config`): without user and password, which it may carry."""
    scheme, separator, rest = address.partition("://")
    hidden, found, place = rest.rpartition("@")
    return f"{scheme}{separator}**********@{place}" if found and hidden else address
