"""Secrets that are taken out of long texts: in time that grows with their length, and whole where the text is cut."""

from __future__ import annotations

import pytest

from cxad_pipeline.alerting.redaction import HIDDEN, LONGEST, redact

UNITS = [
    *("ab12", "token", "token ", 'token="', "password='x\" ", "://a@", "bearer  a", "https://", "xoxb-", '"', " ", "-"),
    *("api_key", "https://hooks.slack.com/", "AKIA", "ghp_", "secret: "),
]


@pytest.mark.parametrize("unit", UNITS)
def test_long_texts_take_no_longer_than_their_length_asks_for(unit: str) -> None:
    """Where the time grew with its square, this would take longer than a test may: 8 kB took 14 seconds."""
    for length in (LONGEST, 5 * LONGEST):
        assert len(redact((unit * length)[:length])) <= 3 * LONGEST


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("my-db-password-of-today = x1y2", f"my-db-password-of-today = {HIDDEN}"),
        ('{"X_API_KEY": "k 1", "a": 2}', f'{{"X_API_KEY": {HIDDEN}, "a": 2}}'),
        ("PASSWORD: 'a b' c", f"PASSWORD: {HIDDEN} c"),
        ("secretariat=5, token s", f"secretariat={HIDDEN}, token s"),
        ('it ended in password="correct horse', f"it ended in password={HIDDEN}"),
    ],
)
def test_what_is_given_to_the_name_of_a_secret_is_hidden(text: str, hidden: str) -> None:
    assert redact(text) == hidden


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("password=hunter2-hunter2", "hunter2-hunter2"),
        ('"password": "correct horse battery staple"', "correct horse battery staple"),
        ("postgresql://user:hunter2-hunter2@db/x", "hunter2-hunter2"),
        ("Authorization: Bearer abcdefghijkl", "abcdefghijkl"),
        ("gave AKIAIOSFODNN7EXAMPLE up", "AKIAIOSFODNN7EXAMPLE"),
        ("https://hooks.slack.com/services/T1/B2/abcdef", "services/T1"),
        ("it said my own s3cret of blanks", "my own s3cret of blanks"),
    ],
)
def test_no_half_of_a_secret_survives_where_a_text_is_cut(
    monkeypatch: pytest.MonkeyPatch, text: str, secret: str
) -> None:
    monkeypatch.setattr("cxad_pipeline.alerting.redaction.LONGEST", 200)
    assert secret in text
    for shift in range(len(text) + 1):
        before = ("word " * 40)[: 200 - shift - 1] + " "
        told = redact(f"{before}{text} and so on", ["my own s3cret of blanks"])
        assert secret[:4] not in told
        assert told.startswith("word word")
