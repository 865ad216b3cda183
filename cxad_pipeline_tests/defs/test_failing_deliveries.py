"""A delivery that fails shows in the check of alert_notifications at once, and not only when it has been given up."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from landing_world import make_settings

from cxad_pipeline.alerting.channel_names import email_name
from cxad_pipeline.alerting.channels import DeliveryError, Parcel
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.defs.alerts import alerting_assets
from cxad_pipeline.defs.partitions import scoring_windows
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.outbox import Notice, queue


class Channel:
    """A channel whose token is revoked, until it is not."""

    name, edits, revoked = "slack", False, True

    def deliver(self, _parcel: Parcel) -> dict[str, Any]:
        if self.revoked:
            raise DeliveryError("answer 200 'token_revoked'; set SLACK_BOT_TOKEN")
        return {}


def test_a_revoked_token_shows_in_the_check_at_once_and_no_more_when_it_is_mended(tmp_path: Path) -> None:
    settings, channel = make_settings(tmp_path), Channel()
    store = open_store(settings)
    (asset,) = alerting_assets(settings, lambda: store, [channel], Teller(settings, [channel], lambda _: ""))
    window = scoring_windows(settings).get_partition_keys()[0]

    def run(key: str) -> tuple[dg.AssetCheckEvaluation, Any]:
        with store.writing() as connection:
            message = Message("a run failed", "a run failed").to_dict()
            queue(connection, Notice(key, "run_failure", key, message, dt.datetime.now(dt.UTC)), ["slack"])
        result = dg.materialize([asset], partition_key=window)
        (check,) = result.get_asset_check_evaluations()
        (made,) = result.asset_materializations_for_node("alert_notifications")
        return check, made.metadata

    try:
        check, metadata = run("run:1")
        assert not check.passed
        assert check.description == "1 message failed and will be tried again"
        assert "set SLACK_BOT_TOKEN" in str(check.metadata["failing"].value)
        assert (metadata["failing"].value, metadata["dead_letters"].value) == (1, 0)
        channel.revoked = False
        with store.writing() as connection:
            connection.exec_driver_sql("UPDATE deliveries SET due_at = '2026-01-01 00:00:00.000000'")
        check, metadata = run("run:2")
        assert check.passed
        assert (metadata["sent"].value, metadata["failing"].value) == (2, 0)
    finally:
        store.close()


class Mailbox(Channel):
    """The channel of ops@example.com, whose server refuses everything."""

    name = email_name("ops@example.com")


def test_the_check_says_which_address_fails_and_the_log_does_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mail = {"to": ["ops@example.com"], "sender": "cxad@example.test"}
    settings, channel = make_settings(tmp_path, alerts={"email": mail}), Mailbox()
    store = open_store(settings)
    (asset,) = alerting_assets(settings, lambda: store, [channel], Teller(settings, [channel], lambda _: ""))
    try:
        with store.writing() as connection:
            message = Message("a run failed", "a run failed").to_dict()
            queue(connection, Notice("run:1", "run_failure", "run:1", message, dt.datetime.now(dt.UTC)), [channel.name])
        result = dg.materialize([asset], partition_key=scoring_windows(settings).get_partition_keys()[0])
    finally:
        store.close()
    label = f"{channel.name} (o…@example.com)"
    (check,) = result.get_asset_check_evaluations()
    assert label in str(check.metadata["failing"].value)
    (made,) = result.asset_materializations_for_node("alert_notifications")
    assert made.metadata["by_channel"].value == {label: {"pending": 1, "failing": 1, "dead": 0}}
    logged = "".join(capfd.readouterr())
    assert f"{channel.name}: answer 200" in logged
    assert "example.com" not in logged
