"""What people read of an incident, in text, on Slack and by e-mail; and that foreign text can only be read."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from told_incidents import FOUND, HOUR, assert_slack_takes, incident, texts_of

from cxad_pipeline.alerting.decisions import NoticeKind
from cxad_pipeline.alerting.incident_messages import MessageContext, incident_line, incident_message
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.incidents.incident import Cause, Example, Incident, Reason
from cxad_pipeline.incidents.kinds import Kind
from cxad_pipeline.interactions.schema import Column, InteractionSchema

CONTEXT = MessageContext(
    schema=InteractionSchema(),
    zone=ZoneInfo("Europe/Berlin"),
    links={"Dagster": "http://127.0.0.1:3000/assets/incidents?partition=2026-10-13-06:00"},
    budget_used=2,
    budget_per_week=5.0,
    budget_until=FOUND - HOUR / 12,
)
KINDS: tuple[NoticeKind, ...] = ("opened", "update", "repeat", "resolved", "edit")
HOSTILE = (
    "<!channel>",
    "<https://evil.example|here>",
    "*bold* _it_ ~no~",
    "a`b",
    "&lt;!here&gt;",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202egnp.exe",
    "line\nSeverity 0: all is well",
    "\x1b[31mred\x07",
    "x" * 5000,
    "&" * 3000,
    "",
)
ODD = st.text(max_size=300) | st.sampled_from(HOSTILE)


class Page(HTMLParser):
    """What a mail program finds in a document: elements with their attributes, and the text between them."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def told(kind: NoticeKind = "opened", context: MessageContext = CONTEXT, **changes: Any) -> Message:
    return incident_message(incident(**changes), kind, context=context)


def test_the_text_of_a_new_incident() -> None:
    assert (
        told(alert_severity=41.2).text
        == """\
Severity 63 · billing / voice · hold time around 412 s, usually 61.5 s; very high in 41 of 55 contacts, usually 4.2
Since 13 Oct 14:00 Europe/Berlin, 1 hour so far; found 13 Oct 15:05
Severity 41 when it was found, 63 now
Also: more contacts than usual: 55, usually 41
Mostly in language de: 36 of 40 affected, 6.3 times as likely as elsewhere (3.9-10), 88% of all affected
Examples (severity, start, interaction)
  97  13 Oct 14:06  c-0365  hold time 1,622 s
  88  13 Oct 14:09  c-0370  hold time 1,407 s
model 3 · budget: 2 of 5 incidents in the week to 13 Oct 15:00
Dagster: http://127.0.0.1:3000/assets/incidents?partition=2026-10-13-06:00
cxad incident 20261013-3f9a2c · not real? cxad feedback 20261013-3f9a2c false_alarm"""
    )


@pytest.mark.parametrize(
    ("kind", "changes", "told_severity", "headline", "news"),
    [
        ("opened", {}, None, "Severity 63 · ", ""),
        ("edit", {}, 41.0, "Severity 63 · ", ""),
        ("update", {}, 41.0, "Worse: severity 63 · ", "Severity 41 → 63; 41 of 55 contacts, usually 4.2."),
        ("update", {}, 63.3, "Open again: severity 63 · ", "Open again; 41 of 55 contacts, usually 4.2; severity 63."),
        ("repeat", {"ended_at": FOUND - 5 * HOUR / 60 + 25 * HOUR}, 63.3, "Still open: severity 63 · ",
         "Still open after 26 hours; 41 of 55 contacts at worst, usually 4.2; severity 63."),
        ("resolved", {"status": "resolved", "ended_at": FOUND - 5 * HOUR / 60 + 3 * HOUR}, 63.3, "Over: severity 63 · ",
         "Over after 4 hours; 41 of 55 contacts at worst, usually 4.2; severity 63."),
        ("resolved", {"status": "withdrawn"}, 63.3, "Withdrawn: severity 63 · ",
         "Withdrawn: after its contacts were scored again, nothing is left of it."),
        ("edit", {"status": "merged", "merged_into": "20261013-000000"}, 63.3, "Merged: severity 63 · ", ""),
    ],
)  # fmt: skip
def test_how_it_begins_and_what_is_news(
    kind: NoticeKind, changes: dict[str, Any], told_severity: float | None, headline: str, news: str
) -> None:
    message = told(kind, replace(CONTEXT, told_severity=told_severity), **changes)
    assert message.headline.startswith(headline)
    assert message.news == news
    assert message.text.startswith(f"{message.headline}\n")


