"""Drift from training rows to the check and to the training that it asks for, on a real instance."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from landing_world import land, make_settings

from cxad_pipeline.defs.drift import drift_assets, newest_drift, recent_windows, training_files
from cxad_pipeline.defs.io import StorageIOManager
from cxad_pipeline.defs.partitions import range_tags, scoring_windows
from cxad_pipeline.defs.sensors import sensors
from cxad_pipeline.detection.drift import DriftReference
from cxad_pipeline.interactions.landing_index import files_digest
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.database import store_opener

WINDOWS = [f"2026-10-{day:02}-{hour:02}00" for day in (5, 6, 7) for hour in (0, 6, 12, 18)]
RECENT = 4
DRIFT = {"recent_windows": RECENT, "min_contacts": 200, "cooldown_hours": 0}

SEGMENTS = {"dimensions": ["queue", "channel"]}


def contacts(n: int, seed: int, slower: float = 1.0) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "aht_seconds": random.lognormal(5.5, 0.6, n) * slower,
            "csat": pa.array(np.where(random.random(n) < 0.5, np.nan, random.integers(1, 6, n)), from_pandas=True),
            "queue": random.choice(["billing", "sales"], n),
            "channel": random.choice(["voice", "chat"], n, p=[0.8, 0.2]),
        }
    )


class World:
    """Drift's assets, with training rows and scores that a test puts there in place of forests."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, drift: Mapping[str, object]) -> None:
        self.instance = instance
        self.training = contacts(4_000, seed=0)
        self.scored: dict[str, pa.Table] = {}
        self.cursor: str | None = None
        self.fits = True
        self.settings = make_settings(folder, drift=dict(drift), segments=SEGMENTS)
        self.storage = Path(self.settings.paths.storage)
        self.definitions = self.defined(self.settings)

    def defined(self, settings: Settings) -> dg.Definitions:
        windows = scoring_windows(settings)
        backfill = dg.BackfillPolicy.multi_run(28)

        @dg.asset
        def training_interactions() -> dg.MaterializeResult[pa.Table]:
            _, files = training_files(settings, dt.datetime.now(dt.UTC))
            noted = {"landed": files_digest(files)} if files else {}
            return dg.MaterializeResult(value=self.training, metadata=noted)

        @dg.asset
        def ensemble_model(training_interactions: pa.Table) -> None:
            if not self.fits:
                raise dg.Failure("no model")

        @dg.asset(partitions_def=windows, backfill_policy=backfill)
        def ensemble_scores(context: dg.AssetExecutionContext) -> dg.MaterializeResult[dict[str, pa.Table]]:
            none = self.training.slice(0, 0)
            return dg.MaterializeResult(value={key: self.scored.get(key, none) for key in context.partition_keys})

        training = dg.define_asset_job(
            "training_job", dg.AssetSelection.assets(training_interactions, ensemble_model, "drift_reference")
        )
        scoring = dg.define_asset_job("scoring_job", dg.AssetSelection.assets(ensemble_scores, "feature_drift"))
        return dg.Definitions(
            assets=[training_interactions, ensemble_model, ensemble_scores, *drift_assets(settings)],
            jobs=[training, scoring],
            sensors=sensors(settings, store_opener(settings), training, scoring),
            resources={"io_manager": StorageIOManager(uri=settings.paths.storage)},
            executor=dg.in_process_executor,
        )

    def train(self, training: pa.Table | None = None) -> None:
        self.training = self.training if training is None else training
        job = self.definitions.resolve_job_def("training_job")
        assert job.execute_in_process(instance=self.instance, raise_on_error=False).success is self.fits

    def score(self, *keys: str, slower: float = 1.0, rows: int = 300) -> dg.AssetCheckEvaluation:
        """Score neighbouring windows in one run; the check's result."""
        for key in keys:
            self.scored[key] = contacts(rows, seed=1 + WINDOWS.index(key), slower=slower)
        result = self.definitions.resolve_job_def("scoring_job").execute_in_process(
            instance=self.instance, tags=range_tags(keys)
        )
        assert result.success
        (check,) = result.get_asset_check_evaluations()
        return check

    def table(self, key: str) -> pa.Table:
        return pq.read_table(self.storage / "feature_drift" / f"{key}.parquet")

    def metadata(self, key: str) -> dict[str, object]:
        selected = dg.AssetRecordsFilter(asset_key=dg.AssetKey("feature_drift"), asset_partitions=[key])
        record = self.instance.fetch_materializations(selected, limit=1).records[0]
        return {name: value.value for name, value in record.asset_materialization.metadata.items()}

    def tick(self, **drift: object) -> tuple[list[dg.RunRequest], str]:
        """One evaluation of the training sensor, of another configuration where given: what it asks for or says."""
        settings = make_settings(self.storage.parent, drift=DRIFT | drift, segments=SEGMENTS)
        definitions = self.defined(settings)
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, definitions=definitions)
        result = definitions.resolve_sensor_def("training_sensor")(context)
        if isinstance(result, dg.SkipReason):
            self.cursor = context.cursor
            return [], result.skip_message
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return list(result.run_requests), ""


