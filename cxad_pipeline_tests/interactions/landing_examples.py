"""Landed files, sources and windows that several landing tests share."""

from __future__ import annotations

import datetime as dt
import gzip
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cxad_pipeline.files import FileStat, Folder
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.interactions.landing import LandedRows, Window, list_landed, read_windows
from cxad_pipeline.interactions.sources import ConvertedBatch, RawBatch, SourceReader, readers
from cxad_pipeline.settings import Settings, Source

T0 = dt.datetime(2026, 10, 12, tzinfo=dt.UTC)
LATER = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections)


def source_reader(timezone: str = "UTC", extra_columns: Sequence[dict[str, Any]] = (), **source: Any) -> SourceReader:
    tree = settings(interactions={"extra_columns": list(extra_columns)})
    return SourceReader(Source(name="calls", **source), schema_of(tree), timezone)


def convert(reader: SourceReader, columns: dict[str, Any], file: str = "f.csv") -> ConvertedBatch:
    arrays = {
        name: values if isinstance(values, pa.Array) else pa.array(values, pa.string())
        for name, values in columns.items()
    }
    reader.check_header(file, list(arrays))
    n = len(next(iter(arrays.values())))
    return reader.convert(file, RawBatch(arrays, np.arange(2, n + 2)))


def accepted(batch: ConvertedBatch) -> pa.Table:
    return batch.table.filter(pa.array(batch.accepted))


def verdicts(batch: ConvertedBatch) -> dict[int, tuple[str, str]]:
    return {row["source_line"]: (row["kind"], row["reason"]) for row in batch.rejected.to_pylist()}


def hours(count: int, length: int = 6, start: dt.datetime = T0) -> list[Window]:
    step = dt.timedelta(hours=length)
    return [Window(f"w{i}", start + i * step, start + (i + 1) * step) for i in range(count)]


def at(hour: float) -> str:
    return (T0 + dt.timedelta(hours=hour)).isoformat()


def land(folder: Path, name: str, text: str | bytes, age: int = 0) -> Path:
    """Write a landed file; the one with the greater `age`, in seconds, landed earlier."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    when = T0.timestamp() - age
    os.utime(path, (when, when))
    return path


def csv_of(rows: Iterable[tuple[str, ...]], header: str = "interaction_id,timestamp") -> str:
    return "\n".join([header, *(",".join(row) for row in rows), ""])


def stats(folder: Path | str, tree: Settings | None = None) -> list[FileStat]:
    return list_landed(Folder(str(folder)), tree or settings(), LATER).ready


def landed(folder: Path | str, windows: Sequence[Window], tree: Settings | None = None) -> dict[str, LandedRows]:
    tree = tree or settings()
    return dict(read_windows(Folder(str(folder)), stats(folder, tree), windows, readers(tree)))


def ids(rows: LandedRows) -> list[str]:
    return list(rows.accepted["interaction_id"].to_pylist())
