"""A process that is ended anywhere between finding an incident and sending it loses nothing and tells nothing twice.

It is killed with SIGKILL, or PostgreSQL ends its connection, which is what it sees of a failover. The process lives in
`killed_delivery_worker`; Slack and the mail server are doubles in processes of their own, which record what people see.
The points are drawn from `SEED`: every second one is a line of Python, of our code and of the libraries', every other
one a moment, so that it is inside of a system call or of the database's commit too.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import re
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import killed_delivery_worker as worker
import pytest
from killed_delivery_worker import Order
from operations_world import model_of
from slack_bot_double import posts_in
from smtp_double import mails_in

from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.incidents import known_incidents
from cxad_pipeline.store.outbox_status import find_deliveries, outbox_status

pytest_plugins = ["store_databases"]
pytestmark = pytest.mark.timeout(900)

SEED = 20261013
KILLS = 52
CUTS = 16


@contextmanager
def double(module: str, record: Path, *options: str) -> Iterator[str]:
    """A double in a process of its own; what it prints first is its address."""
    script = Path(__file__).with_name(f"{module}.py")
    with subprocess.Popen(
        [sys.executable, str(script), "--record", str(record), *options], stdout=subprocess.PIPE, text=True
    ) as it:
        try:
            assert it.stdout is not None
            yield it.stdout.readline().strip()
        finally:
            it.kill()


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[worker.World]:
    with (
        # As from the real one, an answer takes a while: many die between what people see and what they know of it.
        double("slack_bot_double", tmp_path / "slack.jsonl", "--answer-seconds", "0.05") as url,
        double("smtp_double", tmp_path / "mails.jsonl") as port,
    ):
        found = worker.World(tmp_path, store_url, url, int(port))
        found.model_folder.mkdir()
        model_of(found.settings).save(found.model_folder)
        yield found


class Lives:
    """Starts the process again and again."""

    def __init__(self, world: worker.World) -> None:
        self._folder, self._slack_url = world.folder, world.slack_url
        given = json.dumps({**asdict(world), "folder": str(world.folder)})
        command = [sys.executable, str(Path(worker.__file__)), given]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()

    def run(self, order: Order) -> tuple[int, bool]:
        """Live once; returns how the process ended, and whether it was cut off from its database."""
        assert self._server.stdin is not None
        print(json.dumps(asdict(order)), file=self._server.stdin, flush=True)
        status, cut = json.loads(self._answer())
        # What the dead had sent reaches Slack before the next life asks for it: in life the lease is five minutes.
        with urllib.request.urlopen(self._slack_url, timeout=90) as answer:
            assert answer.status == 200
        return status, cut

    def measured(self, order: Order) -> tuple[list[int], dict[str, float]]:
        """Lines from commit to commit, and seconds of each phase, of a life that nobody ends."""
        assert self.run(order) == (0, False)
        lines, seconds = json.loads((self._folder / "measured").read_text())
        return lines, seconds

    def last_error(self) -> str:
        return (self._folder / "error").read_text(encoding="utf-8")

    def end(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        assert self._server.wait(60) == 0


@pytest.fixture
def lives(world: worker.World) -> Iterator[Lives]:
    found = Lives(world)
    yield found
    found.end()


class Points:
    """Draws where lives are ended: by turns at a line between two commits, and at a moment of a phase."""

    def __init__(self, lives: Lives) -> None:
        self._drawn = random.Random(SEED)
        self._lines = lives.measured(Order(3, counted=True))[0]
        self._seconds = lives.measured(Order(5))[1]
        assert set(self._seconds) == set(worker.PHASES)
        assert len(self._lines) > 6, "statistics, judging, and for each of two messages a claim and an end"
        self.number = 5

    def next_half_day(self, *, cut: bool) -> Iterator[Order]:
        """Four points of the next half day."""
        self.number += 1
        phases = ("detecting", "queueing", "sending", "sending")
        for place, phase in enumerate(self._drawn.sample(phases, len(phases))):
            if (self.number + place) % 2:
                commits = self._drawn.randrange(len(self._lines))
                yield Order(self.number, commits, line=self._drawn.randint(1, self._lines[commits]), cut=cut)
            else:
                seconds = self._drawn.uniform(0, self._seconds[phase])
                yield Order(self.number, phase=phase, seconds=seconds, cut=cut)

    def learn(self, order: Order, *, hit: bool) -> None:
        """Draw from a shorter time after a moment that came too late, so that two of three come in time.

        The machine may be faster than when it was measured, or slower.
        """
        if order.phase is not None and order.seconds is not None:
            self._seconds[order.phase] *= 1.2 if hit else 0.7


def ended(
    lives: Lives, points: Points, least: int, *, cut: bool, enough: Callable[[], bool] = lambda: True
) -> Counter[int]:
    """End at least so many lives, some at lines and some at moments of each phase; returns their statuses."""
    found: Counter[str | None] = Counter()
    statuses: Counter[int] = Counter()
    while found.total() < least or set(found) != {None, *worker.PHASES} or not enough():
        assert points.number < 4 * least, f"too many of them came to their end: {found}"
        for order in points.next_half_day(cut=cut):
            status, was_cut = lives.run(order)
            if cut and status == worker.STORE_AWAY:
                assert was_cut
                error = lives.last_error()
                assert re.fullmatch(
                    r"PostgreSQL database .* can't be used: .+; check that it runs, and store\.url", error
                )
                assert os.environ["PGPASSWORD"] not in error
            else:
                assert status in ((0,) if cut else (0, -signal.SIGKILL))
            hit = was_cut or status == -signal.SIGKILL
            points.learn(order, hit=hit)
            if hit:
                found[order.phase] += 1
                statuses[status] += 1
            if status == 0:
                break  # nothing is left of this half day
    return statuses


def begun_again(world: worker.World) -> int:
    """How many deliveries were attempted more than once."""
    with closing(open_store(world.settings)) as store, store.reading() as connection:
        deliveries, _ = find_deliveries(connection, state=None, limit=10_000, cursor=None)
    return sum(delivery["attempts"] > 1 for delivery in deliveries)


def check_what_was_told(lives: Lives, world: worker.World, last: int) -> None:
    """After the last half days are done: every incident was told, on Slack once."""
    last += last % 2  # to the end of a day
    for number in range(1, last + 1):
        assert lives.run(Order(number)) == (0, False), "left alone, it does all that is left"

    with closing(open_store(world.settings)) as store, store.reading() as connection:
        status = outbox_status(connection, dt.datetime.now(dt.UTC))
        deliveries, _ = find_deliveries(connection, state=None, limit=10_000, cursor=None)
        saved = [one.incident for one in known_incidents(connection, worker.FIRST)]
    assert (status.pending, status.dead) == (0, 0)
    assert len(saved) == last // 2, "an incident on each Tuesday, and one alone"
    assert {incident.status for incident in saved} == {"resolved"}
    assert all(incident.critical for incident in saved)
    posted = {delivery["key"] for delivery in deliveries if delivery["kind"] != "edit"}
    assert {key.split(":")[1] for key in posted if key.endswith(":opened")} == {incident.id for incident in saved}

    posts = [post for post in posts_in(world.folder / "slack.jsonl") if post["method"] == "chat.postMessage"]
    assert Counter(post["key"] for post in posts) == Counter(posted), "on Slack each key exactly once"
    mails = mails_in(world.folder / "mails.jsonl")
    assert {mail["key"] for mail in mails} == posted
    ids = {(mail["key"], mail["message_id"]) for mail in mails}
    assert len({name for _, name in ids}) == len(ids) == len(posted), "one Message-ID for each key"
    for told in (posts, mails):
        first = {key: place for place, key in reversed(list(enumerate(line["key"] for line in told)))}
        for key, place in first.items():
            if key.startswith("digest:"):
                continue
            assert first[":".join([*key.split(":")[:2], "opened"])] <= place, "the first message came first"


def test_a_killed_process_loses_nothing_and_tells_nothing_twice(lives: Lives, world: worker.World) -> None:
    points = Points(lives)
    # Not trivial: attempts were broken off after they had begun.
    ended(lives, points, KILLS, cut=False, enough=lambda: begun_again(world) >= 5)
    check_what_was_told(lives, world, points.number)


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_process_that_loses_its_database_loses_nothing_and_tells_nothing_twice(
    lives: Lives, world: worker.World
) -> None:
    points = Points(lives)
    statuses = ended(lives, points, CUTS, cut=True)
    check_what_was_told(lives, world, points.number)
    # Who is cut off within a transaction gives up, to be started again; who is between two of them connects anew.
    assert min(statuses[worker.STORE_AWAY], statuses[0]) > 0, statuses
