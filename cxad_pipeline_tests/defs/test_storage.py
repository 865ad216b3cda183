"""What the IO manager keeps, and gives back."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from cxad_pipeline.defs.io import StorageIOManager, WindowTables

DAYS = dg.DailyPartitionsDefinition("2026-10-01", end_date="2026-10-04")


def run(tmp_path: Path, assets: list[dg.AssetsDefinition], **options: object) -> dg.ExecuteInProcessResult:
    manager = StorageIOManager(uri=str(tmp_path))
    return dg.materialize(assets, resources={"io_manager": manager}, **options)


def days(first: str, last: str) -> dict[str, str]:
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def tables_asset(tables: dict[str, pa.Table]) -> dg.AssetsDefinition:
    @dg.asset(name="tables", partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def tables_() -> dg.MaterializeResult:
        return dg.MaterializeResult(value=tables)

    return tables_


def test_each_window_is_a_file_and_comes_back_as_it_was(tmp_path):
    tables = {day: pa.table({"n": [number]}) for number, day in enumerate(["2026-10-01", "2026-10-02"])}
    seen = {}

    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def reader(tables: WindowTables) -> None:
        seen.update(tables)

    assert run(tmp_path, [tables_asset(tables), reader], tags=days("2026-10-01", "2026-10-02")).success
    assert seen == tables
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["2026-10-01.parquet", "2026-10-02.parquet"]


def test_a_window_that_an_asset_forgot_is_an_error_and_nothing_is_stored(tmp_path):
    asset = tables_asset({"2026-10-01": pa.table({"n": [1]})})
    with pytest.raises(dg.DagsterInvariantViolationError, match="no table for window 2026-10-02"):
        run(tmp_path, [asset], tags=days("2026-10-01", "2026-10-02"))
    assert not (tmp_path / "tables").exists()


def test_a_window_that_is_not_there_is_named(tmp_path):
    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def reader(tables: WindowTables) -> None:
        del tables

    asset = tables_asset({})
    with pytest.raises(FileNotFoundError, match="tables: window 2026-10-03 is not there; materialize it first"):
        run(tmp_path, [reader, asset.to_source_asset()], tags=days("2026-10-03", "2026-10-03"))


def test_an_object_of_another_kind_is_refused(tmp_path):
    @dg.asset
    def number() -> int:
        return 7

    with pytest.raises(TypeError, match="number: returned int; must be a pyarrow Table or have save and load"):
        run(tmp_path, [number])


def test_nothing_that_is_kept_is_a_pickle(tmp_path):
    run(tmp_path, [tables_asset({"2026-10-01": pa.table({"n": [1]})})], tags=days("2026-10-01", "2026-10-01"))
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert all(path.read_bytes()[:4] == b"PAR1" for path in kept)
