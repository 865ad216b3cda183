"""The job that users run, in a real Dagster instance with real MLflow on SQLite, in a temporary folder."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
from landing_world import START, RecordingChannel, land, make_settings

from cxad_pipeline.alerting.channels import DeliveryError, Parcel
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.definitions import build_definitions
from cxad_pipeline.detection.output import output_columns
from cxad_pipeline.interactions.schema import COLUMNS
from cxad_pipeline.registry import versions
from cxad_pipeline.registry.tracking import mlflow_client
from cxad_pipeline.settings import Settings
from cxad_pipeline.store.anomalies import AnomalyFilter, find_anomalies
from cxad_pipeline.store.database import open_store
from cxad_pipeline.store.outbox import Notice, queue, revive

WINDOWS = [f"{START + dt.timedelta(hours=6 * n):%Y-%m-%d-%H%M}" for n in range(8)]
BAD_ROW = "bad-1,2026-10-05T07:00:00Z,9,50,0,100,0,0,voice,en,billing"


@dataclass
class World:
    settings: Settings
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    channel: RecordingChannel
    training: dg.ExecuteInProcessResult
    scoring: dg.ExecuteInProcessResult

    def run(self, job: str, first: str = "", last: str = "", **options: object) -> dg.ExecuteInProcessResult:
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
        definition = self.definitions.resolve_job_def(job)
        return definition.execute_in_process(instance=self.instance, tags=tags if first else None, **options)

    def stored(self, asset: str, window: str = "") -> object:
        path = Path(self.settings.paths.storage, asset, f"{window}.parquet") if window else None
        return pq.read_table(path or Path(self.settings.paths.storage, f"{asset}.parquet"))

    def metadata(self, asset: str, window: str | None = None) -> dict[str, object]:
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[window] if window else None), limit=1
        ).records
        return {key: value.value for key, value in records[0].asset_materialization.metadata.items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Fifteen days of training rows, two days to score, one bad row among them; both jobs have run once."""
    folder = tmp_path_factory.mktemp("world")
    settings = make_settings(folder)
    land(settings, "train.csv", start=START - dt.timedelta(days=15), rows=10_600, folder="training")
    inference = land(settings, "calls.csv", start=START, rows=900, seed=2)
    with inference.open("a") as stream:
        stream.write(BAD_ROW + "\n")
    home = folder / "dagster"
    home.mkdir()
    channel = RecordingChannel()
    with dg.instance_for_test(temp_dir=str(home)) as instance:
        definitions = build_definitions(settings, channels=[channel])
        made = World(settings, definitions, instance, channel, None, None)
        made.training = made.run("training_job")
        made.scoring = made.run("scoring_job", WINDOWS[0], WINDOWS[-1])
        yield made


def test_both_jobs_succeed_and_every_asset_is_made(world):
    assert world.training.success
    assert world.scoring.success
    made = {
        event.asset_key.to_user_string()
        for result in (world.training, world.scoring)
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION
    }
    graph = world.definitions.resolve_asset_graph()
    assert made == {key.to_user_string() for key in graph.materializable_asset_keys} - {"incident_backtest"}


def test_every_row_of_the_landed_file_is_accounted_for(world):
    landed = Path(world.settings.paths.inference, "calls.csv").read_text().splitlines()[1:]
    in_windows = [row for row in landed if row.split(",")[1] < "2026-10-07"]
    scored = sum(world.stored("ensemble_scores", window).num_rows for window in WINDOWS)
    rejected = sum(world.stored("rejected_interactions", window).num_rows for window in WINDOWS)
    assert rejected == 1
    assert scored + rejected == len(in_windows)


def test_a_rejected_row_keeps_its_reason_file_and_line(world):
    row = world.stored("rejected_interactions", WINDOWS[1]).to_pylist()[0]
    lines = Path(world.settings.paths.inference, "calls.csv").read_text().splitlines()
    assert row["reason"] == "csat = '9': must be 1-5"
    assert (row["source_file"], lines[row["source_line"] - 1]) == ("calls.csv", BAD_ROW)
    assert json.loads(row["record"])["interaction_id"] == "bad-1"


def test_scores_are_those_of_the_champion_for_the_same_rows_by_batch_detector_and_pyfunc(world):
    champion = versions.load(world.settings)
    for set_uri in (mlflow.set_tracking_uri, mlflow.set_registry_uri):  # other tests leave theirs behind
        set_uri(world.settings.mlflow.tracking_uri)
    pyfunc = mlflow.pyfunc.load_model(f"models:/{world.settings.mlflow.registered_model}@champion")
    compared = 0
    for window in WINDOWS:
        batch = world.stored("ensemble_scores", window)
        direct = champion.detector.score(batch)
        frame = batch.select([*champion.detector.config.numeric, *champion.detector.config.categorical]).to_pandas()
        served = pyfunc.predict(frame.astype({"complaints": float, "transfers": float}))
        for name, expected in {"ensemble": direct.ensemble, **direct.raw}.items():
            np.testing.assert_allclose(batch[f"{name}_score"].to_numpy(), expected, rtol=0, atol=1e-9)
            np.testing.assert_allclose(served[f"{name}_score"], expected, rtol=0, atol=1e-9)
        compared += batch.num_rows
    assert compared > 500


