"""How fast forests are grown and score: ours against rrcf, krcf, scikit-learn and isotree in the same run.

18 columns of normal numbers, 10,000 training points, 100 trees of 256. A batch is scored on one and on two threads, one
row by itself; the ratios say how many times as fast ours of the same kind is. A second table has the growth with rows,
columns and trees on one thread. `Detector.score` of one row is the whole way from a table of one interaction, features
and both models included, to severity and flags.

    python benchmarks/speed.py [--quick] [--output FOLDER]

Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import report
from engines import ENGINES, Engine, Krcf, OurIsolationForest, OurRandomCutForest, Rrcf, ScikitLearn
from labelled_data import simulated
from matplotlib.figure import Figure
from measuring import best_in_turns, median_of_calls
from rankers import MissingPeerError

from cxad_pipeline.detection import Detector, DetectorConfig

FEATURES = 18
COLOURS = dict(
    zip(
        (kind.name for kind in ENGINES), ("#c44e52", "#dd8452", "#937860", "#4c72b0", "#64b5cd", "#8c8c8c"), strict=True
    )
)


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    trees: int = 100
    tree_size: int = 256
    training_rows: int = 10_000
    rows: int = 20_000
    repeats: int = 5
    calls: int = 1_000
    growth_rows: tuple[int, ...] = (1, 10, 100, 1_000, 10_000, 100_000)
    growth_columns: tuple[int, ...] = (2, 5, 18, 50, 100, 200)
    growth_trees: tuple[int, ...] = (10, 30, 100, 300)


QUICK = Sizes(5, 32, 200, 1_000, 1, 10, (1, 100), (2, 5), (2, 4))


def main() -> int:
    options = report.arguments(__doc__).parse_args()
    sizes = QUICK if options.quick else Sizes()
    found = report.Report("speed", options.quick)
    rows = speeds(sizes)
    both, whole = one_row_of_detector(sizes)
    rows += [
        {"engine": "ours: both models", "one row us": both},
        {"engine": "ours: Detector.score", "one row us": whole},
    ]
    found.tables["speed"] = report.Table(
        f"Speed: {FEATURES} columns, {sizes.trees} trees of {sizes.tree_size}",
        ["engine", "fit s", "rows/s, 1 thread", "rows/s, 2 threads", "one row us", *RATIOS],
        rows,
        "The last three columns: how many times as fast ours of the same kind is. One row: the median of single calls.",
    )
    growth = [*grown(sizes)]
    found.tables["growth"] = growth_table(growth)
    found.bars += bars({str(row["engine"]): row for row in rows})
    return found.finish(drawn(rows, growth), options.output)


RATIOS = ("ours / it, 1 thread", "ours / it, 2 threads", "ours / it, one row")


def speeds(sizes: Sizes) -> list[dict[str, object]]:
    """The first table, without the detector."""
    random = np.random.default_rng(0)
    training, X = (random.normal(size=(n, FEATURES)) for n in (sizes.training_rows, sizes.rows))
    rows: dict[str, dict[str, object]] = {kind.name: {"engine": kind.name} for kind in ENGINES}
    engines = [kind(sizes.trees, sizes.tree_size) for kind in ENGINES]
    present = []
    for engine in engines:
        try:
            engine.fit(training)
        except MissingPeerError as error:
            rows[engine.name]["missing"] = str(error)
            continue
        present.append(engine)
        engine.prepare(X[: max(2, round(engine.share * len(X)))])
        engine.score(1)  # compiles, or reads compiled code from the disk
        calls = max(5, round(sizes.calls * engine.share))
        rows[engine.name]["one row us"] = 1e6 * median_of_calls(
            lambda i, e=engine: e.score_row(i % len(e.points)), calls
        )
    fits = best_in_turns({e.name: lambda e=e: e.fit(training) for e in present}, min(2, sizes.repeats))
    for name, seconds in fits.items():
        rows[name]["fit s"] = seconds
    for threads in (1, 2):
        able = {engine.name: engine for engine in present if threads in engine.threads}
        tasks = {name: lambda e=engine, k=threads: e.score(k) for name, engine in able.items()}
        for name, seconds in best_in_turns(tasks, sizes.repeats).items():
            rows[name][_column(threads)] = len(able[name].points) / seconds
    ours = {kind.model: rows[kind.name] for kind in (OurRandomCutForest, OurIsolationForest)}
    for kind in ENGINES:
        _add_ratios(rows[kind.name], ours[kind.model])
    return [
        {key: report.rounded(value) if isinstance(value, float) else value for key, value in row.items()}
        for row in rows.values()
    ]


def _column(threads: int) -> str:
    return "rows/s, 1 thread" if threads == 1 else "rows/s, 2 threads"


def _add_ratios(row: dict[str, object], ours: dict[str, object]) -> None:
    """How many times as fast ours is as the engine of this row."""
    if row is ours:
        return
    for name, column in zip(RATIOS[:2], (_column(1), _column(2)), strict=True):
        if column in row:
            row[name] = ours[column] / row[column]  # type: ignore[operator]
    if "one row us" in row:
        row[RATIOS[2]] = row["one row us"] / ours["one row us"]  # type: ignore[operator]


def one_row_of_detector(sizes: Sizes) -> tuple[float, float]:
    """Microseconds of one row: its features in both forests, and the whole way from a table of one interaction."""
    data = simulated(max(sizes.training_rows, 400), 0.01, 0.0)
    params = ({"n_estimators": sizes.trees}, {"n_estimators": sizes.trees, "tree_size": sizes.tree_size})
    models = [replace(model, params=own) for model, own in zip(DetectorConfig(()).models, params, strict=True)]
    detector = Detector.fit(data.columns, DetectorConfig(data.numeric, data.categorical, models))
    tables = [{name: values[i : i + 1] for name, values in data.columns.items()} for i in range(200)]
    forests = [member.forest for member in detector.members.values()]
    X = np.random.default_rng(0).normal(size=(200, forests[0].n_features))
    both = median_of_calls(lambda i: [f.anomaly_score(X[i % 200][None], threads=1) for f in forests], sizes.calls)
    whole = median_of_calls(lambda i: detector.score(tables[i % 200]), sizes.calls)
    return report.rounded(1e6 * both), report.rounded(1e6 * whole)


def grown(sizes: Sizes) -> Iterator[report.Row]:
    """Microseconds per row on one thread: by rows of a batch, by columns, by trees."""
    random = np.random.default_rng(1)
    few = sizes.rows // 4
    cases = [("rows", n, FEATURES, sizes.trees, n) for n in sizes.growth_rows]
    cases += [("columns", d, d, sizes.trees, few) for d in sizes.growth_columns]
    cases += [("trees", k, FEATURES, k, few) for k in sizes.growth_trees]
    forests: dict[object, Engine] = {}
    for what, size, columns, trees, rows in cases:
        training, X = (random.normal(size=(n, columns)) for n in (min(2_000, sizes.training_rows), rows))
        tasks = {}
        for kind in ENGINES:
            key = (kind, columns, trees)
            try:
                if key not in forests:
                    forest = kind(trees, sizes.tree_size)
                    forest.fit(training)
                    forests[key] = forest
            except MissingPeerError:
                continue  # the first table says so
            engine = forests[key]
            own = X if what == "rows" and rows <= 10 else X[: max(2, round(engine.share * rows))]
            if what == "rows" and len(own) * 100 < rows:
                continue  # one row after the other: more of them tell nothing new
            engine.prepare(own)
            tasks[kind.name] = lambda e=engine: e.score(1)
        for name, seconds in best_in_turns(tasks, 20 if rows <= 100 else 3).items():
            per_row = report.rounded(1e6 * seconds / len(forests[_kind(name), columns, trees].points))
            yield {"by": what, "size": size, "engine": name, "us per row": per_row}


def _kind(name: str) -> type[Engine]:
    return next(kind for kind in ENGINES if kind.name == name)


def growth_table(growth: list[report.Row]) -> report.Table:
    """One line per size, one column per engine."""
    sizes = list(dict.fromkeys((row["by"], row["size"]) for row in growth))
    lines = [
        {"by": by, "size": size}
        | {row["engine"]: row["us per row"] for row in growth if (row["by"], row["size"]) == (by, size)}
        for by, size in sizes
    ]
    title = f"Growth: microseconds per row on one thread ({FEATURES} columns unless said otherwise)"
    return report.Table(title, ["by", "size", *(kind.name for kind in ENGINES)], lines)


def bars(rows: dict[str, report.Row]) -> list[report.Bar]:
    """What the speeds have to be."""
    one_thread, two_threads, one_row = RATIOS
    rrcf, krcf, scikit_learn = (rows[kind.name] for kind in (Rrcf, Krcf, ScikitLearn))
    return [
        report.Bar("random cut forest over rrcf, per core", rrcf.get(one_thread), 1_000),
        report.Bar("random cut forest over krcf, per core", krcf.get(one_thread), 3),
        report.Bar("isolation forest over scikit-learn, 1 thread", scikit_learn.get(one_thread), 1.5),
        report.Bar("isolation forest over scikit-learn, 2 threads", scikit_learn.get(two_threads), 1.5),
        report.Bar("isolation forest over scikit-learn, one row", scikit_learn.get(one_row), 200),
        report.Bar("one row in both models, us", rows["ours: both models"]["one row us"], 60, at_most=True),
        report.Bar("one row with features, us", rows["ours: Detector.score"]["one row us"], 200, at_most=True),
    ]


def drawn(rows: list[dict[str, object]], growth: list[report.Row]) -> Figure:
    """Speeds of batch and one row above, growth below; all axes of speed are logarithmic."""
    figure = Figure(figsize=(13, 8), layout="constrained")
    figure.suptitle("Speed of scoring: ours against the libraries, in one run")
    above, below = figure.subfigures(2, 1).flat
    engines = [row for row in rows if row["engine"] in COLOURS][::-1]
    panels = (("rows/s, 1 thread", "rows/s, 2 threads"), ("one row us",), ("fit s",))
    titles = ("batch: rows per second (full: 1 thread, light: 2)", "one row: microseconds", "fit: seconds")
    for axes, columns, title in zip(above.subplots(1, 3, sharey=True), panels, titles, strict=True):
        height = 0.8 / len(columns)
        for j, column in enumerate(columns):
            for y, row in enumerate(engines):
                if column not in row:
                    continue
                value, place = float(row[column]), y - height * (j - (len(columns) - 1) / 2)  # type: ignore[arg-type]
                axes.barh(place, value, height, color=COLOURS[str(row["engine"])], alpha=1 - 0.45 * j)
                axes.text(value, place, f" {value:,.3g}" if value < 100 else f" {value:,.0f}", va="center", fontsize=7)
        axes.set_xscale("log")
        axes.set_xlim(right=axes.get_xlim()[1] * 6)
        axes.set_yticks(range(len(engines)), [str(row["engine"]) for row in engines], fontsize=8)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    for axes, what in zip(below.subplots(1, 3, sharey=True), ("rows", "columns", "trees"), strict=True):
        for name, colour in COLOURS.items():
            points = [(row["size"], row["us per row"]) for row in growth if (row["by"], row["engine"]) == (what, name)]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color=colour, label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(f"microseconds per row by {what}, 1 thread", fontsize=10)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    below.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=len(labels))
    return figure


if __name__ == "__main__":
    sys.exit(main())
