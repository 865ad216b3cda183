"""The contacts that calibration learns from: those that trained, and those that have been scored since.

Belongs here: reading them from storage. Does not belong here: what is learned (`calibration`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxad_pipeline.files import Folder
from cxad_pipeline.incidents.contacts import Contacts, contacts_of
from cxad_pipeline.interactions.schema import ID, TIMESTAMP
from cxad_pipeline.operations.watched import watched_metrics
from cxad_pipeline.operations.window_keys import start_of_key
from cxad_pipeline.settings import Settings

TRAINING, SCORED = "training_interactions", "ensemble_scores"
_FLAG = "ensemble_anomaly"


class NoHistoryError(RuntimeError):
    """There is nothing to learn from; the message says what to do."""


def history(settings: Settings, days: int, now: dt.datetime | None = None) -> Contacts:
    """The contacts of the last days up to the latest that is known, each once.

    A contact may both have trained and been scored, since the same file may land in both folders.

    Parameters
    ----------
    settings
        Says where storage is, which columns are watched.
    days
        How far back.
    now
        The present time, by default the clock's: contacts after it are left out, since one with a wrong year would else
        be the end of history.

    Raises
    ------
    NoHistoryError
        If storage holds no contact.
    """
    metrics = watched_metrics(settings)
    wanted = {ID, TIMESTAMP, "complaints", _FLAG, *settings.segments.dimensions, *(metric.name for metric in metrics)}
    storage = Folder(settings.paths.storage)
    parts = list(_tables(storage, settings, wanted, days))
    if not parts:
        raise NoHistoryError(f"no interactions in {storage.uri} yet: run `cxad train` first")
    table = pa.concat_tables(parts, promote_options="permissive")
    kind = table[TIMESTAMP].type
    table = table.filter(pc.less_equal(table[TIMESTAMP], pa.scalar(now or dt.datetime.now(dt.UTC), kind)))
    if not table.num_rows:
        raise NoHistoryError(f"all interactions in {storage.uri} are later than the present time")
    last = pc.max(table[TIMESTAMP])
    begin = pa.scalar(last.as_py() - dt.timedelta(days=days), table[TIMESTAMP].type)
    table = _once(table.filter(pc.greater(table[TIMESTAMP], begin)))
    return contacts_of(table, settings.segments.dimensions, metrics)


def _tables(storage: Folder, settings: Settings, wanted: set[str], days: int) -> Iterator[pa.Table]:
    """Scored windows first: of a contact that is there twice, the row that was scored stays."""
    zone = ZoneInfo(settings.schedule.timezone)
    files = [stat.path for stat in storage.below(SCORED).list() if stat.path.endswith(".parquet")]
    starts = sorted((start_of_key(file.removesuffix(".parquet"), zone), file) for file in files)
    for start, file in starts:
        # Windows are much shorter than the day that is added.
        if start >= starts[-1][0] - dt.timedelta(days=days + 1):
            yield from _columns(storage, f"{SCORED}/{file}", wanted)
    if storage.exists(f"{TRAINING}.parquet"):
        yield from _columns(storage, f"{TRAINING}.parquet", wanted)


def _columns(storage: Folder, path: str, wanted: set[str]) -> Iterator[pa.Table]:
    with storage.open(path) as stream:
        file = pq.ParquetFile(stream)
        table = file.read([name for name in file.schema_arrow.names if name in wanted])
    if table.num_rows:
        yield table.replace_schema_metadata(None)


def _once(table: pa.Table) -> pa.Table:
    """The first row of each interaction."""
    numbered = pa.table({ID: table[ID], "row": pa.array(range(table.num_rows), pa.int64())})
    first = numbered.group_by(ID).aggregate([("row", "min")])["row_min"]
    return table.take(first.take(pc.sort_indices(first)))
