"""What assets show of themselves in Dagster's UI.

Belongs here: schemas, lineage, small tables and pictures. Does not belong here: what one asset alone shows.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OWNERS = ["team:cx-analytics"]


def table_schema(schema: pa.Schema) -> dg.TableSchema:
    """Column names, types and meanings of a table."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                field.name,
                str(field.type),
                description=(field.metadata or {}).get(b"meaning", b"").decode() or None,
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )


def lineage(columns: Mapping[str, Iterable[tuple[str, str]]]) -> dg.TableColumnLineage:
    """Column -> the (asset, column) pairs that it is made of."""
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(dg.AssetKey(asset), column) for asset, column in origins]
            for name, origins in columns.items()
        }
    )


def same_columns(names: Sequence[str], asset: str) -> dg.TableColumnLineage:
    """Lineage of columns that are taken over as they are."""
    return lineage({name: [(asset, name)] for name in names})


def table_metadata(table: pa.Table) -> dict[str, Any]:
    """Row count and schema of a table."""
    return {"dagster/row_count": table.num_rows, "dagster/column_schema": table_schema(table.schema)}


def records_table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue | dg.MarkdownMetadataValue:
    """A small table; a word where it is empty, since Dagster can't show a table without columns."""
    if not rows:
        return dg.MetadataValue.md("none")
    return dg.MetadataValue.table([dg.TableRecord(_plain(row)) for row in rows])


def picture(figure: Figure, name: str) -> dg.MarkdownMetadataValue:
    """A figure inside the metadata, so that it is seen without opening a file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{encoded})")


def _plain(row: Mapping[str, Any]) -> dict[str, str | int | float | bool | None]:
    return {
        key: value if isinstance(value, str | int | float | bool | None) else str(value) for key, value in row.items()
    }
