"""What is landed is searched once, and a look at the folder asks for exactly the windows that changed."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from landing_examples import T0, at, csv_of, hours, land, landed, settings, stats

from cxad_pipeline.files import Folder
from cxad_pipeline.interactions import landing_index
from cxad_pipeline.interactions.landing import Survey, Window
from cxad_pipeline.interactions.landing_index import (
    FileIndex,
    LandingIndex,
    digest_of,
    files_digest,
    with_digest,
)
from cxad_pipeline.interactions.landing_plan import LandingPlan, Seen, SeenFile, plan_scoring, plan_training, trained_on
from cxad_pipeline.interactions.sources import readers
from cxad_pipeline.settings import Settings


class Desk:
    """A landing folder with its index, and a count of the files that were searched."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.landed, self.storage = folder / "landed", folder / "storage"
        self.searched: list[str] = []
        search = landing_index.survey

        def counted(where: Folder, stat: landing_index.FileStat, available: object) -> Survey:
            self.searched.append(stat.path)
            return search(where, stat, available)  # type: ignore[arg-type]

        monkeypatch.setattr(landing_index, "survey", counted)

    def index(self, tree: Settings | None = None) -> LandingIndex:
        tree = tree or settings()
        return LandingIndex(Folder(str(self.storage)), Folder(str(self.landed)), readers(tree), tree)

    def look(self, seen: Seen | None = None, windows: int = 4, budget: int = 99) -> LandingPlan:
        asked = iter(range(10**6))

        def ended(start: dt.datetime, end: dt.datetime) -> list[Window]:
            return [window for window in hours(windows) if window.start < end and window.end > start]

        return plan_scoring(stats(self.landed), self.index(), ended, seen or Seen(), lambda: next(asked) >= budget)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


# Index


def test_a_file_is_searched_once(desk: Desk) -> None:
    land(desk.landed, "f.csv", csv_of([("a", at(1)), ("b", at(1.1)), ("", at(13))]))
    stat = stats(desk.landed)[0]
    first, second = desk.index().of(stat), desk.index().of(stat)
    assert desk.searched == ["f.csv"]
    assert (first.rows, first.sha256, first.spans.tolist()) == (second.rows, second.sha256, second.spans.tolist())
    assert first.rows == 2
    minute = int(T0.timestamp()) // 60
    assert first.spans.tolist() == [[minute + 60, 1], [minute + 66, 1], [minute + 780, 1]]


def test_the_cache_is_void_when_the_file_changes(desk: Desk) -> None:
    land(desk.landed, "f.csv", csv_of([("a", at(1))]), age=5)
    desk.index().of(stats(desk.landed)[0])
    land(desk.landed, "f.csv", csv_of([("a", at(7))]))
    assert desk.index().of(stats(desk.landed)[0]).windows(hours(2)) == ["w1"]
    assert desk.searched == ["f.csv", "f.csv"]


@pytest.mark.parametrize(
    "change",
    [
        {"timezone": "Asia/Tokyo"},
        {"sources": [{"name": "s", "timezone": "Asia/Tokyo"}]},
        {"sources": [{"name": "s", "drop": [{"column": "interaction_id", "equals": "a", "reason": "r"}]}]},
        {"interactions": {"extra_columns": [{"name": "x", "type": "float", "meaning": "m"}]}},
    ],
)
def test_the_cache_is_void_when_the_reading_changes(desk: Desk, change: dict[str, object]) -> None:
    land(desk.landed, "f.csv", csv_of([("a", "2026-10-12T08:00")]))
    stat = stats(desk.landed)[0]
    desk.index().of(stat)
    desk.index(settings(ports={"api": 1})).of(stat)  # nothing to do with reading
    assert len(desk.searched) == 1
    desk.index(settings(**change)).of(stat)
    assert len(desk.searched) == 2


def test_a_damaged_or_deleted_cache_is_made_again(desk: Desk) -> None:
    land(desk.landed, "f.csv", csv_of([("a", at(1))]))
    stat = stats(desk.landed)[0]
    whole = desk.index().of(stat)
    for cached in (desk.storage / "landing_index").iterdir():
        cached.write_text("{")
    assert desk.index().of(stat).spans.tolist() == whole.spans.tolist()
    shutil.rmtree(desk.storage)
    assert desk.index().of(stat).spans.tolist() == whole.spans.tolist()


def test_files_that_touch_no_window_are_not_read_but_empty_ones_are_told(desk: Desk) -> None:
    land(desk.landed, "early.csv", csv_of([("a", at(1))]), age=3)
    land(desk.landed, "late.csv", csv_of([("a", at(13))]), age=2)
    land(desk.landed, "empty.csv", csv_of([]), age=1)
    chosen = desk.index().files_in(stats(desk.landed), hours(2))
    assert [stat.path for stat in chosen] == ["early.csv", "empty.csv"]


MINUTE = int(T0.timestamp()) // 60


