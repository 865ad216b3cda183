"""One life of the process that is ended in `test_killed_delivery`: detect -> outbox -> deliver.

Belongs here: what the process does, and the hand that kills it or takes its database away. Does not belong here:
claims.

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
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "operations"))

import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
from operations_world import START, STEP, between, make_settings, scored_rows
from slack_bot_double import CHANNEL, TOKEN
from sqlalchemy import Engine, event

from cxad_pipeline.alerting.channels import Channel, EmailChannel, Parcel, SlackChannel
from cxad_pipeline.incidents.incident_model import IncidentModel
from cxad_pipeline.operations.judging import judge
from cxad_pipeline.operations.rounds import deliver_round
from cxad_pipeline.operations.statistics import record_statistics
from cxad_pipeline.operations.telling import Teller
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store, StoreAwayError, open_store
from cxad_pipeline.store.outbox_status import outbox_status

LEASE = dt.timedelta(seconds=0.05)
GIVEN_UP_SECONDS = 60.0
STORE_AWAY = 3
"""Exit status of a life that ended in `StoreAwayError`; its text is in the file `error` of the folder."""
WEEK = dt.timedelta(days=7)
TUESDAY = START + 5 * STEP  # from 6 to 12; the fault of the sample begins at 9 and ends at 14
FIRST = TUESDAY - 200 * WEEK
"""All of it is in the past: a window that has not ended is not judged."""
PHASES = ("detecting", "queueing", "sending")
"""Up to the commit of what was found; up to the first message's way to its channel; from there to the end."""


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


@dataclass(frozen=True)
class Order:
    """Which half day is lived, and what happens on the way.

    Attributes
    ----------
    number
        Of the half day, from 1 on.
    commits, line
        It happens before this line of Python, our code's and the libraries', counted from 1 on from where so many
        commits had begun.
    phase, seconds
        Or so long after this one of `PHASES` began, wherever it is then: in a system call, in the middle of a commit.
    cut
        The server ends its connection to the process, as PostgreSQL does when it fails over. Else the process is killed
        with SIGKILL.
    counted
        Nothing happens, and the lines are counted from commit to commit.
    """

    number: int
    commits: int | None = None
    line: int | None = None
    phase: str | None = None
    seconds: float | None = None
    cut: bool = False
    counted: bool = False


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


def live(world: World, settings: Settings, model: IncidentModel, fate: Fate) -> None:
    """Judge the half day of the order and send all that is due."""
    rows, begin = contacts_of_life(fate.order.number)
    channels = [Watched(channel, fate) for channel in world.channels()]
    teller = Teller(settings, channels, lambda moment: f"{moment:%Y-%m-%d-%H%M}")
    event.listen(Engine, "commit", fate.commit)
    fate.enter("detecting")
    with closing(open_store(settings)) as store:
        now = dt.datetime.now(dt.UTC)
        record_statistics(store, model, rows, begin, begin + STEP, now)
        judge(store, model, [rows], begin, begin + STEP, settings, teller, lambda: now)
        fate.enter("queueing")
        deliver_all(store, settings, channels, teller)
        fate.end()
    event.remove(Engine, "commit", fate.commit)


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


class Watched:
    """A channel that says when sending begins."""

    def __init__(self, channel: Channel, fate: Fate) -> None:
        self.name, self.edits = channel.name, channel.edits
        self._channel, self._fate = channel, fate

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        self._fate.enter("sending")
        return dict(self._channel.deliver(parcel))


class Fate:
    """Counts lines between commits and seconds of phases, and says over a pipe when the point of the order has come."""

    def __init__(self, order: Order, told: int = -1, go_on: int = -1) -> None:
        self.order = order
        self.lines: list[int] = []
        self.seconds: dict[str, float] = {}
        self._told, self._go_on = told, go_on
        self._phase, self._begun = "", 0.0

    def enter(self, phase: str) -> None:
        """Begin a phase, or go on with it."""
        if phase == self._phase:
            return
        if self._phase:
            self.seconds[self._phase] = time.monotonic() - self._begun
        else:
            self.commit()
        self._phase, self._begun = phase, time.monotonic()
        if phase == self.order.phase:
            os.write(self._told, b".")

    def commit(self, *_: object) -> None:
        """A transaction is about to be committed: count from here."""
        if not self.order.counted and self.order.commits != len(self.lines):
            sys.settrace(None)
        else:
            sys.settrace(self._trace)
            frame: FrameType | None = sys._getframe(1)
            while frame is not None:  # those that have begun would not be traced by themselves
                frame.f_trace = self._trace
                frame = frame.f_back
        self.lines.append(0)

    def end(self) -> None:
        """The life has come to its end."""
        sys.settrace(None)
        self.enter("")

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002 - as Python calls it
        if event == "line":
            self.lines[-1] += 1
            if self.lines[-1] == self.order.line:
                os.write(self._told, b".")
                os.read(self._go_on, 1)
        return self._trace


class Lives:
    """Forks a process for each order: a fork has all modules, the model and the contacts in its memory.

    So a life takes a fifth of a second and not some seconds.
    """

    def __init__(self, world: World) -> None:
        self._world, self._settings = world, world.settings
        self._model = IncidentModel.load(world.model_folder)
        self._server: Any = None
        if world.store_url.startswith("postgresql"):
            self._server = psycopg2.connect(world.store_url)
            self._server.autocommit = True
        for number in (1, 2):  # what is imported and cached at a first use is there from now on
            live(world, self._settings, self._model, Fate(Order(number)))

    def run(self, order: Order) -> tuple[int, bool]:
        """Live once; returns how the process ended, 0 or its status or minus its signal, and whether it was cut off."""
        (told, telling), (waiting, letting) = os.pipe(), os.pipe()
        process = os.fork()
        if process == 0:
            os.close(letting)
            self._live(Fate(order, telling, waiting))
            os._exit(0)  # an exception gets further, and ends in its traceback and another status
        os.close(telling)
        os.close(waiting)
        cut = False
        if os.read(told, 1):  # nothing: it came to its end before
            time.sleep(order.seconds or 0)
            if order.cut:
                cut = self._cut(process)
                os.close(letting)
                letting = -1
            else:
                os.kill(process, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        for end in (told, letting):
            if end >= 0:
                os.close(end)
        return status, cut

    def _live(self, fate: Fate) -> None:
        os.environ["PGAPPNAME"] = f"life-{os.getpid()}"
        try:
            live(self._world, self._settings, self._model, fate)
        except StoreAwayError as error:
            (self._world.folder / "error").write_text(str(error), encoding="utf-8")
            os._exit(STORE_AWAY)
        (self._world.folder / "measured").write_text(json.dumps([fate.lines, fate.seconds]))

    def _cut(self, process: int) -> bool:
        """Have the server end the process's connections; returns whether there was one."""
        with self._server.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = %s",
                [f"life-{process}"],
            )
            return any(ended for (ended,) in cursor.fetchall())


def serve() -> None:
    """Take orders, a line of JSON each, and answer each with a line of JSON: how the life ended, and `cut`."""
    given = json.loads(sys.argv[1])
    lives = Lives(World(**(given | {"folder": Path(given["folder"])})))
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(lives.run(Order(**json.loads(line)))), flush=True)


if __name__ == "__main__":
    serve()
