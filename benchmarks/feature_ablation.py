"""What each optional feature adds to the product's two models, on simulated interactions with labelled anomalies.

Trains on one simulated month without looking at labels, scores the month after, and gives ROC-AUC and average
precision of the ensemble over all anomalies and for each kind, without optional features and with each of them.
Everything that could flatter a feature is the same for all: rows, seeds, models. What is told is the mean over seeds.

    python benchmarks/feature_ablation.py [--rows N] [--seeds N] [--relative-to channel queue]

Prints two tables and, as the last line, the same as JSON.

Belongs here: the comparison of feature sets. Does not belong here: the comparison of models.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.metrics import average_precision_score, roc_auc_score

from cxad_pipeline.detection import Detector, DetectorConfig
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.interactions.simulated_day import WEEKLY_CONTACTS
from cxad_pipeline.interactions.simulation import SimulationConfig, simulate_table
from cxad_pipeline.registry.detector_config import detector_config
from cxad_pipeline.settings import Settings

NUMERIC = ("csat", "ies", "complaints", "aht_seconds", "hold_time_seconds", "transfers")
CATEGORICAL = ("channel", "language", "queue")
TRAINING, SCORING = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
ANOMALY_RATE = 0.01


def feature_sets(relative_to: list[str]) -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = {
        "relative": {"relative_to": relative_to},
        "time": {"timestamp": "timestamp"},
        "missing": {"missing_indicators": True},
    }
    every = {name: value for option in options.values() for name, value in option.items()}
    without_time = options["relative"] | options["missing"]
    return {
        "none": {},
        **{f"+{name}": option for name, option in options.items()},
        "+relative+missing": without_time,
        "all": every,
    }


def simulated(start: datetime, rows: int, seed: int) -> tuple[pa.Table, np.ndarray]:
    """Interactions of a month and the kind of anomaly of each, empty where it is none."""
    end = datetime(start.year, start.month + 1, 1, tzinfo=UTC)
    month = (end - start).days / 7 * WEEKLY_CONTACTS
    config = SimulationConfig(
        start=start, end=end, seed=seed, anomaly_rate=ANOMALY_RATE, incidents=(), volume_scale=rows / month
    )
    simulation = simulate_table(config)
    kinds = dict(
        zip(simulation.labels["interaction_id"].to_pylist(), simulation.labels["kind"].to_pylist(), strict=True)
    )
    ids = simulation.interactions["interaction_id"].to_pylist()
    return simulation.interactions, np.array([kinds.get(name, "") for name in ids])


def figures(scores: np.ndarray, kinds: np.ndarray) -> dict[str, dict[str, float]]:
    found = {}
    for kind in ["any", *sorted(set(kinds) - {""})]:
        positive = kinds != "" if kind == "any" else kinds == kind
        considered = positive | (kinds == "")
        found[kind] = {
            "roc_auc": float(roc_auc_score(positive[considered], scores[considered])),
            "average_precision": float(average_precision_score(positive[considered], scores[considered])),
        }
    return found


def table_of(results: Mapping[str, Mapping[str, Mapping[str, float]]], measure: str) -> str:
    kinds = list(next(iter(results.values())))
    lines = [f"{measure:<20}" + "".join(f"{kind:>14}" for kind in kinds)]
    for name, by_kind in results.items():
        lines.append(f"{name:<20}" + "".join(f"{by_kind[kind][measure]:>14.3f}" for kind in kinds))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=25_000, help="interactions of each month")
    parser.add_argument("--seeds", type=int, default=3, help="simulations, each with a detector of its own")
    parser.add_argument("--relative-to", nargs="+", default=["channel", "queue"], metavar="COLUMN")
    options = parser.parse_args()
    models = detector_config(Settings(), InteractionSchema(), [*NUMERIC, *CATEGORICAL]).models
    runs: dict[str, list[dict[str, dict[str, float]]]] = {}
    for seed in range(options.seeds):
        training, _ = simulated(TRAINING, options.rows, 2 * seed)
        rows, kinds = simulated(SCORING, options.rows, 2 * seed + 1)
        for name, chosen in feature_sets(options.relative_to).items():
            config = DetectorConfig(
                numeric=NUMERIC, categorical=CATEGORICAL, models=models, random_state=seed, **chosen
            )
            scores = Detector.fit(training, config).score(rows).ensemble
            runs.setdefault(name, []).append(figures(scores, kinds))
    results = {
        name: {
            kind: {measure: float(np.mean([run[kind][measure] for run in found])) for measure in found[0][kind]}
            for kind in found[0]
        }
        for name, found in runs.items()
    }
    print(f"{options.rows:,} rows a month, {options.seeds} seeds, relative to {'/'.join(options.relative_to)}\n")
    print(table_of(results, "roc_auc"), table_of(results, "average_precision"), sep="\n\n", end="\n\n")
    rounded = {
        name: {kind: {measure: round(value, 4) for measure, value in part.items()} for kind, part in by_kind.items()}
        for name, by_kind in results.items()
    }
    print(
        json.dumps({"benchmark": "feature_ablation", "rows": options.rows, "seeds": options.seeds, "results": rounded})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