def test_training_again_with_the_same_rows_and_seed_gives_the_same_scores_to_the_bit(world):
    before = [world.stored("ensemble_scores", window).drop_columns(["model_version"]) for window in WINDOWS]
    files_before = sorted(path.name for path in Path(world.settings.paths.processed).iterdir())
    told_before = len(world.channel.sent)
    assert world.run("training_job").success
    assert world.run("scoring_job", WINDOWS[0], WINDOWS[-1]).success
    after = [world.stored("ensemble_scores", window) for window in WINDOWS]
    assert all(table["model_version"][0].as_py() == "v2" for table in after if table.num_rows)
    assert [table.drop_columns(["model_version"]).equals(old) for table, old in zip(after, before, strict=True)] == [
        True
    ] * len(WINDOWS)
    assert sorted(path.name for path in Path(world.settings.paths.processed).iterdir()) == files_before
    assert len(world.channel.sent) == told_before, "nobody is told twice"


def test_the_csv_has_the_input_columns_then_the_scores_in_their_order(world):
    path = Path(world.settings.paths.processed, f"anomalies_ensemble_{START:%Y%m%dT%H%M%SZ}.csv")
    with path.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == [column.name for column in COLUMNS] + output_columns(["iforest", "rcf"])
    assert rows[0][11:] == [
        "ensemble_score", "ensemble_anomaly", "ensemble_threshold", "iforest_score", "iforest_anomaly",
        "iforest_threshold", "rcf_score", "rcf_anomaly", "rcf_threshold", "severity", "top_reasons", "model_version",
    ]  # fmt: skip
    assert len(rows) - 1 == world.stored("ensemble_scores", WINDOWS[0]).num_rows


def test_one_model_alone_is_exported_with_its_three_columns(world):
    config = {"ops": {"anomaly_export": {"config": {"model": "rcf"}}}}
    assert world.run("scoring_job", WINDOWS[0], run_config=config).success
    with Path(world.settings.paths.processed, f"anomalies_rcf_{START:%Y%m%dT%H%M%SZ}.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[11:] == [
        "rcf_score",
        "rcf_anomaly",
        "rcf_threshold",
        "severity",
        "top_reasons",
        "model_version",
    ]
    stored = world.stored("ensemble_scores", WINDOWS[0])
    assert [float(row["rcf_score"]) for row in rows] == pytest.approx(stored["rcf_score"].to_pylist(), abs=1e-9)


def test_an_unknown_model_to_export_is_refused_in_one_line(world):
    config = {"ops": {"anomaly_export": {"config": {"model": "lof"}}}}
    result = world.run("scoring_job", WINDOWS[0], run_config=config, raise_on_error=False)
    assert _failures(result) == {"anomaly_export": "unknown model 'lof'; allowed: ensemble, iforest, rcf"}


def test_windows_without_an_incident_are_told_together_in_one_digest(world):
    (digest,) = world.channel.sent
    windows = [world.metadata("ensemble_scores", window) for window in WINDOWS]
    contacts, anomalies = (sum(w[name] for w in windows) for name in ("dagster/row_count", "anomalies"))
    assert f"{contacts} contacts scored, {anomalies} of them anomalous" in digest.text
    assert world.metadata("alert_notifications", WINDOWS[-1])["dead_letters"] == 0


def test_segments_are_counted_and_judged_and_the_promise_is_shown_beside_what_was_kept(world):
    counted = [world.metadata("segment_statistics", window) for window in WINDOWS]
    scored = [world.metadata("ensemble_scores", window) for window in WINDOWS]
    assert [c["contacts"] for c in counted] == [s["dagster/row_count"] for s in scored]
    assert [c["anomalies"] for c in counted] == [s["anomalies"] for s in scored]
    judged = world.metadata("incidents", WINDOWS[-1])
    assert judged["promised_per_week"] == 5
    assert judged["achieved_last_week"] <= 5
    assert judged["states"]["tested"] > 0
    surveys = judged["metrics_not_tested"]["csat"]
    assert 0 < surveys["too_few"] <= judged["states"]["tested"], "few contacts are asked, fewer answer"
    assert "not_answered" not in surveys
    model = world.metadata("incident_model")
    assert model["replayed_per_week"] <= model["promised_per_week"]
    found, tried = map(int, model["faults_found"].split(" of "))
    assert 0 < found <= tried
    assert ("warning" in model) == (found < tried / 3)
    run = mlflow_client(world.settings).get_run(model["mlflow_run_id"])
    assert run.data.metrics["threshold"] == pytest.approx(model["threshold"])


