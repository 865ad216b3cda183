"""What of a calibration period counts as its length."""

from __future__ import annotations

import numpy as np
import pytest
from incident_examples import MONDAY

from cxad_pipeline.incidents import Windows
from cxad_pipeline.incidents.history import is_long_enough, share_judged
from cxad_pipeline.incidents.states import LEAST_DAYS

TWO_WEEKS = Windows(MONDAY, 336)


@pytest.mark.parametrize("days", [LEAST_DAYS - 1, LEAST_DAYS])
def test_two_weeks_are_not_enough_where_special_days_leave_less_than_a_segment_needs(days: int) -> None:
    contacts = np.ones(336)
    special = np.arange(336) >= 24 * days
    assert is_long_enough(contacts, TWO_WEEKS, special) == (days == LEAST_DAYS)


def test_special_days_count_as_days_of_the_two_weeks() -> None:
    contacts = np.ones(336)
    special = np.arange(336) >= 24 * 12
    assert is_long_enough(contacts, TWO_WEEKS, special)
    assert not is_long_enough(contacts[:312], Windows(MONDAY, 312), special[:312])


def test_the_share_judged_is_that_of_the_cells_that_would_have_been_tested() -> None:
    tested = np.arange(336) % np.array([[1], [2], [400]]) == 0  # each hour, every second one, the first one
    tested[2, 0] = False
    there, left_out = np.ones(336, dtype=bool), np.zeros((3, 336), dtype=bool)
    assert share_judged(tested, there, left_out) == 1.0
    left_out[:, :168] = True
    assert share_judged(tested & ~left_out, there, left_out) == pytest.approx(0.5)
    left_out[0] = False
    assert share_judged(tested & ~left_out, there, left_out) == pytest.approx((336 + 84) / (336 + 168))
    assert share_judged(np.zeros((3, 336), dtype=bool), there, left_out) == 1.0
