"""A process that is killed with SIGKILL anywhere between finding an incident and sending it loses nothing.

The process lives in `killed_delivery_worker`; Slack and the mail server are doubles in processes of their own, which
record what people see. The points are drawn from `SEED`: every second one is a line of Python, of our code and of the
libraries', every other one a moment, so that it is killed inside of a system call or of SQLite's commit too.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import killed_delivery_worker as worker
import pytest
from operations_world import model_of
from slack_bot_double import posts_in
from smtp_double import mails_in

from cxad_pipeline.store.incidents import known_incidents
from cxad_pipeline.store.outbox_status import find_deliveries, outbox_status

SEED = 20261013
KILLS = 60


@contextmanager
def double(module: str, record: Path) -> Iterator[str]:
    """A double in a process of its own; what it prints first is its address."""
    script = Path(__file__).with_name(f"{module}.py")
    with subprocess.Popen(
        [sys.executable, str(script), "--record", str(record)], stdout=subprocess.PIPE, text=True
    ) as it:
        try:
            assert it.stdout is not None
            yield it.stdout.readline().strip()
        finally:
            it.kill()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[worker.World]:
    with (
        double("slack_bot_double", tmp_path / "slack.jsonl") as url,
        double("smtp_double", tmp_path / "mails.jsonl") as port,
    ):
        found = worker.World(tmp_path, f"sqlite:///{tmp_path}/store.db", url, int(port))
        found.model_folder.mkdir()
        model_of(found.settings).save(found.model_folder)
        yield found


class Lives:
    """Starts the process again and again."""

    def __init__(self, world: worker.World) -> None:
        self.measured = world.folder / "measured"
        given = json.dumps({**asdict(world), "folder": str(world.folder)})
        command = [sys.executable, str(Path(worker.__file__)), given]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, number: int, *, fatal_line: int | None = None, seconds: float | None = None) -> int:
        """Live once; returns how the process ended: 0, or minus the signal."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        order = {"number": number, "fatal_line": fatal_line, "seconds": seconds}
        print(json.dumps(order), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())

    def measure(self, number: int) -> tuple[list[int], list[float]]:
        """Lines and seconds that detecting takes, and all of a life that nobody ends; one with messages to send."""
        assert self.run(number, fatal_line=0) == 0
        lines = [part[0] for part in json.loads(self.measured.read_text())]
        assert self.run(number + 2) == 0
        return lines, [part[1] for part in json.loads(self.measured.read_text())]

    def end(self) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        assert self.server.wait(10) == 0


@pytest.fixture
def lives(world: worker.World) -> Iterator[Lives]:
    found = Lives(world)
    yield found
    found.end()


def test_nothing_is_lost_and_nothing_is_told_twice(lives: Lives, world: worker.World, tmp_path: Path) -> None:
    drawn, kills, number = random.Random(SEED), 0, 5
    assert lives.run(1) == 0  # makes the tables
    lines, seconds = lives.measure(3)
    assert 1000 < lines[0] < lines[1]
    while kills < KILLS:
        number += 1
        # Each half day is killed up to four times, then the next one comes: what is left undone the last lives do.
        # Sending takes a small part of a life, so half of the points are drawn from it alone.
        for least in (0, lines[0]):
            kills += lives.run(number, fatal_line=drawn.randint(least + 1, lines[1])) == -signal.SIGKILL
        for earliest in (0.0, seconds[0]):
            kills += lives.run(number, seconds=drawn.uniform(earliest, seconds[1])) == -signal.SIGKILL
        assert number < 2 * KILLS, "too many of them came to their end"
    number += number % 2  # to the end of a day
    for each in range(1, number + 1):
        assert lives.run(each) == 0, "left alone, it does all that is left"

    store = world.open()
    with store.reading() as connection:
        status = outbox_status(connection, dt.datetime.now(dt.UTC))
        deliveries, _ = find_deliveries(connection, state=None, limit=10_000, cursor=None)
        saved = [one.incident for one in known_incidents(connection, worker.FIRST)]
    store.close()
    assert (status.pending, status.dead) == (0, 0)
    assert len(saved) == number // 2, "an incident on each Tuesday, and one alone"
    assert {incident.status for incident in saved} == {"resolved"}
    assert all(incident.critical for incident in saved)
    expected = {delivery["key"] for delivery in deliveries}
    posted = {delivery["key"] for delivery in deliveries if delivery["kind"] != "edit"}
    assert {key.split(":")[1] for key in posted if key.endswith(":opened")} == {incident.id for incident in saved}

    posts = [post for post in posts_in(tmp_path / "slack.jsonl") if post["method"] == "chat.postMessage"]
    assert Counter(post["key"] for post in posts) == Counter(posted), "on Slack each key exactly once"
    mails = mails_in(tmp_path / "mails.jsonl")
    assert {mail["key"] for mail in mails} == posted
    ids = {(mail["key"], mail["message_id"]) for mail in mails}
    assert len({name for _, name in ids}) == len(ids) == len(posted), "one Message-ID for each key"
    for told in (posts, mails):
        first = {key: place for place, key in reversed(list(enumerate(line["key"] for line in told)))}
        for key, place in first.items():
            if key.startswith("digest:"):
                continue
            assert first[":".join([*key.split(":")[:2], "opened"])] <= place, "the first message came first"

    # Not trivial: attempts were broken off after they had begun.
    assert expected
    assert sum(delivery["attempts"] > 1 for delivery in deliveries) >= 5, [d["attempts"] for d in deliveries]
