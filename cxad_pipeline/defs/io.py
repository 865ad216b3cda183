"""Where assets are kept: Parquet for tables, a folder for models, below `paths.storage`.

Nothing is pickled. A partition is replaced whole, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from cxad_pipeline.files import Folder


@runtime_checkable
class SavedFolder(Protocol):
    """What knows how to write itself into a folder and to read itself from one."""

    def save(self, folder: str | Path) -> None:
        """Write into an existing folder."""

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote."""


class WindowTables(Mapping[str, pa.Table]):
    """Tables of some windows, each read when it is asked for, so that memory holds one window at a time."""

    def __init__(self, folder: Folder, paths: Mapping[str, str]) -> None:
        self._folder = folder
        self._paths = paths

    def __getitem__(self, key: str) -> pa.Table:
        with self._folder.open(self._paths[key]) as stream:
            return pq.read_table(stream)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


class StorageIOManager(dg.ConfigurableIOManager):
    """Keeps what assets return.

    A partitioned asset returns a mapping of window to table and gets one; any other asset returns a table, or an object
    with `save` and `load`, and gets the same by the annotation of its input.
    """

    uri: str

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store the output of an asset."""
        folder, name = Folder(self.uri), _name(context)
        if context.has_asset_partitions:
            for key in context.asset_partition_keys:
                if key not in obj:
                    raise dg.DagsterInvariantViolationError(f"{name}: no table for window {key}; there must be one")
            for key, table in obj.items():
                _write_table(folder, f"{name}/{key}.parquet", table)
        elif isinstance(obj, pa.Table):
            _write_table(folder, f"{name}.parquet", obj)
        elif isinstance(obj, SavedFolder):
            folder.save_folder(name, obj.save)
        else:
            raise TypeError(f"{name}: returned {type(obj).__name__}; must be a pyarrow Table or have save and load")

    def load_input(self, context: dg.InputContext) -> Any:
        """Load what an upstream asset returned."""
        folder, name = Folder(self.uri), _name(context)
        if context.has_asset_partitions:
            paths = {key: f"{name}/{key}.parquet" for key in context.asset_partition_keys}
            absent = [key for key, path in paths.items() if not folder.exists(path)]
            if absent:
                raise FileNotFoundError(f"{name}: window {', '.join(absent)} is not there; materialize it first")
            return WindowTables(folder, paths)
        wanted = context.dagster_type.typing_type
        if wanted is pa.Table:
            if not folder.exists(f"{name}.parquet"):
                raise FileNotFoundError(f"{folder.address(name)}.parquet is not there; materialize {name} first")
            with folder.open(f"{name}.parquet") as stream:
                return pq.read_table(stream)
        with ExitStack() as stack:
            try:
                local = stack.enter_context(folder.local_copy(name))
            except FileNotFoundError:
                raise FileNotFoundError(
                    f"{folder.address(name)} is not there; materialize {name} first, as `cxad train` does"
                ) from None
            return wanted.load(local)


def _name(context: dg.OutputContext | dg.InputContext) -> str:
    return "/".join(context.asset_key.path)


def _write_table(folder: Folder, path: str, table: pa.Table) -> None:
    with folder.replacing(path) as stream:
        pq.write_table(table, stream, compression="zstd")
