"""A message that may have arrived is marked so in every later attempt, also after it was given up and revived."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from cxad_pipeline.alerting.channels import DeliveryError, Parcel
from cxad_pipeline.alerting.delivery import deliver_due
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.settings.operations import AlertSettings
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.outbox import Notice, queue, revive

pytest_plugins = ["store_databases"]

NOW = dt.datetime(2026, 10, 13, 13, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


class _Failing:
    """A channel whose first attempt fails."""

    name, edits = "slack", False

    def __init__(self, fault: Exception) -> None:
        self.fault = fault
        self.parcels: list[Parcel] = []

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        self.parcels.append(parcel)
        if len(self.parcels) == 1:
            raise self.fault
        return {}


@pytest.mark.parametrize(
    ("fault", "uncertain"),
    [
        (lambda: DeliveryError("lost", uncertain=True), True),
        (lambda: DeliveryError("half of it was refused", uncertain=True, permanent=True), True),
        (lambda: DeliveryError("refused", permanent=True), False),
        (lambda: DeliveryError("no connection"), False),
        (lambda: KeyError("a bug, at any place in the attempt"), True),
    ],
)
@pytest.mark.parametrize("attempts", [1, 5])
def test_the_attempt_after_a_lost_answer_knows_of_it(
    store: Store, fault: Callable[[], Exception], uncertain: bool, attempts: int
) -> None:
    channel = _Failing(fault())
    policy = AlertSettings(max_attempts=attempts)
    with store.writing() as connection:
        queue(connection, Notice("k", "opened", "k", Message("k", "k").to_dict(), NOW), ["slack"], at=NOW)
    first = deliver_due(store, [channel], policy=policy, now=lambda: NOW)
    assert (first.dead, first.failed) in ((1, 0), (0, 1))
    with store.writing() as connection:
        assert revive(connection, None, at=NOW) == first.dead
    assert deliver_due(store, [channel], policy=policy, now=lambda: NOW + HOUR).sent == 1
    assert [parcel.uncertain for parcel in channel.parcels] == [False, uncertain]
