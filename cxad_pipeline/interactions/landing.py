"""Landed files, and the rows of a time window that lie in them.

Belongs here: which files are there and complete, which moments they speak of, the rows of windows or of a training
period, duplicates. Does not belong here: formats (`reading`), meaning of columns (`sources`), Dagster's partitions.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxad_pipeline.files import FileStat, Folder
from cxad_pipeline.interactions.arrow_schema import ARROW_TYPES, arrow_schema
from cxad_pipeline.interactions.reading import read_file
from cxad_pipeline.interactions.schema import ID, TIMESTAMP
from cxad_pipeline.interactions.sources import (
    FILED_UNDER,
    PROVENANCE,
    REJECTED_SCHEMA,
    SOURCE_FILE,
    SOURCE_LINE,
    SourceError,
    SourceReader,
    as_json,
    reader_for,
)
from cxad_pipeline.settings import Settings

# rows as Python objects take fifty times the memory of a table
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Window:
    """A half-open span of time, `start` <= t < `end`, both in UTC; `key` names its partition."""

    key: str
    start: dt.datetime
    end: dt.datetime


@dataclass
class LandedRows:
    """The rows of one window or period.

    Attributes
    ----------
    accepted
        Interactions with provenance columns, by time and id; one row for each interaction_id.
    rejected
        The other rows, in `sources.REJECTED_SCHEMA`.
    files
        Names of the files that rows came from, in landing order.
    empty_files
        Files that hold no rows at all.
    """

    accepted: pa.Table
    rejected: pa.Table
    files: list[str] = field(default_factory=list)
    empty_files: list[str] = field(default_factory=list)

    @property
    def rows_in(self) -> int:
        """Rows read, whatever became of them."""
        return int(self.accepted.num_rows + self.rejected.num_rows)

    def count(self, kind: str) -> int:
        """Rejected rows of one kind."""
        return int(pc.sum(pc.equal(self.rejected["kind"], kind)).as_py() or 0)


@dataclass(frozen=True)
class Listing:
    """What lies in a folder: `ready` files in landing order, `unsettled` ones that may still be written."""

    ready: list[FileStat]
    unsettled: list[FileStat]


def list_landed(folder: Folder, settings: Settings, now: dt.datetime) -> Listing:
    """Files of a landing folder, oldest first.

    Names that start with a dot or underscore, or end otherwise than configured, are how other programs mark files
    that are not theirs to read; they are ignored.
    """
    endings = tuple(ending.lower() for ending in settings.landing.extensions)
    stats = [
        stat
        for stat in folder.list()
        if stat.path.lower().endswith(endings) and not any(part[0] in "._" for part in stat.path.split("/"))
    ]
    settle = dt.timedelta(seconds=settings.landing.settle_seconds)
    # A time in the future, beyond what clocks differ by, says nothing of when the file was written.
    unsettled = [stat for stat in stats if abs(now - stat.modified) < settle]
    ready = [stat for stat in stats if stat not in unsettled]
    return Listing(sorted(ready, key=lambda stat: (stat.modified, stat.path)), unsettled)


def read_rows(folder: Folder, stat: FileStat, readers: Sequence[SourceReader]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Rows of a file: accepted, and rejected with the moment that they are filed under.

    A rejected row whose own time can't be read is filed under the time of the row above it, else the first below it;
    where a file has no readable time at all, under the time at which the file landed. A file that can't be read as a
    whole is one rejected row.

    Yields
    ------
    tuple of Table
        Accepted rows, rejected rows in `REJECTED_SCHEMA` with `filed_under` set.
    """
    last: dt.datetime | None = None
    waiting: list[pa.Table] = []
    try:
        for batch in read_file(folder, stat.path, reader_for(stat.path, readers)):
            accepted = batch.table.filter(pa.array(batch.accepted))
            known = batch.table.select([SOURCE_LINE, TIMESTAMP]).filter(pc.is_valid(batch.table[TIMESTAMP]))
            if last is None and known.num_rows:
                last = known[TIMESTAMP][0].as_py()
                yield from ((accepted.slice(0, 0), _file_under(part, known.slice(0, 0), last)) for part in waiting)
                waiting.clear()
            if last is None:
                waiting.append(batch.rejected)
                continue
            yield accepted, _file_under(batch.rejected, known, last)
            if known.num_rows:
                last = known[TIMESTAMP][-1].as_py()
    except SourceError as error:
        yield pa.table({}), _unreadable(stat, str(error))
    for part in waiting:
        yield pa.table({}), _file_under(part, None, stat.modified)