@pytest.fixture
def world(tmp_path: Path, instance: dg.DagsterInstance) -> World:
    made = World(tmp_path, instance, DRIFT)
    made.train()
    return made


def test_windows_like_the_training_rows_pass(world: World):
    check = world.score(*WINDOWS[:RECENT])
    assert check.passed
    assert world.metadata(WINDOWS[3])["status"] == "no drift"
    assert world.metadata(WINDOWS[3])["drifted"] == {}
    assert world.metadata(WINDOWS[3])["contacts"] == 1_200


def test_drift_warns_with_feature_segment_and_figures(world: World):
    check = world.score(*WINDOWS[:RECENT], slower=2.0)
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert "aht_seconds in " in check.description
    assert "PSI " in check.description
    assert ", limit 0." in check.description
    assert "csat" not in check.description
    found = world.metadata(WINDOWS[3])
    assert found["status"] == "drifted"
    assert "aht_seconds in all contacts" in found["drifted"]
    assert all(name.startswith("aht_seconds in ") for name in found["drifted"])
    assert len(found["worst"].records) == 10
    assert "data:image/png" in found["psi"]
    assert "psi" not in world.metadata(WINDOWS[2]), "one picture a run"


def test_the_table_has_a_row_for_each_feature_in_each_segment(world: World):
    world.score(*WINDOWS[:RECENT], slower=2.0)
    rows = {(row["segment"], row["feature"]): row for row in world.table(WINDOWS[3]).to_pylist()}
    everything = {name: rows["[]", name] for name in ("aht_seconds", "csat", "queue", "channel")}
    assert all(sum(row["counts"]) == 300 for row in everything.values()), "counts of this window alone"
    assert all(row["contacts"] == 1_200 for row in everything.values()), "figures of the recent windows"
    assert everything["aht_seconds"]["drifted"]
    assert everything["aht_seconds"]["psi"] > everything["aht_seconds"]["psi_limit"]
    assert everything["channel"]["ks"] is None
    assert '[["queue", "billing"], ["channel", "voice"]]' in {segment for segment, _ in rows}
    assert everything["csat"]["reference_contacts"] == 4_000


def test_windows_of_one_run_are_as_windows_of_several(tmp_path: Path, world: World):
    world.score(*WINDOWS[:6])
    together = [world.table(key) for key in WINDOWS[:6]]
    (tmp_path / "storage" / "feature_drift").rename(tmp_path / "aside")
    for key in WINDOWS[:6]:
        world.score(key)
    assert [world.table(key) for key in WINDOWS[:6]] == together


def test_only_the_last_windows_are_compared(world: World):
    assert not world.score(*WINDOWS[:4], slower=2.0).passed
    assert not world.score(*WINDOWS[4:6]).passed, "half of the recent windows are slow"
    assert world.score(*WINDOWS[6:9]).passed
    assert world.metadata(WINDOWS[8])["status"] == "no drift"
    assert world.metadata(WINDOWS[8])["contacts"] == RECENT * 300


def test_windows_that_are_not_there_are_left_out(world: World):
    world.score(WINDOWS[0], slower=2.0)
    world.score(WINDOWS[3], slower=2.0)
    assert world.metadata(WINDOWS[3])["windows"] == 2
    assert world.metadata(WINDOWS[3])["contacts"] == 600
    assert world.metadata(WINDOWS[3])["status"] == "drifted"