def test_flagged_interactions_of_a_window_are_in_the_store_with_their_reasons(world):
    store = open_store(world.settings)
    with store.reading() as connection:
        found, _ = find_anomalies(connection, AnomalyFilter(), limit=500)
    store.close()
    flagged = {
        row["interaction_id"]: row
        for window in WINDOWS
        for row in world.stored("ensemble_scores", window).to_pylist()
        if row["ensemble_anomaly"]
    }
    assert {anomaly["interaction_id"] for anomaly in found} == set(flagged)
    for anomaly in found:
        row = flagged[anomaly["interaction_id"]]
        assert anomaly["source"] == "batch"
        assert anomaly["severity"] == row["severity"]
        assert anomaly["scores"]["rcf"] == row["rcf_score"]
        assert "; ".join(reason["text"] for reason in anomaly["reasons"]) == row["top_reasons"]


def test_the_backtest_lists_what_the_configuration_would_have_raised_and_tells_nobody(world):
    told_before = len(world.channel.sent)
    config = {"ops": {"incident_backtest": {"config": {"days": 7}}}}
    assert world.run("backtest_job", run_config=config).success
    shown = world.metadata("incident_backtest")
    assert shown["replayed_per_week"] == pytest.approx(shown["number"])
    assert "data:image/png;base64" in shown["picture"]
    assert len(world.channel.sent) == told_before


def test_a_window_without_rows_shows_as_no_data_and_not_as_zero_anomalies(world):
    empty = "2026-09-20-0000"
    assert world.run("scoring_job", empty).success
    assert world.metadata("raw_interactions", empty)["status"] == "no data"
    assert world.metadata("ensemble_scores", empty)["status"] == "no data"
    assert world.metadata("anomaly_export", empty)["file"] == "no data"
    assert world.metadata("segment_statistics", empty)["contacts"] == 0
    assert not Path(world.settings.paths.processed, "anomalies_ensemble_20260920T000000Z.csv").exists()


def test_metadata_of_each_window_shows_schema_lineage_and_counts(world):
    metadata = world.metadata("ensemble_scores", WINDOWS[0])
    schema = {column.name: column for column in metadata["dagster/column_schema"].columns}
    assert schema["hold_time_seconds"].description == "Time the customer was kept waiting."
    lineage = metadata["dagster/column_lineage"].deps_by_column
    assert lineage["csat"] == [dg.TableColumnDep(dg.AssetKey("raw_interactions"), "csat")]
    stored = world.stored("ensemble_scores", WINDOWS[0])
    assert metadata["dagster/row_count"] == stored.num_rows
    assert metadata["unknown_categories"] == {}
    assert metadata["missing_values"]["csat"] == stored["csat"].null_count > 0
    assert metadata["missing_values"]["queue"] == stored["queue"].null_count
    features = world.metadata("features")["dagster/column_lineage"].deps_by_column
    assert dg.TableColumnDep(dg.AssetKey("training_interactions"), "channel") in features["channel=voice"]


def test_mlflow_has_a_parent_run_with_one_run_for_each_model_that_compare(world):
    client = mlflow_client(world.settings)
    experiment = client.get_experiment_by_name(world.settings.mlflow.experiment)
    training_id = world.training.run_id
    runs = client.search_runs([experiment.experiment_id], f"tags.`cxad.training_id` = '{training_id}'")
    by_role = {run.data.tags["cxad.role"]: run for run in runs}
    assert set(by_role) == {"training", "iforest", "rcf", "ensemble", "incident_model"}
    parent = by_role.pop("training")
    assert by_role.pop("incident_model").data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in by_role.values()} == {parent.info.run_id}
    assert {run.data.tags["dagster.run_id"] for run in by_role.values()} == {training_id}
    shared = set.intersection(*(set(run.data.metrics) for run in by_role.values()))
    assert {"threshold", "flagged_share", "injected_roc_auc", "score_p99"} <= shared
    assert parent.data.tags["promotion"] == "champion"
    assert "ROC-AUC" in parent.data.tags["promotion_reason"]
    assert {path.path for path in client.list_artifacts(parent.info.run_id, "figures")} == {
        f"figures/{name}.png" for name in ("score_distribution", "score_boxplots", "score_correlation")
    }