def read_windows(
    folder: Folder, files: Iterable[FileStat], windows: Sequence[Window], readers: Sequence[SourceReader]
) -> Mapping[str, LandedRows]:
    """The rows of some windows.

    Parameters
    ----------
    folder
        Landing folder.
    files
        The files to read, in landing order: of rows with the same interaction_id in a window the last one wins.
    windows
        Windows in order of time, not overlapping.
    readers
        The sources.

    Returns
    -------
    Mapping
        Window key -> its rows; every window has an entry, also where no row fell into it.
    """
    if not windows:
        return {}
    starts = np.array([_micros(window.start) for window in windows])
    ends = np.array([_micros(window.end) for window in windows])
    accepted: dict[str, list[pa.Table]] = {window.key: [] for window in windows}
    rejected: dict[str, list[pa.Table]] = {window.key: [] for window in windows}
    names: dict[str, dict[str, None]] = {window.key: {} for window in windows}
    empty: list[str] = []
    for stat in files:
        rows = 0
        for good, bad in read_rows(folder, stat, readers):
            rows += good.num_rows + bad.num_rows
            for table, column, into in ((good, TIMESTAMP, accepted), (bad, FILED_UNDER, rejected)):
                for index, part in _by_window(table, column, starts, ends):
                    into[windows[index].key].append(part)
                    names[windows[index].key].setdefault(stat.path)
        if rows == 0:
            empty.append(stat.path)
    nothing = arrow_schema(readers[0].schema)
    nothing = pa.schema([*nothing, pa.field(SOURCE_FILE, pa.string()), pa.field(SOURCE_LINE, pa.int64())]).empty_table()
    return {
        window.key: _assemble(accepted[window.key] or [nothing], rejected[window.key], list(names[window.key]), empty)
        for window in windows
    }


def read_period(
    folder: Folder,
    files: Iterable[FileStat],
    start: dt.datetime | None,
    end: dt.datetime | None,
    readers: Sequence[SourceReader],
) -> LandedRows:
    """The rows of a period, unbounded where `start` or `end` is None; used for training."""
    epoch = dt.datetime(1900, 1, 1, tzinfo=dt.UTC), dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
    window = Window("period", start or epoch[0], end or epoch[1])
    return read_windows(folder, files, [window], readers)["period"]


@dataclass(frozen=True)
class Survey:
    """What one reading of a file finds, without keeping its rows.

    Attributes
    ----------
    rows, all_rows
        Accepted rows, and all rows whatever became of them.
    minutes
        Minutes since 1970 of all rows, sorted and distinct; shape (m,). Scoring windows are cut by cron expressions,
        which know no finer step.
    unreadable
        Why the file, or the rest of it, can't be read; empty where it can.
    """

    rows: int
    all_rows: int
    minutes: np.ndarray
    unreadable: str


