"""Scoring a file: same scores as in memory, whatever the format and the batches; both outputs whole or neither."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from cxad_pipeline.detection import Detector
from cxad_pipeline.detection.output import UnknownModelError, output_columns, score_table
from cxad_pipeline.interactions import reading
from cxad_pipeline.interactions.sources import SourceError
from cxad_pipeline.registry.file_scoring import score_file
from cxad_pipeline.registry.versions import RegisteredDetector
from cxad_pipeline.settings import Settings, Source, load_settings

HEADER = "interaction_id,timestamp,csat,ies,complaints,aht_seconds,hold_time_seconds,transfers,channel,language,queue"
GOOD = "{0},2026-03-02T10:00:00Z,4,70,0,300,20,0,voice,en,billing"


@pytest.fixture(scope="module")
def registered(detector: Detector) -> RegisteredDetector:
    return RegisteredDetector(detector, "3", "run")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    config = tmp_path / "config.yaml"
    config.write_text("timezone: UTC\n")
    return load_settings(config)


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory, rows: pa.Table) -> Path:
    """The same 4,000 interactions as CSV, packed CSV and Parquet."""
    folder = tmp_path_factory.mktemp("landed")
    pq.write_table(rows, folder / "rows.parquet")
    rows.to_pandas().to_csv(folder / "rows.csv", index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
    (folder / "rows.csv.gz").write_bytes(gzip.compress((folder / "rows.csv").read_bytes()))
    return folder


def lines(*rows: str) -> str:
    return "\n".join([HEADER, *rows]) + "\n"


@pytest.mark.parametrize("source", ["rows.csv", "rows.csv.gz", "rows.parquet"])
@pytest.mark.parametrize("model", ["ensemble", "rcf"])
def test_a_file_gets_the_scores_of_the_table_to_the_bit(
    registered: RegisteredDetector,
    settings: Settings,
    landed: Path,
    rows: pa.Table,
    tmp_path: Path,
    source: str,
    model: str,
):
    result = score_file(registered, str(landed / source), str(tmp_path / "out.parquet"), settings, model=model)
    written = pq.read_table(tmp_path / "out.parquet")
    expected = score_table(registered.detector, rows, model=model, model_version="v3")
    assert written.column_names == expected.column_names
    for name in output_columns(["iforest", "rcf"], model):
        assert written[name].to_pylist() == expected[name].to_pylist(), name
    assert result.rows == rows.num_rows
    assert result.anomalies == pc.sum(expected[f"{model}_anomaly"]).as_py() > 0
    assert result.threshold == expected[f"{model}_threshold"][0].as_py()
    assert (result.rejected, result.rejected_output) == (0, None)
    assert result.output == str(tmp_path / "out.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "out.parquet"]


def test_csv_holds_the_numbers_that_parquet_holds(
    registered: RegisteredDetector, settings: Settings, landed: Path, tmp_path: Path
):
    for name in ("out.csv", "out.csv.gz", "out.parquet"):
        score_file(registered, str(landed / "rows.csv"), str(tmp_path / name), settings)
    with (tmp_path / "out.csv").open(newline="") as stream:
        records = list(csv.DictReader(stream))
    table = pq.read_table(tmp_path / "out.parquet")
    assert list(records[0]) == table.column_names
    for name in ("ensemble_score", "rcf_score", "severity", "csat"):
        numbers = [float(row[name]) if row[name] else None for row in records]
        assert numbers == table[name].to_pylist(), name
    assert [row["timestamp"] for row in records[:2]] == [
        value.strftime("%Y-%m-%dT%H:%M:%SZ") for value in table["timestamp"].to_pylist()[:2]
    ]
    assert [row["top_reasons"] for row in records] == table["top_reasons"].to_pylist()
    assert gzip.decompress((tmp_path / "out.csv.gz").read_bytes()) == (tmp_path / "out.csv").read_bytes()


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_batches_do_not_change_the_result(
    registered: RegisteredDetector,
    settings: Settings,
    landed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
):
    whole, cut = tmp_path / "whole" / name, tmp_path / "cut" / name
    read: list[int] = []
    score_file(registered, str(landed / "rows.csv"), str(whole), settings)
    monkeypatch.setattr(reading, "BATCH_ROWS", 333)
    score_file(registered, str(landed / "rows.csv"), str(cut), settings, on_bytes=read.append)
    assert len(read) > 10
    assert read == sorted(read)
    assert read[-1] == (landed / "rows.csv").stat().st_size
    if name.endswith("csv"):
        assert cut.read_bytes() == whole.read_bytes()
    else:
        assert pq.read_table(cut).equals(pq.read_table(whole))


def test_rows_of_categories_that_training_has_not_seen_are_counted_over_all_batches(
    registered: RegisteredDetector, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = tmp_path / "in.csv"
    strange = GOOD.replace("billing", "warranty")
    source.write_text(lines(*(strange.format(name) for name in "abc"), GOOD.format("d"), strange.format("e")))
    monkeypatch.setattr(reading, "BATCH_ROWS", 2)
    assert score_file(registered, str(source), str(tmp_path / "out.csv"), settings).unknown == {"queue": 4}
    source.write_text(lines(GOOD.format("a")))
    assert score_file(registered, str(source), str(tmp_path / "out.csv"), settings).unknown == {}


def test_a_file_without_any_column_of_the_model_is_refused_by_name_and_nothing_is_written(
    registered: RegisteredDetector, settings: Settings, tmp_path: Path
):
    source = tmp_path / "in.csv"
    source.write_text("interaction_id,timestamp\na,2026-03-02T10:00:00Z\n")
    with pytest.raises(SourceError, match=r"in.csv: the table has none of the columns csat, .*; it has interaction_id"):
        score_file(registered, str(source), str(tmp_path / "out.csv"), settings)
    assert not (tmp_path / "out.csv").exists()


def test_rejected_rows_go_to_a_file_beside_with_line_and_reason(
    registered: RegisteredDetector, settings: Settings, tmp_path: Path
):
    source = tmp_path / "in.csv"
    source.write_text(lines(GOOD.format("a"), GOOD.format("b").replace(",70,", ",170,"), "c,2026", GOOD.format("d")))
    result = score_file(registered, str(source), str(tmp_path / "out.csv"), settings)
    assert (result.rows, result.rejected) == (2, 2)
    assert result.rejected_output == str(tmp_path / "out.rejected.csv")
    with (tmp_path / "out.rejected.csv").open(newline="") as stream:
        rejected = list(csv.DictReader(stream))
    assert [(row["kind"], row["source_line"]) for row in rejected] == [("contract", "3"), ("malformed", "4")]
    assert "170" in rejected[0]["reason"]

    source.write_text(lines(GOOD.format("a")))
    again = score_file(registered, str(source), str(tmp_path / "out.csv"), settings)
    assert again.rejected_output is None
    assert not (tmp_path / "out.rejected.csv").exists()  # it told of rows that are no longer there


def test_a_file_of_which_every_row_is_rejected_gives_a_header_and_the_rejected(
    registered: RegisteredDetector, settings: Settings, tmp_path: Path
):
    source = tmp_path / "in.csv"
    source.write_text(lines("a,not a time" + "," * 9))
    result = score_file(registered, str(source), str(tmp_path / "out.csv"), settings)
    assert (result.rows, result.rejected, result.anomalies) == (0, 1, 0)
    header, *rest = (tmp_path / "out.csv").read_text().splitlines()
    assert rest == []
    assert header.replace('"', "").split(",") == [*HEADER.split(","), *output_columns(["iforest", "rcf"])]


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_batch_without_accepted_rows_leaves_no_trace(
    registered: RegisteredDetector,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
):
    monkeypatch.setattr(reading, "BATCH_ROWS", 2)
    bad = "x,never" + "," * 9
    good = [GOOD.format(letter) for letter in "abcd"]
    (tmp_path / "mixed.csv").write_text(lines(bad, bad, *good[:2], bad, bad, *good[2:], bad, bad))
    (tmp_path / "clean.csv").write_text(lines(*good))
    assert score_file(registered, str(tmp_path / "mixed.csv"), str(tmp_path / name), settings).rows == 4
    score_file(registered, str(tmp_path / "clean.csv"), str(tmp_path / "clean" / name), settings)
    if name.endswith("csv"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "clean" / name).read_bytes()
    else:
        assert pq.read_table(tmp_path / name).equals(pq.read_table(tmp_path / "clean" / name))


def test_a_scored_file_can_be_scored_again(registered: RegisteredDetector, settings: Settings, tmp_path: Path):
    (tmp_path / "in.csv").write_text(lines(*(GOOD.format(letter) for letter in "abc")))
    score_file(registered, str(tmp_path / "in.csv"), str(tmp_path / "once.csv"), settings)
    score_file(registered, str(tmp_path / "once.csv"), str(tmp_path / "twice.csv"), settings)
    assert (tmp_path / "twice.csv").read_bytes() == (tmp_path / "once.csv").read_bytes()


def test_a_failure_in_the_middle_leaves_neither_output_and_keeps_what_was_there(
    registered: RegisteredDetector,
    settings: Settings,
    landed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(reading, "BATCH_ROWS", 500)
    source, out = tmp_path / "in.csv.gz", tmp_path / "out"
    out.mkdir()
    text = (landed / "rows.csv").read_text().splitlines()
    broken = gzip.compress("\n".join([text[0], "too,few", *text[1:]]).encode())
    source.write_bytes(broken[: len(broken) * 2 // 3])
    with pytest.raises(SourceError, match=r"in\.csv\.gz: damaged or incomplete gzip"):
        score_file(registered, str(source), str(out / "scored.csv"), settings)
    assert list(out.iterdir()) == []

    (out / "scored.csv").write_text("of an earlier pass")
    (out / "scored.rejected.csv").write_text("of an earlier pass")
    with pytest.raises(SourceError):
        score_file(registered, str(source), str(out / "scored.csv"), settings)
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "scored.csv": "of an earlier pass",
        "scored.rejected.csv": "of an earlier pass",
    }


def test_what_can_not_be_scored_is_one_error_and_no_output(
    registered: RegisteredDetector, settings: Settings, landed: Path, tmp_path: Path
):
    out = tmp_path / "out"
    (tmp_path / "header.csv").write_text(HEADER + "\n")
    (tmp_path / "empty.csv").write_text("")
    for name in ("header.csv", "empty.csv"):
        with pytest.raises(SourceError, match=f"{name}: no rows in it"):
            score_file(registered, str(tmp_path / name), str(out / "o.csv"), settings)
    with pytest.raises(SourceError, match=r"nowhere\.csv: no such file"):
        score_file(registered, str(tmp_path / "nowhere.csv"), str(out / "o.csv"), settings)
    with pytest.raises(UnknownModelError, match="unknown model 'both'; this detector has: ensemble, iforest, rcf"):
        score_file(registered, str(landed / "rows.csv"), str(out / "o.csv"), settings, model="both")
    assert not out.exists() or list(out.iterdir()) == []


def test_a_file_is_never_replaced_by_its_own_scores(
    registered: RegisteredDetector, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = tmp_path / "in.csv"
    source.write_text(lines(GOOD.format("a")))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="would replace the input"):
        score_file(registered, "in.csv", str(source), settings)
    assert source.read_text() == lines(GOOD.format("a"))


def test_neither_a_link_nor_the_name_of_the_rejected_rows_costs_the_input(
    registered: RegisteredDetector, settings: Settings, tmp_path: Path
):
    source = tmp_path / "calls.rejected.csv"
    source.write_text(lines(GOOD.format("a")))
    (tmp_path / "link.csv").symlink_to(source)
    for output in ("calls.csv", "link.csv"):
        with pytest.raises(SourceError, match="would replace the input"):
            score_file(registered, str(source), str(tmp_path / output), settings)
    assert source.read_text() == lines(GOOD.format("a"))


def test_a_file_in_the_landing_folder_is_read_by_the_source_that_landing_would_take(
    registered: RegisteredDetector, settings: Settings, tmp_path: Path
):
    folder = tmp_path / "inference" / "us"
    folder.mkdir(parents=True)
    (folder / "x.csv").write_text(lines(GOOD.format("a").replace("2026-03-02T10:00:00Z", "2026-10-12T06:00:00")))
    american = Source(name="us", files="us/*.csv", timezone="America/New_York")
    paths = settings.paths.model_copy(update={"inference": str(tmp_path / "inference")})
    settings = settings.model_copy(update={"paths": paths, "sources": [american, Source(name="others")]})
    score_file(registered, str(folder / "x.csv"), str(tmp_path / "out.csv"), settings)
    assert "2026-10-12T10:00:00Z" in (tmp_path / "out.csv").read_text()


def test_cells_that_a_spreadsheet_would_run_are_escaped_in_csv_alone(
    registered: RegisteredDetector, settings: Settings, tmp_path: Path
):
    source = tmp_path / "in.csv"
    source.write_text(lines(GOOD.format("=HYPERLINK(1)")))
    for name in ("out.csv", "out.parquet"):
        score_file(registered, str(source), str(tmp_path / name), settings)
    read = pa.csv.read_csv(tmp_path / "out.csv")
    assert read["interaction_id"].to_pylist() == ["'=HYPERLINK(1)"]
    assert pq.read_table(tmp_path / "out.parquet")["interaction_id"].to_pylist() == ["=HYPERLINK(1)"]
    scores = read["ensemble_score"].to_numpy()
    np.testing.assert_array_equal(scores, pq.read_table(tmp_path / "out.parquet")["ensemble_score"].to_numpy())
