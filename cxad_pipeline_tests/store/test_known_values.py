"""A value that no contact ever had is refused with the nearest ones; one that some contact had never is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from stored_incident_examples import METRICS, MONDAY, NASTY, moment, rollups_of

from cxad_pipeline.incidents import SegmentTree, Windows
from cxad_pipeline.incidents.bands import SegmentBaselines
from cxad_pipeline.store.baselines import record_baselines
from cxad_pipeline.store.calibrations import CalibrationRecord, record_calibration
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.incident_tables import baselines, calibrations, segment_windows, segments
from cxad_pipeline.store.known_segments import UnknownSegmentError, check_value
from cxad_pipeline.store.segment_windows import replace_rollups

pytest_plugins = ["store_databases"]

DIMENSIONS = ("queue", "channel", "language")
LEAVES = [
    ("billing", "voice", "de"), ("billing", "chat", "de"), ("billing", "chat", "en"), ("sales", "voice", "de"),
    ("sales", "voice", "en"), ("sales", "chat", "de"),
]  # fmt: skip
FAX = ("fax", "paper", "fr")


def _count(store: Store, leaves: Sequence[tuple[str, ...]], dimensions: Sequence[str] = DIMENSIONS) -> SegmentTree:
    tree = SegmentTree.of(dimensions, leaves)
    with store.writing() as connection:
        for table in (baselines, calibrations, segment_windows, segments):
            connection.execute(delete(table))
        replace_rollups(connection, tree, METRICS, rollups_of(tree, Windows(MONDAY, 1), empty=0.0), at=moment(0))
    return tree


def _calibrate(store: Store, tree: SegmentTree) -> None:
    record = CalibrationRecord(moment(1), moment(-24), moment(0), 900, 7, ["aht"], 4.5, 5.0, 4.25, 4.0, {})
    with store.writing() as connection:
        number = record_calibration(connection, record)
        closed = ((key, SegmentBaselines(3_600, "UTC", {}, {}, tree.closure(s))) for s, key in enumerate(tree.keys))
        record_baselines(connection, number, closed)


def _refusal(store: Store, name: str, value: str, *, dimensions: int = 3, configured: tuple[str, ...] = ()) -> str:
    with store.reading() as connection:
        try:
            check_value(connection, name, value, dimensions=dimensions, configured=configured)
        except UnknownSegmentError as error:
            return str(error)
    return ""


def test_before_anything_was_counted_every_value_is_as_good_as_any_other(store: Store) -> None:
    assert _refusal(store, "queue", "biling") == ""


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("queue", "biling", "did you mean queue=billing?"),
        ("queue", "Sales", "did you mean queue=sales?"),
        ("queue", "zzz", "known for queue: billing, sales"),
        ("channel", "billing", "known for channel: chat, voice"),
        ("language", "xx", "known for language: de, en"),
    ],
)
def test_a_value_that_no_contact_had_is_refused_with_the_nearest(
    store: Store, name: str, value: str, words: str
) -> None:
    _count(store, LEAVES)
    refused = _refusal(store, name, value)
    assert words in refused
    assert value not in refused.replace(words, "")


def test_a_configured_value_is_known_before_it_is_counted(store: Store) -> None:
    _count(store, LEAVES)
    assert _refusal(store, "queue", "support", configured=("support",)) == ""
    assert "did you mean queue=support?" in _refusal(store, "queue", "suport", configured=("support",))


def test_a_dimension_that_tells_nothing_apart_knows_no_value(store: Store) -> None:
    _count(store, LEAVES)
    assert _refusal(store, "team", "red") == ""


def test_what_has_no_name_of_its_own_is_known_from_a_calibration_on_and_not_refused_before(store: Store) -> None:
    """All fax is on paper and French: the store has `queue=fax` alone for it."""
    tree = _count(store, [*LEAVES, FAX])
    assert (("channel", "paper"),) not in tree.keys
    for value in ("paper", "nonsense"):
        assert _refusal(store, "channel", value) == "", "fax may be anything, as far as the store knows"
    _calibrate(store, tree)
    assert _refusal(store, "channel", "paper") == _refusal(store, "language", "fr") == ""
    assert "did you mean channel=paper?" in _refusal(store, "channel", "papier")


def test_a_queue_that_has_opened_since_the_calibration_is_known(store: Store) -> None:
    tree = _count(store, LEAVES)
    _calibrate(store, tree)
    grown = tree.extended([FAX])
    with store.writing() as connection:
        replace_rollups(connection, grown, METRICS, rollups_of(grown, Windows(MONDAY, 1), empty=0.0), at=moment(2))
    for name, value in zip(DIMENSIONS, FAX, strict=True):
        assert _refusal(store, name, value) == ""


def test_names_that_the_database_cannot_hold_are_found_as_they_are_kept(store: Store) -> None:
    _count(store, [*LEAVES, (NASTY, "voice", "de"), (NASTY, "chat", "de")])
    assert _refusal(store, "queue", NASTY) == ""
    assert _refusal(store, "queue", "nasty") != ""


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    st.integers(1, 3).flatmap(
        lambda number: st.lists(st.tuples(*[st.sampled_from("abc")] * number), min_size=1, max_size=7, unique=True)
    )
)
def test_no_value_that_was_counted_is_ever_refused(store: Store, leaves: list[tuple[str, ...]]) -> None:
    """With a calibration or without one, however many dimensions; with one everything else is refused."""
    number = len(leaves[0])
    tree = _count(store, leaves, DIMENSIONS[:number])
    for calibrated in (False, True):
        if calibrated:
            _calibrate(store, tree)
        for d, name in enumerate(DIMENSIONS[:number]):
            for value in {leaf[d] for leaf in leaves}:
                assert _refusal(store, name, value, dimensions=number) == ""
            if calibrated:
                assert _refusal(store, name, "z", dimensions=number) != ""
