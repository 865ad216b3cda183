"""How often our Isolation Forest's attribution and SHAP name the same feature first.

Belongs here: that comparison. Does not belong here: either attribution.

Both explain one and the same forest: ours is grown by scikit-learn, so the same arguments and points give
scikit-learn's own estimator the same trees, which `shap.TreeExplainer` explains exactly. Its values are of the path
length, which is short where a point is anomalous, so its first feature is the one with the lowest value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import report
import sklearn.ensemble
from labelled_data import DataSet
from rankers import MissingPeerError, imported

from cxad_pipeline.detection import IsolationForest

TREES, TOP_SHARE = 100, 0.05


def agreement_table(sets: Sequence[DataSet], quick: bool) -> report.Table:
    """Share of test rows with the same first feature, of all and of the most anomalous, per data set of numbers."""
    title = "Same first feature as SHAP's TreeExplainer on the same Isolation Forest"
    columns = ["data set", "features", "rows", "all rows", "flagged rows", "by chance"]
    most_rows = 40 if quick else 400
    rows: list[report.Row] = []
    try:
        for data_set in sets:
            train, test = data_set.split(0)
            if train.categorical:
                continue
            X, Z = (np.column_stack([part.columns[name] for name in train.numeric]) for part in (train, test))
            complete = ~np.isnan(X).any(axis=0)
            rows.append({"data set": data_set.name} | agreement(X[:, complete], Z[:most_rows, complete]))
    except MissingPeerError as error:
        return report.Table(title, columns, [{"data set": "all", "missing": str(error)}])
    if rows:
        mean = {name: round(float(np.mean([row[name] for row in rows])), 3) for name in columns[3:]}
        rows.append({"data set": "mean"} | mean)
    return report.Table(title, columns, rows, f"Flagged: the {TOP_SHARE:.0%} of test rows with the highest scores.")


def agreement(X: np.ndarray, Z: np.ndarray) -> dict[str, float]:
    """Agreement on the rows of Z for a forest grown on X.

    Raises
    ------
    MissingPeerError
        If shap is not installed.
    """
    explainer = imported("shap", "shap").TreeExplainer
    grown = sklearn.ensemble.IsolationForest(n_estimators=TREES, random_state=0).fit(X)
    forest = IsolationForest(n_estimators=TREES, random_state=0).fit(X)
    scores = forest.anomaly_score(Z)
    if not np.allclose(scores, -grown.score_samples(Z)):
        raise AssertionError("the two forests differ, so their attributions do not compare")
    same = forest.attribution(Z).argmax(axis=1) == explainer(grown).shap_values(Z).argmin(axis=1)
    flagged = np.argsort(-scores)[: max(1, round(TOP_SHARE * len(Z)))]
    return {
        "features": X.shape[1],
        "rows": len(Z),
        "all rows": round(float(same.mean()), 3),
        "flagged rows": round(float(same[flagged].mean()), 3),
        "by chance": round(1 / X.shape[1], 3),
    }
