"""What is queued is claimed until it is settled, by one process at a time, in order, and never forgotten."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from stored_incident_examples import NASTY, moment

from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.outbox import (
    ChannelStatus,
    Claimed,
    Delivery,
    Notice,
    OutboxStatus,
    claim,
    find_deliveries,
    last_key,
    outbox_status,
    queue,
    revive,
    settle_dead,
    settle_failed,
    settle_sent,
    withdraw,
)

pytest_plugins = ["store_databases"]

LEASE = dt.timedelta(minutes=5)
CLAIM = """
import datetime as dt, sys
from cxad_pipeline.settings import load_settings
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.outbox import claim
store = open_store(load_settings(sys.argv[1], store={"url": sys.argv[2]}))
print("ready", flush=True)
sys.stdin.readline()
now = dt.datetime.fromisoformat(sys.argv[3])
misses = 0
while misses < 3:
    with store.writing() as connection:
        found = claim(connection, ["slack", "email"], now=now, lease=dt.timedelta(minutes=5), limit=3)
    misses = 0 if found else misses + 1
    for one in found:
        print(one.id, flush=True)
"""


def test_a_message_is_claimed_once_by_each_channel_and_gone_when_it_is_sent(store: Store) -> None:
    assert _queue(store, _notice("a", content={"text": "Grüße", "n": [1, None]}), "slack", "email")
    found = _claim(store, "slack", "email")
    assert sorted(one.channel for one in found) == ["email", "slack"]
    assert all((one.key, one.kind, one.topic) == ("a", "opened", "incident:1") for one in found)
    assert all((one.content, one.attempts) == ({"text": "Grüße", "n": [1, None]}, 1) for one in found)
    assert not any(one.uncertain or one.first for one in found)
    assert [_settle_sent(store, one) for one in found] == [True, True]
    assert _claim(store, "slack", "email", hours=99) == []


@pytest.mark.parametrize("hours", [0.5, 1])
def test_nothing_is_claimed_before_its_time(store: Store, hours: float) -> None:
    _queue(store, _notice("a", due=moment(1)), "slack")
    assert len(_claim(store, hours=hours)) == (hours >= 1)


def test_a_key_is_queued_once_and_replaced_while_nobody_has_tried_to_send_it(store: Store) -> None:
    assert _queue(store, _notice("a", content={"n": 1}), "slack", "console")
    assert not _queue(store, _notice("a", content={"n": 2}, due=moment(2), kind="updated"), "slack", "email")
    assert _claim(store, "slack", "email", "console", hours=1) == []
    found = _claim(store, "slack", "email", "console", hours=2)
    assert sorted((one.channel, one.content["n"], one.kind) for one in found) == [
        ("email", 2, "updated"),
        ("slack", 2, "updated"),
    ]
    assert not _queue(store, _notice("a", content={"n": 3}), "slack", "email", "console")
    with store.reading() as connection:
        assert outbox_status(connection, moment(3)).by_channel.keys() == {"slack", "email"}
    again = _claim(store, "slack", "email", "console", hours=3)
    assert [one.content["n"] for one in again] == [2, 2]


@pytest.mark.parametrize("end", ["sent", "failed", "dead"])
def test_a_key_that_was_tried_on_one_channel_is_never_changed(store: Store, end: str) -> None:
    _queue(store, _notice("a", content={"n": 1}), "slack", "email")
    _settle(store, end, _claim(store, "slack")[0])
    assert not _queue(store, _notice("a", content={"n": 2}), "slack", "email")
    assert [one.content["n"] for one in _claim(store, "email")] == [1]


def test_a_message_for_no_channel_is_remembered(store: Store) -> None:
    assert _queue(store, _notice("a"))
    assert not _queue(store, _notice("a"))
    with store.reading() as connection:
        assert last_key(connection, "opened") == ("a", moment(0))
    assert _claim(store) == []


def test_withdrawn_is_what_nobody_tried_to_send(store: Store) -> None:
    _queue(store, _notice("a", content={"n": 1}), "slack", "email")
    _settle(store, "failed", _claim(store, "slack")[0])
    assert _withdraw(store, "a") == 1
    assert _withdraw(store, "a") == 0
    assert [one.channel for one in _claim(store, "slack", "email", hours=99)] == ["slack"]
    assert not _queue(store, _notice("a"), "slack", "email")
    _queue(store, _notice("b"), "slack", "email")
    assert _withdraw(store, "b") == 2
    assert _withdraw(store, "nobody") == 0
    assert _queue(store, _notice("b", content={"n": 2}), "email")
    assert [one.content for one in _claim(store, "email")] == [{"n": 2}]


def test_a_lease_keeps_others_away_until_it_ends(store: Store) -> None:
    _queue(store, _notice("a"), "slack")
    assert len(_claim(store, hours=0)) == 1
    almost = (LEASE - dt.timedelta(microseconds=1)) / dt.timedelta(hours=1)
    assert _claim(store, hours=almost) == []
    again = _claim(store, hours=LEASE / dt.timedelta(hours=1))
    assert [(one.attempts, one.uncertain) for one in again] == [(2, True)]


def test_what_nobody_settled_is_uncertain_and_what_the_channel_refused_is_not(store: Store) -> None:
    _queue(store, _notice("a"), "slack")
    uncertain = []
    for hours, end in enumerate(["failed", "failed", "killed", "failed", "failed", "sent"]):
        one = _claim(store, hours=hours)[0]
        uncertain.append(one.uncertain)
        _settle(store, end, one, hours=hours)
    # From the killed attempt on it may have been sent, whatever became of later ones.
    assert uncertain == [False, False, False, True, True, True]


def test_a_failure_whose_end_is_not_known_is_uncertain(store: Store) -> None:
    _queue(store, _notice("a"), "slack")
    with store.writing() as connection:
        one = claim(connection, ["slack"], now=moment(), lease=LEASE, limit=1)[0]
        assert settle_failed(connection, one, "timeout", moment(), uncertain=True)
        assert claim(connection, ["slack"], now=moment(), lease=LEASE, limit=1)[0].uncertain


def test_a_failed_delivery_is_due_again_when_it_was_said(store: Store) -> None:
    _queue(store, _notice("a"), "slack", "email")
    with store.writing() as connection:
        one = claim(connection, ["slack"], now=moment(), lease=LEASE, limit=1)[0]
        assert settle_failed(connection, one, "503", moment(2))
    assert _claim(store, hours=1.99) == []
    assert [one.channel for one in _claim(store, "email", hours=1)] == ["email"]
    assert [one.attempts for one in _claim(store, hours=2)] == [2]
    assert _deliveries(store)[-1]["error"] == "503"


@pytest.mark.parametrize("late", ["sent", "failed", "dead"])
@pytest.mark.parametrize("other", ["sent", "failed", "dead", "killed"])
def test_who_comes_back_after_its_lease_has_passed_on_changes_nothing(store: Store, late: str, other: str) -> None:
    _queue(store, _notice("a"), "slack")
    first = _claim(store)[0]
    second = _claim(store, hours=1)[0]
    assert _settle(store, other, second, hours=1) is (other != "killed")
    before = _deliveries(store)
    assert not _settle(store, late, first, hours=2)
    assert _deliveries(store) == before
    if other == "killed":
        assert _settle(store, "sent", second, hours=3)


def test_who_comes_back_late_but_before_anybody_else_settles(store: Store) -> None:
    _queue(store, _notice("a"), "slack")
    one = _claim(store)[0]
    assert _settle(store, "sent", one, hours=9)
    assert not _settle(store, "failed", one, hours=9)
    assert _deliveries(store)[0]["state"] == "sent"


def test_messages_of_a_topic_go_in_order_on_each_channel_and_others_do_not_wait(store: Store) -> None:
    for key, topic in (("1", "x"), ("2", "x"), ("3", "y"), ("4", "x")):
        _queue(store, _notice(key, topic=topic), "slack", "email")
    _settle(store, "sent", _claim(store, "email", limit=1)[0])
    first = _claim(store, "slack", "email")
    assert {(one.key, one.channel) for one in first} == {("1", "slack"), ("3", "slack"), ("2", "email"), ("3", "email")}
    held = next(one for one in first if (one.key, one.channel) == ("1", "slack"))
    _settle(store, "failed", held)  # due again an hour later: what comes after it waits all the same
    assert [one.key for one in _claim(store, "slack", hours=0.02)] == []
    assert {one.key for one in _claim(store, "slack", hours=1)} == {"1", "3"}


def test_an_earlier_message_that_is_not_due_yet_holds_up_later_ones_of_its_topic(store: Store) -> None:
    _queue(store, _notice("1", due=moment(5)), "slack")
    _queue(store, _notice("2"), "slack")
    assert _claim(store, hours=4) == []
    assert [one.key for one in _claim(store, hours=5)] == ["1"]


def test_a_dead_letter_holds_up_nothing(store: Store) -> None:
    for key in ("1", "2"):
        _queue(store, _notice(key), "slack")
    _settle(store, "dead", _claim(store)[0])
    assert [one.key for one in _claim(store)] == ["2"]


def test_the_first_receipt_of_a_topic_is_given_to_all_later_messages_on_that_channel(store: Store) -> None:
    for key, topic in (("0", "other"), ("1", "x"), ("2", "x"), ("3", "x")):
        _queue(store, _notice(key, topic=topic), "slack", "email")
    seen: list[tuple[str, str, Any]] = []
    for _ in range(4):
        for one in _claim(store, "slack", "email"):
            seen.append((one.channel, one.key, one.first))
            if (one.channel, one.key) == ("slack", "1"):
                _settle(store, "dead", one)
            else:
                _settle_sent(store, one)
    firsts = {(channel, key): first for channel, key, first in seen}
    assert firsts["email", "1"] is firsts["slack", "0"] is firsts["slack", "1"] is firsts["slack", "2"] is None
    assert firsts["email", "2"] == firsts["email", "3"] == {"message": "email 1"}
    assert firsts["slack", "3"] == {"message": "slack 2"}


def test_where_receipts_name_posts_the_latest_that_begins_a_thread_is_continued(store: Store) -> None:
    """The first post may have been deleted, or be in a channel that was left: then a later one was posted anew."""
    receipts = {"1": {"ts": "1"}, "2": {"ts": "2", "thread_ts": "1"}, "3": {"ts": "3"}, "4": {"note": "deleted"}}
    for key in "12345":
        _queue(store, _notice(key, topic="x"), "slack")
    firsts = []
    for _ in range(5):
        (one,) = _claim(store)
        firsts.append(one.first)
        with store.writing() as connection:
            assert settle_sent(connection, one, receipts.get(one.key, {}), moment(1))
    assert firsts == [None, {"ts": "1"}, {"ts": "1"}, {"ts": "3"}, {"ts": "3"}]


def test_no_more_than_asked_for_is_claimed_the_longest_due_first(store: Store) -> None:
    for key, hours in (("b", 2), ("a", 1), ("c", 3)):
        _queue(store, _notice(key, topic=key, due=moment(hours)), "slack")
    assert [one.key for one in _claim(store, hours=9, limit=2)] == ["a", "b"]


def test_a_channel_that_is_not_configured_waits_and_shows(store: Store) -> None:
    _queue(store, _notice("a"), "slack", "gone")
    _queue(store, _notice("b", topic="b", due=moment(5)), "slack", "gone")
    _settle(store, "dead", _claim(store, "slack", hours=1)[0])
    assert _claim(store, "slack", "email", hours=4) == []
    assert _claim(store, hours=4, only=()) == []
    with store.reading() as connection:
        status = outbox_status(connection, moment(4), ["slack", "email"])
        assert status == OutboxStatus(
            pending=3,
            due=0,
            failing=0,
            dead=1,
            oldest_due_at=None,
            by_channel={
                "gone": ChannelStatus(2, 1, 0, 0, moment(0), configured=False),
                "slack": ChannelStatus(1, 0, 0, 1, None, configured=True),
                "email": ChannelStatus(0, 0, 0, 0, None, configured=True),
            },
        )
        later = outbox_status(connection, moment(6))
    assert (later.due, later.oldest_due_at, later.by_channel["gone"].configured) == (3, moment(0), True)


def test_an_empty_outbox_has_nothing(store: Store) -> None:
    with store.reading() as connection:
        assert outbox_status(connection, moment()) == OutboxStatus(0, 0, 0, 0, None, {})
        assert find_deliveries(connection, limit=5) == ([], None)
        assert last_key(connection, "digest") is None


def test_dead_letters_come_back_with_all_attempts_before_them(store: Store) -> None:
    for key in ("1", "2", "3"):
        _queue(store, _notice(key, topic=key), "slack")
    _settle(store, "failed", _claim(store, limit=1)[0])
    for one in _claim(store, hours=1):
        _settle(store, "dead" if one.key != "3" else "sent", one, hours=1)
    dead = {row["key"]: row["id"] for row in _deliveries(store, state="dead")}
    assert dead.keys() == {"1", "2"}
    with store.writing() as connection:
        sent = _deliveries(store, state="sent")[0]["id"]
        assert revive(connection, [dead["1"], dead["1"], sent, 10**30, -1], at=moment(1)) == 1
        assert revive(connection, []) == 0
    assert [(one.key, one.attempts) for one in _claim(store, hours=1)] == [("1", 1)]
    with store.writing() as connection:
        assert revive(connection, None, at=moment(1)) == 1
        assert revive(connection, None, at=moment(1)) == 0
    assert [(one.key, one.uncertain) for one in _claim(store, hours=1)] == [("2", False)]


def test_a_dead_letter_that_comes_back_is_due_from_then_on(store: Store) -> None:
    for key in ("1", "2"):
        _queue(store, _notice(key, topic=key), "slack")
    for one in _claim(store):
        _settle(store, "dead", one)
    first, second = sorted(row["id"] for row in _deliveries(store, state="dead"))
    begun = dt.datetime.now(dt.UTC)
    with store.writing() as connection:
        revive(connection, [first], at=moment(30))
        revive(connection, [second])
    due = {row["id"]: dt.datetime.fromisoformat(row["due_at"]) for row in _deliveries(store, state="pending")}
    assert due[first] == moment(30)
    assert begun <= due[second] <= dt.datetime.now(dt.UTC)


def test_a_claim_from_before_a_revival_settles_nothing(store: Store) -> None:
    _queue(store, _notice("a"), "slack")
    stale = _claim(store)[0]
    _settle(store, "dead", _claim(store, hours=1)[0], hours=1)
    with store.writing() as connection:
        revive(connection, None, at=moment(1))
    assert [one.attempts for one in _claim(store, hours=2)] == [stale.attempts]
    assert not _settle(store, "sent", stale, hours=2)


def test_deliveries_are_listed_page_by_page_the_last_queued_first(store: Store) -> None:
    for number in range(11):
        _queue(
            store, _notice(f"{number}", topic=f"t{number % 2}", content={"headline": f"h{number}"}), "slack", "email"
        )
    for one in _claim(store, "slack"):
        _settle(store, "dead", one, hours=1)
    pages, cursor = [], None
    while True:
        with store.reading() as connection:
            page, cursor = find_deliveries(connection, limit=4, cursor=cursor)
        pages.append(page)
        if cursor is None:
            break
    found = [row for page in pages for row in page]
    assert [len(page) for page in pages] == [4, 4, 4, 4, 4, 2]
    assert [row["id"] for row in found] == sorted((row["id"] for row in found), reverse=True)
    assert len({(row["key"], row["channel"]) for row in found}) == 22
    assert all(row["headline"] == f"h{row['key']}" for row in found)
    assert _deliveries(store, state="dead") == [row for row in found if row["state"] == "dead"]
    assert {row["key"] for row in _deliveries(store, state="dead")} == {"0", "1"}
    assert _deliveries(store, topic="t1", channel="email") == [
        row for row in found if int(row["key"]) % 2 and row["channel"] == "email"
    ]
    dead = _deliveries(store, state="dead")[0]
    assert (dead["settled_at"], dead["error"]) == ("2026-09-07T01:00:00.000000Z", "no such channel")


def test_texts_of_any_kind_and_length_are_queued_sent_and_listed(store: Store) -> None:
    _queue(store, _notice(NASTY, topic=NASTY, content={NASTY: NASTY, "headline": NASTY}), "slack")
    one = _claim(store)[0]
    assert one.content == {NASTY: NASTY, "headline": NASTY}
    with store.writing() as connection:
        assert settle_failed(connection, one, NASTY, moment())
    assert not _queue(store, _notice(NASTY, topic=NASTY), "slack")
    with store.writing() as connection:
        again = claim(connection, ["slack"], now=moment(), lease=LEASE, limit=5)
        assert [settle_sent(connection, one, {NASTY: NASTY}, moment()) for one in again] == [True]
    _queue(store, _notice("next", topic=NASTY), "slack")
    assert [one.first for one in _claim(store)] == [{NASTY: NASTY}]
    assert [row["headline"] for row in _deliveries(store, topic=NASTY)] == ["", NASTY]


def test_the_latest_key_of_a_kind_is_remembered_with_its_time(store: Store) -> None:
    for number, kind in enumerate(["digest", "digest", "opened"]):
        with store.writing() as connection:
            queue(connection, _notice(f"k{number}", kind=kind), ["slack"], at=moment(number))
    with store.reading() as connection:
        assert last_key(connection, "digest") == ("k1", moment(1))


def test_a_transaction_that_fails_queues_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.writing() as connection:  # noqa: PT012
        queue(connection, _notice("a"), ["slack"])
        raise ZeroDivisionError
    assert _claim(store) == []


def test_processes_that_claim_at_once_never_get_the_same_delivery_and_leave_none(
    store: Store, settings: Settings
) -> None:
    expected = 120
    with store.writing() as connection:
        for number in range(expected // 2):
            queue(connection, _notice(str(number), topic=str(number)), ["slack", "email"])
    config = str(Path(settings.serving.state).parent / "config.yaml")
    command = [sys.executable, "-c", CLAIM, config, settings.store.url, moment(1).isoformat()]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=120) for process in processes]
    assert [error for _, error in ended] == [""] * 3
    claimed = [line for found, _ in ended for line in found.split()]
    assert len(set(claimed)) == len(claimed) == expected
    with store.reading() as connection:
        rows, _ = find_deliveries(connection, limit=500)
    assert {row["attempts"] for row in rows} == {1}


def test_threads_that_queue_and_claim_at_once_send_every_message_once_and_in_order(store: Store) -> None:
    total, sent, lock = 40, [], threading.Lock()
    stop = threading.Event()

    def write(thread: int) -> None:
        for number in range(total // 2):
            with store.writing() as connection:
                queue(connection, _notice(f"{thread}:{number}", topic=f"t{thread}"), ["slack"])

    def send() -> None:
        while not stop.is_set():
            with store.writing() as connection:
                found = claim(connection, ["slack"], now=moment(1), lease=LEASE, limit=2)
            for one in found:
                with lock:
                    sent.append(one.key)
                    if len(sent) >= total:
                        stop.set()
                _settle_sent(store, one)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(2)] + [
        threading.Thread(target=send) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    stop.wait(120)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert len(sent) == len(set(sent)) == total
    for n in range(2):
        assert [key for key in sent if key.startswith(f"{n}:")] == [f"{n}:{i}" for i in range(total // 2)]


def _notice(
    key: str,
    *,
    topic: str = "incident:1",
    kind: str = "opened",
    content: dict[str, Any] | None = None,
    due: dt.datetime | None = None,
) -> Notice:
    return Notice(key, kind, topic, {"text": key} if content is None else content, moment() if due is None else due)


def _queue(store: Store, notice: Notice, *channels: str) -> bool:
    with store.writing() as connection:
        return queue(connection, notice, channels, at=moment())


def _withdraw(store: Store, key: str) -> int:
    with store.writing() as connection:
        return withdraw(connection, key)


def _claim(
    store: Store, *channels: str, hours: float = 0, limit: int = 100, only: tuple[str, ...] | None = None
) -> list[Claimed]:
    chosen = (channels or ("slack",)) if only is None else only
    with store.writing() as connection:
        return claim(connection, chosen, now=moment(hours), lease=LEASE, limit=limit)


def _settle_sent(store: Store, one: Claimed) -> bool:
    with store.writing() as connection:
        return settle_sent(connection, one, {"message": f"{one.channel} {one.key}"}, moment(1))


def _settle(store: Store, end: str, one: Claimed, *, hours: float = 0) -> bool:
    with store.writing() as connection:
        if end == "sent":
            return settle_sent(connection, one, {}, moment(hours))
        if end == "failed":
            return settle_failed(connection, one, "503", moment(hours + 1))
        if end == "dead":
            return settle_dead(connection, one, "no such channel", moment(hours))
    assert end == "killed"
    return False


def _deliveries(store: Store, **wanted: Any) -> list[Delivery]:
    with store.reading() as connection:
        return find_deliveries(connection, limit=500, **wanted)[0]