def test_too_few_windows_are_no_sample_of_the_week(world: World):
    check = world.score(WINDOWS[0], slower=5.0)
    assert check.passed
    assert check.description == "not judged: 1 of the last 4 windows are there"
    assert not any(world.table(WINDOWS[0])["drifted"].to_pylist())


def test_no_data_is_no_drift_and_says_so(world: World):
    check = world.score(*WINDOWS[:RECENT], rows=0)
    assert check.passed
    assert "no data" in check.description
    assert world.metadata(WINDOWS[3])["status"] == "no data"
    assert world.table(WINDOWS[3])["psi"].null_count == world.table(WINDOWS[3]).num_rows
    check = world.score(*WINDOWS[4:8], rows=30)
    assert check.passed
    assert "not judged: 120 contacts, drift.min_contacts asks for 200" in check.description


def test_a_window_without_data_shows_the_drift_of_those_before(world: World):
    world.score(*WINDOWS[:3], slower=2.0)
    assert not world.score(WINDOWS[3], rows=0).passed


def test_training_on_the_new_rows_clears_the_drift(world: World):
    assert not world.score(*WINDOWS[:4], slower=2.0).passed
    world.train(contacts(4_000, seed=99, slower=2.0))
    check = world.score(WINDOWS[4], slower=2.0)
    assert check.passed
    assert world.metadata(WINDOWS[4])["windows"] == RECENT, "earlier windows are counted again, from their scores"
    assert world.metadata(WINDOWS[4])["status"] == "no drift"


def test_counts_made_with_another_reference_are_not_mixed_in(world: World):
    world.score(*WINDOWS[:3])
    world.train(contacts(3_000, seed=99))
    for key in WINDOWS[:3]:
        (world.storage / "ensemble_scores" / f"{key}.parquet").unlink()
    world.score(WINDOWS[3])
    assert world.metadata(WINDOWS[3])["windows"] == 1
    assert world.metadata(WINDOWS[3])["contacts"] == 300


def test_stored_counts_are_used_as_they_are(world: World):
    """Scores may be deleted when their windows are old."""
    world.score(*WINDOWS[:3])
    for key in WINDOWS[:3]:
        (world.storage / "ensemble_scores" / f"{key}.parquet").unlink()
    world.score(WINDOWS[3])
    assert world.metadata(WINDOWS[3])["contacts"] == RECENT * 300


def test_the_reference_is_what_was_trained_on(world: World):
    stored = DriftReference.load(world.storage / "drift_reference")
    event = world.instance.get_latest_materialization_event(dg.AssetKey("drift_reference"))
    metadata = event.asset_materialization.metadata
    assert metadata["reference"].value == stored.digest
    assert metadata["features"].value == ["aht_seconds", "channel", "csat", "queue"]
    assert metadata["training_rows"].value == 4_000


def test_training_rows_without_features_fail_in_one_line(world: World):
    world.training = pa.table({"other": [1.0, 2.0]})
    job = world.definitions.resolve_job_def("training_job")
    result = job.execute_in_process(instance=world.instance, raise_on_error=False)
    failed = result.failure_data_for_node("drift_reference")
    assert "training_interactions: none of the features" in failed.user_failure_data.description


def test_drift_asks_for_one_training(world: World):
    world.score(*WINDOWS[:4], slower=2.0)
    requests, _ = world.tick()
    assert [request.tags["cxad/reason"].startswith("drift: aht_seconds in ") for request in requests] == [True]
    requests, said = world.tick()
    assert requests == []
    assert "drift waits for the cool-down and a newer window" in said


def test_a_tick_that_is_evaluated_twice_asks_for_one_run(world: World):
    world.score(*WINDOWS[:4], slower=2.0)
    first, _ = world.tick()
    world.cursor = None
    again, _ = world.tick()
    assert [request.run_key for request in first] == [request.run_key for request in again]


def test_drift_asks_again_after_the_cool_down_in_a_newer_window(world: World):
    world.score(*WINDOWS[:4], slower=2.0)
    (first,), _ = world.tick()
    world.score(WINDOWS[4], slower=2.0)
    assert world.tick(cooldown_hours=72)[0] == []
    (later,), _ = world.tick()
    assert later.run_key != first.run_key, "Dagster drops a run request whose key it has seen"
    assert world.tick()[0] == []


