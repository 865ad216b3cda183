"""Asset checks: what is verified on every run, in plain measures that tests call without Dagster.

The checks run in the step of their asset, so that they see exactly the tables that are stored.

Belongs here: limits, and verdicts as Dagster results. Does not belong here: the contract itself
(`interactions.contract`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxad_pipeline.detection.detector import Detector
from cxad_pipeline.interactions.contract import contract_violations
from cxad_pipeline.interactions.landing import LandedRows
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.registry.detector_config import expected_rate
from cxad_pipeline.settings import Settings

_MIN_ROWS = 50
"""Fewer rows say nothing about a share or a distribution."""
_BAD_KINDS = ("malformed", "contract", "unreadable")


def landing_check_specs(accepted: str, rejected: str) -> list[dg.AssetCheckSpec]:
    """Checks of the two assets that a landing folder gives."""
    return [
        dg.AssetCheckSpec(
            "contract",
            asset=accepted,
            blocking=True,
            description="Every accepted row keeps the data contract; nothing downstream runs when one does not.",
        ),
        dg.AssetCheckSpec(
            "share_rejected",
            asset=rejected,
            description="The share of rows that break the contract is below checks.max_rejected_share.",
        ),
    ]


def contract_check(tables: Mapping[str, pa.Table], asset: str, schema: InteractionSchema) -> dg.AssetCheckResult:
    """The contract, once more and by other means than landing's."""
    faults = {key: found for key, table in tables.items() if (found := contract_violations(table, schema))}
    return dg.AssetCheckResult(
        check_name="contract",
        asset_key=asset,
        passed=not faults,
        description="; ".join(f"{key}: {found[0]}" for key, found in faults.items()) or "all rows keep the contract",
        metadata={"faults": faults},
    )


def share_rejected_check(rows: Mapping[str, LandedRows], asset: str, settings: Settings) -> dg.AssetCheckResult:
    """Warns of files that mostly do not fit their source."""
    shares = {key: rejected_share(found) for key, found in rows.items()}
    limit = settings.checks.max_rejected_share
    above = {key: share for key, share in shares.items() if share > limit}
    unreadable = sorted({name for found in rows.values() for name in _unreadable(found)})
    words = [f"{key}: {share:.1%} rejected, limit {limit:.1%}" for key, share in above.items()]
    return dg.AssetCheckResult(
        check_name="share_rejected",
        asset_key=asset,
        passed=not above and not unreadable,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join([*words, *(f"{name} can't be read" for name in unreadable)]) or "within the limit",
        metadata={"share": shares},
    )


def rejected_rows(rejected: pa.Table) -> int:
    """Rows that break the contract."""
    return int(pc.sum(pc.is_in(rejected["kind"], value_set=pa.array(_BAD_KINDS))).as_py() or 0)


def rejected_share(rows: LandedRows) -> float:
    """Share of rows that break the contract; dropped rows and duplicates are no fault of the data."""
    bad = rejected_rows(rows.rejected)
    total = rows.accepted.num_rows + bad
    return bad / total if total else 0.0


def scoring_check_specs() -> list[dg.AssetCheckSpec]:
    """Checks of ensemble_scores."""
    return [
        dg.AssetCheckSpec(
            "anomaly_rate", asset="ensemble_scores", description="The anomaly rate is near what the threshold promises."
        ),
        dg.AssetCheckSpec(
            "score_distribution",
            asset="ensemble_scores",
            description="The window's scores are distributed like those of held-out training rows.",
        ),
    ]


def scoring_check_results(
    scored: Mapping[str, pa.Table], detector: Detector, settings: Settings
) -> list[dg.AssetCheckResult]:
    """Both checks over all windows of a run; windows without data are left out and named."""
    empty = [key for key, table in scored.items() if table.num_rows == 0]
    rates: dict[str, str] = {}
    shifts: dict[str, str] = {}
    distances: dict[str, float] = {}
    for key, table in scored.items():
        flagged, n = int(np.sum(table["ensemble_anomaly"].to_numpy())), table.num_rows
        low, high = anomaly_band(n, expected_rate(detector), settings.checks.max_anomaly_rate_ratio)
        if n and not low <= flagged <= high:
            rates[key] = f"{flagged} of {n} flagged, expected {low:.0f} to {high:.0f}"
        if n >= _MIN_ROWS:
            distance = score_distance(table["ensemble_score"].to_numpy(), detector.reference_scores["ensemble"])
            distances[key] = distance
            limit = settings.checks.max_score_shift + 1.63 / math.sqrt(n)  # 1.63/sqrt(n): chance, at one per cent
            if distance > limit:
                shifts[key] = f"distance {distance:.2f} from the held-out scores, limit {limit:.2f}"
    return [
        _warning("anomaly_rate", rates, {"no_data": empty}),
        _warning("score_distribution", shifts, {"no_data": empty, "distance": distances}),
    ]


def anomaly_band(rows: int, rate: float, ratio: float) -> tuple[float, float]:
    """Fewest and most flagged rows that are no surprise: the expected rate, within a factor and chance.

    Parameters
    ----------
    rows
        Scored rows.
    rate
        Share that the threshold promises.
    ratio
        Factor, above 1, by which real weeks may differ from the training period.
    """
    chance = 3 * math.sqrt(rows * rate * (1 - rate))
    return max(0.0, rows * rate / ratio - chance), rows * rate * ratio + chance


def score_distance(scores: np.ndarray, reference_quantiles: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance between scores and a distribution given by evenly spaced quantiles.

    Parameters
    ----------
    scores
        Shape (n,).
    reference_quantiles
        Quantiles from 0 to 1; shape (k,).
    """
    ordered = np.sort(scores)
    levels = np.linspace(0, 1, len(reference_quantiles))
    reference = np.interp(ordered, reference_quantiles, levels, left=0.0, right=1.0)
    above = np.arange(1, len(ordered) + 1) / len(ordered)
    below = np.arange(len(ordered)) / len(ordered)
    return float(np.max(np.maximum(np.abs(above - reference), np.abs(below - reference))))


def _warning(name: str, faults: Mapping[str, str], metadata: Mapping[str, Any]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        asset_key="ensemble_scores",
        passed=not faults,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{key}: {words}" for key, words in faults.items()) or "as expected",
        metadata=dict(metadata),
    )


def _unreadable(rows: LandedRows) -> list[str]:
    return [row["source_file"] for row in rows.rejected.to_pylist() if row["kind"] == "unreadable"]
