"""Worker processes hear of each other's events, and a client may come back to any of them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_examples import all_there_is, an_event, events_named, missed_in, name_of, stream_settings

from cxad_pipeline.serving.event_buffer import EventBuffer
from cxad_pipeline.serving.live_events import Message, Wanted
from cxad_pipeline.serving.siblings import meeting_place
from cxad_pipeline.serving.stream import LiveStream
from cxad_pipeline.serving.subscription import Subscription

_ORIGINS = ["aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"]
_WORKERS = st.integers(0, 2)


class _Network:
    """Three workers' buffers, and between each two of them a queue that keeps the order and may lose what is in it."""

    def __init__(self, size: int) -> None:
        self.buffers = [EventBuffer(size, origin) for origin in _ORIGINS]
        self.numbers = [0, 0, 0]
        self.queues: dict[tuple[int, int], list[int]] = {(a, b): [] for a in range(3) for b in range(3) if a != b}
        for a, b in self.queues:
            self.buffers[b].hear(_ORIGINS[a], 0, "", {})

    def publish(self, worker: int) -> str:
        self.numbers[worker] += 1
        number = self.numbers[worker]
        self.buffers[worker].append(_ORIGINS[worker], number, number, _json(worker, number), {})
        for (a, _), queue in self.queues.items():
            if a == worker:
                queue.append(number)
        return f"{worker}/{number}"

    def deliver(self, a: int, b: int) -> None:
        if a != b and self.queues[a, b]:
            number = self.queues[a, b].pop(0)
            self.buffers[b].hear(_ORIGINS[a], number, _json(a, number), {})

    def lose(self, a: int, b: int) -> None:
        if a != b and self.queues[a, b]:
            self.queues[a, b].pop(0)

    def settle(self) -> None:
        """All that is on its way arrives, and everybody says how far it has come."""
        for a, b in self.queues:
            while self.queues[a, b]:
                self.deliver(a, b)
            self.buffers[b].hear(_ORIGINS[a], self.numbers[a], "", {})

    def subscribe(self, worker: int, last_id: str | None) -> Subscription:
        buffer = self.buffers[worker]
        start = buffer.resume(last_id) if last_id else buffer.from_now()
        return Subscription(buffer, Wanted(), start, lambda _: None)


def _json(worker: int, number: int) -> str:
    return f'{{"interaction_id":"{worker}/{number}"}}'


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), _WORKERS, _WORKERS),
        st.tuples(st.just("deliver"), _WORKERS, _WORKERS),
        st.tuples(st.just("lose"), _WORKERS, _WORKERS),
        st.tuples(st.just("take"), st.integers(0, 4), _WORKERS),
    ),
    max_size=60,
)


def _travel(size: int, steps: list[tuple[str, int, int]]) -> tuple[list[str], list[Message]]:
    """A client takes some messages and goes on at another worker, again and again: what was published, what it got."""
    network, published, got = _Network(size), [], []
    subscription = network.subscribe(0, None)
    last_id = subscription.place
    for step, first, second in steps:
        if step == "publish":
            published.append(network.publish(first))
        elif step == "deliver":
            network.deliver(first, second)
        elif step == "lose":
            network.lose(first, second)
        else:
            taken = all_there_is(subscription)[:first]
            got += taken
            last_id = taken[-1].id if taken else last_id
            subscription = network.subscribe(second, last_id)
    network.settle()
    return published, got + all_there_is(subscription)


@given(steps=_STEPS.map(lambda steps: [step for step in steps if step[0] != "lose"]))
def test_a_client_that_wanders_between_workers_gets_each_event_once(steps: list[tuple[str, int, int]]) -> None:
    published, got = _travel(1000, steps)
    assert [message.name for message in got] == ["interaction"] * len(published)
    assert sorted(map(name_of, got)) == sorted(published)


@given(size=st.integers(1, 8), steps=_STEPS)
def test_whatever_is_lost_on_the_way_the_client_is_told_and_gets_nothing_twice(
    size: int, steps: list[tuple[str, int, int]]
) -> None:
    published, got = _travel(size, steps)
    names = [name_of(message) for message in got if message.name == "interaction"]
    assert len(set(names)) == len(names)
    assert set(names) <= set(published)
    if not any(message.name == "gap" for message in got):
        assert len(names) + missed_in(got) >= len(published)


def _at(buffer: EventBuffer, last_id: str | None = None) -> Subscription:
    start = buffer.resume(last_id) if last_id else buffer.from_now()
    return Subscription(buffer, Wanted(), start, lambda _: None)


