"""Where an incident comes from, against SciPy's risk ratio and against faults that were put in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats.contingency import relative_risk

from cxad_pipeline.incidents import causes
from cxad_pipeline.incidents.causes import CLEARLY, risk_ratio
from cxad_pipeline.incidents.incident import Cause

DIMENSIONS = ("queue", "channel", "language")
LEAVES = list(product(("billing", "sales", "support"), ("chat", "voice"), ("de", "en", "fr")))


def inside(**values: str) -> np.ndarray:
    return np.array(
        [all(dict(zip(DIMENSIONS, leaf, strict=True))[d] == v for d, v in values.items()) for leaf in LEAVES]
    )


def causes_of(
    dimensions: Sequence[str],
    leaves: Sequence[tuple[str, ...]],
    affected: np.ndarray,
    exposure: np.ndarray,
    usual: np.ndarray | float = 0.0,
    own: np.ndarray | bool = True,
    **more: Any,
) -> list[Cause]:
    """Of an incident of all contacts, on whose ordinary days nobody is affected, unless it is said otherwise."""
    usual, own = np.broadcast_to(usual, affected.shape), np.broadcast_to(own, affected.shape)
    return causes.causes_of(dimensions, leaves, affected, exposure, usual=usual, own=own, **more)


def drawn(random: np.random.Generator, exposure: np.ndarray, share: np.ndarray) -> np.ndarray:
    return random.binomial(exposure.astype(int), share).astype(float)


COUNTS = hnp.arrays(int, (len(LEAVES), 2), elements=st.integers(0, 30))


@settings(max_examples=60, deadline=None)
@given(COUNTS)
def test_causes_are_those_of_an_exhaustive_search_with_scipy(counts: np.ndarray) -> None:
    affected, exposure = counts.min(axis=1).astype(float), counts.sum(axis=1).astype(float)
    found = causes_of(DIMENSIONS, LEAVES, affected, exposure, limit=99)
    expected = {}
    for size in (1, 2):
        for dimensions in combinations(range(3), size):
            for values in {tuple(leaf[d] for d in dimensions) for leaf in LEAVES}:
                part = inside(**{DIMENSIONS[d]: value for d, value in zip(dimensions, values, strict=True)})
                a, m = int(affected[part].sum()), int(exposure[part].sum())
                b, n = int(affected.sum()) - a, int(exposure.sum()) - m
                if a and b and m and n:
                    result = relative_risk(a, m, b, n)
                    segment = tuple((DIMENSIONS[d], value) for d, value in zip(dimensions, values, strict=True))
                    expected[segment] = (result.relative_risk, *result.confidence_interval(0.95), a, m)
    for cause in found:
        if cause.segment in expected:
            ratio, low, high, a, m = expected[cause.segment]
            assert (cause.risk_ratio, cause.low, cause.high) == pytest.approx((ratio, low, high))
            assert (cause.affected, cause.contacts) == (a, m)
            assert cause.share == pytest.approx(a / affected.sum())
    least = max(3, affected.sum() / 2)
    enough = {segment: (low, a) for segment, (_, low, _, a, _) in expected.items() if low > 1 and a >= least}
    given_ = {cause.segment for cause in found}
    for segment, (low, a) in enough.items():
        if segment not in given_:  # a better one lies in it or holds it, or it is a pair that says little more
            nested = [c for c in found if set(segment) < set(c.segment) or set(segment) > set(c.segment)]
            values = [expected[(one,)][1] for one in segment if (one,) in expected]
            assert any(c.low * c.share >= low * a / affected.sum() - 1e-12 for c in nested) or (
                len(segment) == 2 and (len(values) < 2 or low < CLEARLY * max(values))
            )
    assert all(cause.low > 1 for cause in found)
    worth = [cause.low * cause.share for cause in found]
    assert worth == sorted(worth, reverse=True)
    assert not any(set(one) < set(other) for one, other in product(given_, given_))
    assert causes_of(DIMENSIONS, LEAVES, affected, exposure) == found[:3]


def test_a_fault_of_a_value_or_of_a_pair_is_named_and_nothing_narrower_or_wider() -> None:
    random = np.random.default_rng(0)
    faults = [inside(queue="billing"), inside(channel="chat"), inside(queue="sales", channel="voice")]
    names = [{"queue": "billing"}, {"channel": "chat"}, {"queue": "sales", "channel": "voice"}]
    names.append({"queue": "support", "language": "fr"})
    faults.append(inside(**names[-1]))
    for fault, name in zip(faults, names, strict=True):
        right = first_wrong = 0
        for _ in range(200):
            exposure = random.poisson(12, size=len(LEAVES)).astype(float)
            affected = drawn(random, exposure, np.where(fault, 0.8, 0.03))
            found = causes_of(DIMENSIONS, LEAVES, affected, exposure)
            right += bool(found) and dict(found[0].segment) == name
            first_wrong += bool(found) and not set(name.items()) & set(found[0].segment)
        assert right >= 190, (name, right)
        assert first_wrong == 0


# Contacts of one hour: a small queue beside two large ones.
SMALL = np.where(inside(queue="billing"), 4.0, 60.0)
ORDINARY = 0.04


@pytest.mark.parametrize("fault", [{"queue": "billing"}, {"queue": "billing", "channel": "voice"}])
@pytest.mark.parametrize("called", [{"queue": "billing"}, {"queue": "billing", "channel": "voice"}])
def test_a_fault_in_a_small_queue_is_named_though_more_contacts_are_affected_elsewhere_on_any_day(
    fault: dict[str, str], called: dict[str, str]
) -> None:
    random = np.random.default_rng(3)
    right = wider = fewer = 0
    for _ in range(200):
        exposure = random.poisson(SMALL).astype(float)
        affected = drawn(random, exposure, np.where(inside(**fault), 0.75, ORDINARY))
        found = causes_of(DIMENSIONS, LEAVES, affected, exposure, ORDINARY * exposure, inside(**called))
        right += bool(found) and dict(found[0].segment) == fault
        wider += bool(found) and "queue" not in dict(found[0].segment)
        fewer += affected[inside(**fault)].sum() < affected.sum() / 2
    assert right >= 185, right
    assert wider <= 2, wider
    assert fewer >= 150, "most of the affected contacts are those of any day"


def test_what_a_cause_holds_beside_the_incident_is_worse_than_elsewhere_too() -> None:
    """Of voice, only the incident's own queue is worse; by the share that is affected, voice would be the cause."""
    exposure = np.full(len(LEAVES), 40.0)
    own = inside(queue="billing", channel="voice")
    affected = np.where(own, 30.0, 2.0)
    found = causes_of(DIMENSIONS, LEAVES, affected, exposure, 2.0, own)
    assert [cause.segment for cause in found] == [(("queue", "billing"), ("channel", "voice"))]
    half = np.where(own, 30.0, np.where(inside(channel="voice"), 15.0, 2.0))
    assert [dict(cause.segment) for cause in causes_of(DIMENSIONS, LEAVES, half, exposure, 2.0, own)] == [
        {"channel": "voice"}
    ]
    one_language = own & inside(language="de")
    found = causes_of(DIMENSIONS, LEAVES, np.where(own, 30.0, 2.0), exposure, 2.0, one_language)
    assert [cause.segment for cause in found] == [(("queue", "billing"), ("channel", "voice"))], (
        "it is larger than said"
    )


