"""A terminal says which of the configured addresses failed, also of messages from before an upgrade."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

from click.testing import CliRunner
from incident_store_world import incident, save

from cxad_pipeline.cli import main
from cxad_pipeline.settings import load_settings
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.outbox import Notice, claim, queue, settle_dead

ONE = incident(9)


def test_a_dead_letter_names_the_address_that_can_be_corrected(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        json.dumps(
            {
                "store": {"url": f"sqlite:///{tmp_path}/store.db"},
                "alerts": {"email": {"to": ["ops@example.com"], "sender": "cxad@example.test"}},
            }
        )
    )
    store = open_store(load_settings(config))
    save(store, ONE)
    now = dt.datetime.now(dt.UTC)
    # As rows are that an earlier version wrote; the second address has been taken out of the list since.
    names = ["email-af3c82", "email-000000"]
    with store.writing() as connection:
        content = {"headline": "Trouble", "text": "Trouble"}
        queue(connection, Notice("k", "opened", f"incident:{ONE.id}", content, now), names)
    with store.writing() as connection:
        for claimed in claim(connection, names, now=now, lease=dt.timedelta(minutes=5), limit=2):
            settle_dead(connection, claimed, "550 no such user", now)
    store.close()
    for command in (["alerts", "--dead"], ["incident", ONE.id]):
        done = CliRunner().invoke(main, ["--config", str(config), *command])
        assert done.exit_code == 0, done.output
        assert "  email-af3c82 (o…@example.com)  " in done.output
        assert "  email-000000  " in done.output
        assert "ops@" not in done.output
