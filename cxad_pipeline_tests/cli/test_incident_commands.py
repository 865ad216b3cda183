"""Incidents, verdicts, silences and messages from a terminal, on a real store."""

from __future__ import annotations

import datetime as dt
import getpass
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anomaly_records import anomaly
from click.testing import CliRunner, Result
from command_world import FAILED, USAGE
from incident_store_world import BILLING, SALES, at, incident, save, save_messages

from cxad_pipeline.cli import main
from cxad_pipeline.cli.moments import shown
from cxad_pipeline.settings import load_settings
from cxad_pipeline.store.anomalies import record_anomalies
from cxad_pipeline.store.database import Store, open_store
from cxad_pipeline.store.incidents import NOTHING_TOLD, get_incident, save_incident
from cxad_pipeline.store.outbox import Notice, claim, queue, settle_dead, settle_sent
from cxad_pipeline.store.silences import Silence, add_silence, find_silences

ONE = incident(9)


class Desk:
    """Somebody at a terminal, with a store of their own; the clock of the configuration is Berlin's."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.yaml"
        tree = {"timezone": "Europe/Berlin", "store": {"url": f"sqlite:///{folder}/store.db"}}
        self.config.write_text(json.dumps(tree))
        self.store: Store = open_store(load_settings(self.config))

    def run(self, *arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(main, ["--config", str(self.config), *arguments])
        assert done.exit_code == code, done.output
        return done

    def lines(self, *arguments: str) -> list[list[str]]:
        """What a table says, cell by cell."""
        return [re.split(r"\s{2,}", line.strip()) for line in self.run(*arguments).stdout.splitlines()]

    def silences(self) -> list[Silence]:
        with self.store.reading() as connection:
            return find_silences(connection, active_at=dt.datetime.now(dt.UTC))

    def verdict(self) -> Any:
        with self.store.reading() as connection:
            found = get_incident(connection, ONE.id)
        assert found is not None
        return found.verdict


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("CXAD_CONFIG", "")  # which the command sets, and the fixture takes back
    made = Desk(tmp_path)
    save(made.store, ONE, incident(3, segment=SALES, status="resolved", critical=False, severity=20.0))
    save(made.store, incident(4, status="merged", merged_into=ONE.id))
    yield made
    made.store.close()


def _in(hours: float) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)).isoformat(timespec="seconds")


def test_incidents_are_a_table_the_latest_first_on_the_configured_clock(desk: Desk) -> None:
    header, first, second = desk.lines("incidents")
    assert header == ["id", "status", "began (Europe/Berlin)", "ended", "severity", "told", "verdict", "what"]
    assert first == [
        ONE.id, "open", "2026-03-02 10:00", "70", "at once",
        "billing / voice / de: hold time around 191 s, usually 62 s; high in 41 of 55 contacts, usually 6.2",
    ]  # fmt: skip
    assert second[:6] == [incident(3).id, "resolved", "2026-03-02 04:00", "2026-03-02 05:00", "20", "digest"]
    assert [row[0] for row in desk.lines("incidents", "--status", "merged")[1:]] == [incident(4).id]
    assert [row[0] for row in desk.lines("incidents", "--since", "2026-03-02T08:00")[1:]] == [ONE.id]
    assert [row[0] for row in desk.lines("incidents", "--until", "2026-03-02T04:30")[1:]] == [incident(3).id]
    limited = desk.run("incidents", "--limit", "1")
    assert "there are more" in limited.stderr
    assert len(limited.stdout.splitlines()) == 2
    none = desk.run("incidents", "--since", "2027-01-01")
    assert (none.stdout, none.stderr) == ("", "no incidents\n")


def test_one_incident_is_shown_with_all_that_people_are_told(desk: Desk) -> None:
    save_messages(desk.store, ONE)
    desk.run("feedback", ONE.id, "confirmed", "--note", "the line was down", "--by", "ann")
    said = desk.run("incident", ONE.id).stdout
    for words in (
        "billing / voice / de: hold time around 191 s, usually 62 s; high in 41 of 55 contacts, usually 6.2",
        "hold time, shift",
        "41 of 55, usually 6.2",
        "70, 61 when it was found",
        "language de: 30 of 33 affected",
        "I-1 (2026-03-02 10:30, severity 71): hold time 640 s",
        "confirmed, by ann",
        "the line was down",
        "6.1 of 4.5",
        "550 no such user",
    ):
        assert words in said, words
    assert {"console", "email"} <= set(said.split())
    assert "there is no incident 20260302-ffffff" in desk.run("incident", "20260302-ffffff", code=USAGE).stderr


def _rows_of(shown: str) -> dict[str, str]:
    """The rows above the tables, by their names."""
    lines = [line.strip().split("  ", 1) for line in shown.split("\n\n")[0].splitlines()[1:]]
    return {line[0]: line[1].strip() for line in lines if len(line) == 2}


def test_a_message_that_waits_is_due_and_not_told(desk: Desk) -> None:
    """`Told.at` lies ahead while a message waits; what was given up was never told."""
    assert _rows_of(desk.run("incident", ONE.id).stdout)["told"] == "at once, 2026-03-02 04:00"
    topic = f"incident:{ONE.id}"
    queued, due = (dt.datetime(2026, 3, 2, hour, tzinfo=dt.UTC) for hour in (11, 12))
    lease = dt.timedelta(minutes=1)
    with desk.store.writing() as connection:
        queue(connection, Notice(f"{topic}:opened", "opened", topic, {"headline": "x"}, due), ["slack"], at=queued)
    waiting = desk.run("incident", ONE.id).stdout
    assert _rows_of(waiting)["told"] == "at once, due 2026-03-02 13:00"
    assert [row[:3] for row in desk.lines("incident", ONE.id) if "slack" in row] == [
        ["opened", "slack", "due 2026-03-02 13:00"]
    ]
    with desk.store.writing() as connection:
        (taken,) = claim(connection, ["slack"], now=due, lease=lease, limit=9)
        settle_dead(connection, taken, "invalid_auth", due + lease)
    dead = desk.run("incident", ONE.id).stdout
    assert _rows_of(dead)["told"] == "at once, but no message could be delivered"
    assert [row[2:] for row in desk.lines("incident", ONE.id) if "slack" in row] == [
        ["given up 2026-03-02 13:01", "1", "invalid_auth"]
    ]
    with desk.store.writing() as connection:
        queue(connection, Notice(f"{topic}:update:2", "update", topic, {"headline": "y"}, due), ["slack"], at=queued)
        (taken,) = claim(connection, ["slack"], now=due, lease=lease, limit=9)
        settle_sent(connection, taken, {}, due + 2 * lease)
    sent = desk.run("incident", ONE.id).stdout
    assert _rows_of(sent)["told"] == "at once, last sent 2026-03-02 13:02"
    assert "sent 2026-03-02 13:02" in sent
    quiet = incident(21)
    with desk.store.writing() as connection:
        save_incident(connection, quiet, [], NOTHING_TOLD)
    assert _rows_of(desk.run("incident", quiet.id).stdout)["told"] == "at once; nobody has been yet"


@pytest.mark.parametrize(
    ("segment", "metric", "hours", "silenced"),
    [
        (BILLING, None, (-1, 5), True),
        (BILLING[:1], "hold_time_seconds", (-1, 5), True),
        (BILLING, "csat", (-1, 5), False),
        (SALES, None, (-1, 5), False),
        (BILLING, None, (1, 5), False),
    ],
    ids=["its segment", "a larger one, its metric", "another metric", "another segment", "one to come"],
)
@pytest.mark.parametrize("critical", [True, False])
def test_what_a_silence_keeps_quiet_is_silenced_and_not_told_at_once(
    desk: Desk, segment: Any, metric: str | None, hours: tuple[int, int], silenced: bool, critical: bool
) -> None:
    quiet = incident(21, critical=critical)
    starts_at, ends_at = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=hour) for hour in hours)
    with desk.store.writing() as connection:
        save_incident(connection, quiet, [], NOTHING_TOLD)
        given: dict[str, Any] = {"segment": segment, "metric": metric, "owner": "ann"}
        made, _ = add_silence(connection, scope="incidents", **given, starts_at=starts_at, ends_at=ends_at)
        add_silence(connection, scope="anomalies", **given, starts_at=starts_at, ends_at=ends_at)
    told = {row[0]: row[4:6] for row in desk.lines("incidents")[1:]}
    assert ("silenced" in told[quiet.id]) == silenced
    assert "at once" in told[ONE.id], "people were told of it"
    end = shown(made.ends_at, load_settings(desk.config))
    said = _rows_of(desk.run("incident", quiet.id).stdout)["told"]
    how = "at once" if critical else "in the digest"
    assert said == (f"silenced, number {made.id}, until {end}" if silenced else f"{how}; nobody has been yet")
    assert "silenced" not in desk.run("incident", ONE.id).stdout


@pytest.mark.parametrize(
    ("status", "hours", "silenced"),
    [
        ("open", (20, 24), True),
        ("resolved", (20, 24), True),
        ("resolved", (23, 26), True),
        ("resolved", (26, 24 * 365 * 99), False),
        ("open", (20, 22), False),
    ],
    ids=["held when found", "held when found, over", "held when it ended", "came after its end", "ended before"],
)
def test_a_silence_that_has_ended_still_says_why_nobody_was_told(
    desk: Desk, status: str, hours: tuple[int, int], silenced: bool
) -> None:
    """It was found at 23:00 and, where it is over, ended at 01:00."""
    quiet = incident(21, status=status, resolved_at=at(25) if status == "resolved" else None)
    with desk.store.writing() as connection:
        save_incident(connection, quiet, [], NOTHING_TOLD)
        add_silence(
            connection, scope="incidents", segment=BILLING, metric=None, owner="a", starts_at=at(hours[0]),
            ends_at=at(hours[1]),
        )  # fmt: skip
    assert ("silenced" in desk.lines("incidents")[1]) == silenced
    assert _rows_of(desk.run("incident", quiet.id).stdout)["told"].startswith("silenced, number 1,") == silenced


def test_an_error_is_shown_without_the_headline_that_stands_beside_it(desk: Desk) -> None:
    topic, now, headline = f"incident:{ONE.id}", at(12), "Severity 70 · l'heure · hold time around 191 s"
    error = f"Slack did not take the message {headline!r}: invalid_auth; check the token"
    with desk.store.writing() as connection:
        queue(connection, Notice(f"{topic}:opened", "opened", topic, {"headline": headline}, now), ["slack"], at=now)
        (taken,) = claim(connection, ["slack"], now=now, lease=dt.timedelta(minutes=1), limit=9)
        settle_dead(connection, taken, error, now)
    for command in (("alerts",), ("incident", ONE.id)):
        (row,) = [row for row in desk.lines(*command) if "slack" in row]
        assert row[-1] == "Slack did not take the message: invalid_auth; check the token"
    assert desk.run("alerts").stdout.count(headline) == 1


def test_a_limit_of_one_is_in_the_singular(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for most, words in (("1", "by 1 power of ten at most"), ("0.5", "by 0.5 powers of ten at most")):
        monkeypatch.setenv("CXAD_INCIDENTS__MAX_THRESHOLD_SHIFT", most)
        assert words in desk.run("feedback", ONE.id, "false_alarm").stdout


def test_names_in_the_data_do_not_steer_the_terminal(desk: Desk) -> None:
    save(desk.store, incident(20, segment=(("queue", "x\x1b[31m\u202e\nfake row"),)))
    for output in (desk.run("incidents").stdout, desk.run("incident", incident(20).id).stdout):
        assert not {"\x1b", "\u202e"} & set(output)
        assert "\nfake" not in output


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("confirmed", "counts as real"),
        ("false_alarm", "threshold of billing / voice / de may rise at the next calibration"),
        ("new_trend", "baseline of billing / voice / de starts again at the next calibration"),
        ("expected", "nobody is told of billing / voice / de, hold_time_seconds, until"),
    ],
)
def test_a_verdict_is_kept_and_what_it_brings_about_is_said(desk: Desk, verdict: str, words: str) -> None:
    assert words in desk.run("feedback", ONE.id, verdict).stdout
    said = desk.verdict()
    assert (said["verdict"], said["by"]) == (verdict, getpass.getuser())
    assert [silence.segment for silence in desk.silences()] == ([BILLING] if verdict == "expected" else [])


def test_expected_lasts_until_the_time_that_is_given(desk: Desk) -> None:
    until = _in(5)
    desk.run("feedback", ONE.id, "expected", "--until", until, "--by", "ann", "--note", "migration")
    (silence,) = desk.silences()
    assert silence.ends_at == dt.datetime.fromisoformat(until)
    assert (silence.owner, silence.reason, silence.scope) == ("ann", "migration", "incidents")
    for arguments, words in (
        ((ONE.id, "confirmed", "--until", until), "--until goes with expected"),
        ((ONE.id, "expected", "--until", _in(-1)), "in the past"),
        (("20260302-ffffff", "confirmed"), "there is no incident"),
        (("I-unknown", "confirmed"), "I-unknown takes no verdict: it is not among those that were found unusual"),
    ):
        assert words in desk.run("feedback", *arguments, code=USAGE).stderr
    assert "is no time" in desk.run("feedback", ONE.id, "expected", "--until", "soon", code=USAGE).stderr
    assert "confirmed" in desk.run("feedback", ONE.id, "maybe", code=USAGE).stderr


def test_an_interaction_is_known_by_the_form_of_its_id_or_by_what_is_said(desk: Desk) -> None:
    with desk.store.writing() as connection:
        record_anomalies(connection, [anomaly("I-1"), anomaly(ONE.id)])
    assert "reviewers may hide its like until" in desk.run("feedback", "I-1", "expected").stdout
    assert desk.silences()[0].scope == "anomalies"
    desk.run("feedback", ONE.id, "confirmed", "--interaction")
    assert desk.verdict() is None, "it was of the interaction of that name"
    desk.run("feedback", ONE.id, "new_trend", "--incident")
    assert desk.verdict()["verdict"] == "new_trend"


def test_precision_is_shown_by_segment(desk: Desk) -> None:
    assert "nobody has said" in desk.run("precision").stderr
    save(desk.store, incident(5))
    for hour, verdict in ((9, "confirmed"), (5, "false_alarm"), (3, "expected")):
        desk.run("feedback", incident(hour).id, verdict)
    header, *rows = desk.lines("precision")
    assert header == ["segment", "precision", "confirmed", "false alarms", "expected", "new trends"]
    assert rows == [["billing / voice / de", "50%", "1", "1", "0", "0"], ["sales", "0", "0", "1", "0"]]
    assert "nobody has said" in desk.run("precision", "--since", _in(1)).stderr


def test_a_silence_of_a_metric_that_no_incident_is_about_is_refused(desk: Desk) -> None:
    refused = desk.run(
        "silence", "--segment", "queue=billing", "--metric", "aht", "--reason", "x", "--hours", "1", code=USAGE
    )
    assert "--metric aht: no incident is about that; allowed: csat, " in refused.stderr
    assert desk.silences() == []


def test_a_silence_is_made_listed_and_ended(desk: Desk) -> None:
    done = desk.run(
        "silence", "--segment", "channel=voice", "--segment", "queue=billing", "--metric", "aht_seconds", "--reason",
        "a migration", "--hours", "2", "--owner", "ann",
    )  # fmt: skip
    assert "billing / voice, aht_seconds" in done.stdout
    (made,) = desk.silences()
    assert made.segment == (("queue", "billing"), ("channel", "voice"))
    assert made.ends_at - made.starts_at == dt.timedelta(hours=2)
    row = desk.lines("silences")[1]
    assert (row[0], row[2], row[3], row[-2:]) == (
        str(made.id),
        "billing / voice",
        "aht_seconds",
        ["ann", "a migration"],
    )
    desk.run("silence", "--end", str(made.id))
    assert desk.silences() == []
    assert desk.run("silences").stderr == "no silences\n"
    assert len(desk.lines("silences", "--all")) == 2
    desk.run("silence", "--segment", "all", "--reason", "closed today", "--until", _in(3))
    assert desk.silences()[0].segment == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "give --segment, --reason"),
        ("--segment queue=a --hours 1", "give --segment, --reason"),
        ("--segment queue=a --reason x", "either --until or --hours"),
        ("--segment queue=a --reason x --hours 1 --until 2199-01-01", "either --until or --hours"),
        ("--segment queue --reason x --hours 1", "write NAME=VALUE"),
        ("--segment team=a --reason x --hours 1", "names: queue, channel, language"),
        ("--segment queue=a --segment queue=b --reason x --hours 1", "queue is given twice"),
        ("--segment queue=a --reason x --until 2020-01-01", "in the past"),
        ("--end 7", "there is no silence 7"),
        ("--end 7 --reason x", "--end takes no other option"),
    ],
)
def test_a_silence_that_means_nothing_is_refused(desk: Desk, arguments: str, words: str) -> None:
    assert words in desk.run("silence", *arguments.split(), code=USAGE).stderr
    assert desk.silences() == []


def test_dead_letters_are_listed_and_sent_again(desk: Desk) -> None:
    save_messages(desk.store, ONE)
    everything = desk.run("alerts")
    assert "1 pending, 1 of them due" in everything.stderr
    assert "1 dead" in everything.stderr
    assert len(everything.stdout.splitlines()) == 4
    header, dead = desk.lines("alerts", "--dead")
    assert header[:4] == ["id", "state (Europe/Berlin)", "channel", "attempts"]
    assert dead[1].startswith("given up ")
    assert (dead[2], dead[-2:]) == ("email", [f"Trouble in {ONE.id}", "550 no such user"])
    assert "pending again  1" in desk.run("alerts", "--retry", dead[0]).stdout
    assert "no dead letter" in desk.run("alerts", "--retry", dead[0], code=USAGE).stderr
    assert "give the number" in desk.run("alerts", "--retry", "mail", code=USAGE).stderr
    assert "pending again  0" in desk.run("alerts", "--retry").stdout
    assert "0 dead" in desk.run("alerts").stderr


def test_a_store_that_is_away_is_one_line(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blocked").write_text("a file where a folder is wanted")
    monkeypatch.setenv("CXAD_STORE__URL", f"sqlite:///{tmp_path}/blocked/store.db")
    for command in (["incidents"], ["feedback", ONE.id, "confirmed"], ["silences"], ["alerts"], ["precision"]):
        done = desk.run(*command, code=FAILED)
        assert done.stderr.startswith("cxad: ")
        assert done.stderr.count("\n") == 1
