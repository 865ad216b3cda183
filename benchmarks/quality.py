"""How well each detector ranks anomalies first, on labelled data: ROC-AUC and average precision.

Each of our models and ensembles and each peer is fitted on the training rows of a data set, anomalies among them and
without labels, and scores its test rows; `labelled_data.py` says what the sets are. The metrics are averaged over five
seeds (of the split and of the model), then over data sets; ranks are by that average within each data set.
A second table says how often the feature that our Isolation Forest's attribution puts first is SHAP's first, too.

    python benchmarks/quality.py [--quick] [--output FOLDER] [--seeds N] [--natural-shares]

`--natural-shares` keeps all rows of KEEL's minority classes, up to a third of a data set, where the rule thins them out
to 5%: how much the choice of that rule decides is to be seen.

Exit code 1 if the default ensemble is behind the best single peer.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd
import report
from attribution_agreement import agreement_table
from joblib import Parallel, delayed
from labelled_data import DataSet, at_natural_shares, data_sets, few_data_sets
from matplotlib.figure import Figure
from rankers import ALL_RANKERS, DEFAULT, FURTHER, OURS, PEERS, MissingPeerError, Scores, our_scores, peer_matrices
from sklearn.metrics import average_precision_score, roc_auc_score

METRICS = ("ROC-AUC", "average precision")


def main() -> int:
    parser = report.arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="splits of each data set")
    parser.add_argument("--natural-shares", action="store_true", help="do not thin out KEEL's minority classes")
    options = parser.parse_args()
    sets, seeds = (few_data_sets(), 1) if options.quick else (data_sets(), options.seeds)
    if options.natural_shares:
        sets = at_natural_shares(sets)
    tasks = [delayed(judged)(data_set, seed) for seed in range(seeds) for data_set in sets]
    results = Parallel(n_jobs=-1, batch_size=1)(tasks)
    records = pd.DataFrame([record for found, _ in results for record in found])
    remarks: dict[str, str] = {}
    failures: dict[str, int] = {}
    for _, said in results:
        for name, (message, missing) in said.items():
            remarks.setdefault(name, message)
            failures[name] = failures.get(name, 0) + (not missing)
    found = report.Report("quality_natural_shares" if options.natural_shares else "quality", options.quick)
    summary = summarised(records, len(sets))
    found.tables["quality"] = quality_table(summary, remarks, failures, len(sets), seeds)
    found.tables["groups"] = group_table(records, sets)
    found.tables["data sets"] = data_set_table(records, sets)
    found.tables["attribution"] = agreement_table(sets, options.quick)
    for metric in METRICS:
        present = [name for name in PEERS if name in summary.index]
        best = summary.loc[present, metric].idxmax()
        margin = summary.loc[DEFAULT, metric] - summary.loc[best, metric]
        found.bars.append(
            report.Bar(f"{metric}: default ensemble minus best peer ({best})", round(float(margin), 4), 0.0)
        )
    return found.finish(drawn(records, summary, len(sets), seeds), options.output)


def judged(data_set: DataSet, seed: int) -> tuple[list[dict[str, object]], dict[str, tuple[str, bool]]]:
    """Metrics of every ranker on one split; and remarks, with whether the ranker is missing altogether."""
    train, test = data_set.split(seed)
    records: list[dict[str, object]] = []
    remarks: dict[str, tuple[str, bool]] = {}

    def record(name: str, scores: Scores) -> None:
        metrics = (roc_auc_score(test.anomaly, scores), average_precision_score(test.anomaly, scores))
        records.append(
            {"detector": name, "data set": data_set.name, "seed": seed} | dict(zip(METRICS, metrics, strict=True))
        )

    for name, scores in our_scores(train, test, seed).items():
        if isinstance(scores, MissingPeerError):
            remarks[name] = (str(scores), True)
        else:
            record(name, scores)
    matrices = peer_matrices(train, test)
    for name, ranker in {**PEERS, **FURTHER}.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # k-means on duplicates, singular columns: of no interest here
                scores = ranker(*matrices, seed)
            if not np.isfinite(scores).all():
                raise ValueError("scores that are not finite")
        except MissingPeerError as error:
            remarks[name] = (str(error), True)
            continue
        except ValueError as error:  # such as CBLOF without two clusters of the sizes it wants
            remarks[name] = (f"{data_set.name}: {error}", False)
            scores = np.zeros(len(test.anomaly))  # who cannot be fitted puts nobody first
        record(name, scores)
    return records, remarks


def summarised(records: pd.DataFrame, n_sets: int) -> pd.DataFrame:
    """Means over data sets of means over seeds, and mean ranks; one row per detector, best first."""
    means = records.groupby(["data set", "detector"])[list(METRICS)].mean()
    ranks = means.groupby("data set").rank(ascending=False)
    summary = means.groupby("detector").mean()
    for metric in METRICS:
        summary[f"rank by {metric}"] = ranks.groupby("detector")[metric].mean()
    complete = means.groupby("detector").size() == n_sets
    return summary[complete].sort_values("ROC-AUC", ascending=False)


def quality_table(
    summary: pd.DataFrame, remarks: Mapping[str, str], failures: Mapping[str, int], n_sets: int, seeds: int
) -> report.Table:
    columns = ["detector", *METRICS, *(f"rank by {metric}" for metric in METRICS)]
    rows: list[report.Row] = [{"detector": name} | row.round(4).to_dict() for name, row in summary.iterrows()]
    rows += [{"detector": name, "missing": remarks.get(name, "")} for name in ALL_RANKERS if name not in summary.index]
    failed = [f"{name} could not be fitted {n} times (first: {remarks[name]})" for name, n in failures.items() if n]
    note = "; ".join(failed) + "; such a split counts as all rows alike." if failed else ""
    return report.Table(f"Quality: {n_sets} data sets, {seeds} seeds, mean over data sets", columns, rows, note)


def group_table(records: pd.DataFrame, sets: list[DataSet]) -> report.Table:
    """The default ensemble and the best peer of each metric, for each group of data sets."""
    groups = pd.Series({data_set.name: data_set.group for data_set in sets})
    means = records.groupby(["data set", "detector"])[list(METRICS)].mean().reset_index()
    by_group = means.groupby([means["data set"].map(groups), "detector"])[list(METRICS)].mean()
    rows = []
    for group, members in groups.groupby(groups):
        row: dict[str, object] = {"data sets": group or "all", "number": len(members)}
        for metric in METRICS:
            peers = by_group.loc[group, metric].reindex(list(PEERS)).dropna()
            row |= {
                f"{metric}, ours": round(by_group.loc[(group, DEFAULT), metric], 4),
                f"{metric}, best peer": f"{peers.max():.4f} {peers.idxmax()}",
            }
        rows.append(row)
    return report.Table("By group of data sets: the default ensemble and the best peer", list(rows[0]), rows)


def data_set_table(records: pd.DataFrame, sets: list[DataSet]) -> report.Table:
    """Per data set the default ensemble against the best peer and scikit-learn's Isolation Forest."""
    means = records.groupby(["data set", "detector"])["ROC-AUC"].mean().unstack()
    peers = means[[name for name in PEERS if name in means]]
    rows = []
    for data_set in sets:
        data = data_set.read()
        rows.append(
            {
                "data set": data_set.name,
                "rows": len(data.anomaly),
                "columns": len(data.columns),
                "categories": len(data.categorical),
                "anomaly": data_set.anomaly,
                "ours": round(means.loc[data_set.name, DEFAULT], 3),
                "scikit-learn": round(means.loc[data_set.name, "scikit-learn IsolationForest"], 3),
                "best peer": round(peers.loc[data_set.name].max(), 3),
                "its name": peers.loc[data_set.name].idxmax(),
                "ROC-AUC": means.loc[data_set.name].round(4).to_dict(),
            }
        )
    columns = ["data set", "rows", "columns", "categories", "ours", "scikit-learn", "best peer", "its name", "anomaly"]
    return report.Table("ROC-AUC by data set: the default ensemble and the best peer of each", columns, rows)