def test_nothing_is_said_twice() -> None:
    """The headline and the lines below it; news are for a thread, where no headline stands."""
    for message in (
        told("opened"),
        told("update", replace(CONTEXT, told_severity=41.0), alert_severity=41.0),
        told("repeat", replace(CONTEXT, told_severity=63.3)),
        told("resolved", status="resolved"),
        told("resolved", status="withdrawn"),
        told("edit", status="merged", merged_into="20261013-000000"),
    ):
        for said in ("41 of 55 contacts", "412 s", "61.5 s", "scored again", "Taken in by", "1 hour", "Europe/Berlin"):
            assert message.text.count(said) <= 1, said
        assert message.text.lower().count("over") <= 1
    worse = told("update", replace(CONTEXT, told_severity=41.0), alert_severity=41.0)
    assert worse.text.splitlines()[1] == "Severity 41 → 63"
    assert "when it was found" not in worse.text
    first_found_mild = told("update", replace(CONTEXT, told_severity=41.0), alert_severity=20.0)
    assert "Severity 20 when it was found, 63 now" in first_found_mild.text


def test_a_merged_incident_names_the_one_that_goes_on() -> None:
    message = told("edit", status="merged", merged_into="20261013-000000")
    assert "Taken in by incident 20261013-000000" in message.text


def test_severity_is_told_twice_only_where_it_has_changed() -> None:
    assert "when it was found" not in told().text
    assert "Severity 90 when it was found, 63 now" in told(alert_severity=90.4).text


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("shift", "hold time around 214 s, usually 62 s; high in 41 of 55 contacts, usually 4.2"),
        ("slow drift", "hold time has lately been around 214 s, usually 62 s; high in 41 of 55 contacts, usually 4.2"),
        ("far tail", "hold time around 412 s, usually 61.5 s; very high in 41 of 55 contacts, usually 4.2"),
    ],
)
def test_the_headline_says_expected_against_seen_and_how_many_of_how_many(kind: Kind, said: str) -> None:
    message = incident_message(incident(kind=kind, observed=214.0, expected=62.0), "opened", context=CONTEXT)
    assert message.headline == f"Severity 63 · billing / voice · {said}"
    assert len(message.headline) <= 150
    assert said in message.html
    title, what = (text["text"] for text in texts_of(list(message.blocks))[:2])
    assert (title, what) == ("Severity 63 · billing / voice", said[0].upper() + said[1:])


def test_slack_is_told_a_long_sentence_whole() -> None:
    """Slack refuses headers of more than 150 characters."""
    segment = (("queue", "the queue of the longest name of all that"), ("channel", "voice and video"))
    message = told("repeat", segment=segment)
    assert len(message.headline) > 150
    assert any("very high in 41 of 55 contacts, usually 4.2" in text["text"] for text in texts_of(list(message.blocks)))


def test_an_incident_of_another_year_says_so() -> None:
    """Data of last autumn, judged today."""
    found = FOUND + 100 * 24 * HOUR
    text = told("opened", opened_at=found, updated_at=found).text
    assert "Since 13 Oct 2026 14:00 Europe/Berlin, 1 hour so far; found 21 Jan 14:05" in text
    assert "in the week to 13 Oct 2026 15:00" in text
    over = told("resolved", opened_at=found, updated_at=found, status="resolved").text
    assert "13 Oct 2026 14:00-15:00 Europe/Berlin" in over
    line = incident_line(incident(opened_at=found, updated_at=found), CONTEXT)
    assert line.endswith("since 13 Oct 2026 14:00")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "budget: 2 of 5 incidents in the week to 13 Oct 15:00"),
        ({"budget_used": 0, "budget_per_week": 1.0}, "budget: 0 of 1 incident in the week to 13 Oct 15:00"),
        ({"budget_used": 3, "budget_per_week": 0.5}, "budget: 3 of 0.5 incidents in the week to 13 Oct 15:00"),
        ({"budget_used": 0, "budget_until": None}, "budget: 0 of 5 incidents a week"),
    ],
)
def test_the_budget_names_the_week_it_is_about(changes: dict[str, Any], words: str) -> None:
    assert replace(CONTEXT, **changes).budget_words(FOUND) == words


