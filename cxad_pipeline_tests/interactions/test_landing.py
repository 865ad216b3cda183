"""The rows of time windows, from whatever lies in the landing folder."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from landing_examples import LATER, T0, at, csv_of, hours, ids, land, landed, settings, stats

from cxad_pipeline.files import Folder
from cxad_pipeline.interactions import reading
from cxad_pipeline.interactions.arrow_schema import arrow_schema
from cxad_pipeline.interactions.landing import Window, list_landed, read_period, read_windows, survey
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.interactions.sources import REJECTED_SCHEMA, readers

# Listing


def test_files_are_listed_oldest_first(tmp_path: Path) -> None:
    land(tmp_path, "b.csv", "x", age=10)
    land(tmp_path, "deep/er/a.csv.gz", "x", age=20)
    land(tmp_path, "c.CSV", "x", age=10)
    assert [stat.path for stat in stats(tmp_path)] == ["deep/er/a.csv.gz", "b.csv", "c.CSV"]


def test_files_that_may_still_be_written_wait(tmp_path: Path) -> None:
    land(tmp_path, "old.csv", "x", age=5)
    land(tmp_path, "young.csv", "x", age=4)
    listing = list_landed(Folder(str(tmp_path)), settings(landing={"settle_seconds": 5}), T0)
    assert [stat.path for stat in listing.ready] == ["old.csv"]
    assert [stat.path for stat in listing.unsettled] == ["young.csv"]


def test_a_time_in_the_future_keeps_no_file_waiting(tmp_path: Path) -> None:
    """Unpacked in another zone, or by a clock that runs ahead."""
    land(tmp_path, "ahead.csv", "x", age=-3600)
    listing = list_landed(Folder(str(tmp_path)), settings(landing={"settle_seconds": 5}), T0)
    assert [stat.path for stat in listing.ready] == ["ahead.csv"]


@pytest.mark.parametrize(
    "name", [".f.csv", "_f.csv", "_tmp/f.csv", ".git/f.csv", "f.csv.tmp", "f.csv.crc", "f.txt", "csv"]
)
def test_names_of_other_programs_are_ignored(tmp_path: Path, name: str) -> None:
    land(tmp_path, name, "x")
    assert stats(tmp_path) == []


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert stats(tmp_path / "nowhere") == []


# Windows


def test_windows_are_half_open(tmp_path: Path) -> None:
    instants = ["2026-10-12T05:59:59.999999", "2026-10-12T06:00", "2026-10-12T11:59:59.999999", "2026-10-12T12:00"]
    land(tmp_path, "f.csv", csv_of((f"r{i}", text) for i, text in enumerate(instants)))
    rows = landed(tmp_path, [Window("w", T0 + dt.timedelta(hours=6), T0 + dt.timedelta(hours=12))])
    assert ids(rows["w"]) == ["r1", "r2"]


def test_rows_before_the_first_between_and_after_the_last_window_are_left_out(tmp_path: Path) -> None:
    first, _, third = hours(3)
    land(tmp_path, "f.csv", csv_of((f"r{i}", at(hour)) for i, hour in enumerate([-0.1, 1, 7, 13, 18.1])))
    rows = landed(tmp_path, [first, third])
    assert (ids(rows["w0"]), ids(rows["w2"])) == (["r1"], ["r3"])


def test_every_window_has_an_entry_and_an_empty_one_has_the_columns(tmp_path: Path) -> None:
    land(tmp_path, "f.csv", csv_of([("a", at(1))]))
    rows = landed(tmp_path, hours(3))
    assert list(rows) == ["w0", "w1", "w2"]
    empty = rows["w1"]
    assert (empty.rows_in, empty.files, empty.rejected.num_rows) == (0, [], 0)
    assert empty.rejected.schema.equals(REJECTED_SCHEMA)
    names = [*arrow_schema(InteractionSchema()).names, "source_file", "source_line"]
    assert empty.accepted.column_names == names
    for name in rows["w0"].accepted.column_names:
        assert empty.accepted.schema.field(name).type == rows["w0"].accepted.schema.field(name).type


def test_no_window_asks_for_no_rows(tmp_path: Path) -> None:
    land(tmp_path, "f.csv", csv_of([("a", at(1))]))
    assert landed(tmp_path, []) == {}


def test_rows_come_by_time_and_id(tmp_path: Path) -> None:
    land(tmp_path, "f.csv", csv_of([("z", at(2)), ("b", at(1)), ("a", at(2))]))
    assert ids(landed(tmp_path, hours(1))["w0"]) == ["b", "a", "z"]


def test_files_that_gave_rows_and_empty_files_are_named(tmp_path: Path) -> None:
    land(tmp_path, "1.csv", csv_of([("a", at(1))]), age=3)
    land(tmp_path, "2.csv", csv_of([("b", at(7))]), age=2)
    land(tmp_path, "3.csv", csv_of([]), age=1)
    land(tmp_path, "4.csv", "")
    rows = landed(tmp_path, hours(3))
    assert [rows[key].files for key in rows] == [["1.csv"], ["2.csv"], []]
    assert rows["w2"].empty_files == ["3.csv", "4.csv"]


# Duplicates


def test_the_last_row_with_an_id_wins_in_a_file_and_over_files_and_the_others_are_counted(tmp_path: Path) -> None:
    head = "interaction_id,timestamp,csat"
    land(tmp_path, "b_first.csv", csv_of([("x", at(1), "1"), ("x", at(2), "2"), ("y", at(1), "3")], head), age=5)
    land(tmp_path, "a_last.csv", csv_of([("x", at(3), "4")], head))
    rows = landed(tmp_path, hours(1))["w0"]
    assert [(row["interaction_id"], row["csat"]) for row in rows.accepted.to_pylist()] == [("y", 3.0), ("x", 4.0)]
    assert (rows.count("duplicate"), rows.count("contract"), rows.rows_in) == (2, 0, 4)
    refused = rows.rejected.to_pylist()
    assert [(row["source_file"], row["source_line"], row["reason"]) for row in refused] == [
        ("b_first.csv", 2, "x comes again in a_last.csv, line 2"),
        ("b_first.csv", 3, "x comes again in a_last.csv, line 2"),
    ]
    assert json.loads(refused[0]["record"])["csat"] == 1.0
    assert refused[0]["filed_under"] == T0 + dt.timedelta(hours=1)


def test_each_window_is_on_its_own(tmp_path: Path) -> None:
    """An id in two windows counts in both, so that a window's rows depend on that window alone."""
    land(tmp_path, "f.csv", csv_of([("x", at(1)), ("x", at(7))]))
    together = landed(tmp_path, hours(2))
    apart = {key: rows for window in hours(2) for key, rows in landed(tmp_path, [window]).items()}
    for key in together:
        assert ids(together[key]) == ids(apart[key]) == ["x"]
    period = read_period(Folder(str(tmp_path)), stats(tmp_path), None, None, readers(settings()))
    assert (period.accepted["timestamp"].to_pylist(), period.count("duplicate")) == ([T0 + dt.timedelta(hours=7)], 1)