def test_the_report_is_in_the_processed_folder_and_in_the_metadata(world):
    for name in ("score_distribution", "score_boxplots", "score_correlation"):
        assert Path(world.settings.paths.processed, f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert world.metadata("evaluation_report")[name].startswith(f"![{name}](data:image/png;base64,")


def test_recall_by_kind_is_reported_when_labels_are_asked_for(world):
    labels = next(Path(world.settings.paths.training).parent.glob("train.csv.labels.csv"))
    config = {"ops": {"evaluation_report": {"config": {"labels": str(labels)}}}}
    result = world.run("training_job", asset_selection=[dg.AssetKey("evaluation_report")], run_config=config)
    assert result.success
    with Path(world.settings.paths.processed, "label_report.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["model"] for row in rows} == {"ensemble", "iforest", "rcf"}
    assert {"any", "extreme"} <= {row["kind"] for row in rows}
    extreme = next(row for row in rows if row["model"] == "ensemble" and row["kind"] == "extreme")
    assert float(extreme["roc_auc"]) > 0.8


def test_a_row_that_breaks_the_contract_after_landing_blocks_what_follows(world, monkeypatch):
    """Landing is made to err; the contract check must not let the rows through."""
    from cxad_pipeline.defs import ingestion

    honest = ingestion.read_windows

    def erring(*arguments):
        rows = honest(*arguments)
        for found in rows.values():
            position = found.accepted.column_names.index("csat")
            bad = np.full(found.accepted.num_rows, 77.0)
            found.accepted = found.accepted.set_column(position, found.accepted.schema.field("csat"), [bad])
        return rows

    monkeypatch.setattr(ingestion, "read_windows", erring)
    result = world.run("scoring_job", WINDOWS[2], raise_on_error=False)
    steps = {event.step_key for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_START}
    assert not result.success
    assert "ensemble_scores" not in steps
    monkeypatch.undo()
    assert world.run("scoring_job", WINDOWS[2]).success


class FailingChannel:
    """A channel whose service is down."""

    name, edits = "recording", False

    def deliver(self, _parcel: Parcel) -> dict[str, object]:
        raise DeliveryError("the service has no such channel any more", permanent=True)


def test_a_channel_that_fails_fails_no_run_and_leaves_a_dead_letter_that_can_be_revived(world):
    window = "2026-09-21-0000"
    store = open_store(world.settings)
    now = dt.datetime.now(dt.UTC)
    with store.writing() as connection:
        queue(
            connection,
            Notice("run:1", "run_failure", "run:1", Message("a run failed", "a run failed").to_dict(), now),
            ["recording"],
        )
    working = world.definitions
    world.definitions = build_definitions(world.settings, channels=[FailingChannel()])
    try:
        result = world.run("scoring_job", window)
    finally:
        world.definitions = working
    assert result.success
    (check,) = (c for c in result.get_asset_check_evaluations() if c.check_name == "dead_letters")
    assert not check.passed
    assert "no such channel any more" in str(check.metadata["dead_letters"].value)
    told_before = len(world.channel.sent)
    with store.writing() as connection:
        assert revive(connection, None) == 1
    store.close()
    assert world.run("scoring_job", window).success
    assert [message.headline for message in world.channel.sent[told_before:]] == ["a run failed"]
    assert world.metadata("alert_notifications", window)["dead_letters"] == 0


def test_scoring_before_any_training_says_so_in_one_line(tmp_path):
    settings = make_settings(tmp_path)
    land(settings, "calls.csv", start=START, rows=50)
    definitions = build_definitions(settings, channels=[RecordingChannel()])
    tags = {f"dagster/asset_partition_range_{end}": WINDOWS[0] for end in ("start", "end")}
    result = definitions.resolve_job_def("scoring_job").execute_in_process(raise_on_error=False, tags=tags)
    failures = _failures(result)
    assert set(failures) == {"ensemble_scores"}
    assert "\n" not in failures["ensemble_scores"]
    assert "train one first, with `cxad train`" in failures["ensemble_scores"]


def test_too_few_training_rows_are_refused_with_what_to_do(tmp_path):
    settings = make_settings(tmp_path)
    land(settings, "train.csv", start=START, rows=50, folder="training")
    definitions = build_definitions(settings, channels=[RecordingChannel()])
    result = definitions.resolve_job_def("training_job").execute_in_process(raise_on_error=False)
    (message,) = _failures(result).values()
    assert message.startswith("50 training rows in ")
    assert "training.min_rows asks for 200: land more files there" in message


def _failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    from cxad_pipeline.defs.failures import step_error

    return {event.step_key: step_error(event) for event in result.all_events if event.is_step_failure}


def test_scoring_with_models_of_an_older_release_says_what_to_make_first(world, tmp_path):
    made = Path(world.settings.paths.storage, "incident_model")
    made.rename(tmp_path / "incident_model")
    try:
        failures = _failures(world.run("scoring_job", WINDOWS[0], raise_on_error=False))
    finally:
        (tmp_path / "incident_model").rename(made)
    assert list(failures) == ["segment_statistics"]
    assert "materialize incident_model first, as `cxad train` does" in failures["segment_statistics"]