def test_times_are_on_the_clock_of_the_zone() -> None:
    """The clock goes back on 25 October 2026."""
    night = dt.datetime(2026, 10, 24, 22, 30, tzinfo=dt.UTC)
    over = {"status": "resolved", "started_at": night, "ended_at": night + 4 * HOUR}
    assert "25 Oct 00:30-03:30 Europe/Berlin, 4 hours" in told("resolved", **over).text
    assert (
        "24 Oct 22:30 to 25 Oct 02:30 UTC, 4 hours"
        in told("resolved", replace(CONTEXT, zone=ZoneInfo("UTC")), **over).text
    )


def test_an_incident_without_reasons_causes_examples_and_links() -> None:
    message = told(context=replace(CONTEXT, links={}), reasons=(), causes=(), examples=(), model_version="", segment=())
    assert "all contacts" in message.headline
    assert len(message.text.splitlines()) == 4
    assert_slack_takes(list(message.blocks))


@pytest.mark.parametrize("kind", KINDS)
def test_all_three_forms_tell_the_same(kind: NoticeKind) -> None:
    message = told(kind, replace(CONTEXT, told_severity=30.0), alert_severity=41.2)
    assert_slack_takes(list(message.blocks))
    slack = "\n".join(text["text"] for text in texts_of(list(message.blocks)))
    mail = Page(message.html).text
    for form in (message.text, slack.replace("&amp;", "&"), mail):
        for said in (
            "everity 63 · billing / voice",
            "old time around 412 s, usually 61.5 s; very high in 41 of 55 contacts, usually 4.2",
            "Since 13 Oct 14:00 Europe/Berlin",
            "Severity 41 when it was found, 63 now",
            "more contacts than usual: 55, usually 41",
            "language de: 36 of 40 affected",
            "c-0365",
            "97",
            "hold time 1,622 s",
            "model 3 · budget: 2 of 5 incidents in the week to 13 Oct 15:00",
        ):
            assert said in form
    assert "http://127.0.0.1:3000/assets/incidents?partition=2026-10-13-06:00" in slack
    links = [given for tag, given in Page(message.html).elements if tag == "a"]
    assert [given["href"] for given in links] == list(CONTEXT.links.values())


def test_the_mail_has_no_image_no_script_and_is_a_narrow_column_in_both_colours() -> None:
    page = Page(told().html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "script", "style", "link", "iframe", "form"}
    assert {"name": "color-scheme", "content": "light dark"} in [given for tag, given in page.elements if tag == "meta"]
    styles = [given.get("style") or "" for _, given in page.elements]
    assert any("max-width:600px" in style for style in styles)
    assert not any("background" in style or "url(" in style for style in styles)
    assert not any(re.search(r"color:#(000|fff)", style) for style in styles)
    assert page.open == []


def test_an_id_in_a_mail_stays_on_one_line_and_what_is_said_of_it_is_below() -> None:
    """On a telephone of 380 px a column beside it would break it over four lines; one without end must break."""
    uuid = "0f8fad5b-d9cb-469f-a165-70867728950e"
    why = "hold time 900 s, typically 10-140 s; transfers 3, typically 0-1"
    for name, whole in ((uuid, True), ("c" * 64, False)):
        page = Page(told(examples=(Example(name, FOUND, 900.0, 60.2, why),)).html)
        (at,) = [place for place, words in enumerate(page.words) if words == name]
        assert page.words[at + 1 : at + 3] == ["severity 60, 13 Oct 15:05", why]
        spans = [given.get("style") or "" for tag, given in page.elements if tag == "span"]
        assert ["white-space:nowrap" in style for style in spans] == [whole, False, False]
        rows = [tag for tag, _ in page.elements if tag in ("tr", "td", "th")]
        assert rows == ["tr", "td"] * (len(rows) // 2), "one column"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "cxad incident {0} · not real? cxad feedback {0} false_alarm"),
        ({"status": "resolved"}, "cxad incident {0} · not real? cxad feedback {0} false_alarm"),
        ({"status": "merged", "merged_into": "20261013-000000"}, "cxad incident {0}"),
        ({"status": "withdrawn"}, "cxad incident {0}"),
    ],
)
def test_it_ends_with_what_to_do_next(changes: dict[str, Any], line: str) -> None:
    message = told("edit", **changes)
    said = line.format(incident().id)
    commands = [part.removeprefix("not real? ") for part in said.split(" · ")]
    assert message.text.splitlines()[-1] == said
    assert re.findall(r"`([^`]*)`", message.blocks[-1]["text"]["text"]) == commands
    page = Page(message.html)
    assert [tag for tag, _ in page.elements].count("code") == len(commands)
    assert all(command in page.words for command in commands)