def test_many_duplicates_are_all_kept(tmp_path: Path) -> None:
    text = csv_of((f"r{i}", at(1)) for i in range(12_000))
    land(tmp_path, "1.csv", text, age=1)
    land(tmp_path, "2.csv", text)
    rows = landed(tmp_path, hours(1))["w0"]
    assert set(rows.accepted["source_file"].to_pylist()) == {"2.csv"}
    assert rows.rejected["source_line"].to_pylist() == list(range(2, 12_002))
    assert set(rows.rejected["source_file"].to_pylist()) == {"1.csv"}


# Rejected rows


def test_rows_without_a_readable_time_are_filed_under_the_row_above_else_the_first_below(tmp_path: Path) -> None:
    lines = [("top", "soon"), ("a", at(7)), ("mid", "soon"), ("short",), ("b", at(13)), ("", at(1)), ("end", "")]
    land(tmp_path, "f.csv", csv_of(lines))
    rows = landed(tmp_path, hours(3))
    filed = {key: [(r["source_line"], r["kind"]) for r in rows[key].rejected.to_pylist()] for key in rows}
    assert filed == {
        "w0": [(7, "contract"), (8, "contract")],
        "w1": [(2, "contract"), (4, "contract"), (5, "malformed")],
        "w2": [],
    }


