"""Files come in as they are written: quotes, blank lines, encodings, compression, damage; each row with its line."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from landing_examples import source_reader

from cxad_pipeline.files import Folder
from cxad_pipeline.interactions import reading
from cxad_pipeline.interactions.reading import read_file
from cxad_pipeline.interactions.sources import SourceError

HEAD = "interaction_id,timestamp,note"
NOON = "2026-10-12T12:00:00Z"
Read = Callable[..., tuple[dict[int, str], dict[int, tuple[str, str, str]]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a file and read it: (line -> id of accepted rows, line -> (kind, reason, record) of rejected ones)."""

    def written(data: str | bytes, name: str = "f.csv", **source: Any) -> Any:
        (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
        return result(tmp_path, name, **source)

    return written


def result(folder: Path, name: str, **source: Any) -> tuple[dict[int, str], dict[int, tuple[str, str, str]]]:
    good: dict[int, str] = {}
    bad: dict[int, tuple[str, str, str]] = {}
    for batch in read_file(Folder(str(folder)), name, source_reader(**source)):
        rows = batch.table.filter(pa.array(batch.accepted)).select(["source_line", "interaction_id"]).to_pydict()
        good |= dict(zip(rows["source_line"], rows["interaction_id"], strict=True))
        lines = batch.rejected["source_line"].to_pylist()
        assert lines == sorted(lines)
        bad |= {row["source_line"]: (row["kind"], row["reason"], row["record"]) for row in batch.rejected.to_pylist()}
        assert batch.table["source_file"].to_pylist() == [name] * batch.table.num_rows
    return good, bad


def test_lines_are_counted_as_an_editor_shows_them(read: Read) -> None:
    good, bad = read(f'{HEAD}\na,{NOON},"one\ntwo\n\nfour"\nb,{NOON},\n\n\nc,{NOON},x\nd,{NOON}\n"e",{NOON},""\n')
    assert good == {2: "a", 6: "b", 9: "c", 11: "e"}
    assert bad == {10: ("malformed", "2 fields where the header has 3", f"d,{NOON}")}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_one_line(read: Read, end: str) -> None:
    good, bad = read(end.join(["", HEAD, f'a,{NOON},"x{end}y"', "", f"b,{NOON},z"]))
    assert good == {3: "a", 6: "b"}
    assert bad == {}


def test_ragged_rows_are_kept_as_they_are_written(read: Read) -> None:
    good, bad = read(f'{HEAD}\na,{NOON},x,"y"\nb\n   \nc,{NOON},x\n')
    assert good == {5: "c"}
    assert {line: (reason, text) for line, (_, reason, text) in bad.items()} == {
        2: ("4 fields where the header has 3", f'a,{NOON},x,"y"'),
        3: ("1 fields where the header has 3", "b"),
        4: ("1 fields where the header has 3", "   "),
    }


def test_an_unclosed_quote_costs_its_line_and_not_the_rest(read: Read) -> None:
    rows = [f"r{i},{NOON},x" for i in range(5)]
    good, bad = read("\n".join([HEAD, *rows[:2], f'bad,{NOON},"never closed', *rows[2:], ""]))
    assert good == {2: "r0", 3: "r1", 5: "r2", 6: "r3", 7: "r4"}
    assert bad == {4: ("malformed", "not a CSV record: unexpected end of data", f'bad,{NOON},"never closed')}


def test_a_quote_closed_by_another_rows_quote_costs_its_line_and_not_the_rest(read: Read) -> None:
    good, bad = read(f'{HEAD}\nbad,{NOON},"never closed\nr1,{NOON},x\nr2,{NOON},"y"\nr3,{NOON},x\n')
    assert good == {3: "r1", 4: "r2", 5: "r3"}
    assert bad[2][1] == "not a CSV record: ',' expected after '\"'"


def test_a_quote_that_swallows_columns_costs_its_line_and_not_the_rest(read: Read) -> None:
    rows = [f"r{i},{NOON},x" for i in range(5)]
    good, bad = read("\n".join([HEAD, *rows[:2], f'"bad,{NOON},x', *rows[2:], ""]))
    assert good == {2: "r0", 3: "r1", 5: "r2", 6: "r3", 7: "r4"}
    assert list(bad) == [4]
    assert bad[4][2] == f'"bad,{NOON},x'


def test_a_quote_that_swallows_a_megabyte_costs_its_line_and_not_the_rest(read: Read) -> None:
    count = (1 << 20) // 30 * 2
    rows = [f"r{i:06},{NOON},x" for i in range(count)]
    good, bad = read("\n".join([HEAD, f'"bad,{NOON},x', *rows, ""]))
    assert len(good) == count
    assert list(bad) == [2]
    assert bad[2][1].startswith("not a CSV record: field larger than field limit")


def test_a_byte_order_mark_is_no_part_of_the_first_name(read: Read) -> None:
    data = b"\xef\xbb\xbf" + f"{HEAD}\na,{NOON},x\n".encode()
    assert read(data)[0] == {2: "a"}
    assert read(data, encoding="utf-8")[0] == {2: "a"}


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-8", "utf-16"])
def test_the_declared_encoding_is_used(read: Read, tmp_path: Path, encoding: str) -> None:
    read(f"{HEAD}\nMüller,{NOON},x\n".encode(encoding), encoding=encoding)
    assert result(tmp_path, "f.csv", encoding=encoding) == ({2: "Müller"}, {})


def test_bytes_that_are_no_text_cost_their_row_alone(read: Read) -> None:
    good, bad = read(f"{HEAD}\na,{NOON},x\nMüller,{NOON},x\nb,{NOON},x\n".encode("cp1252"))
    assert good == {2: "a", 4: "b"}
    reason = "not text in utf-8-sig; set sources.calls.encoding"
    assert bad == {3: ("malformed", reason, f"M\\xfcller,{NOON},x")}


def test_a_header_that_is_no_text_or_no_csv_names_the_setting(read: Read) -> None:
    with pytest.raises(SourceError, match=r"f\.csv: the header is not text in utf-8-sig; set sources\.calls\.encoding"):
        read(f"{HEAD},Größe\n".encode("cp1252"))
    with pytest.raises(SourceError, match=r"f\.csv: the header is not CSV"):
        read('"' + "x" * (1 << 21))


def test_nul_bytes_are_read_and_judged_like_any_text(read: Read) -> None:
    good, bad = read(f"{HEAD}\na\0,{NOON},x\nb,\0,x\nc,{NOON},x\n")
    assert good == {2: "a\0", 4: "c"}
    assert bad[3][:2] == ("contract", "timestamp = '\\x00': not an ISO 8601 time")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_declared_delimiter_separates(read: Read, delimiter: str) -> None:
    good, bad = read(f"{HEAD}\na,{NOON},x\nb,{NOON}\n".replace(",", delimiter), delimiter=delimiter)
    assert good == {2: "a"}
    assert bad[3][2] == f"b{delimiter}{NOON}"


@pytest.mark.parametrize("text", ["", "\n\n", HEAD, f"{HEAD}\n", f"{HEAD}\n\n\n"])
@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz"])
def test_a_file_without_rows_gives_nothing(read: Read, text: str, name: str) -> None:
    data = text.encode()
    assert read(gzip.compress(data) if name.endswith("gz") else data, name) == ({}, {})
    assert read(b"", name) == ({}, {})


def test_a_wrong_header_is_refused(read: Read) -> None:
    with pytest.raises(SourceError, match="no column timestamp"):
        read(f"interaction_id,at\na,{NOON}\n")


def test_gzip_is_unpacked(read: Read) -> None:
    assert read(gzip.compress(f"{HEAD}\na,{NOON},x\n".encode()), "f.csv.gz")[0] == {2: "a"}
    assert read(gzip.compress(f"{HEAD}\na,{NOON},x\n".encode()), "F.CSV.GZ")[0] == {2: "a"}


def test_what_was_packed_twice_is_unpacked_twice(read: Read) -> None:
    assert read(gzip.compress(gzip.compress(f"{HEAD}\na,{NOON},x\n".encode())), "f.csv.gz")[0] == {2: "a"}


def test_what_is_no_gzip_is_refused(read: Read) -> None:
    with pytest.raises(SourceError, match=r"f\.csv\.gz: damaged or incomplete gzip file"):
        read(f"{HEAD}\n", "f.csv.gz")


@pytest.mark.parametrize("size", [1, 7, 50_000])
def test_the_rows_before_the_damage_of_a_gzip_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(reading, "BATCH_ROWS", size)
    data = gzip.compress("\n".join([HEAD, *(f"r{i},{NOON},{hash(str(i))}" for i in range(3000)), ""]).encode())
    (tmp_path / "f.csv.gz").write_bytes(data[: len(data) // 2])
    good: list[str] = []

    def read_all() -> None:
        for batch in read_file(Folder(str(tmp_path)), "f.csv.gz", source_reader()):
            good.extend(batch.table.filter(pa.array(batch.accepted))["interaction_id"].to_pylist())

    with pytest.raises(SourceError, match="damaged or incomplete gzip file"):
        read_all()
    assert 1000 < len(good) < 2000
    assert good == [f"r{i}" for i in range(len(good))]


# Parquet


def parquet(folder: Path, columns: dict[str, Any], name: str = "f.parquet", **options: Any) -> None:
    pq.write_table(pa.table(columns), folder / name, **options)


def test_typed_parquet_is_read_with_record_numbers(tmp_path: Path) -> None:
    noon = dt.datetime(2026, 10, 12, 12)
    parquet(
        tmp_path,
        {
            "interaction_id": pa.array([1, 2, 3, 4, 5]),
            "timestamp": pa.array([noon] * 5, pa.timestamp("ns")),
            "csat": pa.array([5.0, float("nan"), float("inf"), None, 4.0], pa.float32()),
            "transfers": pa.array([1, 2, 3, -1, None], pa.int16()),
            "queue": pa.array(["a", "b", "a", None, "b"]).dictionary_encode(),
            "flag": pa.array([True, False, None, True, True]),
        },
    )
    good, bad = result(tmp_path, "f.parquet")
    assert good == {1: "1", 2: "2", 5: "5"}
    assert {line: row[:2] for line, row in bad.items()} == {
        3: ("contract", "csat = inf: not finite"),
        4: ("contract", "transfers = -1: must be >= 0"),
    }
    assert json.loads(bad[3][2])["csat"] == "inf"


def test_parquet_and_csv_of_the_same_rows_give_the_same_table(tmp_path: Path) -> None:
    rows = {"interaction_id": ["a", "b"], "timestamp": [NOON, NOON], "csat": ["5", ""], "note": ["x", "y"]}
    parquet(tmp_path, {name: pa.array(values, pa.large_string()) for name, values in rows.items()})
    (tmp_path / "f.csv").write_text("\n".join(",".join(row) for row in [list(rows), *zip(*rows.values(), strict=True)]))
    tables = [
        next(read_file(Folder(str(tmp_path)), name, source_reader())).table.drop_columns(["source_file", "source_line"])
        for name in ("f.csv", "f.parquet")
    ]
    assert tables[0].equals(tables[1])


def test_an_empty_parquet_gives_nothing(tmp_path: Path) -> None:
    parquet(tmp_path, {"interaction_id": pa.array([], pa.string()), "timestamp": pa.array([], pa.string())})
    assert result(tmp_path, "f.parquet") == ({}, {})
    (tmp_path / "g.parquet").write_bytes(b"")
    assert result(tmp_path, "g.parquet") == ({}, {})


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    count = 2000
    parquet(
        tmp_path,
        {"interaction_id": [f"r{i}" for i in range(count)], "timestamp": [NOON] * count},
        compression="gzip",
    )
    whole = (tmp_path / "f.parquet").read_bytes()
    broken = {
        "text.parquet": b"interaction_id,timestamp\n" * 10,
        "half.parquet": whole[: len(whole) // 2],
        "footer.parquet": whole[:-60] + b"\xff" * 52 + whole[-8:],
        "pages.parquet": whole[:40] + b"\xff" * 400 + whole[440:],
    }
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SourceError, match=rf"{name}: damaged file .*land it again"):
            result(tmp_path, name)


def test_a_parquet_file_with_a_wrong_schema_is_refused(tmp_path: Path) -> None:
    parquet(tmp_path, {"id": ["a"]})
    with pytest.raises(SourceError, match="no column interaction_id, timestamp"):
        result(tmp_path, "f.parquet")


# Batches

LINE = st.sampled_from(
    [
        f"a,{NOON},x",
        f'b,{NOON},"one\ntwo"',
        "",
        "c",
        f"d,{NOON},x,y",
        "e,soon,z",
        f'"f,{NOON},x',
        f'g,{NOON},"',
        '"',
        ",,",
    ]
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(st.lists(LINE, max_size=25), st.integers(1, 6))
def test_borders_of_batches_change_nothing_and_no_line_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], size: int
) -> None:
    text = "\n".join([HEAD, *lines])
    (tmp_path / "f.csv").write_text(text)
    whole = result(tmp_path, "f.csv")
    with monkeypatch.context() as patch:
        patch.setattr(reading, "BATCH_ROWS", size)
        for batch in read_file(Folder(str(tmp_path)), "f.csv", source_reader()):
            assert len(batch.accepted) + sum(kind == "malformed" for kind in batch.rejected["kind"].to_pylist()) <= size
        assert result(tmp_path, "f.csv") == whole
    good, bad = whole
    assert not set(good) & set(bad)
    # a line that is no row of its own is empty, or within the quotes of a row above it
    physical = text.split("\n")
    for number, line in enumerate(physical[1:], start=2):
        if number not in good and number not in bad and line:
            assert any(row < number for row in [*good, *bad])


def test_progress_ends_at_the_size_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_ROWS", 100)
    text = "\n".join([HEAD, *(f"r{i},{NOON},x" for i in range(1000)), ""])
    (tmp_path / "f.csv").write_text(text)
    parquet(tmp_path, {"interaction_id": ["a"] * 1000, "timestamp": [NOON] * 1000})
    for name in ("f.csv", "f.parquet"):
        seen: list[int] = []
        for _ in read_file(Folder(str(tmp_path)), name, source_reader(), on_bytes=seen.append):
            pass
        assert seen == sorted(seen)
        assert seen[-1] == (tmp_path / name).stat().st_size
