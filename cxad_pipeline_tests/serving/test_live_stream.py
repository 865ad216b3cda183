"""What a subscriber of the live stream gets, misses and is told."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_examples import all_there_is, an_event, events_named, missed_in, name_of, stream_settings

from cxad_pipeline.serving.live_events import Message, Wanted, read_place, write_place
from cxad_pipeline.serving.problems import ProblemError
from cxad_pipeline.serving.siblings import LONGEST_EVENT
from cxad_pipeline.serving.stream import MOST_SUBSCRIBERS, LiveStream

_STATE = Path("unused")


def _stream(**stream: Any) -> LiveStream:
    return LiveStream(stream_settings(_STATE, **stream))


def _run(scenario: Callable[[], Awaitable[None]], *, debug: bool = False) -> None:
    async def limited() -> None:
        async with asyncio.timeout(120):
            await scenario()

    asyncio.run(limited(), debug=debug)


def _walk(messages: list[Message], last: int = 0) -> int:
    """Numbers that follow each other, but for those that were told to be missing; where the walk ends."""
    for message in messages:
        if message.name == "dropped":
            last += missed_in([message])
        else:
            last += 1
            assert name_of(message) == str(last)
    return last


@given(buffer=st.integers(1, 9), steps=st.lists(st.one_of(st.integers(1, 12), st.just("read")), max_size=30))
def test_a_subscriber_gets_what_is_published_but_for_what_it_was_told_it_missed(
    buffer: int, steps: list[int | str]
) -> None:
    async def scenario() -> None:
        stream = _stream(buffer=buffer)
        stream.publish(events_named(["earlier"]))
        subscription = stream.subscribe()
        last, messages = 0, []
        for step in steps:
            if isinstance(step, int):
                stream.publish(events_named(range(last + 1, last + 1 + step)))
                last += step
            else:
                messages += all_there_is(subscription)
        messages += all_there_is(subscription)
        assert _walk(messages) == last
        delivered = sum(message.name == "interaction" for message in messages)
        assert stream.published - 1 == last == delivered + stream.dropped
        assert stream.dropped == missed_in(messages)
        subscription.close()
        assert stream.dropped == missed_in(messages)

    _run(scenario)


@given(
    buffer=st.integers(1, 12),
    rounds=st.lists(st.tuples(st.integers(0, 10), st.integers(0, 6), st.integers(0, 10)), min_size=1, max_size=8),
)
def test_a_client_that_comes_back_has_no_gap_that_it_is_not_told_of_and_no_doubles(
    buffer: int, rounds: list[tuple[int, int, int]]
) -> None:
    async def scenario() -> None:
        stream = _stream(buffer=buffer)
        subscription = stream.subscribe()
        last_id, published, seen, came_back_whole = subscription.place, 0, 0, 0
        for before, n_taken, after in rounds:
            stream.publish(events_named(range(published + 1, published + before + 1)))
            published += before
            # The connection breaks after some of the messages: the client knows the id of the last that it got.
            for message in all_there_is(subscription)[:n_taken]:
                seen, last_id = _walk([message], seen), message.id
            subscription.close()
            stream.publish(events_named(range(published + 1, published + after + 1)))
            published += after
            subscription = stream.subscribe(last_id)
            first, *rest = [*all_there_is(subscription), None]
            if first is not None and first.name == "gap":
                oldest = published - min(buffer, published) + 1
                assert oldest > seen + 1, "a gap is told only where there is one"
                seen, messages = oldest - 1, rest[:-1]
            else:
                assert published - seen <= buffer
                messages = [first, *rest][: -1 if first is not None else 0]
                came_back_whole += 1
            seen = _walk(messages, seen)
            assert seen == published
            last_id = subscription.place
        assert stream.subscribers == 1

    _run(scenario)


@given(text=st.one_of(st.text(min_size=1), st.from_regex(r"[0-9a-f]{12}-[0-9]{1,18}", fullmatch=True)))
def test_an_id_that_is_not_ours_is_answered_with_a_gap_and_what_the_buffer_holds(text: str) -> None:
    async def scenario() -> None:
        stream = _stream(buffer=4)
        stream.publish(events_named(range(6)))
        gap, *messages = all_there_is(stream.subscribe(text))
        assert gap.name == "gap"
        assert [name_of(message) for message in messages] == ["2", "3", "4", "5"]

    _run(scenario)


def test_an_id_from_before_a_restart_is_answered_with_a_gap() -> None:
    async def scenario() -> None:
        before, after = _stream(), _stream()
        before.publish(events_named([1]))
        (message,) = all_there_is(before.subscribe(f"{before.origin}-0"))
        after.publish(events_named([1]))
        assert [got.name for got in all_there_is(after.subscribe(message.id))] == ["gap", "interaction"]

    _run(scenario)


def test_an_id_ahead_of_this_process_hides_nothing() -> None:
    async def scenario() -> None:
        stream = _stream()
        stream.publish(events_named([1]))
        messages = all_there_is(stream.subscribe(f"{stream.origin}-999"))
        assert [message.name for message in messages] == ["gap", "interaction"]

    _run(scenario)


@given(st.dictionaries(st.from_regex(r"[0-9a-f]{12}", fullmatch=True), st.integers(0, 10**18 - 1), min_size=1))
def test_a_place_is_read_as_it_was_written(place: dict[str, int]) -> None:
    text = write_place(place)
    assert read_place(text) == (place if len(text) <= 2048 else None)


@given(
    events=st.lists(
        st.tuples(st.booleans(), st.integers(0, 100), st.sampled_from(["voice", "chat", None])), max_size=30
    ),
    anomalies_only=st.booleans(),
    least=st.integers(0, 100),
    channel=st.sampled_from(["voice", "chat", None]),
)
def test_a_client_gets_only_what_it_wants(
    events: list[tuple[bool, int, str | None]], anomalies_only: bool, least: int, channel: str | None
) -> None:
    async def scenario() -> None:
        stream = _stream()
        segment = () if channel is None else (("channel", channel),)
        subscription = stream.subscribe(None, Wanted(anomalies_only, least, segment))
        stream.publish(
            [
                an_event(number, anomaly=anomaly, severity=severity) | ({} if where is None else {"channel": where})
                for number, (anomaly, severity, where) in enumerate(events)
            ]
        )
        expected = [
            str(number)
            for number, (anomaly, severity, where) in enumerate(events)
            if (anomaly or not anomalies_only) and severity >= least and channel in (None, where)
        ]
        assert [name_of(message) for message in all_there_is(subscription)] == expected
        # What it did not want is behind it all the same.
        assert all_there_is(stream.subscribe(subscription.place)) == []

    _run(scenario)


def test_publishing_does_not_wait_for_a_client_that_reads_nothing() -> None:
    async def scenario() -> None:
        stream = _stream(buffer=10)
        slow = stream.subscribe()
        stream.publish(events_named(range(10_000)))
        assert stream.published == 10_000
        assert stream.dropped == 9_990
        first, *rest = all_there_is(slow)
        assert missed_in([first]) == 9_990
        assert [name_of(message) for message in rest] == [str(number) for number in range(9_990, 10_000)]

    _run(scenario)


def test_a_slow_client_costs_the_others_nothing() -> None:
    async def scenario() -> None:
        stream = _stream(buffer=10)
        stream.subscribe()
        quick, messages = stream.subscribe(), []
        for number in range(1, 101):
            stream.publish(events_named([number]))
            messages += all_there_is(quick)
        assert _walk(messages) == 100
        assert missed_in(messages) == 0

    _run(scenario)


def test_a_client_that_comes_back_after_it_was_told_what_it_missed_is_not_told_again() -> None:
    async def scenario() -> None:
        stream = _stream(buffer=3)
        slow = stream.subscribe()
        stream.publish(events_named(range(1, 11)))
        told = all_there_is(slow)[0]
        assert [message.name for message in all_there_is(stream.subscribe(told.id))] == ["interaction"] * 3

    _run(scenario)


def test_an_event_that_is_too_long_is_told_as_missed_and_kept_nowhere() -> None:
    async def scenario() -> None:
        stream = _stream()
        subscription = stream.subscribe()
        stream.publish([an_event(1), an_event("x" * LONGEST_EVENT, channel="y" * LONGEST_EVENT), an_event(3)])
        messages = all_there_is(subscription)
        assert _walk(messages) == 3
        assert missed_in(messages) == 1
        assert stream.too_large == 1
        assert sum(len(message.frame) for message in messages) < 1000

    _run(scenario)


def test_a_client_takes_no_more_than_a_bounded_number_of_bytes_at_once() -> None:
    async def scenario() -> None:
        stream = _stream()
        subscription = stream.subscribe()
        stream.publish([an_event(number, note="x" * 15_000) for number in range(1, 101)])
        messages: list[Message] = []
        while len(messages) < 100:
            some = await anext(subscription)
            assert sum(len(message.frame) for message in some) < 100_000
            messages += some
        assert _walk(messages) == 100

    _run(scenario)


def test_no_more_than_so_many_listen_and_one_that_leaves_makes_room() -> None:
    async def scenario() -> None:
        stream = _stream()
        subscriptions = [stream.subscribe() for _ in range(MOST_SUBSCRIBERS)]
        with pytest.raises(ProblemError) as refused:
            stream.subscribe()
        assert refused.value.status == 503
        assert "Retry-After" in refused.value.headers
        subscriptions[0].close()
        subscriptions[0].close()
        assert stream.subscribers == MOST_SUBSCRIBERS - 1
        stream.subscribe()

    _run(scenario)


def test_one_who_waits_is_woken_by_events_of_another_thread() -> None:
    async def scenario() -> None:
        stream = _stream()
        subscription = stream.subscribe()
        waiting = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        assert not waiting.done()
        thread = threading.Thread(target=stream.publish, args=(events_named([1]),))
        thread.start()
        assert [name_of(message) for message in await waiting] == ["1"]
        thread.join()

    # In this mode the loop refuses what only its own thread may do.
    _run(scenario, debug=True)


@pytest.fixture
def _threads_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_threads_take_turns_often")
def test_events_of_several_threads_keep_their_numbers_apart() -> None:
    async def scenario() -> None:
        stream = _stream(buffer=2000)
        subscription = stream.subscribe()
        threads = [threading.Thread(target=stream.publish, args=(events_named(range(500)),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        messages: list[Message] = []
        while len(messages) < 2000:
            messages += await anext(subscription)
        for thread in threads:
            thread.join()
        assert [read_place(message.id) for message in messages] == [{stream.origin: n} for n in range(1, 2001)]

    _run(scenario)


def test_when_the_stream_stops_those_who_wait_are_done_and_nobody_else_may_come(tmp_path: Path) -> None:
    async def scenario() -> None:
        stream = LiveStream(stream_settings(tmp_path))
        await stream.start()
        subscription = stream.subscribe()
        waiting = asyncio.ensure_future(anext(subscription, None))
        await asyncio.sleep(0)
        await stream.stop()
        assert await waiting is None
        with pytest.raises(ProblemError, match="about to stop"):
            stream.subscribe()
        stream.publish(events_named([1]))

    _run(scenario)