def survey(folder: Folder, stat: FileStat, readers: Sequence[SourceReader]) -> Survey:
    """Read a file for what is in it."""
    rows, all_rows, unreadable, found = 0, 0, "", [np.empty(0, np.int64)]
    for good, bad in read_rows(folder, stat, readers):
        rows += good.num_rows
        all_rows += good.num_rows + bad.num_rows
        reasons = bad.filter(pc.equal(bad["kind"], "unreadable"))["reason"].to_pylist()
        unreadable = unreadable or "; ".join(reasons)
        for table, column in ((good, TIMESTAMP), (bad, FILED_UNDER)):
            if table.num_rows:
                found.append(np.unique(_as_micros(table[column]) // 60_000_000))
    return Survey(rows, all_rows, np.unique(np.concatenate(found)), unreadable)


def _by_window(table: pa.Table, column: str, starts: np.ndarray, ends: np.ndarray) -> Iterator[tuple[int, pa.Table]]:
    if table.num_rows == 0:
        return
    moments = _as_micros(table[column])
    index = np.searchsorted(starts, moments, side="right") - 1
    index[(index < 0) | (moments >= ends[np.maximum(index, 0)])] = -1
    for window in np.unique(index[index >= 0]):
        yield int(window), table.filter(pa.array(index == window))


def _assemble(accepted: list[pa.Table], rejected: list[pa.Table], files: list[str], empty: list[str]) -> LandedRows:
    table = pa.concat_tables(accepted, promote_options="default")
    others = list(rejected)
    if table.num_rows:
        table = table.select([*(name for name in table.column_names if name not in PROVENANCE), *PROVENANCE])
        table, superseded = _last_wins(table)
        others.append(superseded)
        table = table.sort_by([(TIMESTAMP, "ascending"), (ID, "ascending")])
    refused = pa.concat_tables(others) if others else REJECTED_SCHEMA.empty_table()
    refused = refused.sort_by([(SOURCE_FILE, "ascending"), (SOURCE_LINE, "ascending")])
    return LandedRows(table.combine_chunks(), refused.combine_chunks(), files, empty)


def _last_wins(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """One row for each interaction_id, the last in landing order; the others as rejected rows."""
    ids = table[ID].combine_chunks().dictionary_encode().indices.to_numpy()
    last = np.zeros(ids.max() + 1, np.int64)
    last[ids] = np.arange(len(ids))  # numpy keeps the last assignment
    keep = last[ids] == np.arange(len(ids))
    if keep.all():
        return table, REJECTED_SCHEMA.empty_table()
    superseded = table.filter(pa.array(~keep))
    winners = table.select([SOURCE_FILE, SOURCE_LINE]).take(pa.array(last[ids[~keep]]))
    parts = []
    for start in range(0, superseded.num_rows, _ROWS_AT_ONCE):
        rows = []
        some, theirs = (part.slice(start, _ROWS_AT_ONCE).to_pylist() for part in (superseded, winners))
        for row, winner in zip(some, theirs, strict=True):
            reason = f"{row[ID]} comes again in {winner[SOURCE_FILE]}, line {winner[SOURCE_LINE]}"
            record = {name: value for name, value in row.items() if name not in PROVENANCE}
            rows.append(_rejection("duplicate", reason, row, record, row[TIMESTAMP]))
        parts.append(pa.Table.from_pylist(rows, REJECTED_SCHEMA))
    return table.filter(pa.array(keep)), pa.concat_tables(parts)


def _rejection(
    kind: str, reason: str, row: Mapping[str, object], record: Mapping[str, object], moment: dt.datetime
) -> dict[str, object]:
    return {
        "kind": kind,
        "reason": reason,
        SOURCE_FILE: row[SOURCE_FILE],
        SOURCE_LINE: row[SOURCE_LINE],
        ID: row.get(ID),
        FILED_UNDER: moment,
        "record": as_json(record),
    }


def _file_under(rejected: pa.Table, known: pa.Table | None, before: dt.datetime) -> pa.Table:
    """Give rejected rows without a time the one of the nearest row above that has one."""
    if rejected.num_rows == 0 or rejected[FILED_UNDER].null_count == 0:
        return rejected
    moments = np.array([_micros(before)])
    position = np.zeros(rejected.num_rows, np.int64)
    if known is not None and known.num_rows:
        moments = np.concatenate([moments, _as_micros(known[TIMESTAMP])])
        position = np.searchsorted(known[SOURCE_LINE].to_numpy(), rejected[SOURCE_LINE].to_numpy())
    inherited = pa.array(moments[position], pa.timestamp("us")).cast(pa.int64()).cast(ARROW_TYPES["timestamp"])
    filed = pc.coalesce(rejected[FILED_UNDER], pa.chunked_array([inherited]))
    return rejected.set_column(rejected.column_names.index(FILED_UNDER), REJECTED_SCHEMA.field(FILED_UNDER), filed)


def _unreadable(stat: FileStat, reason: str) -> pa.Table:
    place = {SOURCE_FILE: stat.path, SOURCE_LINE: 0}
    return pa.Table.from_pylist([_rejection("unreadable", reason, place, {}, stat.modified)], REJECTED_SCHEMA)


def _micros(moment: dt.datetime) -> int:
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def _as_micros(moments: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.cast(moments, pa.int64()).to_numpy())
