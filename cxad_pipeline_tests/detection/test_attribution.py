"""Contributions folded and shared by hand, and the wording of reasons."""

from __future__ import annotations

import numpy as np
import pytest

from cxad_pipeline.detection.attribution import Wording, category_reason, fold, number_reason, positive_shares


def test_folding_adds_the_features_of_a_column_and_keeps_the_sum():
    contributions = np.array([[1.0, 2.0, -3.0, 4.0]])
    folded = fold(contributions, ["x", "c", "c", "y"], ["y", "x", "c"])
    np.testing.assert_array_equal(folded, [[4.0, 1.0, -1.0]])


def test_only_what_makes_a_row_unusual_has_a_share():
    shares = positive_shares(np.array([[3.0, 1.0, -8.0], [-1.0, -2.0, 0.0]]))
    np.testing.assert_array_equal(shares, [[0.75, 0.25, 0.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("column", "value", "low", "high", "segment", "direction", "text"),
    [
        ("hold_time_seconds", 612.0, 10.0, 140.0, "voice", "high", "hold time 612 s, typical 10-140 s for voice"),
        ("csat", 1.0, 3.0, 5.0, "", "low", "satisfaction 1, typical 3-5"),
        ("transfers", 2.0, 0.0, 2.0, "", "within", "transfers 2, typical 0-2"),
        ("own_column", 4.25, 4.0, 4.0, "", "high", "own column 4.25, typical 4"),
        ("balance", -7.5, -5.0, -2.0, "", "low", "balance -7.5, typical -5 to -2"),
        ("aht_seconds", 12345.6, 60.0, 900.0, "", "high", "handle time 12,346 s, typical 60-900 s"),
    ],
)
def test_numbers_in_words(column: str, value: float, low: float, high: float, segment: str, direction: str, text: str):
    reason = number_reason(column, value, low, high, segment, 0.5, Wording({}))
    assert (reason.text, reason.direction, reason.low, reason.high) == (text, direction, low, high)


def test_missing_numbers_and_categories_in_words():
    words = Wording({"csat": ("score", "points")})
    assert number_reason("csat", np.nan, 1, 5, "voice", 0.1, Wording({})).text == "satisfaction missing"
    assert number_reason("csat", 2.0, 1, 5, "", 0.1, words).text == "score 2 points, typical 1-5 points"
    assert category_reason("channel", "fax", 0.003, 0.1, words).text == "channel fax, rare (0.3% of training)"
    assert category_reason("channel", "voice", 0.6, 0.1, words).text == "channel voice (60% of training)"
    assert category_reason("channel", "telex", None, 0.1, words).text == "channel telex, not seen in training"
    assert category_reason("channel", None, None, 0.1, words).direction == "missing"
