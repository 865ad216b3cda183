"""What a percentile promises holds on rows that neither trained a forest nor set a threshold.

Each case has several data sets of the same kind. Two things are random besides the forests: which rows are held out
to set the threshold (n of them), and which fresh rows are flagged (m of them). The share flagged has then the variance
s (1 - s) (1 / n + 1 / m) around the promised s, and the mean over the data sets that by their number.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import kstwo

from cxad_pipeline.detection import Detector, DetectorConfig, EnsembleConfig, ModelConfig
from cxad_pipeline.detection.calibration import Calibration, threshold_at
from cxad_pipeline.detection.detector import FeatureSet, assemble, fit_member
from cxad_pipeline.detection.tables import Table, columns_of
from cxad_pipeline.interactions.simulated_stream import SimulationConfig, simulate_table

PERCENTILES = (95.0, 99.0, 99.5)
TRAINED, HELD_OUT, FRESH, DATA_SETS = 400, 1200, 4000, 8
# Small trees of which each training row is in several, so that a threshold from those rows would show.
MODELS = (
    ModelConfig("iforest", "isolation_forest", {"n_estimators": 30, "n_jobs": 1}),
    ModelConfig("rcf", "random_cut_forest", {"n_estimators": 15, "tree_size": 128, "n_jobs": 1}),
)
# A true promise is broken by this much in one of 15,000 cases.
ERRORS = 4.0


def correlated(random: np.random.Generator, n: int) -> Table:
    mixed = random.normal(size=(n, 5)) @ (np.eye(5) + 0.6)
    return {f"x{j}": column for j, column in enumerate(mixed.T)}


def heavy(random: np.random.Generator, n: int) -> Table:
    return {f"x{j}": random.standard_t(3, n) * random.lognormal(0, 0.5, n) for j in range(4)}


@cache
def quiet_centre() -> pa.Table:
    start = dt.datetime(2026, 9, 7, tzinfo=dt.UTC)
    rows = 2 * (TRAINED + HELD_OUT + FRESH)
    return simulate_table(SimulationConfig(start, interactions=rows, anomaly_rate=0.0, incidents=0.0)).interactions


def contact_centre(random: np.random.Generator, n: int) -> Table:
    return quiet_centre().take(pa.array(random.permutation(quiet_centre().num_rows)[:n]))


NUMERIC = ["csat", "ies", "complaints", "aht_seconds", "hold_time_seconds", "transfers"]
CATEGORICAL = ["channel", "language", "queue"]
Draw = Callable[[np.random.Generator, int], Table]
KINDS: dict[str, tuple[Draw, DetectorConfig]] = {
    "correlated": (correlated, DetectorConfig([f"x{j}" for j in range(5)])),
    "heavy tails": (heavy, DetectorConfig([f"x{j}" for j in range(4)])),
    "contact centre": (contact_centre, DetectorConfig(NUMERIC, CATEGORICAL)),
    "segment baselines": (contact_centre, DetectorConfig(NUMERIC, CATEGORICAL, relative_to=["channel", "queue"])),
}


@dataclasses.dataclass(frozen=True)
class Fitted:
    """One data set: its parts, the detector of each strategy and percentile, and rows that none of them has seen."""

    feature_set: FeatureSet
    detectors: dict[tuple[str, float], Detector]
    fresh: Table


def rows_of(table: Table, start: int, stop: int) -> Table:
    if isinstance(table, dict):
        return {name: values[start:stop] for name, values in table.items()}
    return table.slice(start, stop - start)


@cache
def fitted(kind: str, seed: int) -> Fitted:
    draw, plain = KINDS[kind]
    # Another stream than the detector's, which draws the held-out rows from the same seed.
    table = draw(np.random.default_rng([2026, seed]), TRAINED + HELD_OUT + FRESH)
    training = rows_of(table, 0, TRAINED + HELD_OUT)
    config = dataclasses.replace(plain, models=MODELS, held_out=HELD_OUT / (TRAINED + HELD_OUT), random_state=seed)
    feature_set = FeatureSet.fit(training, config)
    grown = [fit_member(model, feature_set, seed) for model in MODELS]
    detectors = {}
    for percentile in PERCENTILES:
        models = tuple(dataclasses.replace(model, threshold_percentile=percentile) for model in MODELS)
        # The percentile changes nothing but the threshold, so the forests are grown once.
        members = [
            dataclasses.replace(member, threshold=threshold_at(member.held_out_scores, percentile)) for member in grown
        ]
        if percentile == MODELS[0].threshold_percentile:
            assert [member.threshold for member in members] == [member.threshold for member in grown]
        for strategy in ("average", "max"):
            own = dataclasses.replace(config, models=models, ensemble=EnsembleConfig(strategy, {}, percentile))
            detectors[strategy, percentile] = assemble(feature_set, members, own)
    return Fitted(feature_set, detectors, rows_of(table, TRAINED + HELD_OUT, TRAINED + HELD_OUT + FRESH))


def standard_error(share: float) -> float:
    return float(np.sqrt(share * (1 - share) * (1 / HELD_OUT + 1 / FRESH) / DATA_SETS))


@pytest.mark.parametrize("percentile", PERCENTILES)
@pytest.mark.parametrize("kind", KINDS)
def test_fresh_rows_are_flagged_as_often_as_the_percentile_says(kind: str, percentile: float):
    promised = 1 - percentile / 100
    flagged: dict[str, list[float]] = {}
    for seed in range(DATA_SETS):
        one = fitted(kind, seed)
        for strategy in ("average", "max"):
            flags = one.detectors[strategy, percentile].score(one.fresh).flags
            flagged.setdefault(f"ensemble by {strategy}", []).append(flags["ensemble"].mean())
        for name in ("iforest", "rcf"):
            flagged.setdefault(name, []).append(flags[name].mean())
    assert len(flagged) == 4
    for name, shares in flagged.items():
        assert np.mean(shares) == pytest.approx(promised, abs=ERRORS * standard_error(promised)), name


def test_a_threshold_from_training_rows_would_break_the_promise():
    """Of the Random Cut Forest, in whose trees a training row meets itself."""
    promised, shares = 0.05, []
    for seed in range(DATA_SETS):
        one = fitted("heavy tails", seed)
        detector = one.detectors["average", 95.0]
        forest = detector.members["rcf"].forest
        threshold = threshold_at(forest.anomaly_score(one.feature_set.X[~one.feature_set.held_out]), 95.0)
        fresh = detector.feature_map.encode(columns_of(one.fresh)).X
        shares.append(np.mean(forest.anomaly_score(fresh) >= threshold))
    assert np.mean(shares) > promised + ERRORS * standard_error(promised)


@pytest.mark.parametrize("kind", KINDS)
def test_calibrated_probabilities_of_fresh_rows_are_uniform(kind: str):
    """Kolmogorov-Smirnov; the distance has the law of that between two samples, since the held-out rows are one."""
    effective = round(1 / (1 / HELD_OUT + 1 / FRESH))
    chances = []
    for seed in range(DATA_SETS):
        one = fitted(kind, seed)
        for strategy in ("average", "max"):
            detector = one.detectors[strategy, 99.0]
            scores = detector.score(one.fresh)
            probabilities = [detector.calibration.probability(scores.ensemble)]
            probabilities += [
                member.calibration.probability(scores.raw[name]) for name, member in detector.members.items()
            ]
            for values in probabilities:
                ordered, steps = np.sort(values), np.arange(FRESH + 1) / FRESH
                distance = max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1]))
                chances.append(kstwo.sf(distance, effective))
    assert min(chances) > 1e-4 / len(chances)
    # Models and strategies of one data set go together, so this is a coarse bound: half of the chances lie above 0.5.
    assert np.median(chances) > 0.1


@pytest.mark.parametrize("alpha", [0.05, 0.02, 0.01, 0.005, 0.002])
def test_a_probability_of_alpha_is_as_rare_as_that_also_in_the_tail(alpha: float):
    """Beyond the joint at 0.02 the tail is fitted, here to light (normal) and heavy (log-normal) tails."""
    held_out, fresh, repeats = 5000, 20_000, 40
    for family in ("standard_normal", "lognormal"):
        shares = []
        for seed in range(repeats):
            draw = getattr(np.random.default_rng(seed), family)
            calibration = Calibration.fit(draw(size=held_out))
            shares.append(np.mean(calibration.probability(draw(size=fresh)) <= alpha))
        error = np.sqrt(alpha * (1 / held_out + 1 / fresh) / repeats)
        # A generalized Pareto tail is not exactly that of these families: allow 10% for it.
        assert np.mean(shares) == pytest.approx(alpha, abs=ERRORS * error + 0.1 * alpha), family


@pytest.mark.parametrize("held_out", [99, 150, 199, 399])
def test_few_held_out_rows_flag_no_more_on_average(held_out: int):
    random, shares = np.random.default_rng(0), []
    for _ in range(3000):
        threshold = threshold_at(random.exponential(size=held_out), 99)
        shares.append(np.exp(-threshold))  # the exact share of fresh rows above it
    error = ERRORS * 0.1 / np.sqrt(held_out * 3000)
    # Exact where the rank is a whole number; between two scores the straight line lies above the tail.
    least = 0.01 if (held_out + 1) % 100 == 0 else 0.008
    assert least - error < np.mean(shares) < 0.01 + error


def test_scores_of_few_values_are_flagged_at_most_as_often_as_promised():
    random = np.random.default_rng(0)
    for percentile in PERCENTILES:
        promised, shares = 1 - percentile / 100, []
        for _ in range(200):
            threshold = threshold_at(random.poisson(3, HELD_OUT).astype(float), percentile)
            shares.append(np.mean(random.poisson(3, FRESH) >= threshold))
        error = np.sqrt(promised * (1 / HELD_OUT + 1 / FRESH) / 200)
        assert 0 < np.mean(shares) < promised + ERRORS * error
