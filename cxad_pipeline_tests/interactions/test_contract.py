"""The second pair of eyes: it finds every kind of fault, and none in what landing accepted."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from landing_examples import accepted, convert, source_reader

from cxad_pipeline.interactions.arrow_schema import ARROW_TYPES, arrow_schema
from cxad_pipeline.interactions.contract import contract_violations
from cxad_pipeline.interactions.documentation import KINDS, contract_markdown
from cxad_pipeline.interactions.schema import COLUMNS, Column, InteractionSchema
from cxad_pipeline.interactions.sources import REJECTED_SCHEMA

SCHEMA = InteractionSchema()
NOON = dt.datetime(2026, 10, 12, 12, tzinfo=dt.UTC)


def table(**columns: Any) -> pa.Table:
    base = {"interaction_id": ["a", "b"], "timestamp": [NOON, NOON], "csat": [1.0, 5.0], "transfers": [0, None]}
    return pa.table(
        {
            name: values if isinstance(values, pa.Array) else pa.array(values, ARROW_TYPES[SCHEMA[name].type])
            for name, values in (base | columns).items()
        }
    )


def test_a_sound_table_has_no_faults() -> None:
    assert contract_violations(table(), SCHEMA) == []
    assert contract_violations(table(channel=[None, "voice"], ies=[None, None], note=pa.array([1, 2])), SCHEMA) == []


def test_a_table_without_rows_has_no_faults() -> None:
    assert contract_violations(arrow_schema(SCHEMA).empty_table(), SCHEMA) == []


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"interaction_id": ["a", "a"]}, "row 0, interaction_id = 'a': field_uniqueness"),
        ({"interaction_id": ["a", ""]}, "row 1, interaction_id = ''"),
        ({"interaction_id": ["a", None]}, "row 1, interaction_id = nan: not_nullable"),
        ({"timestamp": [NOON, None]}, "row 1, timestamp = NaT: not_nullable"),
        ({"csat": [0.9, 1]}, "row 0, csat = 0.9: greater_than_or_equal_to(1.0)"),
        ({"csat": [1, 5.1]}, "row 1, csat = 5.1: less_than_or_equal_to(5.0)"),
        ({"aht_seconds": [0, float("inf")]}, "row 1, aht_seconds = inf: not finite"),
        ({"transfers": [-1, 0]}, "row 0, transfers = -1: greater_than_or_equal_to(0)"),
        ({"transfers": pa.array([1.5, 2.0])}, "column transfers"),
        ({"csat": pa.array(["1", "x"])}, "csat"),
        ({"timestamp": pa.array(["x", "y"])}, "timestamp"),
        ({"timestamp": pa.array([NOON.replace(tzinfo=None)] * 2)}, "column timestamp"),
        ({"channel": pa.array([1, 2])}, "row 0, channel = 1"),
    ],
)
def test_each_kind_of_fault_is_found_and_placed(columns: dict[str, Any], fault: str) -> None:
    found = contract_violations(table(**columns), SCHEMA)
    assert any(fault.replace("(1.0)", "(1").split("(")[0] in message for message in found), found


@pytest.mark.parametrize("name", ["interaction_id", "timestamp"])
def test_a_required_column_must_be_there(name: str) -> None:
    assert contract_violations(table().drop_columns([name]), SCHEMA) == [f"column {name}: missing"]


def test_no_more_faults_are_named_than_asked_for() -> None:
    assert len(contract_violations(table(csat=[9, 9]), SCHEMA, limit=1)) == 1


def test_extra_columns_are_checked_too() -> None:
    schema = InteractionSchema([Column("vru_seconds", "float", "m", minimum=0)])
    assert contract_violations(table(vru_seconds=pa.array([-1.0, 0.0])), schema)
    assert contract_violations(table(vru_seconds=pa.array([1.0, 0.0])), schema) == []


TEXT = st.one_of(
    st.sampled_from(["", "5", "1", "0", "-1", "2.0", "1e400", "nan", "101", "inf", "x", "1e30"]), st.floats().map(repr)
)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT, st.sampled_from(["2026-10-12", "", "x", "1850-01-01"])), max_size=15))
def test_the_contract_agrees_with_landing_on_accepted_rows(rows: list[tuple[str, ...]]) -> None:
    names = ["csat", "ies", "aht_seconds", "transfers", "timestamp"]
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    batch = convert(source_reader(), {"interaction_id": [f"r{i}" for i in range(len(rows))], **columns})
    assert contract_violations(accepted(batch), SCHEMA) == []


@given(st.lists(st.tuples(st.floats(), st.floats(), st.floats(), st.integers(-(2**63), 2**63 - 1)), max_size=8))
def test_the_contract_agrees_with_landing_on_typed_rows(rows: list[tuple[float, float, float, int]]) -> None:
    columns: dict[str, Any] = {
        name: pa.array([row[i] for row in rows], pa.float64()) for i, name in enumerate(["csat", "ies", "aht_seconds"])
    }
    columns["transfers"] = pa.array([row[3] for row in rows], pa.int64())
    n = len(rows)
    batch = convert(
        source_reader(),
        {"interaction_id": [f"r{i}" for i in range(n)], "timestamp": pa.array([NOON] * n, pa.timestamp("us", "UTC"))}
        | columns,
    )
    assert contract_violations(accepted(batch), SCHEMA) == []
    for line in batch.rejected["source_line"].to_pylist():  # and landing refuses nothing that the contract allows
        row = {"interaction_id": ["x"], "timestamp": [NOON]} | {
            name: values[line - 2 : line - 1] for name, values in columns.items()
        }
        bad = pa.table(
            {
                name: v if isinstance(v, pa.Array) else pa.array(v, ARROW_TYPES[SCHEMA[name].type])
                for name, v in row.items()
            }
        )
        assert contract_violations(bad, SCHEMA) or abs(columns["transfers"][line - 2].as_py()) > 2**53


def test_the_committed_data_contract_is_up_to_date(repository: Path) -> None:
    written = (repository / "docs" / "data-contract.md").read_text(encoding="utf-8")
    assert written == contract_markdown(), (
        "write docs/data-contract.md again from cxad_pipeline.interactions.documentation"
    )
    for column in COLUMNS:
        assert f"| `{column.name}` |" in written
    for field in REJECTED_SCHEMA:
        assert f"| `{field.name}` |" in written
    assert all(f"| `{kind}` |" in written for kind in KINDS)
