"""Drift: how far recent rows differ from the training rows, feature by feature and segment by segment.

Belongs here: the training rows as drift sees them, and the comparison with recent ones. Does not belong here: which
windows are recent, and what drift asks for.

Counts add up over tables, so that a window is counted once and recent windows are a sum. A numeric feature has some 120
cells, on which KS is taken; PSI is taken on 10 bins made of whole cells. Missing values are a bin of PSI, so that a
change of non-response shows, and are no part of KS.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.artifacts import Arrays, read_artifact, write_artifact
from cxad_pipeline.detection.drift_bins import BinnedFeature, CountArray, SegmentedRows
from cxad_pipeline.detection.drift_measures import ks, psi
from cxad_pipeline.detection.kernels import FloatArray
from cxad_pipeline.detection.tables import Categories, Table, TableError, columns_of
from cxad_pipeline.detection.tree_arrays import check_array

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class DriftFigures:
    """Recent rows against the training rows; each array has a value per binned feature, (f,).

    Attributes
    ----------
    contacts
        Recent rows of the segment.
    psi, ks
        The two measures; NaN where there is nothing to compare, and KS for categories.
    psi_limit, ks_limit
        What each must exceed: the configured limit and what comes by chance.
    compared
        Whether the segment has enough recent rows.
    drifted
        Whether either measure exceeds its limit where rows are enough.
    """

    contacts: CountArray
    psi: FloatArray
    psi_limit: FloatArray
    ks: FloatArray
    ks_limit: FloatArray
    compared: BoolArray
    drifted: BoolArray


@dataclass(frozen=True, eq=False)
class DriftReference:
    """The training rows as drift sees them.

    Attributes
    ----------
    dimensions
        Columns that segments are made of.
    features
        Each compared feature in each segment, f of them.
    training
        Counts of the training rows, one feature's cells after the other's, (cells,).
    """

    dimensions: tuple[str, ...]
    features: list[BinnedFeature]
    training: CountArray

    @classmethod
    def of(
        cls,
        table: Table,
        numeric: Sequence[str],
        categorical: Sequence[str],
        dimensions: Sequence[str],
        *,
        min_rows: int,
    ) -> Self:
        """Draw bins from training rows.

        Compared are all rows, the rows of each single value of a dimension, and those of each combination of values.
        A segment that has the same rows as a larger one is left out, and so is, in a segment, a dimension of its name.

        Parameters
        ----------
        table
            Training rows.
        numeric, categorical
            Features; those that have no value in the table are left out.
        dimensions
            Columns that segments are made of; all rows are in one segment, `unknown`, of a column that is absent.
        min_rows
            Training rows that a segment needs.

        Raises
        ------
        TableError
            If a column is of the wrong type, or no feature has a value.
        """
        rows = SegmentedRows(columns_of(table), dimensions)
        columns = {name: column for name in numeric if not np.isnan(column := rows.numeric(name)).all()}
        groups = {name: group for name in categorical if (group := rows.categories(name)).values}
        features: list[BinnedFeature] = []
        for segment in rows.segments(min_rows):
            chosen, fixed = rows.inside(segment), {name for name, _ in segment}
            features += [BinnedFeature.numeric(segment, name, column[chosen]) for name, column in columns.items()]
            features += [
                BinnedFeature.categorical(segment, name, Categories(group.codes[chosen], group.values))
                for name, group in groups.items()
                if name not in fixed
            ]
        if not features:
            names = ", ".join([*numeric, *categorical])
            raise TableError(f"none of the features {names} has a value in the {rows.n} training rows")
        unfilled = cls(tuple(dimensions), features, np.zeros(0, dtype=np.int64))
        return cls(tuple(dimensions), features, unfilled.counts(table))

    def counts(self, table: Table) -> CountArray:
        """Rows of a table in each cell, (cells,); those of several tables may be added up.

        A column that the table lacks counts as missing in every row.

        Raises
        ------
        TableError
            If a column is of the wrong type.
        """
        rows = SegmentedRows(columns_of(table), self.dimensions)
        columns: dict[str, FloatArray | Categories] = {}
        chosen, inside = np.arange(rows.n), None
        counted = []
        for feature in self.features:
            if feature.name not in columns:
                read = rows.numeric if feature.values is None else rows.categories
                columns[feature.name] = read(feature.name)
            if feature.segment != inside:
                chosen, inside = rows.inside(feature.segment), feature.segment
            column = columns[feature.name]
            if isinstance(column, Categories):
                counted.append(feature.counts(Categories(column.codes[chosen], column.values)))
            else:
                counted.append(feature.counts(column[chosen]))
        return np.concatenate(counted)

    @cached_property
    def starts(self) -> CountArray:
        """Position of each feature's first cell, and the number of all cells at the end, (f + 1,)."""
        return np.cumsum([0, *(len(feature.bins) for feature in self.features)])

    @cached_property
    def digest(self) -> str:
        """Stands for this reference: counts made with another one mean something else."""
        content, arrays = self._parts()
        hashed = hashlib.sha256(json.dumps(content).encode())
        for array in arrays.values():
            hashed.update(array.tobytes())
        return hashed.hexdigest()

    def compare(self, recent: CountArray, *, max_psi: float, max_ks: float, min_contacts: int) -> DriftFigures:
        """Recent rows against the training rows.

        Parameters
        ----------
        recent
            Sum of counts, (cells,).
        max_psi, max_ks
            Beyond this, and what comes by chance, a feature has drifted.
        min_contacts
            With fewer recent rows of a segment nothing there has drifted.
        """
        starts, missing = self.starts[:-1], self.starts[1:] - 1
        # Bins are neighbouring cells, so one begins wherever a cell's bin is not that of the cell before.
        first = np.flatnonzero(np.diff(np.concatenate([feature.bins for feature in self.features]), prepend=-1))
        in_bins = [np.add.reduceat(counts, first) for counts in (self.training, recent)]
        index, index_by_chance = psi(in_bins[0], in_bins[1], np.searchsorted(first, starts))
        present = np.ones(len(recent), dtype=np.int64)
        present[missing] = 0
        distance, distance_by_chance = ks(self.training * present, recent * present, starts)
        ordered = np.array([feature.values is None for feature in self.features])
        contacts = np.add.reduceat(recent, starts)
        compared = contacts >= min_contacts
        psi_limit, ks_limit = max_psi + index_by_chance, max_ks + distance_by_chance
        beyond = (index > psi_limit) | (ordered & (distance > ks_limit))
        return DriftFigures(
            contacts=contacts,
            psi=index,
            psi_limit=psi_limit,
            ks=np.where(ordered, distance, np.nan),
            ks_limit=np.where(ordered, ks_limit, np.nan),
            compared=compared,
            drifted=compared & beyond,
        )

    def save(self, folder: str | Path) -> None:
        """Write to a local folder."""
        write_artifact(folder, "drift_reference", *self._parts())

    @classmethod
    def load(cls, folder: str | Path) -> DriftReference:
        """Read what `save` wrote.

        Raises
        ------
        DetectorFormatError
            If the folder holds no drift reference.
        """
        return read_artifact(folder, "drift_reference", _built)

    def _parts(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        content = {
            "dimensions": list(self.dimensions),
            "features": [
                {
                    "segment": [list(pair) for pair in feature.segment],
                    "name": feature.name,
                    "values": None if feature.values is None else list(feature.values),
                    "edges": len(feature.edges),
                    "cells": len(feature.bins),
                }
                for feature in self.features
            ],
        }
        return content, {
            "edges": np.concatenate([feature.edges for feature in self.features]),
            "bins": np.concatenate([feature.bins for feature in self.features]).astype(np.int64),
            "training": self.training,
        }


def _built(content: Mapping[str, Any], arrays: Arrays) -> DriftReference:
    described = content["features"]
    edges, bins, training = arrays["edges"], arrays["bins"], arrays["training"]
    cells = [int(entry["cells"]) for entry in described]
    ends = [int(entry["edges"]) for entry in described]
    if not described or min(cells) < 2 or min(ends) < 0:
        raise ValueError("its features are none, or have no cells")
    check_array("edges", edges, np.float64, (sum(ends),))
    check_array("bins", bins, np.int64, (sum(cells),))
    check_array("training", training, np.int64, (sum(cells),))
    if training.min() < 0:
        raise ValueError("training holds a negative count")
    features = []
    for entry, own_edges, own_bins in zip(
        described, np.split(edges, np.cumsum(ends)[:-1]), np.split(bins, np.cumsum(cells)[:-1]), strict=True
    ):
        values = None if entry["values"] is None else tuple(str(value) for value in entry["values"])
        if len(own_bins) != (len(own_edges) if values is None else len(values)) + 2:
            raise ValueError(f"{entry['name']} has {len(own_bins)} cells, which do not fit its edges or values")
        if own_bins[0] != 0 or not np.isin(np.diff(own_bins), (0, 1)).all() or not (np.diff(own_edges) > 0).all():
            raise ValueError(f"edges or bins of {entry['name']} are out of order")
        segment = tuple((str(name), str(value)) for name, value in entry["segment"])
        features.append(BinnedFeature(segment, str(entry["name"]), own_edges, values, own_bins))
    return DriftReference(tuple(content["dimensions"]), features, training)