def test_where_no_more_are_affected_than_usual_there_is_no_cause() -> None:
    exposure = np.full(len(LEAVES), 20.0)
    affected = np.where(inside(queue="billing"), 6.0, 1.0)
    assert causes_of(DIMENSIONS, LEAVES, affected, exposure)
    assert causes_of(DIMENSIONS, LEAVES, affected, exposure, affected) == []


def test_what_is_alike_everywhere_has_no_cause() -> None:
    random = np.random.default_rng(1)
    with_cause = 0
    for _ in range(300):
        exposure = random.poisson(12, size=len(LEAVES)).astype(float)
        with_cause += bool(causes_of(DIMENSIONS, LEAVES, drawn(random, exposure, np.full(len(LEAVES), 0.4)), exposure))
    # only the two channels hold half of the contacts: their intervals are above 1 in 2.5 % of the cases each
    assert with_cause / 300 < 0.1
    assert causes_of(DIMENSIONS, LEAVES, np.full(len(LEAVES), 4.0), np.full(len(LEAVES), 10.0)) == []
    assert causes_of(DIMENSIONS, LEAVES, np.zeros(len(LEAVES)), np.full(len(LEAVES), 10.0)) == []
    assert causes_of(("queue",), [("a",)], np.array([5.0]), np.array([9.0])) == []


