"""What people read: the text of a digest, and blocks that Slack accepts and that cannot ping."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from alerting_examples import END, START, digest_of, flagged, morning
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_double import assert_within_slack_limits, texts_of

from cxad_pipeline.alerting import as_slack_blocks, as_text
from cxad_pipeline.alerting.messages import headline
from cxad_pipeline.alerting.wording import number, one_line, percent, window_in_words

ODD = st.text(max_size=400) | st.sampled_from(
    ["<!channel>", "<@U012>", "<https://evil.example|here>", "&lt;!here&gt;", "a`b", "*bold* _it_", "\x1b[31mred", ""]
)


def test_the_text_of_a_morning() -> None:
    digest = digest_of(
        morning(), rejected=2, links={"Dagster run": "http://127.0.0.1:3000/runs/4f1c"}, model_version="3"
    )
    expected = """\
7 of 400 interactions unusual (expected about 4) · 12 Oct 2026 06:00-12:00 UTC
Unusual rate 1.8%, expected 1.0%: normal (high from 17) · 2 rows rejected · model 3
Segments that stand out  unusual  of   rate  x expected
  support / chat / de          6  40  15.0%        15.0
Most severe (severity, start UTC, interaction)
   97  12 Oct 06:06  c-0365  support / chat / de   {bad}
       hold time 1,622 s (typical 10-95 s); no survey
   88  12 Oct 06:06  c-0370  support / chat / de   {bad}
       hold time 1,622 s (typical 10-95 s); no survey
   80  12 Oct 06:00  c-0017  billing / voice / en  {other}
   71  12 Oct 06:06  c-0361  support / chat / de   {bad}
       hold time 1,622 s (typical 10-95 s); no survey
   64  12 Oct 06:06  c-0380  support / chat / de   {bad}
       hold time 1,622 s (typical 10-95 s); no survey
Dagster run: http://127.0.0.1:3000/runs/4f1c"""
    bad = "efficiency score 70.5, complaints 0, handle time 300 s, hold time 1,622 s, transfers 0"
    other = "satisfaction 4, efficiency score 70.5, complaints 3, handle time 300 s, hold time 30 s, transfers 0"
    assert as_text(digest) == expected.format(bad=bad, other=other)


def test_places_stand_under_each_other() -> None:
    lines = [line for line in as_text(digest_of(morning())).splitlines() if "efficiency score" in line]
    assert len(lines) == 5
    assert len({line.index("12 Oct") for line in lines}) == len({line.index("c-0") for line in lines}) == 1


def test_a_window_without_data_does_not_read_as_zero_anomalies() -> None:
    text = as_text(digest_of([], rejected=1))
    assert text.splitlines()[0] == "No interactions landed for 12 Oct 2026 06:00-12:00 UTC"
    assert "1 row rejected" in text
    assert "0 of" not in text


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (START, END, "12 Oct 2026 06:00-12:00 UTC"),
        (END + timedelta(hours=6), END + timedelta(hours=12), "12 Oct 2026 18:00-24:00 UTC"),
        (START, START + timedelta(days=2), "12 Oct 2026 06:00 to 14 Oct 2026 06:00 UTC"),
        (datetime(2026, 12, 31, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), "31 Dec 2026 00:00-24:00 UTC"),
    ],
)
def test_windows_in_words(start: datetime, end: datetime, words: str) -> None:
    assert window_in_words(start, end) == words


def test_figures_in_words() -> None:
    assert [number(value) for value in (0, 3.25, 70.54, 4210.4, 1e6, -5)] == [
        "0",
        "3.25",
        "70.5",
        "4,210",
        "1,000,000",
        "-5",
    ]
    assert [percent(share) for share in (0, 0.0093, 0.01, 0.2083)] == ["0.00%", "0.93%", "1.0%", "20.8%"]


@settings(max_examples=150, deadline=None)
@given(queue=ODD, identity=ODD, reasons=ODD, label=ODD, version=ODD, count=st.integers(1, 7))
def test_odd_data_keeps_to_slacks_limits_and_cannot_ping(
    queue: str, identity: str, reasons: str, label: str, version: str, count: int
) -> None:
    rows = [flagged(n, 90.0, queue=queue, interaction_id=f"{identity}{n}", top_reasons=reasons) for n in range(count)]
    digest = digest_of(rows, links={label: "https://example.test/a?x=1&y=<2>|z"}, model_version=version)

    blocks = as_slack_blocks(digest)
    assert_within_slack_limits(blocks)
    own_link = re.compile(r"<https://example\.test/a\?x=1&amp;y=%3C2%3E%7Cz\|[^<>|]*>")
    for text in texts_of(blocks):
        left = own_link.sub("", text["text"])
        assert "<" not in left
        assert ">" not in left
        assert not re.search(r"&(?!amp;|lt;|gt;)", left)
        if text["type"] == "mrkdwn":
            assert left.count("`") % 2 == 0

    written = as_text(digest)
    lines = written.split("\n")
    assert len(lines) <= 17
    assert all(line.isprintable() for line in lines)
    assert lines[0] == headline(digest)
    assert max(map(len, lines)) <= 600


def test_huge_texts_are_cut_to_slacks_limits() -> None:
    huge = "<!here> & " * 5000
    rows = [flagged(n, 90.0, queue=huge, interaction_id=huge, top_reasons=huge) for n in range(6)]
    digest = digest_of(rows, links={huge: "https://example.test/"}, model_version=huge)
    assert_within_slack_limits(as_slack_blocks(digest))
    assert "<!" not in str(as_slack_blocks(digest))
    assert len(as_text(digest)) < 5000


def test_many_long_links_are_left_out_whole() -> None:
    links = {f"run {n}": f"https://example.test/{'x' * 900}/{n}" for n in range(9)}
    blocks = as_slack_blocks(digest_of(morning(), links=links))
    assert_within_slack_limits(blocks)
    shown = re.findall(r"<(https://\S+?)\|run \d>", blocks[-1]["text"]["text"])
    assert shown == list(links.values())[: len(shown)]
    assert len(shown) == 3


def test_blocks_tell_the_same_as_the_text() -> None:
    digest = digest_of(morning(), rejected=2)
    told = "\n".join(text["text"] for text in texts_of(as_slack_blocks(digest)))
    for figure in (
        headline(digest),
        "2 rows rejected",
        "6 of 40",
        "c-0365",
        "hold time 1,622 s",
        "support / chat / de",
    ):
        assert figure in told
    assert as_slack_blocks(digest)[0] == {
        "type": "header",
        "text": {"type": "plain_text", "text": headline(digest), "emoji": False},
    }


@given(st.text(max_size=300), st.integers(1, 80))
def test_one_line_is_one_printable_line(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert line == line.strip()