def test_a_client_gets_nothing_twice_from_a_worker_that_heard_of_another_one_late() -> None:
    buffer = EventBuffer(9, "aaaaaaaaaaaa")
    buffer.append("aaaaaaaaaaaa", 1, 1, _json(0, 1), {})
    buffer.hear("bbbbbbbbbbbb", 1, _json(1, 1), {})
    # It was at b, which had nothing of a yet.
    messages = all_there_is(_at(buffer, "bbbbbbbbbbbb-1.aaaaaaaaaaaa-0"))
    assert [name_of(message) for message in messages] == ["0/1"]


def test_of_a_run_that_did_not_arrive_a_client_is_told_what_it_has_not_seen_elsewhere() -> None:
    buffer = EventBuffer(9, "aaaaaaaaaaaa")
    buffer.hear("bbbbbbbbbbbb", 4, _json(1, 4), {})
    buffer.hear("bbbbbbbbbbbb", 9, _json(1, 9), {})
    dropped, found = all_there_is(_at(buffer, "bbbbbbbbbbbb-6.aaaaaaaaaaaa-0"))
    assert missed_in([dropped]) == 2
    assert name_of(found) == "1/9"


def test_events_that_did_not_arrive_count_also_when_the_client_was_too_slow_to_be_told() -> None:
    buffer = EventBuffer(1, "aaaaaaaaaaaa")
    slow = _at(buffer)
    for number in (1, 5):
        buffer.hear("bbbbbbbbbbbb", number, _json(1, number), {})
    dropped, found = all_there_is(slow)
    assert missed_in([dropped]) == slow.dropped == 4
    assert name_of(found) == "1/5"


def test_a_worker_that_is_gone_is_left_out_of_ids_once_no_buffer_can_hold_its_events() -> None:
    buffer = EventBuffer(3, "aaaaaaaaaaaa")
    buffer.hear("bbbbbbbbbbbb", 1, _json(1, 1), {})
    buffer.hear("cccccccccccc", 0, "", {})
    for number in range(1, 7):
        buffer.forget({"cccccccccccc"})
        assert set(buffer.place) == {"aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"}
        buffer.append("aaaaaaaaaaaa", number, number, _json(0, number), {})
    buffer.forget({"bbbbbbbbbbbb", "cccccccccccc"})
    assert "bbbbbbbbbbbb" in buffer.place
    buffer.forget(set())
    assert set(buffer.place) == {"aaaaaaaaaaaa"}


def _run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(120):
            await scenario()

    asyncio.run(limited())


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def _take(subscription: Subscription, n: int) -> list[Message]:
    messages: list[Message] = []
    while len(messages) < n:
        messages += await anext(subscription)
    return messages


async def _pair(state: Path, **stream: int) -> tuple[LiveStream, LiveStream]:
    """Two streams that know each other."""
    first, second = LiveStream(stream_settings(state, **stream)), LiveStream(stream_settings(state, **stream))
    await first.start()
    await second.start()
    await _until(lambda: first.siblings == second.siblings == 1)
    return first, second


def test_each_worker_has_the_events_of_the_others_in_their_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await _pair(tmp_path)
        at_first, at_second = first.subscribe(), second.subscribe()
        # More at once than some systems let wait at a socket, and more bytes than a datagram holds.
        first.publish([an_event(f"1/{number}", note="x" * 500) for number in range(300)])
        second.publish(events_named(["2/0"]))
        for subscription in (at_first, at_second):
            names = [name_of(message) for message in await _take(subscription, 301)]
            assert [name for name in names if name != "2/0"] == [f"1/{number}" for number in range(300)]
            assert "2/0" in names
        assert first.unsent == second.unsent == 0
        assert (first.published, second.published) == (300, 1)
        await first.stop()
        await second.stop()

    _run(scenario)


