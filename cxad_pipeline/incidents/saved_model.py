"""An incident model as JSON and plain arrays.

Belongs here: what is written and read, and refusing what is no model. Does not belong here: files
(`detection/artifacts.py`), and what the parts mean.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from cxad_pipeline.detection.artifacts import under_prefix, with_prefix
from cxad_pipeline.detection.calibration import Calibration
from cxad_pipeline.detection.tree_arrays import check_array
from cxad_pipeline.incidents.baselines import DAYS, Baseline
from cxad_pipeline.incidents.budget import NONE_UNSAID, Peaks, Promise, Unsaid
from cxad_pipeline.incidents.metrics import GRID, TAIL_SHARES, MetricRule, Tails
from cxad_pipeline.incidents.monitor import Monitor
from cxad_pipeline.incidents.profile_set import Profiles
from cxad_pipeline.incidents.profiles import MeanProfile, RateProfile
from cxad_pipeline.incidents.segments import Key, SegmentTree
from cxad_pipeline.incidents.windows import Windows

if TYPE_CHECKING:
    from cxad_pipeline.incidents.incident_model import IncidentModel

Arrays = Mapping[str, npt.NDArray[Any]]

KIND = "incident_model"
LAYOUT = 1
"""Goes up when a model that was written cannot be read any more."""
_ENDLESS = 1e300
"""Ordinary silence of a segment in models of earlier releases, which do not know it: no silence surprises."""


def document_of(model: IncidentModel) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """The model as a document for JSON and named arrays."""
    tree, monitor, profiles = model.tree, model.monitor, model.monitor.profiles
    document = {
        "layout": LAYOUT,
        "dimensions": tree.dimensions,
        "leaves": tree.leaves,
        "keys": tree.keys,
        "metrics": [asdict(metric) for metric in model.metrics],
        "complaints": profiles.complaints is not None,
        "calibrations": list(monitor.calibrations),
        "weeks": monitor.weeks,
        "unsaid": list(monitor.unsaid),
        "min_effect": monitor.min_effect,
        "min_contacts": monitor.min_contacts,
        "promise": asdict(model.promise),
        "threshold": model.threshold,
        "shifts": [[segment, shift] for segment, shift in model.shifts.items()],
        "window_seconds": model.window_seconds,
        "timezone": model.timezone,
        "special_days": [day.isoformat() for day in model.special_days],
        "replayed_per_week": model.replayed_per_week,
        "history": list(model.history),
    }
    arrays: dict[str, npt.NDArray[Any]] = {
        "members": tree.members,
        "tails/quantiles": model.tails.quantiles,
        "tails/joint": model.tails.joint,
        "usual_contacts": monitor.usual_contacts,
        "cold": monitor.cold,
        "silence": monitor.silence,
        "peaks/score": monitor.replayed.score,
        "peaks/segment": monitor.replayed.segment,
        "peaks/window": monitor.replayed.window,
        **with_prefix("means", _baselines([profile.baseline for profile in profiles.means])),
        "means/within": np.array([profile.within for profile in profiles.means]),
        "means/between": np.array([profile.between for profile in profiles.means]),
        **with_prefix("rates", _rates(profiles)),
    }
    for number, calibration in enumerate(monitor.calibrations.values()):
        arrays |= with_prefix(f"calibrations/{number}", calibration.to_arrays())
    return document, arrays


def parts_of(document: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    """The attributes of the model that `document_of` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError
        If they are none.
    """
    if document["layout"] != LAYOUT:
        raise ValueError(
            f"layout {document['layout']!r}; this release reads {LAYOUT}: calibrate again, or use the release that "
            "wrote it"
        )
    arrays = {"silence": np.full((len(document["keys"]), 1), _ENDLESS), **arrays}
    metrics = tuple(MetricRule(**metric) for metric in document["metrics"])
    windows = Windows(0, 1, document["window_seconds"], str(ZoneInfo(document["timezone"])))
    tree = _tree(document, arrays)
    s, m, slots, leaves = len(tree), len(metrics), DAYS * windows.per_day, len(tree.leaves)
    number_of_rates = m * (len(TAIL_SHARES) + 1) + 2 + int(document["complaints"])
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "usual_contacts": (np.float64, (slots,)),
        "cold": (np.bool_, (s,)),
        "silence": (np.float64, (s, 1)),
        "peaks/score": (np.float64, arrays["peaks/score"].shape),
        "peaks/segment": (np.int64, arrays["peaks/score"].shape),
        "peaks/window": (np.int64, arrays["peaks/score"].shape),
    }
    for name, number, of_segment in (
        ("means", m, ("within", "between")),
        ("rates", number_of_rates, ("dispersion",)),
    ):
        expected |= {f"{name}/{part}": (np.float64, (number, s, slots)) for part in ("value", "variance")}
        expected |= {f"{name}/{part}": (np.float64, (number, s, 1)) for part in of_segment}
    # Quantiles are NaN where a metric has no value.
    pairs = m * (m - 1) // 2
    if arrays["tails/quantiles"].shape != (m, len(GRID), leaves + 1) or arrays["tails/joint"].shape != (pairs,):
        raise ValueError(f"tails are not those of {m} metrics and {leaves} leaves")
    for name, (dtype, shape) in expected.items():
        check_array(f"{KIND}: {name}", arrays[name], dtype, shape)
    number, share = document.get("unsaid", NONE_UNSAID)  # models of earlier releases have none
    monitor = Monitor(
        tree=tree,
        metrics=metrics,
        usual_contacts=arrays["usual_contacts"],
        cold=arrays["cold"],
        silence=arrays["silence"],
        profiles=_profiles(m, bool(document["complaints"]), arrays),
        calibrations={
            (str(family), str(kind)): Calibration.from_arrays(under_prefix(f"calibrations/{number}", arrays))
            for number, (family, kind) in enumerate(document["calibrations"])
        },
        replayed=Peaks(arrays["peaks/score"], arrays["peaks/segment"], arrays["peaks/window"]),
        weeks=float(document["weeks"]),
        unsaid=Unsaid(int(number), float(share)),
        min_effect=float(document["min_effect"]),
        min_contacts=int(document["min_contacts"]),
    )
    start, end, contacts = (int(number) for number in document["history"])
    return {
        "tree": tree,
        "metrics": metrics,
        "tails": Tails(arrays["tails/quantiles"], arrays["tails/joint"]),
        "monitor": monitor,
        "promise": Promise(**document["promise"]),
        "threshold": float(document["threshold"]),
        "shifts": {_key(segment): float(shift) for segment, shift in document["shifts"]},
        "window_seconds": windows.seconds,
        "timezone": windows.timezone,
        "special_days": tuple(dt.date.fromisoformat(day) for day in document["special_days"]),
        "replayed_per_week": float(document["replayed_per_week"]),
        "history": (start, end, contacts),
    }


def _tree(document: Mapping[str, Any], arrays: Arrays) -> SegmentTree:
    dimensions = tuple(str(name) for name in document["dimensions"])
    leaves = [tuple(str(value) for value in leaf) for leaf in document["leaves"]]
    keys = [_key(pairs) for pairs in document["keys"]]
    check_array(f"{KIND}: members", arrays["members"], np.bool_, (len(keys), len(leaves)))
    if len(set(keys)) < len(keys) or len(set(leaves)) < len(leaves) or keys[0] != ():
        raise ValueError("segments are named twice, or the first one is not that of all contacts")
    return SegmentTree(dimensions, leaves, keys, arrays["members"])


def _key(pairs: Sequence[Sequence[Any]]) -> Key:
    return tuple((str(name), str(value)) for name, value in pairs)


def _baselines(baselines: Sequence[Baseline]) -> dict[str, npt.NDArray[np.float64]]:
    return {
        "value": np.array([baseline.value for baseline in baselines]),
        "variance": np.array([baseline.variance for baseline in baselines]),
    }


def _rates(profiles: Profiles) -> dict[str, npt.NDArray[np.float64]]:
    """All rates, one after the other: tails by metric, shares with a value, together, volume, complaints."""
    rates = [*chain.from_iterable(profiles.tails), *profiles.answered, profiles.together, profiles.volume]
    if profiles.complaints is not None:
        rates.append(profiles.complaints)
    dispersions = np.array([profile.dispersion for profile in rates])
    return {**_baselines([profile.baseline for profile in rates]), "dispersion": dispersions}


def _profiles(metrics: int, complaints: bool, arrays: Arrays) -> Profiles:
    means, rates = under_prefix("means", arrays), under_prefix("rates", arrays)
    of_rates = [
        RateProfile(Baseline(value, variance), dispersion)
        for value, variance, dispersion in zip(rates["value"], rates["variance"], rates["dispersion"], strict=True)
    ]
    tails, kinds = metrics * len(TAIL_SHARES), len(TAIL_SHARES)
    return Profiles(
        means=[
            MeanProfile(Baseline(value, variance), within, between)
            for value, variance, within, between in zip(
                means["value"], means["variance"], means["within"], means["between"], strict=True
            )
        ],
        tails=[of_rates[first : first + kinds] for first in range(0, tails, kinds)],
        answered=of_rates[tails : tails + metrics],
        together=of_rates[tails + metrics],
        volume=of_rates[tails + metrics + 1],
        complaints=of_rates[tails + metrics + 2] if complaints else None,
    )
