"""A round of deliveries on real databases: order, faults of one channel, waits, dead letters, claims of the dead."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import time
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from postgres_server import PasswordPostgres
from sqlalchemy import event

from cxad_pipeline.alerting.channels.channel import DeliveryError, Parcel
from cxad_pipeline.alerting.channels.console import ConsoleChannel
from cxad_pipeline.alerting.delivery import PATIENCE, UNSERVED, DeliverySummary, deliver_due, wait_before
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.settings import Settings
from cxad_pipeline.settings.operations import AlertSettings
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.outbox import Notice, claim, queue, settle_sent
from cxad_pipeline.store.outbox_status import find_deliveries, outbox_status, revive

pytest_plugins = ["store_databases"]

NOW = dt.datetime(2026, 10, 13, 13, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


class Recorder:
    """A channel in this process: it keeps what it is given, and fails as it is told."""

    def __init__(self, name: str, fails: Callable[[Parcel], Exception | None] = lambda _: None) -> None:
        self.name, self.edits, self.fails = name, False, fails
        self.tried: list[str] = []
        self.parcels: list[Parcel] = []

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        self.tried.append(parcel.key)
        fault = self.fails(parcel)
        if fault is not None:
            raise fault
        self.parcels.append(parcel)
        return {"place": f"{self.name}/{parcel.key}"}

    @property
    def keys(self) -> list[str]:
        return [parcel.key for parcel in self.parcels]


def put(
    store: Store,
    *keys: str,
    channels: tuple[str, ...] = ("a",),
    due: dt.datetime = NOW,
    queued_at: dt.datetime = NOW,
    **changes: Any,
) -> None:
    with store.writing() as connection:
        for key in keys:
            fields: dict[str, Any] = {"kind": "opened", "topic": key, "content": Message(key, key).to_dict()}
            queue(connection, Notice(key=key, due_at=due, **(fields | changes)), channels, at=queued_at)


def send(
    store: Store, *channels: Recorder, now: dt.datetime = NOW, attempts: int = 10, **given: Any
) -> DeliverySummary:
    policy = AlertSettings(max_attempts=attempts)
    return deliver_due(store, channels, policy=policy, now=lambda: now, **given)


def states(store: Store) -> dict[str, str]:
    with store.reading() as connection:
        found, _ = find_deliveries(connection, state=None, limit=100, cursor=None)
    return {f"{delivery['key']} {delivery['channel']}": delivery["state"] for delivery in found}


def test_what_is_due_reaches_each_channel_once(store: Store) -> None:
    a, b = Recorder("a"), Recorder("b")
    put(store, "1", "2", channels=("a", "b"))
    put(store, "later", due=NOW + MINUTE)
    assert send(store, a, b) == DeliverySummary(sent=4)
    assert send(store, a, b) == DeliverySummary()
    assert sorted(a.keys) == sorted(b.keys) == ["1", "2"]
    assert a.parcels[0].message == Message("1", "1")
    assert not a.parcels[0].uncertain
    assert send(store, a, b, now=NOW + MINUTE) == DeliverySummary(sent=1)


def test_a_connection_lost_while_it_is_recorded_sends_nothing_twice(
    postgres_url: str, postgres: PasswordPostgres, settings_for: Callable[..., Settings]
) -> None:
    """As in a failover: the server ends the connection between the sending and the commit."""
    store = open_store(settings_for(postgres_url))
    a = Recorder("a")
    put(store, "1")
    cut: list[int] = []

    @event.listens_for(store.engine, "before_cursor_execute")
    def lose(_: Any, cursor: Any, statement: str, *__: Any) -> None:
        if a.parcels and not cut and statement.startswith("UPDATE"):
            cut.append(cursor.connection.get_backend_pid())
            with contextlib.closing(postgres.connect()) as other:
                other.cursor().execute("SELECT pg_terminate_backend(%s, 10000)", cut)

    assert send(store, a) == DeliverySummary(sent=1)
    assert states(store) == {"1 a": "sent"}
    assert len(cut) == 1
    assert send(store, a, now=NOW + 60 * MINUTE) == DeliverySummary()
    assert a.keys == ["1"]
    store.close()


def test_messages_of_a_topic_keep_their_order_and_know_the_first(store: Store) -> None:
    refuses = [True]
    a = Recorder("a", lambda _: DeliveryError("down") if refuses and refuses.pop() else None)
    put(store, "t:1", "t:2", "t:3", topic="t")
    assert send(store, a) == DeliverySummary(failed=1, errors={"a": "down"})
    assert send(store, a, now=NOW + MINUTE).sent == 3
    assert a.tried == ["t:1", "t:1", "t:2", "t:3"]
    assert [parcel.first for parcel in a.parcels] == [None, {"place": "a/t:1"}, {"place": "a/t:1"}]


def test_a_channel_that_is_down_rests_and_holds_up_no_other(store: Store) -> None:
    down, up = Recorder("down", lambda _: DeliveryError("no connection")), Recorder("up")
    put(store, "1", "2", "3", channels=("down", "up"))
    assert send(store, down, up) == DeliverySummary(sent=3, failed=1, errors={"down": "no connection"})
    assert len(down.tried) == 1, "its other messages do not each wait for the same timeout"
    assert sorted(up.keys) == ["1", "2", "3"]

    down.fails = lambda _: None
    send(store, down, up, now=NOW + MINUTE)
    assert sorted(down.keys) == ["1", "2", "3"]


def test_a_refused_message_is_a_dead_letter_and_the_next_one_goes(store: Store) -> None:
    a = Recorder("a", lambda parcel: DeliveryError("bad blocks", permanent=True) if parcel.key == "1" else None)
    put(store, "1")
    put(store, "2", due=NOW - MINUTE)
    put(store, "3")
    assert send(store, a) == DeliverySummary(sent=2, dead=1, errors={"a": "bad blocks"})
    assert states(store) == {"1 a": "dead", "2 a": "sent", "3 a": "sent"}


def test_attempts_end_in_a_dead_letter_that_can_be_revived(store: Store) -> None:
    a, now = Recorder("a", lambda _: DeliveryError("no connection")), NOW
    put(store, "1")
    outcomes = []
    for _ in range(4):
        summary = send(store, a, now=now, attempts=3)
        outcomes.append((summary.failed, summary.dead))
        now += 2 * MINUTE
    assert outcomes == [(1, 0), (1, 0), (0, 1), (0, 0)]
    assert states(store) == {"1 a": "dead"}

    with store.writing() as connection:
        assert revive(connection, None, at=now) == 1
    a.fails = lambda _: None
    assert send(store, a, now=now).sent == 1
    assert states(store) == {"1 a": "sent"}


def test_it_waits_longer_each_time_and_as_long_as_it_is_asked(store: Store) -> None:
    asked: list[float | None] = [None, None, 900.0]
    a = Recorder("a", lambda _: DeliveryError("busy", retry_after=asked[len(a.tried) - 1]))
    put(store, "1")
    tried_at, now = [], NOW
    while len(tried_at) < 4 and now < NOW + 60 * MINUTE:
        if send(store, a, now=now).failed:
            tried_at.append(now)
            asked.append(None)
        now += dt.timedelta(seconds=5)
    waits = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(tried_at)]
    assert 30 <= waits[0] <= 42.5
    assert 60 <= waits[1] <= 80
    assert 900 <= waits[2] <= 905


def test_a_channel_that_asks_to_be_left_alone_is_and_no_message_loses_an_attempt(store: Store) -> None:
    limited = Recorder("a", lambda _: DeliveryError("429", retry_after=3600))
    other = Recorder("b")
    put(store, *map(str, range(9)), channels=("a", "b"))
    tried_at: list[int] = []
    for minute in range(0, 4 * 60, 10):
        tried = len(limited.tried)
        send(store, limited, other, now=NOW + minute * MINUTE, attempts=3)
        tried_at += [minute] * (len(limited.tried) - tried)
    assert tried_at == [0, 60, 120, 180], "one call an hour, by whichever message"
    assert len(other.keys) == 9
    with store.reading() as connection:
        status = outbox_status(connection, NOW + 4 * 60 * MINUTE)
    assert (status.pending, status.dead) == (9, 0)
    assert status.failing >= 1
    limited.fails = lambda _: None
    assert send(store, limited, now=NOW + 5 * 60 * MINUTE).sent == 9


def test_what_has_waited_for_days_for_a_channel_that_never_has_time_is_given_up(store: Store) -> None:
    limited, now, ended = Recorder("a", lambda _: DeliveryError("429", retry_after=6 * 3600.0)), NOW, []
    put(store, "1", queued_at=NOW)
    while now < NOW + 2 * PATIENCE:
        ended += [now - NOW] * send(store, limited, now=now, attempts=3).dead
        now += 6 * 60 * MINUTE
    assert ended == [PATIENCE + dt.timedelta(hours=12)]

    with store.writing() as connection:
        revive(connection, None, at=now)
    assert send(store, limited, now=now, attempts=3).failed == 1, "with all its attempts before it"


def test_a_message_that_is_refused_does_not_put_off_the_others(store: Store) -> None:
    refusal = DeliveryError("bad blocks", permanent=True, retry_after=3600)
    a = Recorder("a", lambda parcel: refusal if parcel.key == "1" else None)
    put(store, "1", "2")
    assert send(store, a) == DeliverySummary(sent=1, dead=1, errors={"a": "bad blocks"})


@hypothesis_settings(max_examples=50)
@given(st.integers(1, 100), st.text(max_size=20), st.floats(0, 90_000) | st.none())
def test_waits_follow_from_the_message(attempts: int, key: str, asked: float | None) -> None:
    wait = wait_before(attempts, key, "a", asked).total_seconds()
    doubled = min(30 * 2 ** (attempts - 1), 3600)
    assert max(doubled, asked or 0) <= wait + 1e-6
    assert wait <= max(doubled * 1.25, asked or 0) + 1e-6
    assert wait == wait_before(attempts, key, "a", asked).total_seconds()


def test_messages_that_failed_together_do_not_come_back_together() -> None:
    assert len({wait_before(3, str(n), "a") for n in range(20)}) == 20


def test_a_bug_in_a_channel_fails_its_message_without_quoting_a_secret(store: Store) -> None:
    def bug(parcel: Parcel) -> Exception | None:
        return KeyError("token=xoxb-123-abc\n" + "x" * 9000) if parcel.key == "1" else None

    a, b = Recorder("a", bug), Recorder("b")
    put(store, "1", "2", channels=("a", "b"))
    summary = send(store, a, b)
    assert (summary.sent, summary.failed) == (3, 1)
    error = summary.errors["a"]
    assert error.startswith("KeyError")
    assert "xoxb" not in error
    assert error.isprintable()
    assert len(error) <= 500
    with store.reading() as connection:
        found, _ = find_deliveries(connection, state="pending", limit=10, cursor=None)
    assert found[0]["error"] == error


def test_an_answer_that_was_lost_makes_the_next_attempt_uncertain(store: Store) -> None:
    lost = [DeliveryError("no answer", uncertain=True), DeliveryError("refused")]
    seen: list[bool] = []

    def fails(parcel: Parcel) -> Exception | None:
        seen.append(parcel.uncertain)
        return lost.pop(0) if lost else None

    a = Recorder("a", fails)
    put(store, "1")
    for minute in range(0, 20, 4):
        send(store, a, now=NOW + minute * MINUTE)
    assert seen == [False, True, True], "what may have arrived once may be there in every later attempt"


def test_the_claim_of_a_process_that_died_ends_with_its_lease(store: Store) -> None:
    a = Recorder("a")
    put(store, "1", "2", topic="t")
    with store.writing() as connection:
        (claimed,) = claim(connection, ["a"], now=NOW, lease=5 * MINUTE, limit=1)
    assert claimed.key == "1"
    assert send(store, a, now=NOW + 4 * MINUTE) == DeliverySummary(), "nor is it overtaken"
    assert send(store, a, now=NOW + 5 * MINUTE) == DeliverySummary(sent=2)
    assert [(parcel.key, parcel.uncertain) for parcel in a.parcels] == [("1", True), ("2", False)]


def test_a_message_is_sent_outside_of_any_transaction(store: Store) -> None:
    """Else a slow channel would lock the whole store."""

    def writes(parcel: Parcel) -> None:
        put(store, f"{parcel.key}'", due=NOW + MINUTE)

    a = Recorder("a", writes)
    put(store, "1", "2")
    assert send(store, a).sent == 2


def test_what_is_for_other_channels_stays_for_a_day(store: Store) -> None:
    put(store, "1", channels=("a", "gone"))
    assert send(store, Recorder("a"), now=NOW + UNSERVED - MINUTE) == DeliverySummary(sent=1)
    assert states(store) == {"1 a": "sent", "1 gone": "pending"}
    assert send(store) == DeliverySummary()


def test_what_nobody_has_tried_to_send_for_a_day_is_a_dead_letter_until_its_channel_is_configured_again(
    store: Store,
) -> None:
    a, gone, later = Recorder("a"), Recorder("gone"), NOW + UNSERVED
    put(store, "1", "2", channels=("a", "gone"))
    put(store, "not due for long", channels=("gone",), due=NOW + MINUTE)
    put(store, "in order:1", "in order:2", channels=("gone",), topic="in order", due=NOW - MINUTE)
    done = send(store, a, now=later)
    assert (done.sent, done.failed, done.dead, set(done.errors)) == (2, 0, 3, {"gone"})
    with store.reading() as connection:
        dead, _ = find_deliveries(connection, state="dead", limit=100)
    assert sorted(delivery["key"] for delivery in dead) == ["1", "2", "in order:1"]
    assert {delivery["channel"] for delivery in dead} == {"gone"}
    assert all("no longer configured" in str(delivery["error"]) for delivery in dead)
    assert send(store, a, now=later).dead == 1, "what waited for an earlier one of its topic"

    with store.writing() as connection:
        assert revive(connection, None, at=later) == 4
    assert send(store, a, gone, now=later) == DeliverySummary(sent=5)
    assert sorted(gone.keys) == ["1", "2", "in order:1", "in order:2", "not due for long"]


def test_what_was_revived_waits_another_day_for_a_process_that_has_its_channel(store: Store) -> None:
    put(store, "1", channels=("gone",))
    revived_at = NOW + 3 * UNSERVED
    assert send(store, Recorder("a"), now=revived_at).dead == 1
    with store.writing() as connection:
        assert revive(connection, None, at=revived_at) == 1
    assert send(store, Recorder("a"), now=revived_at + UNSERVED - MINUTE).dead == 0
    gone = Recorder("gone")
    assert send(store, gone, now=revived_at + UNSERVED - MINUTE).sent == 1
    assert gone.keys == ["1"]


def test_who_has_no_channel_but_the_console_gives_nothing_up(store: Store) -> None:
    put(store, "1", channels=("gone",))
    assert send(store, ConsoleChannel(), now=NOW + 30 * UNSERVED) == DeliverySummary()  # type: ignore[arg-type]
    assert send(store, now=NOW + 30 * UNSERVED) == DeliverySummary()
    assert states(store) == {"1 gone": "pending"}
    assert send(store, ConsoleChannel(), Recorder("a"), now=NOW + UNSERVED).dead == 1  # type: ignore[arg-type]


def test_who_has_not_a_channel_takes_nothing_from_those_who_have_it_and_find_it_down(store: Store) -> None:
    """One process knows the channel, which is down for two days; the other delivers beside it and does not know it."""
    down, other, now = Recorder("slack", lambda _: DeliveryError("no connection")), Recorder("mail"), NOW
    put(store, "1:1", "1:2", channels=("slack",), topic="1")
    put(store, *map(str, range(2, 6)), channels=("slack",))
    while now < NOW + 2 * UNSERVED:
        send(store, down, now=now, attempts=100)
        assert send(store, other, now=now).dead == 0
        now += 30 * MINUTE
    down.fails = lambda _: None
    for _ in range(3):
        now += 60 * MINUTE + 30 * MINUTE
        send(store, down, now=now, attempts=100)
    assert sorted(down.keys) == ["1:1", "1:2", "2", "3", "4", "5"]


def test_what_somebody_is_sending_is_left_to_them_and_an_attempt_without_an_end_is_remembered(store: Store) -> None:
    later, lease = NOW + UNSERVED, dt.timedelta(minutes=5)
    put(store, "1", channels=("gone",))
    with store.writing() as connection:
        (claimed,) = claim(connection, ["gone"], now=later, lease=lease, limit=1)
    assert send(store, Recorder("a"), now=later).dead == 0
    assert send(store, Recorder("a"), now=later + lease).dead == 1
    with store.writing() as connection:
        assert not settle_sent(connection, claimed, {}, later + lease)
        assert revive(connection, None, at=later + lease) == 1
    gone = Recorder("gone")
    assert send(store, gone, now=later + lease).sent == 1
    assert gone.parcels[0].uncertain


def test_a_secret_that_is_mended_within_hours_costs_no_message(store: Store) -> None:
    """With ten attempts, half of what the settings come with."""
    revoked, now = [True], NOW
    a = Recorder("a", lambda _: DeliveryError("answer 200 'token_revoked'; set SLACK_BOT_TOKEN") if revoked else None)
    put(store, *map(str, range(5)))
    while now < NOW + dt.timedelta(hours=3):
        assert send(store, a, now=now).dead == 0
        now += MINUTE / 2
    with store.reading() as connection:
        status = outbox_status(connection, now)
        failing, _ = find_deliveries(connection, state="failing", limit=100)
    assert (status.pending, status.failing, status.dead, status.by_channel["a"].failing) == (5, 5, 0, 5)
    assert {delivery["error"] for delivery in failing} == {"answer 200 'token_revoked'; set SLACK_BOT_TOKEN"}
    revoked.clear()
    send(store, a, now=now + dt.timedelta(hours=2))
    assert sorted(a.keys) == list(map(str, range(5)))
    with store.reading() as connection:
        assert outbox_status(connection, now).failing == 0
        assert find_deliveries(connection, state="failing", limit=100) == ([], None)


def test_a_round_ends_after_its_budget_and_its_limit_and_leaves_no_claim(store: Store) -> None:
    def slow(parcel: Parcel) -> None:
        time.sleep(0.5)

    a = Recorder("a", slow)
    put(store, *map(str, range(40)))
    assert send(store, a, limit=3).sent == 3
    sent = send(store, a, budget_seconds=2).sent
    assert 1 <= sent <= 4
    a.fails = lambda _: None
    assert send(store, a).sent == 40 - 3 - sent
    assert len(set(a.keys)) == 40


def test_two_senders_at_once_send_each_message_once(store: Store) -> None:
    inner, outer = Recorder("a"), Recorder("a")

    def meanwhile(parcel: Parcel) -> None:
        if not inner.tried:
            send(store, inner, limit=20)

    outer.fails = meanwhile
    put(store, *map(str, range(30)))
    send(store, outer)
    assert len(inner.keys) == 20
    assert sorted(inner.keys + outer.keys, key=int) == list(map(str, range(30)))