def test_a_file_without_any_readable_time_is_filed_under_its_landing(tmp_path: Path) -> None:
    land(tmp_path, "f.csv", csv_of([("a", "soon"), ("b",)]), age=-3600)
    rows = landed(tmp_path, hours(2))["w0"]
    assert [(row["source_line"], row["filed_under"]) for row in rows.rejected.to_pylist()] == [
        (2, T0 + dt.timedelta(hours=1)),
        (3, T0 + dt.timedelta(hours=1)),
    ]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("f.csv", b"id,time\na,b\n", "f.csv: no column interaction_id, timestamp"),
        ("f.csv.gz", b"", ""),
        ("f.parquet", b"nonsense", "f.parquet: damaged file"),
        ("f.csv", b"interaction_id,timestamp,csat,csat\n", "f.csv: the header names 'csat' more than once"),
    ],
)
def test_a_file_that_can_not_be_read_is_one_rejected_row(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    land(tmp_path, "good.csv", csv_of([("a", at(1))]))
    land(tmp_path, name, data)
    rows = landed(tmp_path, hours(1))["w0"]
    assert ids(rows) == ["a"]
    refused = rows.rejected.to_pylist()
    assert len(refused) == (1 if reason else 0)
    for row in refused:
        assert (row["kind"], row["source_file"], row["source_line"]) == ("unreadable", name, 0)
        assert row["reason"].startswith(reason)
        assert row["filed_under"] == T0


def test_a_file_that_no_source_reads_is_one_rejected_row(tmp_path: Path) -> None:
    land(tmp_path, "f.csv", csv_of([("a", at(1))]))
    tree = settings(sources=[{"name": "s", "files": "*.tsv"}])
    rows = landed(tmp_path, hours(1), tree)["w0"]
    assert [(row["kind"], row["source_file"]) for row in rows.rejected.to_pylist()] == [("unreadable", "f.csv")]


def test_what_is_readable_of_a_truncated_file_counts_beside_the_reason(tmp_path: Path) -> None:
    path = land(tmp_path, "f.csv.gz", csv_of((f"r{hash(str(i))}", at(1)) for i in range(3000)))
    data = path.read_bytes()
    land(tmp_path, "cut.csv", "").unlink()
    path.write_bytes(data[: len(data) // 2])
    rows = landed(tmp_path, [Window("w", T0 - dt.timedelta(days=1), LATER)])["w"]
    assert 1000 < rows.accepted.num_rows < 2000
    assert "unreadable" in rows.rejected["kind"].to_pylist()


# Columns


def test_two_files_with_different_extra_columns_stand_in_one_table(tmp_path: Path) -> None:
    land(tmp_path, "1.csv", csv_of([("a", at(1), "Eve", "5")], "interaction_id,timestamp,agent,csat"), age=1)
    land(tmp_path, "2.csv", csv_of([("b", at(2), "north", "voice")], "interaction_id,timestamp,site,channel"))
    table = landed(tmp_path, hours(1))["w0"].accepted
    assert table.column_names[-2:] == ["source_file", "source_line"]
    rows = table.to_pylist()
    assert [(row["agent"], row["csat"], row["site"], row["channel"]) for row in rows] == [
        ("Eve", 5.0, None, None),
        (None, None, "north", "voice"),
    ]


def test_the_period_of_training_is_half_open_and_unbounded_where_not_given(tmp_path: Path) -> None:
    land(tmp_path, "f.csv", csv_of((f"r{i}", at(hour)) for i, hour in enumerate([-(10**6), 0, 6, 10**6])))

    def of(start: dt.datetime | None, end: dt.datetime | None) -> list[str]:
        return ids(read_period(Folder(str(tmp_path)), stats(tmp_path), start, end, readers(settings())))

    assert of(None, None) == ["r0", "r1", "r2", "r3"]
    assert of(T0, T0 + dt.timedelta(hours=6)) == ["r1"]
    assert of(T0, None) == ["r1", "r2", "r3"]
    assert of(None, T0) == ["r0"]


ROW = st.tuples(
    st.sampled_from(["a", "b", "c", "", "d"]),
    st.sampled_from([at(-1), at(0), at(1), at(5.99), at(6), at(11), at(12), "", "soon"]),
    st.sampled_from(["", "5", "9", "x"]),
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(st.lists(st.lists(ROW, max_size=8), min_size=1, max_size=3), st.integers(1, 5))
def test_every_row_of_every_file_comes_out_once_whatever_the_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[list[tuple[str, str, str]]], size: int
) -> None:
    folder = tmp_path / "landed"
    for old in folder.glob("*"):
        old.unlink()
    for number, rows in enumerate(files):
        land(folder, f"{number}.csv", csv_of(rows, "interaction_id,timestamp,csat"), age=10 - number)
    windows = [Window("before", T0 - dt.timedelta(days=9), T0), *hours(2), Window("after", hours(2)[1].end, LATER)]
    whole = landed(folder, windows)
    with monkeypatch.context() as patch:
        patch.setattr(reading, "BATCH_ROWS", size)
        pieces = landed(folder, windows)
    places = []
    for key in whole:
        assert pieces[key].accepted.equals(whole[key].accepted)
        assert pieces[key].rejected.equals(whole[key].rejected)
        assert pieces[key].files == whole[key].files
        for table in (whole[key].accepted, whole[key].rejected):
            places += list(zip(table["source_file"].to_pylist(), table["source_line"].to_pylist(), strict=True))
        taken = ids(whole[key])
        assert len(set(taken)) == len(taken)
    assert sorted(places) == [(f"{n}.csv", line + 2) for n, rows in enumerate(files) for line in range(len(rows))]


def test_the_minutes_of_a_file_are_those_of_all_its_rows(tmp_path: Path) -> None:
    land(
        tmp_path,
        "f.csv",
        csv_of([("a", at(0)), ("b", "2026-10-12T00:00:59"), ("", at(1)), ("c", "soon"), ("d", at(2))]),
    )
    found = survey(Folder(str(tmp_path)), stats(tmp_path)[0], readers(settings()))
    start = int(T0.timestamp()) // 60
    assert found.rows == 3
    assert found.minutes.tolist() == [start, start + 60, start + 120]
    assert found.unreadable == ""


def test_reading_is_pure(tmp_path: Path) -> None:
    land(tmp_path, "f.csv", csv_of([("a", at(1)), ("a", at(2)), ("", at(3))]))
    files, available = stats(tmp_path), readers(settings())
    first, second = (read_windows(Folder(str(tmp_path)), files, hours(1), available)["w0"] for _ in range(2))
    assert first.accepted.equals(second.accepted)
    assert first.rejected.equals(second.rejected)
    assert isinstance(first.accepted, pa.Table)


def test_landing_from_an_object_store_is_like_landing_from_a_folder(tmp_path: Path, s3_folder: str) -> None:
    text = csv_of([("a", at(1)), ("b", at(7)), ("c", "soon"), ("a", at(2))])
    land(tmp_path, "in/1.csv", text)
    land(tmp_path, "in/2.csv.gz", csv_of([("z", at(1))]))
    remote = Folder(f"{s3_folder}/landing")
    for stat in stats(tmp_path):
        remote.write(stat.path, (tmp_path / stat.path).read_bytes())
    remote.write("_tmp/3.csv", b"x")
    here, there = landed(tmp_path, hours(2)), landed(remote.uri, hours(2))
    assert sorted(stat.path for stat in stats(remote.uri)) == ["in/1.csv", "in/2.csv.gz"]
    for key in here:
        assert there[key].accepted.equals(here[key].accepted)
        assert (
            there[key].rejected.drop_columns(["filed_under"]).equals(here[key].rejected.drop_columns(["filed_under"]))
        )
