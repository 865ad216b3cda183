"""The example mapping reads a real export as it is. The data is not part of the repository."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
import pytest
from landing_examples import LATER

from cxad_pipeline.files import Folder
from cxad_pipeline.interactions.contract import contract_violations
from cxad_pipeline.interactions.deployment_schema import schema_of
from cxad_pipeline.interactions.landing import LandedRows, list_landed, read_period
from cxad_pipeline.interactions.sources import readers
from cxad_pipeline.settings import Settings, load_settings


@pytest.fixture(scope="module")
def export() -> tuple[Settings, LandedRows]:
    repository = Path(__file__).resolve().parents[2]
    folder = repository.parent / "shared" / "data" / "technion"
    if not (folder / "january.tsv").exists():
        pytest.skip("the export ../shared/data/technion/january.tsv is not on this machine")
    settings = load_settings(repository / "configs" / "config.technion.yaml")
    landed = Folder(str(folder))
    files = [stat for stat in list_landed(landed, settings, LATER).ready if stat.path == "january.tsv"]
    return settings, read_period(landed, files, None, None, readers(settings))


def test_every_row_of_the_real_export_gets_its_verdict(export: tuple[Settings, LandedRows]) -> None:
    settings, rows = export
    assert rows.rows_in == 31_599
    assert rows.accepted.num_rows == 31_325
    assert {kind: rows.count(kind) for kind in ("dropped", "contract", "duplicate", "malformed", "unreadable")} == {
        "dropped": 240, "contract": 34, "duplicate": 0, "malformed": 0, "unreadable": 0,
    }  # fmt: skip
    faults = rows.rejected.filter(pc.equal(rows.rejected["kind"], "contract"))["reason"].to_pylist()
    columns = Counter(part.split(" = ")[0] for reason in faults for part in reason.split("; "))
    assert columns == {"vru_seconds": 32, "queue": 2}
    assert contract_violations(rows.accepted, schema_of(settings)) == []


def test_times_of_the_real_export_are_those_of_israel(export: tuple[Settings, LandedRows]) -> None:
    _, rows = export
    times = rows.accepted["timestamp"]
    # the file's first line speaks of 0:00:31 on New Year's Day, two hours ahead of UTC
    first = rows.accepted.filter(pc.equal(rows.accepted["source_line"], 2)).to_pylist()[0]
    assert (first["interaction_id"], first["hold_time_seconds"]) == ("990101-AA0101-33116", 153.0)
    assert first["timestamp"] == dt.datetime(1998, 12, 31, 22, 0, 31, tzinfo=dt.UTC)
    assert pc.min(times).as_py() >= dt.datetime(1998, 12, 31, 22, tzinfo=dt.UTC)
    assert pc.max(times).as_py() < dt.datetime(1999, 1, 31, 22, tzinfo=dt.UTC)