@given(st.sets(st.integers(0, 400)), st.lists(st.tuples(st.integers(0, 400), st.integers(1, 50)), max_size=6))
def test_the_windows_of_a_file_are_those_that_hold_one_of_its_minutes(
    minutes: set[int], windows: list[tuple[int, int]]
) -> None:
    spans = landing_index._spans(np.array(sorted(MINUTE + minute for minute in minutes), np.int64))
    index = FileIndex("f", "", 0, 0, spans)
    step = dt.timedelta(minutes=1)
    cut = [Window(f"{i}", T0 + first * step, T0 + (first + n) * step) for i, (first, n) in enumerate(windows)]
    expected = [str(i) for i, (first, n) in enumerate(windows) if minutes & set(range(first, first + n))]
    assert index.windows(cut) == expected
    assert [window.key for window in cut if index.touches(window)] == expected


def test_a_digest_speaks_of_names_and_contents_and_stays_with_a_table() -> None:
    one = [FileIndex("a", "1", 0, 0, np.empty((0, 2))), FileIndex("b", "2", 0, 0, np.empty((0, 2)))]
    assert files_digest(one) == files_digest(list(one))
    assert files_digest(one) != files_digest(one[::-1])
    assert files_digest(one) != files_digest([one[0], FileIndex("b", "3", 0, 0, np.empty((0, 2)))])
    table = pa.table({"x": [1]})
    assert digest_of(table) == ""
    assert digest_of(with_digest(table, "abc").slice(0, 0)) == "abc"


# Scoring


def test_a_new_file_asks_for_exactly_the_windows_it_touches(desk: Desk) -> None:
    land(desk.landed, "f.csv", csv_of([("a", at(1)), ("b", at(13)), ("c", at(99)), ("d", at(-1))]))
    plan = desk.look()
    assert (plan.windows, plan.changed, plan.complete) == (["w0", "w2"], {"f.csv": ["w0", "w2"]}, True)


def test_a_row_in_the_last_minute_of_a_window_does_not_touch_the_next(desk: Desk) -> None:
    land(desk.landed, "f.csv", csv_of([("a", "2026-10-12T11:59:59"), ("b", "2026-10-12T18:00")]))
    assert desk.look().windows == ["w1", "w3"]


def test_a_rejected_row_touches_its_window_too(desk: Desk) -> None:
    land(desk.landed, "f.csv", csv_of([("", at(7))]))
    assert desk.look().windows == ["w1"]


def test_the_same_file_again_asks_for_nothing(desk: Desk) -> None:
    path = land(desk.landed, "f.csv", csv_of([("a", at(1))]))
    seen = desk.look().seen
    assert desk.look(seen).windows == []
    os.utime(path, (T0.timestamp() + 50,) * 2)  # touched
    assert desk.look(seen).windows == []
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)  # copied over
    plan = desk.look(Seen.from_json(seen.to_json()))
    assert (plan.windows, plan.changed) == ([], {})


def test_a_changed_file_asks_for_the_windows_it_touches_and_those_it_touched(desk: Desk) -> None:
    land(desk.landed, "f.csv", csv_of([("a", at(1)), ("b", at(7))]), age=9)
    land(desk.landed, "other.csv", csv_of([("z", at(19))]))
    seen = desk.look().seen
    land(desk.landed, "f.csv", csv_of([("a", at(13)), ("b", at(7))]))
    plan = desk.look(seen)
    assert plan.windows == ["w0", "w1", "w2"]
    assert plan.changed == {"f.csv": ["w1", "w2"]}
    assert desk.look(plan.seen).windows == []


def test_a_window_that_ended_after_the_first_look_is_asked_for_when_its_rows_move_away(desk: Desk) -> None:
    land(desk.landed, "f.csv", csv_of([("a", at(1)), ("b", at(7))]), age=9)
    seen = desk.look(windows=1).seen  # the second window has not ended; the schedule scores it
    seen = desk.look(seen, windows=2).seen
    land(desk.landed, "f.csv", csv_of([("a", at(1))]))
    assert desk.look(seen, windows=2).windows == ["w0", "w1"]


def test_windows_that_have_not_ended_are_left_to_the_schedule(desk: Desk) -> None:
    land(desk.landed, "f.csv", csv_of([("a", at(1)), ("b", at(7))]))
    plan = desk.look(windows=1)
    assert plan.windows == ["w0"]
    assert desk.look(plan.seen, windows=2).windows == []


def test_a_file_that_has_gone_asks_for_nothing_and_is_forgotten(desk: Desk) -> None:
    path = land(desk.landed, "f.csv", csv_of([("a", at(1))]))
    seen = desk.look().seen
    content = path.read_bytes()
    path.unlink()
    plan = desk.look(seen)
    assert (plan.windows, plan.seen.files) == ([], {})
    path.write_bytes(content)
    assert desk.look(plan.seen).windows == ["w0"]


def test_an_empty_file_is_remembered_and_asks_for_nothing(desk: Desk) -> None:
    land(desk.landed, "f.csv", csv_of([]))
    plan = desk.look()
    assert (plan.windows, plan.changed) == ([], {"f.csv": []})
    assert desk.look(plan.seen).changed == {}