def test_a_cause_holds_half_of_what_is_affected_and_three_contacts() -> None:
    exposure = np.full(len(LEAVES), 20.0)
    affected = np.where(inside(queue="billing", channel="voice"), 6.0, 1.0)
    (cause,) = causes_of(DIMENSIONS, LEAVES, affected, exposure)
    assert cause.segment == (("queue", "billing"), ("channel", "voice"))
    assert (cause.affected, cause.contacts, cause.share) == (18, 60, 18 / 33)
    assert causes_of(DIMENSIONS, LEAVES, affected, exposure, min_support=0.8) == []
    assert causes_of(DIMENSIONS, LEAVES, affected, exposure, min_affected=25) == []
    beyond = causes_of(DIMENSIONS, LEAVES, affected, exposure, 1.0, min_support=0.99)
    assert [(one.segment, one.share) for one in beyond] == [(cause.segment, 18 / 33)], "others are as usual"


def test_where_nobody_else_is_affected_there_still_is_an_interval() -> None:
    exposure = np.full(len(LEAVES), 20.0)
    (cause,) = causes_of(DIMENSIONS, LEAVES, 5.0 * inside(queue="billing"), exposure)
    assert dict(cause.segment) == {"queue": "billing"}
    assert 1 < cause.low < cause.risk_ratio < cause.high < np.inf
    (ratio,), (low,), (high,) = (
        bound for bound in risk_ratio(*(np.array([value]) for value in (30.0, 120.0, 0.0, 240.0)))
    )
    whole = relative_risk(61, 242, 1, 482)  # the four cells with half a contact more each, doubled
    assert ratio == pytest.approx(whole.relative_risk)
    assert np.log(high / low) == pytest.approx(2 * 1.959964 * np.sqrt(1 / 30.5 - 1 / 121 + 1 / 0.5 - 1 / 241), rel=1e-6)


def test_of_volume_the_rate_beside_the_usual_one_is_compared() -> None:
    usual = np.where(inside(queue="billing"), 5.0, 20.0)
    contacts = np.where(inside(queue="billing", channel="voice"), 60.0, usual)
    first, *_ = causes_of(DIMENSIONS, LEAVES, contacts, usual, rate=True, min_support=0.3)
    assert dict(first.segment) == {"queue": "billing", "channel": "voice"}
    assert (first.affected, first.contacts) == (180, 15)
    assert first.risk_ratio == pytest.approx(12.0)
    assert causes_of(DIMENSIONS, LEAVES, 3 * usual, usual, rate=True) == []


@pytest.mark.parametrize("rate", [False, True])
def test_the_intervals_hold_what_they_promise(rate: bool) -> None:
    random = np.random.default_rng(2)
    number = 20_000
    m, n = np.full(number, 60.0), np.full(number, 200.0)
    if rate:
        a, b = random.poisson(60 * 1.5, number), random.poisson(200 * 0.75, number)
    else:
        a, b = random.binomial(60, 0.3, number), random.binomial(200, 0.15, number)
    _, low, high = risk_ratio(a.astype(float), m, b.astype(float), n, rate=rate)
    assert ((low <= 2) & (high >= 2)).mean() == pytest.approx(0.95, abs=0.01)
    assert (low > 2).mean() < 0.035


def test_bad_counts_are_refused() -> None:
    for place in range(4):
        given_ = [np.ones(3 if i == place else 2) for i in range(4)]
        usual, own = given_[2], given_[3] > 0
        with pytest.raises(ValueError, match="2 leaves"):
            causes.causes_of(("queue",), [("a",), ("b",)], *given_[:2], usual=usual, own=own)
    with pytest.raises(ValueError, match="more contacts are affected"):
        causes_of(("queue",), [("a",), ("b",)], np.array([3.0, 0.0]), np.ones(2))
