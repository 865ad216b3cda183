"""How good a detector is, with labels and without.

Belongs here: metrics, under the same names for every model so that runs compare, and injected faults that stand in for
labels. Does not belong here: pictures (`figures`), and the decision what to do with the figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxad_pipeline.detection.config import ENSEMBLE
from cxad_pipeline.detection.detector import Detector, Scores

FAULTS = ("extreme", "contextual")
_MAX_ROWS = 5_000


@dataclass(frozen=True)
class ModelSummary:
    """Statistics of one model's scores on some rows.

    Attributes
    ----------
    name
        The member, or `ensemble`.
    rows, flagged
        Number of rows, and of those beyond the threshold.
    threshold
        The model's threshold, in the unit of its score.
    mean, std, p50, p95, p99, maximum
        Of the scores.
    """

    name: str
    rows: int
    flagged: int
    threshold: float
    mean: float
    std: float
    p50: float
    p95: float
    p99: float
    maximum: float

    def metrics(self) -> dict[str, float]:
        """The statistics as MLflow metrics."""
        return {
            "threshold": self.threshold,
            "flagged_share": self.flagged / self.rows if self.rows else 0.0,
            "score_mean": self.mean,
            "score_std": self.std,
            "score_p50": self.p50,
            "score_p95": self.p95,
            "score_p99": self.p99,
            "score_max": self.maximum,
        }


@dataclass(frozen=True)
class KindReport:
    """How well one model finds one kind of labelled anomaly.

    Attributes
    ----------
    model, kind
        The model, and the kind of anomaly; `any` stands for all kinds together.
    labelled, found
        Labelled rows of that kind, and how many of them are flagged.
    recall
        found / labelled.
    precision
        Share of all flagged rows that are labelled, of any kind; None for a single kind, where it has no meaning.
    roc_auc, average_precision
        Of the scores, the kind against the rows that carry no label.
    """

    model: str
    kind: str
    labelled: int
    found: int
    recall: float
    precision: float | None
    roc_auc: float
    average_precision: float


def scores_by_model(scores: Scores) -> dict[str, np.ndarray]:
    """Scores of the ensemble and each member, each of shape (n,)."""
    return {ENSEMBLE: scores.ensemble, **scores.raw}


def summarize(scores: Scores) -> list[ModelSummary]:
    """Summary statistics per model.

    Raises
    ------
    ValueError
        If there are no rows.
    """
    if len(scores.ensemble) == 0:
        raise ValueError("no rows to summarize")
    summaries = []
    for name, values in scores_by_model(scores).items():
        p50, p95, p99 = (float(value) for value in np.percentile(values, [50, 95, 99]))
        summaries.append(
            ModelSummary(
                name=name,
                rows=len(values),
                flagged=int(scores.flags[name].sum()),
                threshold=float(scores.thresholds[name]),
                mean=float(values.mean()),
                std=float(values.std()),
                p50=p50,
                p95=p95,
                p99=p99,
                maximum=float(values.max()),
            )
        )
    return summaries


def inject_faults(table: pa.Table, numeric: Sequence[str], random_state: int) -> tuple[pa.Table, np.ndarray]:
    """Copies of rows with one metric made faulty: what a detector should rank above the rows themselves.

    Half of the copies are `extreme`: the metric lies two to six times as far from its median as its 99th percentile
    (or the 1st, below). The other half are `contextual`: the metric takes a value that another row really has, out of
    the outer tenth of the column, so that it is unusual only together with the rest of its row. Each copy differs from
    its row in one metric, and always does; whole numbers stay whole, and columns keep their types.

    Parameters
    ----------
    table
        Normal rows; shape (n, ...). At most 5,000 of them, evenly spaced, are copied.
    numeric
        The metrics that may be made faulty; those without a spread are not.
    random_state
        Seed: the same rows and seed give the same faults, so that two detectors can be compared on them.

    Returns
    -------
    table, kinds
        The faulty copies, and of each the index into `FAULTS`; shape (m,).

    Raises
    ------
    ValueError
        If there is no row, or no metric with a spread.
    """
    if not numeric:
        raise ValueError("no metric to make faulty: the detector has categories alone")
    if table.num_rows == 0:
        raise ValueError("no rows to inject faults into")
    rng = np.random.default_rng(random_state)
    chosen = np.unique(np.linspace(0, table.num_rows - 1, min(table.num_rows, _MAX_ROWS)).astype(np.int64))
    table = table.take(pa.array(chosen))
    values = {name: _floats(table, name) for name in numeric if name in table.column_names}
    values = {name: column for name, column in values.items() if len(np.unique(column[~np.isnan(column)])) > 2}
    if not values:
        raise ValueError(f"none of {', '.join(numeric)} has more than two distinct values")
    kinds = np.arange(table.num_rows) % len(FAULTS)
    column_of = rng.integers(len(values), size=table.num_rows)
    for index, (name, column) in enumerate(values.items()):
        position = table.column_names.index(name)
        whole = pa.types.is_integer(table.schema.field(name).type)
        extreme, contextual = ((column_of == index) & (kinds == kind) for kind in range(len(FAULTS)))
        faulty = column.copy()
        faulty[extreme] = _extreme(column, column[extreme], rng, whole=whole)
        faulty[contextual] = _contextual(column, column[contextual], rng)
        kept = table[name]
        replaced = pc.if_else(pa.array(column_of == index), pc.cast(pa.array(faulty), kept.type, safe=False), kept)
        table = table.set_column(position, table.schema.field(position), replaced)
    return table, kinds


def injected_roc_auc(detector: Detector, normal: pa.Table, random_state: int) -> dict[str, float]:
    """ROC-AUC of each model at telling injected faults from the rows that they were made of.

    Parameters
    ----------
    detector
        What is measured.
    normal
        Rows that did not train it.
    random_state
        Seed of the faults.

    Returns
    -------
    dict
        Model -> ROC-AUC; 0.5 is chance.
    """
    from sklearn.metrics import roc_auc_score

    faulty, _ = inject_faults(normal, detector.config.numeric, random_state)
    truth = np.repeat([0, 1], [normal.num_rows, faulty.num_rows])
    before, after = (scores_by_model(detector.score(rows)) for rows in (normal, faulty))
    return {name: float(roc_auc_score(truth, np.concatenate([before[name], after[name]]))) for name in before}


def evaluate_labels(scores: Scores, ids: Sequence[str], labels: Mapping[str, str]) -> list[KindReport]:
    """Precision and recall by kind of anomaly.

    Parameters
    ----------
    scores
        Of n rows.
    ids
        interaction_id of each row; shape (n,).
    labels
        interaction_id -> kind, for the anomalous rows only; an empty kind is no label.

    Returns
    -------
    list of KindReport
        For each model, `any` first and then each kind; empty where no row carries a label.

    Raises
    ------
    ValueError
        If every row carries a label: there is nothing to tell them from.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    kinds = np.array([labels.get(row, "") for row in ids], dtype=object)
    labelled = kinds != ""
    if not labelled.any():
        return []
    if labelled.all():
        raise ValueError(f"all {len(kinds):,} rows carry a label; name the anomalous ones alone")
    reports = []
    for name, values in scores_by_model(scores).items():
        flags = scores.flags[name]
        for kind in ["any", *sorted(set(kinds[labelled]))]:
            positive = labelled if kind == "any" else kinds == kind
            among = positive | ~labelled
            found = int(flags[positive].sum())
            precision = float(flags[labelled].sum() / flags.sum()) if kind == "any" and flags.any() else None
            reports.append(
                KindReport(
                    name, str(kind), int(positive.sum()), found, found / int(positive.sum()), precision,
                    float(roc_auc_score(positive[among], values[among])),
                    float(average_precision_score(positive[among], values[among])),
                )
            )  # fmt: skip
    return reports


