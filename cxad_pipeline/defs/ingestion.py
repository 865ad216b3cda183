"""Landed files -> validated interactions, window by window.

Belongs here: which files and windows a run reads. Does not belong here: reading them (`interactions.landing`).
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow.compute as pc

from cxad_pipeline.alerting.wording import plural
from cxad_pipeline.defs.checks import contract_check, landing_check_specs, share_rejected_check
from cxad_pipeline.defs.metadata import OWNERS, records_table, table_metadata
from cxad_pipeline.defs.partitions import scoring_windows, windows_for
from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.landing import LandedRows, list_landed, read_windows
from cxad_pipeline.interactions.landing_index import LandingIndex, files_digest, with_digest
from cxad_pipeline.interactions.sources import readers
from cxad_pipeline.settings import Settings

LANDED_INFERENCE = "landed_inference_files"
LANDED_TRAINING = "landed_training_files"


def landed_specs(settings: Settings) -> list[dg.AssetSpec]:
    """The landing folders as external assets: where lineage begins. The sensors report the files they see there."""
    described = {
        LANDED_TRAINING: ("Files landed to train on", settings.paths.training),
        LANDED_INFERENCE: ("Files landed to be scored", settings.paths.inference),
    }
    return [
        dg.AssetSpec(
            name,
            description=f"{words}, in `{where}`.",
            group_name="landing",
            owners=OWNERS,
            kinds={"csv", "parquet"},
            metadata={"path": where},
        )
        for name, (words, where) in described.items()
    ]


def ingestion_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """raw_interactions and rejected_interactions: two outputs of one reading of the files."""
    partitions = scoring_windows(settings)
    common: dict[str, Any] = {"group_name": "ingestion", "owners": OWNERS, "kinds": {"parquet"}}

    @dg.multi_asset(
        name="landed_interactions",
        outs={
            "raw_interactions": dg.AssetOut(
                description="Interactions that keep the data contract, one row for each interaction_id.", **common
            ),
            "rejected_interactions": dg.AssetOut(
                description="Rows that are no interactions or break the contract, each with reason, file and line.",
                **common,
            ),
        },
        deps=[LANDED_INFERENCE],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(settings.schedule.max_windows_per_run),
        check_specs=landing_check_specs("raw_interactions", "rejected_interactions"),
    )
    def landed_interactions(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        windows = windows_for(partitions, context.partition_keys)
        landed, sources = Folder(settings.paths.inference), readers(settings)
        listing = list_landed(landed, settings, dt.datetime.now(dt.UTC))
        if listing.unsettled:
            names = ", ".join(stat.path for stat in listing.unsettled)
            context.log.warning(f"left for later, since they may still be written: {names}")
        index = LandingIndex(Folder(settings.paths.storage), landed, sources, settings)
        files = index.files_in(listing.ready, windows)
        rows = read_windows(landed, files, windows, sources)
        known = [index.of(stat) for stat in files]
        for window in windows:
            found, touching = rows[window.key], [entry for entry in known if entry.touches(window)]
            found.accepted = with_digest(found.accepted, files_digest(touching, window))
            key = window.key
            context.add_asset_metadata(_accepted_metadata(found), "raw_interactions", key)
            context.add_asset_metadata(_rejected_metadata(found), "rejected_interactions", key)
        accepted = sum(found.accepted.num_rows for found in rows.values())
        rejected = sum(found.rejected.num_rows for found in rows.values())
        counted = ((len(files), "file"), (accepted, "interaction"), (rejected, "other row"), (len(windows), "window"))
        context.log.info(", ".join(plural(count, noun) for count, noun in counted))
        tables = {key: found.accepted for key, found in rows.items()}
        yield dg.MaterializeResult(
            asset_key="raw_interactions",
            value=tables,
            check_results=[contract_check(tables, "raw_interactions", sources[0].schema)],
        )
        yield dg.MaterializeResult(
            asset_key="rejected_interactions",
            value={key: found.rejected for key, found in rows.items()},
            check_results=[share_rejected_check(rows, "rejected_interactions", settings)],
        )

    return [landed_interactions]


def _accepted_metadata(found: LandedRows) -> dict[str, object]:
    return {
        **table_metadata(found.accepted),
        "status": "ok" if found.accepted.num_rows else "no data",
        "rows_in": found.rows_in,
        "duplicates": found.count("duplicate"),
        "files": found.files,
        "empty_files": found.empty_files,
    }


def kinds_of(found: LandedRows) -> dict[str, int]:
    """Number of rejected rows of each kind."""
    counts = pc.value_counts(found.rejected["kind"]).to_pylist()
    return {entry["values"]: entry["counts"] for entry in counts}


def _rejected_metadata(found: LandedRows) -> dict[str, object]:
    return {
        **table_metadata(found.rejected),
        "kinds": kinds_of(found),
        "first_rows": records_table(found.rejected.slice(0, 10).drop_columns(["record"]).to_pylist()),
    }
