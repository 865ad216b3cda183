"""What the branches of the configuration are made of.

Belongs here: the base of every branch, and the types of values that several branches share.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("must be an IANA time zone, such as UTC or Europe/Berlin") from error
    return name


def _cron(expression: str) -> str:
    try:
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
    if isinstance(moment, dt.date) and not isinstance(moment, dt.datetime):
        moment = dt.datetime.combine(moment, dt.time())
    if isinstance(moment, dt.datetime):
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    return moment


Zone = Annotated[str, AfterValidator(_known_zone)]
Cron = Annotated[str, AfterValidator(_cron)]
Moment = Annotated[AwareDatetime, BeforeValidator(_utc)]
Percentile = Annotated[float, Field(gt=50, lt=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Node(BaseModel):
    """A branch of the tree: unknown keys are refused and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, protected_namespaces=())