def drawn(records: pd.DataFrame, summary: pd.DataFrame, n_sets: int, seeds: int) -> Figure:
    """One line per detector and metric: the mean, and in small the mean of each seed; ours in colour."""
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    figure.suptitle(f"Ranking anomalies first: mean over {n_sets} labelled data sets (small: by seed; seeds: {seeds})")
    by_seed = records.groupby(["detector", "seed"])[list(METRICS)].mean()
    for axes, metric in zip(figure.subplots(1, 2), METRICS, strict=True):
        order = summary[metric].sort_values()
        for height, (name, value) in enumerate(order.items()):
            colour = "#c44e52" if name == DEFAULT else "#4c72b0" if name in OURS else "#7f7f7f"
            own = by_seed.loc[name, metric]
            axes.plot(own, np.full(len(own), height), ".", color=colour, markersize=4, alpha=0.6)
            axes.plot(value, height, "o", color=colour, markersize=8)
            axes.annotate(
                f"{value:.3f}",
                (max(value, own.max()), height),
                (8, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.set_yticks(range(len(order)), order.index, fontsize=8)
        for label in axes.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() == DEFAULT else "normal")
        axes.margins(x=0.15)
        axes.set_title(metric, fontsize=10)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="x", labelsize=8)
    return figure


if __name__ == "__main__":
    sys.exit(main())
