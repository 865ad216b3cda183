"""A failed run in few lines, without the secrets that errors quote."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from told_incidents import assert_slack_takes

from cxad_pipeline.alerting.message import Message
from cxad_pipeline.alerting.redaction import redact
from cxad_pipeline.alerting.run_failure import FailedStep, RunFailure, run_failure_message, run_failure_notice

TRACEBACK = """\
Traceback (most recent call last):
  File "champion.py", line 10, in load
    raise ModelNotTrained("no champion yet: run `cxad train`")
cxad_pipeline.registry.ModelNotTrained: no champion yet: run `cxad train`
"""


def everything(message: Message) -> str:
    return message.headline + message.text + str(message.blocks) + message.html


def test_the_text_of_a_failed_run() -> None:
    failure = RunFailure(
        job="score_window",
        run_id="4f1c",
        steps=(FailedStep("ensemble_scores", TRACEBACK), FailedStep("alert_notifications", "Slack said 404\nmore")),
        link="http://127.0.0.1:3000/runs/4f1c",
    )
    assert (
        run_failure_message(failure).text
        == """\
Run of score_window failed: 2 steps
Run 4f1c
  ensemble_scores: cxad_pipeline.registry.ModelNotTrained: no champion yet: run `cxad train`
  alert_notifications: Slack said 404
Open the run: http://127.0.0.1:3000/runs/4f1c"""
    )


def test_a_run_that_failed_outside_its_steps_tells_its_own_error() -> None:
    text = run_failure_message(RunFailure("train", "1", error="run worker died\n")).text
    assert text == "Run of train failed\nRun 1\n  run worker died"
    assert "gave no error" in run_failure_message(RunFailure("train", "1")).text


def test_many_steps_are_counted_not_listed() -> None:
    message = run_failure_message(RunFailure("j", "1", tuple(FailedStep(f"s{n}", "e") for n in range(40))))
    assert "40 steps" in message.headline
    assert "and 35 more" in message.text
    assert len(message.text.splitlines()) == 8


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("cannot reach postgresql://cxad:hunter2@db:5432/x", "hunter2"),
        ("cannot reach postgresql://cxad:hunt@er2@db:5432/x", "hunt"),
        ("POST https://hooks.slack.com/services/T1/B2/abcdef failed", "abcdef"),
        ("AWS_SECRET_ACCESS_KEY=abc/def+1 is wrong", "abc/def+1"),
        ('{"api_key": "k-123 456"}', "456"),
        ("Authorization: Bearer abcdefghijkl", "abcdefghijkl"),
        ("token xoxb-12-34-abc refused", "xoxb-12"),
        ("the key AKIAIOSFODNN7EXAMPLE is unknown", "AKIAIOSFODNN7EXAMPLE"),
    ],
)
def test_errors_that_quote_secrets_lose_them(text: str, secret: str) -> None:
    failure = RunFailure("j", "1", (FailedStep("s", text),), link="https://u:hunter2@host/x", error=text)
    assert secret in text
    assert secret not in everything(run_failure_message(failure))
    assert "hunter2" not in everything(run_failure_message(failure))
    assert secret not in everything(run_failure_message(RunFailure("j", "1", error=text)))


def test_ordinary_words_are_left_alone() -> None:
    text = "queue 'tokens' has 3 rows; see http://127.0.0.1:3000/runs/1, mail ops@example.test"
    assert redact(text) == text


def test_named_secrets_are_hidden_in_every_field() -> None:
    failure = RunFailure("j-s3cret", "s3cret", (FailedStep("s3cret", "a s3cret b"),), link="http://h/s3cret")
    # "cret" would be left of the long secret if the short one were hidden first.
    assert "cret" not in everything(run_failure_message(failure, secrets=["s3", "", "s3cret"]))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=500), st.lists(st.tuples(st.text(max_size=200), st.text(max_size=5000)), max_size=8))
def test_odd_failures_keep_to_slacks_limits(job: str, steps: list[tuple[str, str]]) -> None:
    failed = tuple(FailedStep(step, error) for step, error in steps)
    message = run_failure_message(RunFailure(job, job, failed, link="http://h/<!here>|x", error=job))
    assert_slack_takes(list(message.blocks))
    assert "<!" not in str(message.blocks)
    assert len(message.text.split("\n")) <= 9


def test_a_name_that_grows_by_escaping_still_fits_the_header() -> None:
    blocks = list(run_failure_message(RunFailure("&" * 200, "1")).blocks)
    assert_slack_takes(blocks)
    assert blocks[0]["text"]["text"].startswith("Run of &amp;&amp;")


def test_it_goes_through_the_outbox_once_for_each_run() -> None:
    now = dt.datetime(2026, 10, 13, 13, tzinfo=dt.UTC)
    failure = RunFailure("j", "4f1c", (FailedStep("s", "it said s3cret"),))
    notice = run_failure_notice(failure, now=now, secrets=["s3cret"])
    assert (notice.key, notice.kind, notice.topic, notice.due_at) == ("run:4f1c", "run_failure", "run:4f1c", now)
    assert Message.from_dict(notice.content).headline == "Run of j failed: 1 step"
    assert "s3cret" not in str(notice.content)
    assert run_failure_notice(failure, now=now, secrets=["s3cret"]) == notice


def test_the_mail_tells_the_same_and_no_more() -> None:
    steps = (FailedStep("ensemble_scores", "<script>alert(1)</script>"),)
    html = run_failure_message(RunFailure("train", "4f1c", steps, link="http://127.0.0.1:3000/runs/4f1c")).html
    for said in ("Run of train failed: 1 step", "Run 4f1c", "ensemble_scores", "&lt;script&gt;"):
        assert said in html
    assert '<a href="http://127.0.0.1:3000/runs/4f1c"' in html
    assert "<script" not in html
