"""One of something is in the singular, wherever a command or a run counts."""

from __future__ import annotations

from typing import Any

import pytest

from cxad_pipeline.alerting.delivery import DeliverySummary
from cxad_pipeline.cli.pipeline import calibration_rows
from cxad_pipeline.cli.scoring import unknown_rows
from cxad_pipeline.defs.alerts import in_words


@pytest.mark.parametrize(
    ("sent", "words"), [(0, "0 messages sent"), (1, "1 message sent"), (1_204, "1,204 messages sent")]
)
def test_a_round_of_messages(sent: int, words: str) -> None:
    assert in_words(DeliverySummary(sent=sent)) == words


@pytest.mark.parametrize(("count", "words"), [(1, "queue in 1 row: "), (1_204, "queue in 1,204 rows: ")])
def test_rows_of_an_unknown_category(count: int, words: str) -> None:
    ((_, said),) = unknown_rows({"queue": count})
    assert said.startswith(words)


@pytest.mark.parametrize(
    ("count", "history", "cold", "promise"),
    [
        (1, "4 weeks, 1 contact", "1 segment: counted, not tested", "1 segment, 4.0 weeks"),
        (2, "4 weeks, 2 contacts", "2 segments: counted, not tested", "2 segments, 4.0 weeks"),
    ],
)
def test_a_calibration(monkeypatch: pytest.MonkeyPatch, count: int, history: str, cold: str, promise: str) -> None:
    model: dict[str, Any] = {
        "history": "4 weeks", "contacts": count, "segments": count, "segments_without_enough_history": count,
        "weeks_of_history": 4.0, "promised_per_week": 5.0, "replayed_per_week": 4.2, "threshold": 4.5,
        "threshold_shifts": {},
    }  # fmt: skip
    monkeypatch.setattr("cxad_pipeline.cli.pipeline.metadata_of", lambda _made, _asset: model)
    rows = dict(calibration_rows([]))
    assert (rows["history"], rows["too little history"]) == (history, cold)
    assert rows["promise"].startswith("nothing is tested yet")
    monkeypatch.setitem(model, "segments_without_enough_history", 0)
    assert dict(calibration_rows([]))["promise"].startswith(promise)
