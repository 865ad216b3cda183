"""Figures, times and foreign texts, as they are written in every message."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxad_pipeline.alerting.block_kit import code, context, header, links_section, plain_section
from cxad_pipeline.alerting.wording import (
    address,
    aligned,
    length_in_words,
    moment_in_words,
    one_line,
    percent,
    plural,
    span_in_words,
)

BERLIN = ZoneInfo("Europe/Berlin")
NOON = dt.datetime(2026, 10, 13, 10, tzinfo=dt.UTC)
ODD = st.text(max_size=300) | st.sampled_from(["<!channel>", "&" * 9000, "a`b", "x" * 9000, "\u202egnp", "a\nb"])


@given(ODD, st.integers(1, 80))
def test_one_line_is_one_printable_line(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert line == line.strip()


def test_figures_in_words() -> None:
    assert [percent(share) for share in (0, 0.0093, 0.01, 0.2083)] == ["0.00%", "0.93%", "1.0%", "20.8%"]
    assert [plural(1, "contact"), plural(1204, "contact"), plural(2, "anomaly", "anomalies")] == [
        "1 contact",
        "1,204 contacts",
        "2 anomalies",
    ]


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(1, "1 minute"), (45, "45 minutes"), (60, "1 hour"), (90, "1.5 hours"), (240, "4 hours"), (2880, "2 days"),
     (4320, "3 days")],
)  # fmt: skip
def test_how_long_it_lasted(minutes: int, words: str) -> None:
    assert length_in_words(dt.timedelta(minutes=minutes)) == words


def test_times_are_on_the_clock_of_a_zone() -> None:
    assert moment_in_words(NOON, BERLIN, NOON) == "13 Oct 12:00"
    assert span_in_words(NOON, NOON + dt.timedelta(hours=4), BERLIN, NOON) == "13 Oct 12:00-16:00 Europe/Berlin"
    night = span_in_words(NOON, NOON + dt.timedelta(hours=14), BERLIN, NOON)
    assert night == "13 Oct 12:00 to 14 Oct 02:00 Europe/Berlin"


def test_times_have_their_year_where_it_is_not_the_present_one() -> None:
    """Years are those of the zone's clock: in Berlin it is 2027 an hour before it is in UTC."""
    later, day = NOON + dt.timedelta(days=90), dt.timedelta(days=1)
    assert moment_in_words(NOON, BERLIN, later) == "13 Oct 2026 12:00"
    span = span_in_words(NOON, NOON + dt.timedelta(hours=4), BERLIN, later)
    assert span == "13 Oct 2026 12:00-16:00 Europe/Berlin"
    assert span_in_words(NOON, NOON + day, BERLIN, later) == "13 Oct 2026 12:00 to 14 Oct 2026 12:00 Europe/Berlin"
    silvester = dt.datetime(2026, 12, 31, 23, 30, tzinfo=dt.UTC)
    assert moment_in_words(silvester, BERLIN, silvester + day) == "1 Jan 00:30"
    spanning = span_in_words(silvester - day, silvester, BERLIN, silvester)
    assert spanning == "31 Dec 2026 00:30 to 1 Jan 2027 00:30 Europe/Berlin"
    assert "2026" not in span_in_words(silvester - day, silvester, ZoneInfo("UTC"), silvester)


def test_columns_stand_under_each_other() -> None:
    assert aligned([("7", "a", "x"), ("97", "bcd", "")], right=(0,)) == [" 7  a    x", "97  bcd"]


def test_addresses_lose_passwords_and_blanks_and_stay_whole() -> None:
    assert address("https://u:hunter2@host/a b\n?c=d") == "https://[hidden]@host/ab?c=d"
    assert len(address("https://host/" + "x" * 900)) == 913


@given(ODD)
def test_blocks_keep_to_slacks_limits_and_ping_nobody(text: str) -> None:
    written = [
        (header(text)["text"], 150),
        (plain_section(text, text)["text"], 3000),
        (context(text)["elements"][0], 3000),
        (links_section({text: "https://example.test/"})["text"], 3000),
    ]
    for element, limit in written:
        assert 1 <= len(element["text"]) <= limit
        assert "<!" not in element["text"]
    span = code(text, 64)
    assert span.count("`") == 2
    assert not set(span) & set("<>")


def test_lines_and_links_beyond_the_limit_are_left_out_whole() -> None:
    lines = [f"{n} {'x' * 900}" for n in range(9)]
    assert plain_section(*lines)["text"]["text"] == "\n".join(lines[:3])
    links = {f"run {n}": f"https://example.test/{'x' * 900}/{n}" for n in range(9)}
    shown = links_section(links)["text"]["text"].split(" · ")
    assert shown == [f"<{url}|{label}>" for label, url in list(links.items())[:3]]