def hostile(text: str) -> Incident:
    """Foreign text wherever an incident can have some."""
    segment = (("queue", text), ("language", text))
    return incident(
        segment=segment,
        metric=text or "aht_seconds",
        causes=(Cause((("queue", text),), 6.3, 3.9, 10.2, 36, 40, 0.9),),
        reasons=(Reason(text, "shift", 412.0, 61.5, 6.4),),
        examples=tuple(Example(f"{text}{n}", FOUND, 1622.4, 97.4, text * n) for n in range(5)),
        model_version=text,
        merged_into=text,
    )


def assert_harmless(message: Message, links: dict[str, str]) -> None:
    assert_slack_takes(list(message.blocks))
    for text in texts_of(list(message.blocks)):
        left = text["text"]
        if text["type"] == "mrkdwn":
            left = re.sub(r"<https://example\.test/a\?x=1&amp;y=%3C2%3E%7Cz\|[^<>|]*>", "", left)
            without_code = re.sub(r"`[^`]*`", "", left)
            assert re.fullmatch(r"(\*\d+\* · · [\w :]+|· not real\?)?", " ".join(without_code.split())), (
                "all foreign text is code"
            )
        assert "<" not in left
        assert ">" not in left
        assert not re.search(r"&(?!amp;|lt;|gt;)", left)

    lines = message.text.split("\n")
    assert len(lines) <= 16
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= 600
    assert "\n" not in message.headline
    assert message.news.isprintable()

    page = Page(message.html)
    assert page.open == []
    assert {tag for tag, _ in page.elements} <= {
        *("html", "head", "meta", "title", "body", "table", "tr", "td", "th", "h1", "h2", "p", "a"),
        *("tbody", "span", "br", "code"),
    }
    assert not any(name.startswith("on") for _, given in page.elements for name in given)
    assert [given["href"] for tag, given in page.elements if tag == "a"] == list(links.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_only_read(text: str, kind: NoticeKind) -> None:
    links = {text: "https://example.test/a?x=1&y=<2>|z"}
    for status in ("open", "resolved", "merged", "withdrawn"):
        message = incident_message(replace(hostile(text), status=status), kind, context=replace(CONTEXT, links=links))  # type: ignore[arg-type]
        assert_harmless(message, links)


@settings(max_examples=60, deadline=None)
@given(ODD, st.sampled_from(KINDS))
def test_odd_names_are_only_read(text: str, kind: NoticeKind) -> None:
    links = {text: "https://example.test/a?x=1&y=<2>|z"}
    assert_harmless(incident_message(hostile(text), kind, context=replace(CONTEXT, links=links)), links)


def test_a_link_that_runs_something_is_shown_and_not_linked() -> None:
    message = told(context=replace(CONTEXT, links={"x": "javascript:alert(1)"}))
    assert [tag for tag, _ in Page(message.html).elements if tag == "a"] == []
    assert "javascript:alert(1)" in message.text


def test_a_password_in_a_link_is_hidden() -> None:
    message = told(context=replace(CONTEXT, links={"x": "https://me:hunter2@host/a"}))
    assert "hunter2" not in message.text + str(message.blocks) + message.html


def test_own_columns_have_their_words_and_units() -> None:
    schema = InteractionSchema([Column("wait_minutes", "float", "Wait.", unit="min", label="waiting time")])
    shift = incident(metric="wait_minutes", kind="shift", observed=9.0, expected=2.0)
    message = incident_message(shift, "opened", context=replace(CONTEXT, schema=schema))
    assert "waiting time averages 9 min, usually 2 min" in message.headline


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"reasons": ()},
         "63 · billing / voice · hold time very high in 41 of 55 contacts, usually 4.2 · since 13 Oct 14:00"),
        ({"status": "resolved", "segment": ()}, "63 · all contacts · hold time around 412 s, usually 61.5 s; "
         "very high in 41 of 55 contacts, usually 4.2 · 13 Oct 14:00, 1 hour, over"),
    ],
)  # fmt: skip
def test_an_incident_in_one_line(changes: dict[str, Any], line: str) -> None:
    assert incident_line(incident(**changes), CONTEXT) == line


def test_what_it_says_survives_the_outbox() -> None:
    message = told()
    as_stored: Callable[[dict[str, Any]], Message] = Message.from_dict
    assert as_stored(message.to_dict()).to_dict() == message.to_dict()