def test_drift_right_after_a_training_waits(world: World):
    world.score(*WINDOWS[:4], slower=2.0)
    assert world.tick(cooldown_hours=72)[0] == []
    assert len(world.tick()[0]) == 1


def test_no_drift_asks_for_nothing(world: World):
    world.score(*WINDOWS[:4])
    requests, said = world.tick()
    assert requests == []
    assert "drift" not in said


def test_drift_that_shall_not_retrain_does_not_ask(world: World):
    world.score(*WINDOWS[:4], slower=2.0)
    assert world.tick(retrain=False)[0] == []


def test_a_backfill_of_old_windows_does_not_ask(world: World):
    world.score(*WINDOWS[4:8])
    assert not world.score(*WINDOWS[:4], slower=2.0).passed
    assert newest_drift(world.instance, scoring_windows(world.settings)) is None
    assert world.tick()[0] == []


def test_drift_from_an_earlier_reference_does_not_ask(world: World):
    """A training has begun anew: what the newest window said is of the past until a window is compared again."""
    world.score(*WINDOWS[:4], slower=2.0)
    world.train(contacts(4_000, seed=99, slower=2.0))
    assert world.tick()[0] == []


def test_new_files_ask_while_drift_cools_down(world: World):
    world.score(*WINDOWS[:4], slower=2.0)
    assert len(world.tick()[0]) == 1
    start = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)
    land(world.settings, "b.csv", start=start, rows=100, folder="training")
    requests, _ = world.tick(cooldown_hours=72)
    assert [request.tags["cxad/reason"] for request in requests] == ["new file b.csv"]
    land(world.settings, "c.csv", start=start, rows=100, seed=2, folder="training")
    world.score(WINDOWS[4], slower=2.0)
    requests, _ = world.tick()
    assert [request.tags["cxad/reason"].split(": ")[0] for request in requests] == ["new file c.csv and drift"]
    assert world.tick()[0] == [], "that drift has asked, together with the file"


def test_drift_asks_for_newer_files_where_a_training_would_read_the_same_ones(world: World):
    start = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)
    land(world.settings, "a.csv", start=start, rows=100, folder="training")
    world.train()
    wanted = f"the training files are those of the last training: land newer ones in {world.settings.paths.training}"
    assert (world.score(*WINDOWS[:4], slower=2.0).description or "").endswith(f". {wanted}")
    requests, said = world.tick()
    assert requests == []
    assert said.endswith(wanted)
    land(world.settings, "a.csv", start=start, rows=101, folder="training")
    assert "land newer" not in (world.score(WINDOWS[4], slower=2.0).description or "")
    requests, _ = world.tick()
    assert [request.tags["cxad/reason"].split(": ")[0] for request in requests] == ["drift"], "too few rows by itself"


def test_files_that_a_failed_training_has_read_are_trained_on_again(world: World):
    land(world.settings, "a.csv", start=dt.datetime(2026, 9, 1, tzinfo=dt.UTC), rows=100, folder="training")
    world.fits = False
    world.train()
    assert "land newer" not in (world.score(*WINDOWS[:4], slower=2.0).description or "")
    assert len(world.tick()[0]) == 1


def test_windows_without_drift_do_not_ask_for_files(world: World):
    land(world.settings, "a.csv", start=dt.datetime(2026, 9, 1, tzinfo=dt.UTC), rows=100, folder="training")
    world.train()
    assert "land newer" not in (world.score(*WINDOWS[:4]).description or "")
    _, said = world.tick()
    assert "land newer" not in said


def test_recent_windows_are_those_before_on_the_clock_of_the_schedule(tmp_path: Path):
    settings = make_settings(
        tmp_path,
        schedule={"batch_score_cron": "0 6,18 * * *", "timezone": "Europe/Berlin", "first_window": "2026-10-20"},
    )
    partitions = scoring_windows(settings)
    keys = partitions.get_partition_keys()
    for place in range(10, 16):  # over the night in which clocks are set back
        assert recent_windows(partitions, keys[place], 5) == keys[place - 4 : place + 1]
    assert recent_windows(partitions, keys[0], 1) == keys[:1]