def test_a_client_goes_on_at_another_worker(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await _pair(tmp_path)
        listener, witness = first.subscribe(), second.subscribe()
        first.publish(events_named([1]))
        second.publish(events_named([2]))
        seen = await _take(listener, 2)
        listener.close()
        second.publish(events_named([3]))
        first.publish(events_named([4]))
        await _take(witness, 4)
        messages = all_there_is(second.subscribe(seen[-1].id))
        assert sorted(map(name_of, messages)) == ["3", "4"]
        await first.stop()
        await second.stop()

    _run(scenario)


def test_filters_and_too_long_events_reach_the_other_workers(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await _pair(tmp_path)
        chosen = second.subscribe(None, Wanted(True, 50, (("queue", "billing"),)))
        row = {"anomaly": True, "severity": 60.0, "queue": "billing"}
        first.publish([an_event(1, **row | {"queue": "sales"}), an_event("x" * 40_000, **row), an_event(2, **row)])
        dropped, found = await _take(chosen, 2)
        assert missed_in([dropped]) == 1
        assert name_of(found) == "2"
        await first.stop()
        await second.stop()

    _run(scenario)


def test_workers_that_stand_still_delay_nobody_and_what_they_miss_is_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = await _pair(tmp_path, buffer=20_000)
        stuck = []
        for name in ("000000000000", "000000000001", "000000000002"):
            stuck.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            stuck[-1].setblocking(False)
            stuck[-1].bind(str(meeting_place(tmp_path / "siblings", 12) / name))
        await _until(lambda: first.siblings == 4)
        listener = second.subscribe()
        for _ in range(100):
            first.publish([an_event(number, note="x" * 1000) for number in range(100)])
            await _take(listener, 100)
        assert first.unsent > 0
        received = 0
        while True:
            try:
                received += sum(1 for line in stuck[0].recv(1 << 17).split(b"\n")[1:] if not line.endswith(b" "))
            except BlockingIOError:
                break
        assert 0 < received < 10_000
        for end in stuck:
            end.close()
        await _until(lambda: first.siblings == 1)
        await first.stop()
        await second.stop()

    _run(scenario)


_WORKER = """
import asyncio, sys
from pathlib import Path
from stream_examples import an_event, stream_settings
from cxad_pipeline.serving.stream import LiveStream
async def main():
    stream = LiveStream(stream_settings(Path(sys.argv[1])))
    await stream.start()
    while stream.siblings == 0:
        await asyncio.sleep(0.01)
    stream.publish([an_event("of another process")])
    await asyncio.sleep(60)
asyncio.run(main())
"""


def test_a_process_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        stream = LiveStream(stream_settings(tmp_path))
        await stream.start()
        subscription = stream.subscribe()
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        with subprocess.Popen([sys.executable, "-c", _WORKER, str(tmp_path)], env=environment) as worker:
            try:
                assert [name_of(message) for message in await _take(subscription, 1)] == ["of another process"]
            finally:
                worker.send_signal(signal.SIGKILL)
        folder = meeting_place(tmp_path / "siblings", 12)
        assert len(list(folder.iterdir())) == 2
        await _until(lambda: stream.siblings == 0 and len(list(folder.iterdir())) == 1)
        await stream.stop()
        assert list(folder.iterdir()) == []

    _run(scenario)


@pytest.mark.parametrize(
    "datagram",
    [b"", b"\n", b"no origin\n1 {}", b"0123456789ab\nx {}", b"0123456789ab\n1 {", b"0123456789ab\n1 []", b"\xff\n1 {}"],
)
def test_a_datagram_that_makes_no_sense_changes_nothing(
    tmp_path: Path, datagram: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        first, second = await _pair(tmp_path)
        listener = second.subscribe()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(datagram, str(meeting_place(tmp_path / "siblings", 12) / second.origin))
        first.publish(events_named([1]))
        assert [name_of(message) for message in await _take(listener, 1)] == ["1"]
        await first.stop()
        await second.stop()

    _run(scenario)
    told = [record for record in caplog.records if record.name == "cxad_pipeline.serving.siblings"]
    assert [record.message.partition(" (")[0] for record in told if record.levelname != "DEBUG"] == [
        "live stream: a datagram can't be read"
    ]


@pytest.fixture
def near() -> Iterator[Path]:
    """A folder with a path short enough for addresses of sockets, however long those of other tests are."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_only_this_user_may_enter_the_folder(near: Path) -> None:
    folder = near / "s"
    folder.mkdir(mode=0o755)
    folder.chmod(0o777)
    for made in (meeting_place(folder, 12), meeting_place(near / "new", 12)):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    (near / "link").symlink_to(folder)
    with pytest.raises(PermissionError, match="not a folder of this user"):
        meeting_place(near / "link", 12)


def test_workers_meet_also_where_the_path_is_too_long_for_a_socket(tmp_path: Path) -> None:
    state = tmp_path / ("long" * 30)

    async def scenario() -> None:
        first, second = await _pair(state)
        listener = second.subscribe()
        first.publish(events_named([1]))
        await _take(listener, 1)
        await first.stop()
        await second.stop()

    _run(scenario)
    assert meeting_place(state / "siblings", 12) != meeting_place(tmp_path / ("long" * 31) / "siblings", 12)


def test_a_worker_without_a_folder_to_meet_in_serves_its_own_events(
    near: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (near / "state").write_text("a file where the folder should be")

    async def scenario() -> None:
        stream = LiveStream(stream_settings(near / "state"))
        await stream.start()
        listener = stream.subscribe()
        stream.publish(events_named([1]))
        assert len(await _take(listener, 1)) == 1
        await stream.stop()

    _run(scenario)
    assert "won't see events of the others" in caplog.text
