"""A source maps a foreign export to our columns and gives every row its verdict."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from landing_examples import accepted, convert, settings, source_reader, verdicts

from cxad_pipeline.interactions.sources import REJECTED_SCHEMA, SourceError, reader_for, readers

PLAIN = {"interaction_id": {"column": "id"}, "timestamp": {"column": "at"}}
NOON = "2026-10-12T12:00Z"


def test_our_own_names_need_no_mapping_and_extra_columns_pass_through() -> None:
    batch = convert(
        source_reader(),
        {"interaction_id": ["a"], "timestamp": [NOON], "csat": ["4.5"], "transfers": ["2"], "agent": [" Eve "]},
    )
    row = accepted(batch).to_pylist()[0]
    assert row["timestamp"] == dt.datetime(2026, 10, 12, 12, tzinfo=dt.UTC)
    assert (row["csat"], row["transfers"], row["agent"]) == (4.5, 2, " Eve ")
    assert (row["source_file"], row["source_line"]) == ("f.csv", 2)
    assert "aht_seconds" not in row


def test_with_a_mapping_only_mapped_and_kept_columns_come() -> None:
    reader = source_reader(columns=PLAIN, keep=["agent"])
    batch = convert(reader, {"id": ["a"], "at": [NOON], "csat": ["1"], "agent": ["Eve"]})
    assert accepted(batch).column_names == ["interaction_id", "timestamp", "agent", "source_file", "source_line"]


def test_date_and_time_columns_are_joined() -> None:
    columns = {
        "interaction_id": {"column": "id"},
        "timestamp": {"columns": ["day", "clock"], "format": "%d.%m.%Y %H:%M"},
    }
    reader = source_reader(timezone="Europe/Berlin", columns=columns)
    batch = convert(reader, {"id": ["a", "b"], "day": [" 12.10.2026", "12.10.2026"], "clock": ["08:00 ", ""]})
    assert accepted(batch)["timestamp"].to_pylist() == [dt.datetime(2026, 10, 12, 6, tzinfo=dt.UTC)]
    assert verdicts(batch) == {3: ("contract", "timestamp: missing")}


def test_the_sources_zone_goes_before_the_common_one() -> None:
    reader = source_reader(timezone="Europe/Berlin", columns=PLAIN)
    assert accepted(convert(reader, {"id": ["a"], "at": ["2026-10-12T12:00"]}))["timestamp"][0].as_py().hour == 10
    tree = settings(timezone="Europe/Berlin", sources=[{"name": "s", "timezone": "Asia/Tokyo"}])
    batch = convert(readers(tree)[0], {"interaction_id": ["a"], "timestamp": ["2026-10-12T12:00"]})
    assert accepted(batch)["timestamp"][0].as_py().hour == 3


def test_templates_constants_file_and_line() -> None:
    columns = {
        "interaction_id": {"template": "{{{file}}}-{line}-{vru+line}"},
        "timestamp": {"column": "at"},
        "channel": {"constant": "voice"},
        "transfers": {"constant": "3"},
    }
    batch = convert(source_reader(columns=columns), {"vru+line": [" AA01 ", ""], "at": [NOON, NOON]})
    row = accepted(batch).to_pylist()[0]
    assert (row["interaction_id"], row["channel"], row["transfers"]) == ("{f.csv}-2-AA01", "voice", 3)
    # a template with a missing part names nothing
    assert verdicts(batch) == {3: ("contract", "interaction_id: missing")}


def test_codes_are_mapped_with_other_and_strict() -> None:
    columns = {
        **PLAIN,
        "language": {"column": "type", "codes": {"PE": "en"}, "other": "he"},
        "queue": {"column": "type", "codes": {"PE": "regular", "PS": "regular"}, "strict": True},
        "channel": {"column": "type", "codes": {"PE": "voice"}},
    }
    types = ["PE", "PS", "XX", ""]
    batch = convert(source_reader(columns=columns), {"id": list("abcd"), "at": [NOON] * 4, "type": types})
    table = accepted(batch)
    assert table["language"].to_pylist() == ["en", "he", None]
    assert table["channel"].to_pylist() == ["voice", "PS", None]
    assert verdicts(batch) == {4: ("contract", "queue = 'XX': not a listed code (PE, PS)")}


def test_codes_and_missing_texts_mean_the_same_in_typed_files() -> None:
    columns = {
        **PLAIN,
        "csat": {"column": "stars", "codes": {"10": "5"}, "missing": ["", "0"]},
        "queue": {"column": "team", "codes": {"7": "sales"}},
    }
    typed = {"id": ["a", "b"], "at": [NOON] * 2, "stars": pa.array([10, 0]), "team": pa.array([7.0, None])}
    text = {"id": ["a", "b"], "at": [NOON] * 2, "stars": ["10", "0"], "team": ["7", ""]}
    reader = source_reader(columns=columns)
    assert accepted(convert(reader, typed)).equals(accepted(convert(reader, text)))
    assert accepted(convert(reader, typed))["csat"].to_pylist() == [5.0, None]


def test_a_number_stands_for_an_id_by_its_digits() -> None:
    batch = convert(source_reader(columns=PLAIN), {"id": pa.array([1e15, 7.0]), "at": [NOON] * 2})
    assert accepted(batch)["interaction_id"].to_pylist() == ["1000000000000000", "7"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"interaction_id": " "}, "interaction_id: missing"),
        ({"interaction_id": "NULL"}, "interaction_id: missing"),
        ({"timestamp": ""}, "timestamp: missing"),
        ({"timestamp": "soon"}, "timestamp = 'soon': not an ISO 8601 time"),
        ({"csat": "6"}, "csat = '6': must be 1-5"),
        ({"csat": "6", "ies": "x"}, "csat = '6': must be 1-5; ies = 'x': not a number"),
        ({"timestamp": "", "transfers": "1.5"}, "timestamp: missing; transfers = '1.5': not a whole number"),
    ],
)
def test_a_row_that_breaks_the_contract_is_kept_with_every_reason(row: dict[str, str], reason: str) -> None:
    good = {"interaction_id": "a", "timestamp": NOON, "csat": "5", "ies": "50", "transfers": "1", "note": "n"}
    bad = good | row
    batch = convert(source_reader(), {name: [good[name], bad[name]] for name in good})
    assert batch.accepted.tolist() == [True, False]
    assert verdicts(batch) == {3: ("contract", reason)}
    assert json.loads(batch.rejected["record"][0].as_py()) == bad
    assert batch.rejected.schema.equals(REJECTED_SCHEMA)


def test_the_record_of_a_typed_row_is_json() -> None:
    columns = {
        "interaction_id": pa.array(["a"]),
        "timestamp": pa.array([2**62], pa.timestamp("s")),
        "csat": pa.array([float("nan")]),
        "blob": pa.array([b"\xff"]),
        "when": pa.array([dt.datetime(2026, 1, 1)]),
    }
    record = convert(source_reader(), columns).rejected["record"][0].as_py()
    read = json.loads(record, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert read == {
        "interaction_id": "a", "timestamp": 2**62, "csat": "nan", "blob": "b'\\xff'", "when": "2026-01-01 00:00:00",
    }  # fmt: skip


def test_drop_rules_win_over_the_contract_and_the_first_rule_names_the_reason() -> None:
    drop = [
        {"column": "outcome", "equals": ["PHANTOM", "TEST"], "reason": "not a call"},
        {"column": "agent", "equals": "robot", "reason": "a machine"},
    ]
    batch = convert(
        source_reader(columns=PLAIN, drop=drop),
        {"id": [*"abc", ""], "at": [NOON] * 4, "outcome": ["OK", "TEST", " PHANTOM ", "OK"],
         "agent": ["Eve", "robot", "Eve", "robot"]},
    )  # fmt: skip
    assert batch.accepted.tolist() == [True, False, False, False]
    assert verdicts(batch) == {
        3: ("dropped", "not a call (outcome = 'TEST')"),
        4: ("dropped", "not a call (outcome = 'PHANTOM')"),
        5: ("dropped", "a machine (agent = 'robot')"),
    }
    assert batch.rejected["filed_under"].null_count == 0


def test_a_header_that_lacks_something_names_file_source_and_columns() -> None:
    with pytest.raises(SourceError, match=r"f\.csv: no column timestamp, which source calls needs"):
        convert(source_reader(), {"interaction_id": ["a"], "time": [NOON]})
    reader = source_reader(columns=PLAIN, keep=["agent"], drop=[{"column": "o", "equals": "x", "reason": "y"}])
    with pytest.raises(SourceError, match="no column agent, o, which source calls needs"):
        convert(reader, {"id": ["a"], "at": [NOON]})


def test_a_header_that_names_a_column_twice_is_refused() -> None:
    with pytest.raises(SourceError, match=r"f\.csv: the header names 'csat' more than once"):
        source_reader().check_header("f.csv", ["interaction_id", "timestamp", "csat", "csat"])
    with pytest.raises(SourceError, match="the header names '' more than once"):
        source_reader().check_header("f.csv", ["interaction_id", "timestamp", "", ""])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"columns": {"timestamp": {"column": "t"}}}, "interaction_id has no origin"),
        ({"columns": {"csat": {"column": "c"}}}, "interaction_id and timestamp has no origin"),
        ({"columns": {**PLAIN, "mood": {"column": "m"}}}, r"mood is no column of the schema.*known: interaction_id"),
        ({"extra_columns": [{"name": "source_line", "type": "float", "meaning": "m"}]}, "source_line is taken"),
    ],
)
def test_a_source_that_can_not_work_is_refused_before_a_file_is_read(source: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        source_reader(**source)


def test_extra_columns_are_validated_like_ours() -> None:
    extra = [{"name": "vru_seconds", "type": "float", "minimum": 0, "meaning": "m"}]
    reader = source_reader(extra_columns=extra, columns={**PLAIN, "vru_seconds": {"column": "v"}})
    batch = convert(reader, {"id": ["a", "b"], "at": [NOON] * 2, "v": ["-1", "2"]})
    assert verdicts(batch) == {2: ("contract", "vru_seconds = '-1': must be >= 0")}
    with pytest.raises(ValueError, match="columns defined twice: csat"):
        source_reader(extra_columns=[{"name": "csat", "type": "float", "meaning": "m"}])


def test_the_first_source_that_fits_reads_a_file() -> None:
    tree = settings(sources=[{"name": "a", "files": "north/*.csv"}, {"name": "b", "files": "*.csv"}])
    available = readers(tree)
    assert reader_for("north/1.csv", available).source.name == "a"
    assert reader_for("south/1.csv", available).source.name == "b"
    with pytest.raises(SourceError, match=r"x\.parquet: no source reads it \(patterns: a: north/\*\.csv, b: \*\.csv\)"):
        reader_for("x.parquet", available)


CELL = st.one_of(
    st.none(),
    st.sampled_from(["", "a", "b", NOON, "2026-10-12", "5", "-1", "1.5", "x", "NA"]),
    st.text(st.characters(codec="utf-8"), max_size=6),
)


@given(st.lists(st.tuples(CELL, CELL, CELL, CELL, CELL), max_size=12))
def test_every_row_is_accepted_or_rejected_and_never_both(rows: list[tuple[str | None, ...]]) -> None:
    names = ["interaction_id", "timestamp", "csat", "transfers", "note"]
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    reader = source_reader(drop=[{"column": "note", "equals": "x", "reason": "y"}])
    batch = convert(reader, columns)
    taken = accepted(batch)["source_line"].to_pylist()
    refused = batch.rejected["source_line"].to_pylist()
    assert sorted(taken + refused) == list(range(2, len(rows) + 2))
    for row in accepted(batch).to_pylist():
        assert row["interaction_id"]
        assert row["timestamp"] is not None
        assert row["csat"] is None or 1 <= row["csat"] <= 5
        assert row["transfers"] is None or row["transfers"] >= 0
        assert row["note"] == rows[row["source_line"] - 2][4]
    for row in batch.rejected.to_pylist():
        assert row["reason"]
        assert list(json.loads(row["record"]).values()) == list(rows[row["source_line"] - 2])