def test_a_look_that_runs_out_of_time_is_continued(desk: Desk) -> None:
    for number in range(5):
        land(desk.landed, f"{number}.csv", csv_of([(f"r{number}", at(6 * number))]), age=9 - number)
    seen, windows, looks = Seen(), [], 0
    while True:
        plan = desk.look(seen, windows=5, budget=2 * (looks + 1))
        windows += plan.windows
        seen, looks = plan.seen, looks + 1
        if plan.complete:
            break
    assert looks == 3
    assert windows == ["w0", "w1", "w2", "w3", "w4"]


def test_what_is_not_looked_at_for_lack_of_time_is_not_forgotten(desk: Desk) -> None:
    land(desk.landed, "a.csv", csv_of([("a", at(1))]), age=2)
    land(desk.landed, "b.csv", csv_of([("b", at(7))]), age=1)
    seen = desk.look().seen
    plan = desk.look(seen, budget=0)
    assert (plan.windows, plan.complete) == ([], False)
    assert desk.look(plan.seen).windows == []


def test_scoring_the_windows_of_the_plans_gives_what_scoring_all_would(desk: Desk) -> None:
    land(desk.landed, "f.csv", csv_of([("a", at(1)), ("b", at(7))]), age=9)
    plan = desk.look()
    kept = {key: rows for key, rows in landed(desk.landed, hours(4)).items() if key in plan.windows}
    land(desk.landed, "f.csv", csv_of([("a", at(13)), ("c", at(7.5))]))
    again = desk.look(plan.seen)
    kept |= {key: rows for key, rows in landed(desk.landed, hours(4)).items() if key in again.windows}
    for key, rows in landed(desk.landed, hours(4)).items():
        assert key in kept or rows.rows_in == 0
        assert key not in kept or kept[key].accepted.equals(rows.accepted)


def test_the_memory_survives_as_text() -> None:
    seen = Seen({"b.csv": SeenFile("2", 5, ["w0"]), "a.csv": SeenFile("1", 0)})
    assert Seen.from_json(seen.to_json()) == seen
    assert Seen.from_json(None) == Seen()
    assert Seen.from_json("") == Seen()


# Training


def known(path: str, sha: str, rows: int) -> FileIndex:
    return FileIndex(path, sha, rows, rows, np.empty((0, 2), np.int64))


def test_a_new_training_file_asks_for_a_training() -> None:
    plan = plan_training([known("a", "1", 5), known("b", "2", 1)], Seen({"a": SeenFile("1", 5)}), new_rows=100)
    assert plan.reason == "new file b"
    assert plan.seen == trained_on([known("a", "1", 5), known("b", "2", 1)])
    assert plan_training([known("a", "1", 5), known("b", "2", 1)], plan.seen, 100).reason == ""


def test_rows_that_trickle_in_add_up_over_looks_and_files() -> None:
    seen = trained_on([known("a", "1", 100), known("b", "1", 100)])
    first = plan_training([known("a", "2", 130), known("b", "1", 100)], seen, new_rows=50)
    assert (first.reason, first.seen) == ("", seen)
    second = plan_training([known("a", "3", 130), known("b", "2", 119)], first.seen, new_rows=50)
    assert second.reason == ""
    third = plan_training([known("a", "3", 130), known("b", "3", 120)], second.seen, new_rows=50)
    assert third.reason == "50 new rows"
    assert plan_training([known("a", "3", 130), known("b", "3", 120)], third.seen, 50).reason == ""


def test_neither_a_shrunken_nor_a_vanished_nor_an_unchanged_file_asks_for_a_training() -> None:
    seen = trained_on([known("a", "1", 100), known("b", "1", 100), known("c", "1", 100)])
    plan = plan_training([known("a", "2", 10), known("b", "1", 100)], seen, new_rows=1)
    assert plan.reason == ""
    # rows lost in one file do not weigh against rows gained in another
    plan = plan_training([known("a", "2", 10), known("b", "2", 101)], seen, new_rows=1)
    assert plan.reason == "1 new rows"


def test_both_reasons_are_told() -> None:
    plan = plan_training([known("a", "2", 20), known("b", "1", 1)], Seen({"a": SeenFile("1", 10)}), new_rows=10)
    assert plan.reason == "new file b and 10 new rows"


def test_no_file_asks_for_nothing() -> None:
    assert plan_training([], Seen(), 1).reason == ""


def test_a_file_that_cannot_be_read_is_reported_with_its_reason(desk: Desk) -> None:
    desk.landed.mkdir()
    (desk.landed / "bad.parquet").write_bytes(b"no parquet at all")
    plan = desk.look()
    assert list(plan.unreadable) == ["bad.parquet"]
    assert "damaged file" in plan.unreadable["bad.parquet"]
    assert desk.look(plan.seen).unreadable == {}, "it is said once"