def correlations(scores: Scores) -> tuple[list[str], np.ndarray]:
    """Spearman rank correlation of the models' scores.

    Returns
    -------
    names, matrix
        The models, and their correlations; shape (k, k).
    """
    from scipy.stats import rankdata

    by_model = scores_by_model(scores)
    ranks = np.vstack([rankdata(values) for values in by_model.values()])
    spread = ranks.std(axis=1) > 0
    matrix = np.eye(len(ranks))
    matrix[np.ix_(spread, spread)] = np.atleast_2d(np.corrcoef(ranks[spread]))
    return list(by_model), matrix


def _tail(column: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Sorted values, their median, and how far the longer tail's percentile lies from it, with its sign."""
    known = np.sort(column[~np.isnan(column)])
    low, median, high = np.percentile(known, [1, 50, 99])
    upward = (high - median) >= (median - low)
    return known, float(median), float((high - median if upward else low - median) or known.std())


def _extreme(column: np.ndarray, own: np.ndarray, rng: np.random.Generator, *, whole: bool) -> np.ndarray:
    _, median, reach = _tail(column)
    away = rng.uniform(2, 6, len(own)) * reach
    if whole:
        # Away from the median: a count that is nearly always 0 would else be rounded back to it.
        median, away = round(median), np.sign(reach) * np.ceil(np.abs(away))
    return np.where(median + away == own, median + 2 * away, median + away)


def _contextual(column: np.ndarray, own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    known, median, reach = _tail(column)
    tenth = max(len(known) // 10, 1)
    outer = known[-tenth:] if reach > 0 else known[:tenth]
    beyond = outer[outer > median] if reach > 0 else outer[outer < median]
    drawn = rng.choice(beyond if len(beyond) else outer, len(own))
    # A row that has the drawn value already takes the column's other end.
    return np.where(drawn == own, known[0] if reach > 0 else known[-1], drawn)


def _floats(table: pa.Table, name: str) -> np.ndarray:
    return np.array(pc.cast(table[name], pa.float64()).to_numpy(zero_copy_only=False), float)
