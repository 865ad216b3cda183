"""How far recent rows are from training rows: against other implementations, by hand, and by chance alone."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from cxad_pipeline.detection.artifacts import DetectorFormatError
from cxad_pipeline.detection.drift import DriftFigures, DriftReference
from cxad_pipeline.detection.drift_bins import Key
from cxad_pipeline.detection.drift_measures import ks, psi
from cxad_pipeline.detection.tables import TableError

LIMITS = {"max_psi": 0.25, "max_ks": 0.2, "min_contacts": 100}
NUMERIC, CATEGORICAL, DIMENSIONS = ["aht", "csat", "transfers"], ["queue", "topic"], ["queue", "channel"]


def contacts(n: int, seed: int, **changed: np.ndarray) -> pa.Table:
    """Skewed times, a survey that few answer, small counts, categories of which some are rare."""
    random = np.random.default_rng(seed)
    columns = {
        "aht": random.lognormal(5.5, 0.8, n),
        "csat": np.where(random.random(n) < 0.6, np.nan, random.integers(1, 6, n)),
        "transfers": random.poisson(0.2, n).astype(float),
        "queue": random.choice(["billing", "sales", "support"], n, p=[0.5, 0.3, 0.2]),
        "channel": random.choice(["voice", "chat"], n, p=[0.8, 0.2]),
        "topic": random.choice([f"t{i}" for i in range(40)], n, p=np.r_[[0.3, 0.3, 0.2], np.full(37, 0.2 / 37)]),
    } | changed
    return pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})


def reference_of(table: pa.Table, min_rows: int = 200) -> DriftReference:
    return DriftReference.of(table, NUMERIC, CATEGORICAL, DIMENSIONS, min_rows=min_rows)


def one_column(values: np.ndarray) -> DriftReference:
    table = pa.table({"x": pa.array(values, pa.float64(), from_pandas=True)})
    return DriftReference.of(table, ["x"], [], [], min_rows=1)


def compared(reference: DriftReference, values: np.ndarray) -> DriftFigures:
    table = pa.table({"x": pa.array(values, pa.float64(), from_pandas=True)})
    return reference.compare(reference.counts(table), **LIMITS)


def drifted(reference: DriftReference, table: pa.Table) -> set[tuple[Key, str]]:
    found = reference.compare(reference.counts(table), **LIMITS).drifted
    return {(reference.features[i].segment, reference.features[i].name) for i in np.flatnonzero(found)}


def segments(reference: DriftReference) -> set[Key]:
    return {feature.segment for feature in reference.features}


@pytest.fixture(scope="module")
def reference() -> DriftReference:
    return reference_of(contacts(20_000, seed=0))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(130, 2000),
    st.integers(30, 2000),
    st.sampled_from(["normal", "counts", "constant", "spike"]),
    st.floats(-2, 2),
)
def test_ks_is_that_of_scipy_but_for_the_fullest_cell(seed, n, m, kind, shift):
    random = np.random.default_rng(seed)
    draw = {
        "normal": lambda size: random.normal(size=size),
        "counts": lambda size: random.poisson(1.5, size).astype(float),
        "constant": lambda size: np.full(size, 3.0),
        "spike": lambda size: np.where(random.random(size) < 0.7, 0.0, random.exponential(size=size)),
    }[kind]
    training, recent = draw(n), draw(m) + shift
    reference = one_column(training)
    exact = ks_2samp(training, recent).statistic
    # A cell may hide a difference inside it, unless it holds one value only.
    widest = 0.0
    edges = np.r_[-np.inf, reference.features[0].edges, np.inf]
    for low, high in pairwise(edges):
        inside = training[(training > low) & (training <= high)]
        widest = max(widest, len(inside) / n if len(np.unique(inside)) > 1 else 0)
    assert widest <= 3 / 120 + 1 / n
    assert exact - widest - 1e-9 <= compared(reference, recent).ks[0] <= exact + 1e-9


def test_ks_of_counts_is_exact(reference: DriftReference):
    training, recent = contacts(20_000, seed=0), contacts(2_000, seed=1)
    place = next(i for i, f in enumerate(reference.features) if f.segment == () and f.name == "transfers")
    exact = ks_2samp(training["transfers"].to_numpy(), recent["transfers"].to_numpy()).statistic
    found = reference.compare(reference.counts(recent), **LIMITS)
    assert found.ks[place] == pytest.approx(exact, abs=1e-12)
    assert found.ks_limit[place] == pytest.approx(0.2 + 1.36 * np.sqrt(1 / 20_000 + 1 / 2_000))


def test_limits_of_psi_make_room_for_chance_by_bins_and_rows(reference: DriftReference):
    """Three queues are three bins; nobody lacks one, and there are no others."""
    place = next(i for i, f in enumerate(reference.features) if f.segment == () and f.name == "queue")
    found = reference.compare(reference.counts(contacts(500, seed=1)), **LIMITS)
    assert found.psi_limit[place] == pytest.approx(0.25 + 2 * (1 / 20_000 + 1 / 500))
    assert np.isnan(found.ks[place])


def test_psi_by_hand():
    """Shares 0.5, 0.3, 0.2 against 0.2, 0.3, 0.5: 2 x 0.3 x ln 2.5 = 0.5498; so many rows that smoothing is nothing."""
    (value,), (chance,) = psi(np.array([5, 3, 2]) * 10**9, np.array([2, 3, 5]) * 10**9)
    assert value == pytest.approx(0.6 * np.log(2.5), abs=1e-6)
    assert chance == pytest.approx(2 * 2 / 10**10)


def test_psi_of_few_rows_by_hand():
    """Counts 3 and 1 against 0 and 4, each with a half more, of 5 in all."""
    (value,), (chance,) = psi(np.array([3, 1]), np.array([0, 4]))
    assert value == pytest.approx((0.1 - 0.7) * np.log(0.1 / 0.7) + (0.9 - 0.3) * np.log(0.9 / 0.3))
    assert chance == pytest.approx(1 / 4 + 1 / 4)


def test_bins_that_are_empty_in_both_change_nothing():
    first, second = psi(np.array([30, 10, 0]), np.array([3, 4, 0])), psi(np.array([30, 10]), np.array([3, 4]))
    np.testing.assert_allclose(first, second)


@given(st.lists(st.tuples(st.lists(st.integers(0, 50), min_size=2, max_size=6), st.integers(0, 99)), min_size=1))
def test_measures_of_many_features_are_those_of_each(groups):
    reference = [np.array(counts) for counts, _ in groups]
    recent = [np.random.default_rng(seed).permutation(counts) for counts, seed in groups]
    starts = np.cumsum([0, *(len(counts) for counts in reference)])[:-1]
    for measure in (psi, ks):
        together = measure(np.concatenate(reference), np.concatenate(recent), starts)
        each = [measure(m, n) for m, n in zip(reference, recent, strict=True)]
        np.testing.assert_allclose(together, np.concatenate(each, axis=1), rtol=1e-9)


def test_psi_by_chance_is_what_is_written_of_it():
    """Yurdakul and Naranjo 2020: mean (bins - 1)(1/n + 1/m)."""
    random = np.random.default_rng(0)
    shares = np.full(10, 0.1)
    values = [psi(random.multinomial(2_000, shares), random.multinomial(1_000, shares)) for _ in range(2_000)]
    assert np.mean([value for (value,), _ in values]) == pytest.approx(9 * (1 / 1_000 + 1 / 2_000), rel=0.05)
    assert values[0][1] == pytest.approx(9 * (1 / 1_000 + 1 / 2_000))


def test_resamples_of_the_training_rows_have_not_drifted(reference: DriftReference):
    training = contacts(20_000, seed=0)
    false = 0
    for seed in range(100):
        chosen = np.random.default_rng(seed).integers(0, 20_000, 1_000)
        false += bool(drifted(reference, training.take(chosen)))
    assert false <= 1
    assert len(reference.features) > 40, "as many chances to be wrong"


def test_fresh_rows_of_the_same_kind_have_not_drifted_where_training_rows_are_few():
    small = reference_of(contacts(600, seed=3), min_rows=100)
    assert sum(bool(drifted(small, contacts(150, seed=1_000 + seed))) for seed in range(100)) <= 1


def test_a_shift_in_one_segment_is_found_there(reference: DriftReference):
    recent = contacts(4_000, seed=7)
    longer = np.where(recent["queue"].to_numpy(zero_copy_only=False) == "sales", 2.0, 1.0) * recent["aht"].to_numpy()
    found = drifted(reference, recent.set_column(0, "aht", pa.array(longer)))
    assert ((("queue", "sales"),), "aht") in found
    assert {name for _, name in found} == {"aht"}
    assert ((("queue", "billing"),), "aht") not in found


def test_non_response_that_grows_is_drift_although_the_answers_stay(reference: DriftReference):
    recent = contacts(4_000, seed=8)
    kept = np.where(np.random.default_rng(1).random(4_000) < 0.2, recent["csat"].to_numpy(), np.nan)
    table = recent.set_column(1, "csat", pa.array(kept, from_pandas=True))
    figures = reference.compare(reference.counts(table), **LIMITS)
    place = next(i for i, f in enumerate(reference.features) if f.segment == () and f.name == "csat")
    assert figures.drifted[place]
    assert figures.ks[place] < figures.ks_limit[place]


def test_a_column_that_is_gone_is_drift(reference: DriftReference):
    assert ((), "csat") in drifted(reference, contacts(1_000, seed=4).drop_columns(["csat"]))


@pytest.mark.parametrize("value", [4.0, 6.0])
def test_a_constant_that_becomes_another_is_drift_in_either_direction(value: float):
    reference = one_column(np.full(1_000, 5.0))
    assert not compared(reference, np.full(500, 5.0)).drifted.any()
    figures = compared(reference, np.full(500, value))
    assert figures.drifted.all()
    assert figures.ks[0] == 1


def test_rare_and_new_categories_are_counted_together(reference: DriftReference):
    topic = next(f for f in reference.features if f.segment == () and f.name == "topic")
    assert topic.values == ("t0", "t1", "t2")
    new = np.where(np.random.default_rng(0).random(2_000) < 0.5, "new", "t0")
    assert ((), "topic") in drifted(reference, contacts(2_000, seed=5, topic=new))


def test_segments_are_all_rows_single_values_and_combinations_with_enough_rows():
    table = contacts(2_000, seed=0)
    found = segments(reference_of(table, min_rows=100))
    pairs = list(zip(table["queue"].to_pylist(), table["channel"].to_pylist(), strict=True))
    expected: set[Key] = {()}
    for d, name in enumerate(DIMENSIONS):
        values = [pair[d] for pair in pairs]
        expected |= {((name, value),) for value in set(values) if values.count(value) >= 100}
    expected |= {tuple(zip(DIMENSIONS, pair, strict=True)) for pair in set(pairs) if pairs.count(pair) >= 100}
    assert found == expected
    assert ("queue", "support") in {key[0] for key in found if key}
    assert len(segments(reference_of(table, min_rows=500))) < len(expected)


def test_segments_of_the_same_rows_are_one():
    voice = contacts(1_000, seed=0, channel=np.full(1_000, "voice"))
    assert all(name == "queue" for key in segments(reference_of(voice)) for name, _ in key)


def test_a_dimension_without_values_is_one_segment_of_all():
    absent = contacts(1_000, seed=0).drop_columns(["channel"])
    assert all(name == "queue" for key in segments(reference_of(absent)) for name, _ in key)
    partly = contacts(1_000, seed=0, channel=np.array([None, "voice"] * 500, dtype=object))
    assert (("channel", "unknown"),) in segments(reference_of(partly))


def test_a_segment_with_few_recent_rows_has_not_drifted(reference: DriftReference):
    shifted = contacts(99, seed=0, aht=np.full(99, 1e6))
    assert not drifted(reference, shifted)
    assert ((), "aht") in drifted(reference, pa.concat_tables([shifted, shifted.slice(0, 1)]))


def test_no_rows_have_not_drifted(reference: DriftReference):
    figures = reference.compare(reference.counts(contacts(0, seed=0)), **LIMITS)
    assert not figures.drifted.any()
    assert np.isnan(figures.psi).all()
    assert (figures.contacts == 0).all()


@given(st.integers(0, 1_000), st.integers(0, 300), st.integers(0, 300))
def test_counts_of_windows_add_up(reference: DriftReference, seed: int, first: int, second: int):
    whole = contacts(first + second, seed=seed)
    parts = reference.counts(whole.slice(0, first)) + reference.counts(whole.slice(first))
    np.testing.assert_array_equal(parts, reference.counts(whole))
    assert np.add.reduceat(parts, reference.starts[:-1])[0] == first + second, "every row is in one cell"


def test_a_saved_reference_counts_and_compares_as_before(reference: DriftReference, tmp_path: Path):
    reference.save(tmp_path)
    loaded = DriftReference.load(tmp_path)
    table = contacts(1_000, seed=2)
    np.testing.assert_array_equal(loaded.counts(table), reference.counts(table))
    np.testing.assert_array_equal(loaded.training, reference.training)
    assert loaded.digest == reference.digest
    assert segments(loaded) == segments(reference)


def test_another_training_is_another_reference(reference: DriftReference):
    assert reference_of(contacts(20_000, seed=0)).digest == reference.digest
    assert reference_of(contacts(20_000, seed=1)).digest != reference.digest


@pytest.mark.parametrize(("place", "value"), [("edges", 3), ("cells", 2), ("values", ["t0"]), ("segment", [["queue"]])])
def test_a_damaged_reference_is_refused(reference: DriftReference, tmp_path: Path, place: str, value: object):
    reference.save(tmp_path)
    path = tmp_path / "drift_reference.json"
    document = json.loads(path.read_text())
    document["content"]["features"][0][place] = value
    path.write_text(json.dumps(document))
    with pytest.raises(DetectorFormatError, match="drift_reference"):
        DriftReference.load(tmp_path)


@pytest.mark.parametrize("name", ["edges", "bins", "training"])
def test_a_reference_with_damaged_arrays_is_refused(reference: DriftReference, tmp_path: Path, name: str):
    reference.save(tmp_path)
    with np.load(tmp_path / "arrays.npz") as stored:
        arrays = dict(stored)
    arrays[name] = arrays[name][::-1]
    if name == "training":
        arrays[name] = -arrays[name]
    np.savez(tmp_path / "arrays.npz", allow_pickle=False, **arrays)
    with pytest.raises(DetectorFormatError, match="drift_reference"):
        DriftReference.load(tmp_path)


def test_training_rows_without_any_feature_are_an_error_that_names_them():
    with pytest.raises(TableError, match="none of the features x, y"):
        DriftReference.of(pa.table({"z": [1.0]}), ["x"], ["y"], [], min_rows=1)
