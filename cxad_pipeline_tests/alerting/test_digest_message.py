"""The digest: what was not told at once, and silence where there is nothing to say."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from told_incidents import assert_slack_takes, incident, texts_of

from cxad_pipeline.alerting.digest import Digest, digest_message
from cxad_pipeline.alerting.incident_messages import MessageContext
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.incidents.incident import Example
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.store.judged_windows import NotJudged
from cxad_pipeline.store.silent_windows import SilentSegment
from cxad_pipeline.store.unanswered_metrics import UnansweredMetric

UNTIL = dt.datetime(2026, 10, 13, 5, tzinfo=dt.UTC)
CONTEXT = MessageContext(
    InteractionSchema(), ZoneInfo("Europe/Berlin"), {"Incidents": "https://example.test/i"}, 2, 5.0, UNTIL
)
QUIET = Digest(UNTIL - dt.timedelta(days=1), UNTIL, contacts=1204, windows=4)
BUSY = replace(
    QUIET,
    incidents=(incident(severity=30.0, critical=False), incident(severity=28.0, status="resolved", segment=())),
    told=1,
    silenced=2,
    anomalies=13,
    windows_without_data=1,
    most_severe=incident().examples,
    dead_letters=3,
)
SILENT = SilentSegment(
    (("queue", "billing"), ("channel", "voice")),
    int((UNTIL - dt.timedelta(hours=20)).timestamp()),
    int((UNTIL - dt.timedelta(hours=16)).timestamp()),
    4,
    163.4,
)
UNANSWERED = UnansweredMetric("csat", (), SILENT.first, SILENT.last, 4, 12, 181.7)


def message_of(digest: Digest) -> Message:
    message = digest_message(digest, CONTEXT)
    assert message is not None
    return message


def test_the_text_of_a_busy_day() -> None:
    first, last = (moment - dt.timedelta(hours=5) for moment in (BUSY.since, BUSY.until))
    assert (
        message_of(replace(BUSY, first=first, last=last)).text
        == """\
Digest: 2 further incidents, 13 anomalies, 3 messages NOT DELIVERED · 12 Oct 07:00 to 13 Oct 07:00 Europe/Berlin
12 Oct 02:00 to 13 Oct 02:00 Europe/Berlin: 1,204 contacts scored, 13 of them anomalous (1.1%)
1 of 4 windows without data: missing, not quiet
Told at once: 1 incident; budget: 2 of 5 incidents in the week to 13 Oct 07:00
Silenced: 2 incidents
What was not delivered: cxad alerts --dead
Incidents (severity, segment, what, since)
  30 · billing / voice · hold time around 412 s, usually 61.5 s; very high in 41 of 55 contacts, usually 4.2 · since \
13 Oct 14:00
  28 · all contacts · hold time around 412 s, usually 61.5 s; very high in 41 of 55 contacts, usually 4.2 · 13 Oct \
14:00, 1 hour, over
Most severe single contacts (severity, start, interaction)
  97  13 Oct 14:06  c-0365  hold time 1,622 s
  88  13 Oct 14:09  c-0370
Incidents: https://example.test/i"""
    )


@pytest.mark.parametrize(
    ("since", "until", "span"),
    [
        ("2026-12-30T06:00", "2026-12-31T06:00", "30 Dec 07:00 to 31 Dec 07:00 Europe/Berlin"),
        ("2026-12-31T06:00", "2027-01-01T06:00", "31 Dec 2026 07:00 to 1 Jan 2027 07:00 Europe/Berlin"),
        ("2024-12-30T06:00", "2026-12-31T06:00", "30 Dec 2024 07:00 to 31 Dec 2026 07:00 Europe/Berlin"),
    ],
)
def test_a_digest_that_spans_years_names_them(since: str, until: str, span: str) -> None:
    """The first digest reaches back to the oldest data."""
    began, ended = (dt.datetime.fromisoformat(f"{moment}Z") for moment in (since, until))
    assert message_of(replace(BUSY, since=began, until=ended)).headline.endswith(f" · {span}")


