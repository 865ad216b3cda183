"""What somebody writes in an afternoon: pandas, scikit-learn and rrcf, from a Parquet file to a scored one.

Belongs here: the peer of `cxad score`, with the same work per row as plainly as the libraries' documentation has it.
Does not belong here: any code of this project.

    python plain_script.py TRAINING.csv INPUT.parquet OUTPUT.parquet

Fits both models on the training file, then scores; prints the seconds of the scoring alone, reading and writing
included, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, RobustScaler

warnings.filterwarnings("ignore", message=".*pkg_resources.*")
import rrcf  # noqa: E402

NUMERIC = ["csat", "ies", "complaints", "aht_seconds", "hold_time_seconds", "transfers"]
CATEGORICAL = ["channel", "language", "queue"]
TREES, TREE_SIZE, PERCENTILE, THRESHOLD_ROWS = 100, 256, 99, 50


def main() -> None:
    training_path, input_path, output_path = sys.argv[1:]
    training = pd.read_csv(training_path)
    features = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), RobustScaler()), NUMERIC),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORICAL),
    )
    X = features.fit_transform(training)
    forest = IsolationForest(n_estimators=TREES, random_state=0).fit(X)
    random = np.random.default_rng(0)
    trees = [
        rrcf.RCTree(
            X[random.choice(len(X), TREE_SIZE, replace=False)], index_labels=np.arange(TREE_SIZE), random_state=i
        )
        for i in range(TREES)
    ]
    sample = X[random.choice(len(X), THRESHOLD_ROWS, replace=False)]
    references = {"iforest": np.sort(-forest.score_samples(X)), "rcf": np.sort(displacement(trees, sample))}
    thresholds = {name: np.percentile(scores, PERCENTILE) for name, scores in references.items()}

    started = time.perf_counter()
    table = pd.read_parquet(input_path)
    X = features.transform(table)
    ranks = []
    for name, scores in (("iforest", -forest.score_samples(X)), ("rcf", displacement(trees, X))):
        table[f"{name}_score"] = scores
        table[f"{name}_anomaly"] = (scores >= thresholds[name]).astype(int)
        ranks.append(np.searchsorted(references[name], scores) / len(references[name]))
    table["ensemble_score"] = np.mean(ranks, axis=0)
    table["ensemble_anomaly"] = (table["ensemble_score"] >= PERCENTILE / 100).astype(int)
    table.to_parquet(output_path)
    print(json.dumps({"rows": len(table), "seconds": time.perf_counter() - started}))


def displacement(trees: list[rrcf.RCTree], X: np.ndarray) -> np.ndarray:
    """Mean collusive displacement of each point over the trees."""
    scores = np.zeros(len(X))
    for row, point in enumerate(X):
        for tree in trees:
            tree.insert_point(point, index="new")
            scores[row] += tree.codisp("new") / len(trees)
            tree.forget_point("new")
    return scores


if __name__ == "__main__":
    main()
