"""A silence of a segment that is misspelt would never hold: it is refused, with the nearest names that are known."""

from __future__ import annotations

from itertools import product

import pytest
from stored_incident_examples import METRICS, MONDAY, NASTY, moment, rollups_of

from cxad_pipeline.incidents import SegmentTree, Windows
from cxad_pipeline.store.database import Store
from cxad_pipeline.store.known_segments import UnknownSegmentError, check_segment
from cxad_pipeline.store.segment_windows import replace_rollups

pytest_plugins = ["store_databases"]

LEAVES = [
    ("billing", "voice"), ("billing", "chat"), ("sales", "chat"), ("sales", "voice"), ("sales", "mail"),
    ("fax", "mail"),
]  # fmt: skip


def _count(store: Store, leaves: list[tuple[str, str]]) -> SegmentTree:
    tree = SegmentTree.of(("queue", "channel"), leaves)
    rollups = rollups_of(tree, Windows(MONDAY, 1), empty=0.0)
    with store.writing() as connection:
        replace_rollups(connection, tree, METRICS, rollups, at=moment(0))
    return tree


def _check(store: Store, *segment: tuple[str, str]) -> None:
    with store.reading() as connection:
        check_segment(connection, segment)


def test_before_anything_was_counted_every_segment_may_be_silenced(store: Store) -> None:
    _check(store, ("queue", "biling"))


def test_a_segment_that_was_counted_may_be_silenced_and_so_may_one_that_holds_some(store: Store) -> None:
    tree = _count(store, LEAVES)
    for key in [*tree.keys, (("queue", "billing"), ("channel", "voice")), ()]:
        _check(store, *key)


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        ([("queue", "biling")], r"did you mean queue=billing\?"),
        ([("queue", "Sales"), ("channel", "voice")], r"did you mean queue=sales\?"),
        ([("queue", "zzz")], "known for queue: billing, fax, sales"),
        ([("queue", "billing"), ("channel", "phone")], "known for channel: chat, mail, voice"),
        ([("queue", "billing"), ("channel", "mail")], "the nearest is channel=mail or queue=billing$"),
        ([("queue", "fax"), ("channel", "mail")], "the nearest is channel=mail or queue=fax$"),  # all fax is mail
        ([("language", "de")], "no segment is told apart by language: leave it out"),
    ],
    ids=str,
)
def test_one_that_covers_nothing_is_refused_with_the_nearest(
    store: Store, segment: list[tuple[str, str]], words: str
) -> None:
    _count(store, LEAVES)
    with pytest.raises(UnknownSegmentError, match=words):
        _check(store, *segment)


def test_the_message_does_not_say_what_was_given_and_names_ten_values_at_most(store: Store) -> None:
    _count(store, [(f"q{n:02}", "voice") for n in range(30)])
    with pytest.raises(UnknownSegmentError) as refused:
        _check(store, ("queue", "Jane Doe"))
    assert "Jane" not in str(refused.value)
    assert "q09, ..." in str(refused.value)
    assert "q10" not in str(refused.value)


def test_names_that_the_database_cannot_hold_are_found_as_they_are_kept(store: Store) -> None:
    _count(store, [(NASTY, "voice"), ("sales", "chat")])
    _check(store, ("queue", NASTY))


def test_it_is_refused_exactly_where_no_contact_has_these_values(store: Store) -> None:
    leaves = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("b", "z"), ("c", "y"), ("c", "z")]
    _count(store, leaves)  # no two names mean the same contacts, which would have one segment
    for values in product(("a", "b", "c", "d", None), ("x", "y", "z", None)):
        key = [(name, value) for name, value in zip(("queue", "channel"), values, strict=True) if value is not None]
        if any(all(v in (None, of) for v, of in zip(values, leaf, strict=True)) for leaf in leaves):
            _check(store, *key)
        else:
            with pytest.raises(UnknownSegmentError):
                _check(store, *key)
