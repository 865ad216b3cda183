"""One life of the process that is killed in `test_killed_delivery`: detect -> outbox -> deliver.

Belongs here: what the process does, and the hand that kills it. Does not belong here: claims.

A life counts and judges half a day of contacts, as the assets do, and then delivers what is due. Each incident begins
in the first half of a day, with hold four minutes longer in one queue, and ends in the second.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "operations"))

import pyarrow as pa
import pyarrow.compute as pc
from operations_world import START, STEP, between, make_settings, scored_rows
from slack_bot_double import CHANNEL, TOKEN

from cxad_pipeline.alerting.channels import Channel, EmailChannel, SlackChannel
from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.operations.judging import judge
from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.operations.statistics import record_statistics
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.outbox_status import outbox_status

LEASE = dt.timedelta(seconds=0.15)
GIVEN_UP_SECONDS = 60.0
WEEK = dt.timedelta(days=7)
TUESDAY = START + 5 * STEP  # from 6 to 12; the fault of the sample begins at 9 and ends at 14
FIRST = TUESDAY - 200 * WEEK
"""All of it is in the past: a window that has not ended is not judged."""


@dataclass(frozen=True)
class World:
    """Where the process works."""

    folder: Path
    store_url: str
    slack_url: str
    smtp_port: int

    def channels(self) -> list[Channel]:
        email = EmailChannel(
            "alerts@example.test", ["ops@example.test"], host="127.0.0.1", port=self.smtp_port, security="none"
        )
        return [SlackChannel(TOKEN, CHANNEL, self.slack_url), email]

    @property
    def settings(self) -> Settings:
        # No digest, whose hour may come in the middle of the test: the first one ever is queued with the tables.
        return make_settings(
            self.folder, self.store_url, alerts={"update_minutes": 0, "digest_cron": "0 0 29 2 *", "repeat_hours": 999}
        )

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"

    def open(self) -> Store:
        return open_store(self.settings)


def contacts_of_life(number: int) -> tuple[pa.Table, dt.datetime]:
    """The scored rows of half a day, and when it begins: each odd number and the even one after it are a Tuesday."""
    week, half = divmod(number - 1, 2)
    begin = TUESDAY + half * STEP
    rows = between(scored_rows(), begin, begin + STEP)
    moved = pc.add(rows["timestamp"], pa.scalar(FIRST - TUESDAY + week * WEEK)).cast(
        rows.schema.field("timestamp").type
    )
    names = pc.binary_join_element_wise(rows["interaction_id"], f"w{week}", "-")
    for name, values in (("timestamp", moved), ("interaction_id", names)):
        rows = rows.set_column(rows.column_names.index(name), name, values)
    return rows, begin + (FIRST - TUESDAY) + week * WEEK


def live(world: World, model: IncidentModel, number: int, fatal_line: int | None = None) -> None:
    """Judge the half day of this number and send all that is due.

    Parameters
    ----------
    fatal_line
        The process kills itself before it runs so many further lines of Python; 0: it counts them; None for a process
        that is left alone. Who comes to the end leaves in the file `measured` of the folder how many lines and seconds
        detecting took, and all of it.
    """
    begun = time.monotonic()
    rows, begin = contacts_of_life(number)
    executioner = Executioner(fatal_line)
    if fatal_line is not None:
        executioner.begin()
    settings, channels = world.settings, world.channels()
    teller = Teller(settings, channels, lambda moment: f"{moment:%Y-%m-%d-%H%M}")
    store, now = world.open(), dt.datetime.now(dt.UTC)
    record_statistics(store, model, rows, begin, begin + STEP, now)
    judge(store, model, [rows], begin, begin + STEP, settings, teller, now)
    detected = executioner.lines, time.monotonic() - begun
    deliver_all(store, settings, channels, teller)
    sys.settrace(None)
    measured = [detected, (executioner.lines, time.monotonic() - begun)]
    (world.folder / "measured").write_text(json.dumps(measured))


def deliver_all(store: Store, settings: Settings, channels: Sequence[Channel], teller: Teller) -> None:
    """Send until nothing is left; what a process that was killed had in its hands comes free with its lease."""
    end = time.monotonic() + GIVEN_UP_SECONDS
    while time.monotonic() < end:
        deliver_round(store, settings, channels, teller, lambda: dt.datetime.now(dt.UTC), lease=LEASE)
        with store.reading() as connection:
            status = outbox_status(connection, dt.datetime.now(dt.UTC))
        if not status.pending:
            return
        time.sleep(0.01)
    raise TimeoutError(f"the outbox did not become empty: {status}")


class Executioner:
    """Counts the lines of Python that are run, in all modules, and kills the process before a given one."""

    def __init__(self, fatal_line: int | None) -> None:
        self.lines = 0
        self.fatal_line = fatal_line

    def begin(self) -> None:
        sys.settrace(self._trace)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002 - as Python calls it
        if event == "line":
            self.lines += 1
            if self.lines == self.fatal_line:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._trace


def serve() -> None:
    """Fork a process for each order (a line of JSON: number, fatal_line, seconds) and say how it ended.

    A fork has all modules loaded, so that a life takes a tenth of a second and not some seconds.
    """
    given = json.loads(sys.argv[1])
    world = World(Path(given["folder"]), given["store_url"], given["slack_url"], given["smtp_port"])
    model = IncidentModel.load(world.model_folder)
    for line in sys.stdin:
        order = json.loads(line)
        process = os.fork()
        if process == 0:
            live(world, model, order["number"], order["fatal_line"])
            os._exit(0)  # an exception gets further, and ends in its traceback and another code
        if order["seconds"] is not None:
            time.sleep(order["seconds"])
            os.kill(process, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