def test_contacts_of_another_year_say_so() -> None:
    text = message_of(replace(BUSY, until=UNTIL + dt.timedelta(days=365))).text
    assert "  97  13 Oct 2026 14:06  c-0365" in text
    assert "in the week to 13 Oct 2026 07:00" in text


def test_one_of_each_is_in_the_singular() -> None:
    one = replace(BUSY, contacts=1, anomalies=1, incidents=BUSY.incidents[:1], silenced=1, dead_letters=1, windows=1)
    assert message_of(one).text.splitlines()[:5] == [
        "Digest: 1 further incident, 1 anomaly, 1 message NOT DELIVERED · 12 Oct 07:00 to 13 Oct 07:00 Europe/Berlin",
        "1 contact scored, 1 of them anomalous (100.0%)",
        "1 of 1 window without data: missing, not quiet",
        "Told at once: 1 incident; budget: 2 of 5 incidents in the week to 13 Oct 07:00",
        "Silenced: 1 incident",
    ]


def test_nothing_to_say_is_no_digest() -> None:
    assert digest_message(QUIET, CONTEXT) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"incidents": (incident(),)},
        {"told": 1},
        {"silenced": 1},
        {"anomalies": 1},
        {"windows_without_data": 1},
        {"not_judged": NotJudged(SILENT.first, SILENT.last, 4)},
        {"silent_segments": (SILENT,)},
        {"unanswered": (UNANSWERED,)},
        {"silent_since": UNTIL - dt.timedelta(days=2)},
        {"most_severe": incident().examples},
        {"dead_letters": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_each_thing_alone_is_worth_a_digest(changes: dict[str, Any]) -> None:
    assert_slack_takes(list(message_of(replace(QUIET, **changes)).blocks))


def test_segments_without_contacts_are_named_beside_a_day_that_is_quiet_elsewhere() -> None:
    message = message_of(
        replace(QUIET, silent_segments=(SILENT, replace(SILENT, segment=(("queue", "fax"),), windows=1)))
    )
    assert message.headline.startswith("Digest: 0 further incidents, 0 anomalies, 2 segments WITHOUT CONTACTS · ")
    lines = message.text.splitlines()
    assert lines[3:] == [
        "No contacts where there always are some: missing data, or nobody gets through",
        "  billing / voice · none in 4 windows of 12 Oct 11:00-15:00 Europe/Berlin, usually 163",
        "  fax · none in 1 window of 12 Oct 11:00-15:00 Europe/Berlin, usually 163",
        "Incidents: https://example.test/i",
    ]
    slack = [text["text"] for text in texts_of(list(message.blocks))]
    for line in lines[4:6]:
        assert line.strip() in slack
        assert line.strip() in message.html


def test_of_many_segments_without_contacts_the_first_are_named_and_the_rest_counted() -> None:
    many = tuple(replace(SILENT, segment=(("queue", f"<q{number}> & " + "x" * 200),)) for number in range(8))
    message = message_of(replace(QUIET, silent_segments=many))
    assert "8 segments WITHOUT CONTACTS" in message.headline
    assert "<q4>" in message.text
    assert "<q5>" not in message.text
    assert "and 3 more" in message.text
    assert "&lt;q4&gt; &amp; xx" in message.html
    assert_slack_takes(list(message.blocks))


def test_metrics_with_far_fewer_values_than_usual_are_named() -> None:
    of_a_queue = replace(UNANSWERED, segment=(("queue", "billing"),), windows=1, values=1, usual=9.2)
    message = message_of(replace(QUIET, unanswered=(UNANSWERED, of_a_queue)))
    assert message.headline.startswith("Digest: 0 further incidents, 0 anomalies, FEW VALUES of satisfaction · ")
    lines = message.text.splitlines()
    assert lines[3:] == [
        "Far fewer values than usual: surveys without answers, or missing data",
        "  satisfaction · all contacts · 12 values in 4 windows of 12 Oct 11:00-15:00 Europe/Berlin, usually 182",
        "  satisfaction · billing · 1 value in 1 window of 12 Oct 11:00-15:00 Europe/Berlin, usually 9.2",
        "Incidents: https://example.test/i",
    ]
    slack = [text["text"] for text in texts_of(list(message.blocks))]
    for line in lines[4:6]:
        assert line.strip() in slack
        assert line.strip() in message.html


def test_of_many_metrics_with_few_values_the_first_are_named_and_the_rest_counted() -> None:
    many = tuple(replace(UNANSWERED, metric=f"<m{number}> & " + "x" * 200) for number in range(8))
    message = message_of(replace(QUIET, unanswered=many))
    assert "FEW VALUES of 8 metrics" in message.headline
    assert "<m4>" in message.text
    assert "<m5>" not in message.text
    assert "and 3 more" in message.text
    assert "&lt;m4&gt; &amp; xx" in message.html
    assert_slack_takes(list(message.blocks))


def test_missing_data_do_not_read_as_a_quiet_day() -> None:
    text = message_of(replace(QUIET, contacts=0, windows_without_data=4)).text
    assert text.startswith("Digest: NO DATA came · 12 Oct 07:00")
    assert "No contact was scored" in text
    assert "4 of 4 windows without data: missing, not quiet" in text
    assert "0 of them" not in text


@pytest.mark.parametrize(("number", "words"), [(1, "1 window"), (24, "24 windows")])
def test_windows_that_never_landed_do_not_read_as_quiet_ones(number: int, words: str) -> None:
    message = message_of(replace(QUIET, not_judged=NotJudged(SILENT.first, SILENT.last, number)))
    assert message.headline.startswith(f"Digest: 0 further incidents, 0 anomalies, {words} NEVER JUDGED · 12 Oct")
    line = f"{words} of 12 Oct 11:00-15:00 Europe/Berlin never judged: not quiet, but unknown; see what did not land"
    assert line in message.text.splitlines()
    assert line in message.html


def test_a_pipeline_that_stands_still_does_not_read_as_a_quiet_day() -> None:
    still = replace(QUIET, contacts=0, windows=0, silent_since=UNTIL - dt.timedelta(days=2))
    text = message_of(still).text
    assert text.startswith("Digest: NOTHING SCORED since 11 Oct 07:00 · 12 Oct 07:00")
    assert "No window was scored since 11 Oct 07:00: not quiet, but unknown" in text
    assert "0 further incidents" not in text
    assert "1 further incident, NOTHING" in message_of(replace(still, incidents=(incident(),))).headline


def test_many_incidents_are_counted_not_listed() -> None:
    message = message_of(replace(BUSY, incidents=tuple(incident(id=str(n)) for n in range(40))))
    assert "40 further incidents" in message.headline
    assert message.text.count("billing / voice") == 15
    assert "and 25 more" in message.text
    assert_slack_takes(list(message.blocks))


def test_only_the_most_severe_contacts_are_listed() -> None:
    many = tuple(replace(incident().examples[0], interaction_id=f"c-{n}") for n in range(9))
    text = message_of(replace(BUSY, most_severe=many)).text
    assert "c-4" in text
    assert "c-5" not in text


def test_all_three_forms_tell_the_same() -> None:
    message = message_of(BUSY)
    slack = "\n".join(text["text"] for text in texts_of(list(message.blocks)))
    for form in (slack, message.html):
        for line in message.text.splitlines()[:6]:
            assert line in form
        assert "28 · all contacts · hold time around 412 s, usually 61.5 s; very high in 41 of 55 contacts" in form
        assert "c-0365" in form


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=400) | st.sampled_from(["<!channel>", "<script>", "x" * 9000, "&" * 4000]))
def test_odd_names_keep_to_the_limits_and_are_only_read(text: str) -> None:
    odd = incident(segment=(("queue", text),), metric=text or "x")
    message = message_of(
        replace(BUSY, incidents=(odd,) * 20, most_severe=(Example(text, UNTIL, None, 50.0, text),) * 9)
    )
    assert_slack_takes(list(message.blocks))
    assert "<" not in str(
        [t["text"].replace("<https://example.test/i|Incidents>", "") for t in texts_of(list(message.blocks))]
    )
    assert "<script" not in message.html
    assert all(line.isprintable() for line in message.text.split("\n"))
    assert len(message.text.split("\n")) <= 30
