"""Claims about the simulated centre: that it behaves like one, that its labels are true, that it is reproducible."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kurtosis, mannwhitneyu, skew, spearmanr

from cxad_pipeline.interactions.arrow_schema import arrow_schema
from cxad_pipeline.interactions.schema import COLUMNS, InteractionSchema
from cxad_pipeline.interactions.simulation import (
    INFERENCE_SAMPLE,
    TRAINING_SAMPLE,
    Incident,
    Simulation,
    SimulationConfig,
    expected_interactions,
    simulate,
    simulate_table,
    write_samples,
    write_simulation,
)

DATA = Path(__file__).parents[2] / "data"
MONDAY = datetime(2026, 9, 14, tzinfo=UTC)
FOUR_WEEKS = SimulationConfig(start=MONDAY, end=MONDAY + timedelta(weeks=4), seed=3, anomaly_rate=0, incidents=())
SMALL = SimulationConfig(
    start=MONDAY, end=MONDAY + timedelta(days=3), seed=5, anomaly_rate=0.05, incidents=3, volume_scale=0.03
)
METRICS = ("csat", "ies", "complaints", "aht_seconds", "hold_time_seconds", "transfers")

Columns = dict[str, np.ndarray[Any, Any]]


def columns_of(table: pa.Table) -> Columns:
    return {name: table[name].to_numpy() for name in table.column_names}


@cache
def simulated(config: SimulationConfig) -> tuple[Columns, Simulation]:
    simulation = simulate_table(config)
    return columns_of(simulation.interactions), simulation


def hour_of_day(columns: Columns) -> np.ndarray[Any, Any]:
    return columns["timestamp"].astype("datetime64[h]").astype(int) % 24


def weekday(columns: Columns) -> np.ndarray[Any, Any]:
    # 1970-01-01 was a Thursday.
    return (columns["timestamp"].astype("datetime64[D]").astype(int) + 3) % 7


# The centre


def test_interactions_have_the_columns_of_the_schema_in_their_order() -> None:
    _, simulation = simulated(FOUR_WEEKS)
    assert simulation.interactions.schema.equals(arrow_schema(InteractionSchema()))


@pytest.mark.parametrize("faulty", [False, True])
def test_every_value_satisfies_the_contract_even_where_it_is_anomalous(faulty: bool) -> None:
    config = replace(FOUR_WEEKS, anomaly_rate=0.2, incidents=5) if faulty else FOUR_WEEKS
    columns, _ = simulated(config)
    for column in COLUMNS:
        values = columns[column.name]
        if column.is_metric:
            known = values[~np.isnan(values)]
            assert column.minimum is None or known.min() >= column.minimum
            assert column.maximum is None or known.max() <= column.maximum
            assert column.name == "csat" or len(known) == len(values)
        else:
            assert not any(value is None or value == "" for value in values.tolist())
    assert len(set(columns["interaction_id"])) == len(columns["interaction_id"])
    assert np.all(np.diff(columns["timestamp"]) >= np.timedelta64(0))


def test_calls_follow_the_hour_of_the_week() -> None:
    columns, _ = simulated(FOUR_WEEKS)
    hour, day = hour_of_day(columns), weekday(columns)
    calls = columns["channel"] == "voice"
    by_hour = np.bincount(hour[calls & (day < 5)], minlength=24)
    assert by_hour[10] > 1.2 * by_hour[12] < by_hour[14], "a dip at lunch"
    assert by_hour[10] > 10 * by_hour[3], "quiet nights"
    by_day = np.bincount(day[calls], minlength=7)
    assert by_day[0] == by_day.max(), "Monday is the busiest day"
    assert by_day[6] < by_day[5] < 0.6 * by_day[:5].mean(), "quiet weekends"
    closed = calls & (columns["queue"] == "billing") & ((hour < 7) | (hour >= 21) | (day == 6))
    assert not closed.any(), "no calls to a closed queue"


def test_chat_is_busiest_later_in_the_day_than_voice_and_email_is_the_flattest() -> None:
    columns, _ = simulated(FOUR_WEEKS)
    hour, workday = hour_of_day(columns), weekday(columns) < 5
    shares = {}
    for channel in ("voice", "chat", "email"):
        counts = np.bincount(hour[workday & (columns["channel"] == channel)], minlength=24)
        shares[channel] = counts / counts.sum()
    assert np.argmax(shares["voice"]) < 12
    assert np.argmax(shares["chat"]) > 16
    assert shares["email"].max() < 0.75 * min(shares["voice"].max(), shares["chat"].max())
    assert shares["email"].min() > 0.02


def test_hourly_counts_vary_more_than_poisson() -> None:
    # Tuesdays to Thursdays at 10:00 over 40 weeks in one queue: the mean of the three is nearly the same.
    config = replace(FOUR_WEEKS, end=MONDAY + timedelta(weeks=40))
    columns, _ = simulated(config)
    chosen = (hour_of_day(columns) == 10) & (columns["queue"] == "support") & (weekday(columns) == 2)
    days = columns["timestamp"][chosen].astype("datetime64[D]")
    _, counts = np.unique(days, return_counts=True)
    assert len(counts) == 40
    assert counts.var() > 1.5 * counts.mean()


@pytest.mark.parametrize("channel", ["voice", "chat", "email"])
@pytest.mark.parametrize("queue", ["billing", "technical"])
def test_handle_times_are_log_normal_within_a_queue_and_channel(queue: str, channel: str) -> None:
    columns, _ = simulated(FOUR_WEEKS)
    chosen = (columns["queue"] == queue) & (columns["channel"] == channel) & (columns["transfers"] == 0)
    seconds = columns["aht_seconds"][chosen]
    assert skew(seconds) > 1
    assert abs(skew(np.log(seconds))) < 0.15
    assert abs(kurtosis(np.log(seconds))) < 0.3


def test_satisfaction_falls_with_hold_and_with_transfers() -> None:
    columns, _ = simulated(FOUR_WEEKS)
    answered = ~np.isnan(columns["csat"]) & (columns["channel"] == "voice")
    for cause in ("hold_time_seconds", "transfers"):
        correlation, p = spearmanr(columns[cause][answered], columns["csat"][answered])
        assert correlation < -0.05
        assert p < 1e-6


def test_satisfaction_falls_with_overlong_handling() -> None:
    columns, _ = simulated(FOUR_WEEKS)
    chosen = (columns["queue"] == "support") & (columns["channel"] == "chat") & ~np.isnan(columns["csat"])
    correlation, p = spearmanr(columns["aht_seconds"][chosen], columns["csat"][chosen])
    assert correlation < -0.05
    assert p < 1e-6


def test_efficiency_falls_with_handle_time_and_transfers() -> None:
    columns, _ = simulated(FOUR_WEEKS)
    chosen = (columns["queue"] == "billing") & (columns["channel"] == "voice")
    assert spearmanr(columns["aht_seconds"][chosen], columns["ies"][chosen])[0] < -0.4
    assert columns["ies"][columns["transfers"] > 0].mean() < columns["ies"][columns["transfers"] == 0].mean() - 5


def test_complaints_are_rare_and_grow_with_hold_and_transfers() -> None:
    columns, _ = simulated(FOUR_WEEKS)
    complained = columns["complaints"] > 0
    assert 0.003 < complained.mean() < 0.02
    assert complained[columns["hold_time_seconds"] > 300].mean() > 1.5 * complained.mean()
    assert complained[columns["transfers"] > 0].mean() > 1.5 * complained.mean()


def test_surveys_come_back_by_channel_and_more_often_from_the_dissatisfied() -> None:
    columns, _ = simulated(FOUR_WEEKS)
    answered = ~np.isnan(columns["csat"])
    rate = {channel: answered[columns["channel"] == channel].mean() for channel in ("voice", "chat", "email")}
    assert rate["chat"] > 1.4 * rate["voice"] > 1.4 * 1.2 * rate["email"]
    assert answered.mean() < 0.35
    # The same contacts, all made dissatisfied by an incident: more of them answer.
    angry = Incident("all-angry", "csat", 4, MONDAY, MONDAY + timedelta(weeks=4))
    after, _ = simulated(replace(FOUR_WEEKS, incidents=(angry,)))
    assert (~np.isnan(after["csat"])).mean() > 1.1 * answered.mean()


def test_hold_grows_with_load_and_emails_have_none() -> None:
    columns, _ = simulated(FOUR_WEEKS)
    voice = (columns["channel"] == "voice") & (weekday(columns) < 5)
    hour, hold = hour_of_day(columns), columns["hold_time_seconds"]
    assert hold[voice & (hour == 12)].mean() > 1.3 * hold[voice & (hour == 8)].mean()
    assert hold[columns["channel"] == "email"].max() == 0
    assert hold[columns["channel"] == "voice"].mean() > 2 * hold[columns["channel"] == "chat"].mean()


def test_languages_differ_by_queue_and_by_hour() -> None:
    columns, _ = simulated(FOUR_WEEKS)
    german = columns["language"] == "de"
    assert german[columns["queue"] == "retention"].mean() > 1.15 * german[columns["queue"] == "sales"].mean()
    assert german[hour_of_day(columns) < 10].mean() > 1.2 * german[hour_of_day(columns) >= 17].mean()


# Anomalies and incidents


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1])
def test_the_share_of_anomalies_is_the_one_asked_for(rate: float) -> None:
    columns, simulation = simulated(replace(FOUR_WEEKS, anomaly_rate=rate))
    assert simulation.labels.num_rows == pytest.approx(rate * len(columns["queue"]), rel=0.1)


def test_labels_name_exactly_the_rows_that_a_fault_changed() -> None:
    config = replace(FOUR_WEEKS, anomaly_rate=0.02)
    clean, _ = simulated(FOUR_WEEKS)
    faulty, simulation = simulated(config)
    changed = np.zeros(len(clean["queue"]), dtype=bool)
    for metric in METRICS:
        changed |= ~np.isclose(clean[metric], faulty[metric], equal_nan=True)
    labelled = np.isin(faulty["interaction_id"], simulation.labels["interaction_id"].to_numpy())
    assert labelled.sum() == simulation.labels.num_rows > 1000
    assert np.array_equal(changed, labelled)
    for name in ("interaction_id", "timestamp", "queue", "channel", "language"):
        assert np.array_equal(clean[name], faulty[name])


def test_each_interaction_has_one_label_with_kind_and_detail() -> None:
    _, simulation = simulated(replace(FOUR_WEEKS, anomaly_rate=0.1, incidents=5))
    labels = simulation.labels.to_pydict()
    assert set(labels["kind"]) == {"extreme", "contextual", "data_fault", "incident"}
    assert len(set(labels["interaction_id"])) == simulation.labels.num_rows
    assert set(labels["interaction_id"]) <= set(simulation.interactions["interaction_id"].to_pylist())
    assert all(labels["detail"])
    named = {detail for kind, detail in zip(labels["kind"], labels["detail"], strict=True) if kind == "incident"}
    assert named <= set(simulation.incidents["incident"].to_pylist())


def labelled_rows(simulation: Simulation, kind: str) -> dict[str, str]:
    labels = simulation.labels.to_pydict()
    rows = zip(labels["interaction_id"], labels["kind"], labels["detail"], strict=True)
    return {name: detail for name, this_kind, detail in rows if this_kind == kind}


def percentiles_by_segment(columns: Columns, low: float, high: float) -> dict[tuple[str, str, str], Any]:
    """Percentiles of each metric in each queue and channel."""
    found = {}
    for queue in set(columns["queue"]):
        for channel in set(columns["channel"]):
            own = (columns["queue"] == queue) & (columns["channel"] == channel)
            for metric in ("aht_seconds", "hold_time_seconds", "transfers", "complaints"):
                found[queue, channel, metric] = np.percentile(columns[metric][own], [low, high])
    return found


def test_contextual_anomalies_are_usual_in_the_centre_but_not_in_their_queue_and_channel() -> None:
    clean, _ = simulated(FOUR_WEEKS)
    faulty, simulation = simulated(replace(FOUR_WEEKS, anomaly_rate=0.02))
    contextual = labelled_rows(simulation, "contextual")
    assert len(set(contextual.values())) == 4
    position = {name: row for row, name in enumerate(faulty["interaction_id"])}
    usual = {metric: np.percentile(faulty[metric], [1, 99]) for metric in ("aht_seconds", "hold_time_seconds")}
    own = percentiles_by_segment(clean, 1, 99)
    outside = 0
    for name, detail in contextual.items():
        row, metric = position[name], detail.split()[0]
        value = faulty[metric][row]
        low, high = usual[metric]
        assert low <= value <= high, f"{detail}: {value} is outside {low}-{high}"
        low, high = own[clean["queue"][row], clean["channel"][row], metric]
        assert value <= low or value >= high, f"{detail}: {value} is inside {low}-{high}"
        outside += bool(value < low or value > high)
    assert outside > 0.98 * len(contextual)


def test_extreme_anomalies_are_far_out_in_their_queue_and_channel() -> None:
    clean, _ = simulated(FOUR_WEEKS)
    faulty, simulation = simulated(replace(FOUR_WEEKS, anomaly_rate=0.02))
    position = {name: row for row, name in enumerate(faulty["interaction_id"])}
    own = percentiles_by_segment(clean, 50, 99.8)
    several = 0
    for name, detail in labelled_rows(simulation, "extreme").items():
        parts = [part.split()[0] for part in detail.split(" + ")]
        several += len(parts) > 1
        for metric in parts:
            row = position[name]
            assert faulty[metric][row] > own[clean["queue"][row], clean["channel"][row], metric][1], detail
    assert several > 100


def test_data_faults_leave_the_traces_that_their_labels_name() -> None:
    clean, _ = simulated(FOUR_WEEKS)
    faulty, simulation = simulated(replace(FOUR_WEEKS, anomaly_rate=0.02))
    position = {name: row for row, name in enumerate(faulty["interaction_id"])}
    seen = set()
    for name, detail in labelled_rows(simulation, "data_fault").items():
        row = position[name]
        seen.add(detail)
        before = {metric: clean[metric][row] for metric in METRICS}
        after = {metric: faulty[metric][row] for metric in METRICS}
        expected = before | {
            "aht_seconds stuck at 28800": {"aht_seconds": 28800.0},
            "aht_seconds in milliseconds": {"aht_seconds": before["aht_seconds"] * 1000},
            "ies as a share of 1": {"ies": round(before["ies"] / 100, 1)},
            "aht_seconds and hold_time_seconds swapped": {
                "aht_seconds": before["hold_time_seconds"],
                "hold_time_seconds": before["aht_seconds"],
            },
        }.get(detail, {})
        if detail == "aht_seconds in milliseconds":
            # A timer in milliseconds knows more digits than the seconds had.
            after["aht_seconds"] = 1000 * round(after["aht_seconds"] / 1000)
        np.testing.assert_equal(after, expected)
        assert after["aht_seconds"] != before["aht_seconds"] or after["ies"] != before["ies"]
    assert len(seen) == 4


INCIDENT_START = MONDAY + timedelta(days=8, hours=9)


@pytest.mark.parametrize(
    ("metric", "size"),
    [("hold_time_seconds", 240.0), ("aht_seconds", 1.6), ("csat", 1.5), ("complaints", 0.3)],
)
def test_an_incident_shifts_its_segment_in_its_hours_and_nothing_else(metric: Any, size: float) -> None:
    incident = Incident(
        "it", metric, size, INCIDENT_START, INCIDENT_START + timedelta(hours=5), queue="support", channel="voice"
    )
    config = replace(FOUR_WEEKS, volume_scale=2.0)
    clean, _ = simulated(config)
    faulty, simulation = simulated(replace(config, incidents=(incident,)))
    start, end = (np.datetime64(moment.replace(tzinfo=None)) for moment in (incident.start, incident.end))
    members = (clean["queue"] == "support") & (clean["channel"] == "voice")
    members &= (clean["timestamp"] >= start) & (clean["timestamp"] < end)
    for column in clean:
        np.testing.assert_array_equal(clean[column][~members], faulty[column][~members])
    assert set(labelled_rows(simulation, "incident")) == set(clean["interaction_id"][members])
    before, after = np.nanmean(clean[metric][members]), np.nanmean(faulty[metric][members])
    shift = {
        "hold_time_seconds": after - before,
        "aht_seconds": after / before,
        "csat": before - after,
        "complaints": after - before,
    }[metric]
    # Satisfaction cannot fall below 1, so a few of its points are lost; complaints may come in twos.
    assert shift == pytest.approx(size, rel=0.03 if metric == "aht_seconds" else 0.25)
    if metric in ("hold_time_seconds", "aht_seconds"):
        assert np.nanmean(faulty["csat"][members]) < np.nanmean(clean["csat"][members])
        assert mannwhitneyu(faulty[metric][members], clean[metric][members]).pvalue < 1e-6


def test_members_of_an_incident_keep_its_label_however_many_anomalies_there_are() -> None:
    incident = Incident("it", "csat", 1, INCIDENT_START, INCIDENT_START + timedelta(hours=5))
    _, quiet = simulated(replace(FOUR_WEEKS, incidents=(incident,)))
    _, noisy = simulated(replace(FOUR_WEEKS, incidents=(incident,), anomaly_rate=0.1))
    assert labelled_rows(quiet, "incident") == labelled_rows(noisy, "incident")


def test_a_drift_begins_at_nothing_and_grows_to_its_size() -> None:
    end = INCIDENT_START + timedelta(hours=6)
    incident = Incident("slow", "aht_seconds", 2.0, INCIDENT_START, end, queue="support", shape="drift")
    clean, _ = simulated(FOUR_WEEKS)
    faulty, _ = simulated(replace(FOUR_WEEKS, incidents=(incident,)))
    ratio = faulty["aht_seconds"] / clean["aht_seconds"]
    since = (clean["timestamp"] - np.datetime64(INCIDENT_START.replace(tzinfo=None))) / np.timedelta64(6, "h")
    members = (clean["queue"] == "support") & (since >= 0) & (since < 1)
    # Both are rounded to whole seconds, the shortest lasts about a minute.
    np.testing.assert_allclose(ratio[members], 1 + since[members], atol=0.03)
    assert ratio[~members].max() == 1


def test_an_incident_without_a_segment_leaves_emails_without_hold() -> None:
    incident = Incident("line", "hold_time_seconds", 100, INCIDENT_START, INCIDENT_START + timedelta(hours=5))
    columns, simulation = simulated(replace(FOUR_WEEKS, incidents=(incident,)))
    assert columns["hold_time_seconds"][columns["channel"] == "email"].max() == 0
    emails = columns["interaction_id"][columns["channel"] == "email"]
    assert not set(labelled_rows(simulation, "incident")) & set(emails)


def test_incidents_come_at_the_rate_asked_for_and_are_listed() -> None:
    config = replace(FOUR_WEEKS, end=MONDAY + timedelta(weeks=52), incidents=2, volume_scale=0.01)
    _, simulation = simulated(config)
    assert 75 < simulation.incidents.num_rows < 135
    for incident in simulation.incidents.to_pylist():
        assert config.start <= incident["start"] < incident["end"]
        assert incident["effect"].startswith(incident["metric"])
    assert simulate_table(replace(config, incidents=0)).incidents.num_rows == 0


# Reproducibility


@settings(max_examples=25, deadline=None)
@given(chunk_rows=st.integers(min_value=1, max_value=500))
def test_chunking_does_not_matter(chunk_rows: int) -> None:
    _, whole = simulated(SMALL)
    chunks = list(simulate(SMALL, chunk_rows))
    assert len(chunks) == -(-whole.interactions.num_rows // chunk_rows)
    assert all(chunk.interactions.num_rows == chunk_rows for chunk in chunks[:-1])
    assert pa.concat_tables([chunk.interactions for chunk in chunks]).equals(whole.interactions)
    assert pa.concat_tables([chunk.labels for chunk in chunks]).equals(whole.labels)
    for chunk in chunks:
        assert set(chunk.labels["interaction_id"].to_pylist()) <= set(chunk.interactions["interaction_id"].to_pylist())


@settings(max_examples=25, deadline=None)
@given(first=st.integers(min_value=0, max_value=70), hours=st.integers(min_value=1, max_value=72))
def test_a_part_of_a_period_has_the_rows_that_the_whole_has_there(first: int, hours: int) -> None:
    columns, whole = simulated(SMALL)
    start = MONDAY + timedelta(hours=first)
    end = min(start + timedelta(hours=hours), MONDAY + timedelta(days=3))
    part = simulate_table(replace(SMALL, start=start, end=end))
    bounds = [np.datetime64(moment.replace(tzinfo=None)) for moment in (start, end)]
    inside = (columns["timestamp"] >= bounds[0]) & (columns["timestamp"] < bounds[1])
    assert part.interactions.equals(whole.interactions.filter(pa.array(inside)))


@pytest.mark.parametrize("number", [1, 777, 5000])
def test_a_number_of_interactions_is_kept_exactly(number: int) -> None:
    config = SimulationConfig(start=MONDAY, interactions=number, seed=9, volume_scale=0.2)
    table = simulate_table(config).interactions
    assert table.num_rows == number == expected_interactions(config)
    assert table.equals(simulate_table(replace(config, interactions=6000)).interactions.slice(0, number))


def test_the_expected_number_is_the_mean_of_the_simulated_ones() -> None:
    config = replace(FOUR_WEEKS, start=MONDAY + timedelta(hours=9, minutes=30), volume_scale=0.2)
    simulated_numbers = [simulate_table(replace(config, seed=seed)).interactions.num_rows for seed in range(5)]
    assert np.mean(simulated_numbers) == pytest.approx(expected_interactions(config), rel=0.02)


def test_identifiers_carry_the_date_and_count_from_the_first_number() -> None:
    columns, _ = simulated(replace(SMALL, first_id=500_000))
    for name, moment in zip(columns["interaction_id"], columns["timestamp"], strict=True):
        assert name.startswith(f"I-{str(moment)[:10].replace('-', '')}-5")
    assert columns["interaction_id"][0].endswith("-500000")


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(ending: str, tmp_path: Path) -> None:
    contents = []
    for run, seed in enumerate((5, 5, 6)):
        paths = [tmp_path / str(run) / f"{name}{ending}" for name in ("rows", "labels", "incidents")]
        write_simulation(replace(SMALL, seed=seed), *paths)
        contents.append([path.read_bytes() for path in paths])
        assert sorted(paths[0].parent.iterdir()) == sorted(paths), "nothing temporary is left"
    assert contents[0] == contents[1]
    assert all(one != other for one, other in zip(contents[0], contents[2], strict=True))


def test_every_file_form_holds_the_same_rows(tmp_path: Path) -> None:
    _, simulation = simulated(SMALL)
    counted: list[int] = []
    for ending in (".csv", ".csv.gz", ".parquet"):
        rows = write_simulation(
            SMALL,
            tmp_path / f"rows{ending}",
            tmp_path / f"labels{ending}",
            tmp_path / f"incidents{ending}",
            progress=counted.append,
        )
        assert rows == simulation.interactions.num_rows == counted[-1]
    packed = (tmp_path / "rows.csv.gz").read_bytes()
    assert packed[3:8] == bytes(5), "neither a name nor a time in the gzip header"
    assert gzip.decompress(packed) == (tmp_path / "rows.csv").read_bytes()
    for name, table in vars(simulation).items():
        stem = "rows" if name == "interactions" else name
        assert pq.read_table(tmp_path / f"{stem}.parquet").equals(table)
        types = pa.csv.ConvertOptions(column_types=table.schema, strings_can_be_null=True)
        assert pa.csv.read_csv(tmp_path / f"{stem}.csv", convert_options=types).cast(table.schema).equals(table)


def test_a_csv_row_reads_like_an_export(tmp_path: Path) -> None:
    write_simulation(replace(SMALL, anomaly_rate=0.3), tmp_path / "rows.csv", tmp_path / "labels.csv")
    header, *lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert header == ",".join(column.name for column in COLUMNS)
    form = re.compile(
        r"I-202609\d\d-\d{6},2026-09-\d\dT\d\d:\d\d:\d\dZ,[1-5]?,\d{1,3}(\.[1-9])?,\d+,\d+,\d+,\d+,"
        r"(voice|chat|email),(en|de|fr|es),(billing|support|sales|retention|technical)"
    )
    assert all(form.fullmatch(line) for line in lines)


def test_without_faults_the_label_files_hold_their_header_alone(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.csv" for name in ("rows", "labels", "incidents")]
    write_simulation(replace(SMALL, anomaly_rate=0, incidents=()), *paths)
    assert paths[1].read_text() == "interaction_id,kind,detail\n"
    assert paths[2].read_text() == "incident,queue,channel,language,metric,start,end,effect\n"


def test_nothing_is_left_of_a_simulation_that_was_stopped(tmp_path: Path) -> None:
    def stop(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_simulation(SMALL, tmp_path / "rows.csv", tmp_path / "labels.csv", progress=stop)
    assert list(tmp_path.iterdir()) == []


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"end": None}, "either end or interactions"),
        ({"interactions": 5}, "either end or interactions"),
        ({"start": datetime(2026, 9, 14)}, "start of a simulation must be in UTC"),
        ({"end": MONDAY}, "cannot end"),
        ({"end": None, "interactions": 0}, "at least 1"),
        ({"seed": -1}, "must not be negative"),
        ({"anomaly_rate": 0.6}, "between 0 and 0.5"),
        ({"volume_scale": 0.0}, "between 0.001 and 1000"),
        ({"incidents": -1.0}, "between 0 and 20"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_incidents_that_claim_the_same_contacts_are_refused() -> None:
    first = Incident("a", "csat", 1, MONDAY, MONDAY + timedelta(hours=3), queue="sales")
    same = Incident("b", "aht_seconds", 2, MONDAY + timedelta(hours=2), MONDAY + timedelta(hours=5), channel="chat")
    apart = replace(same, queue="billing")
    with pytest.raises(ValueError, match="'a' and 'b' claim the same contacts"):
        replace(SMALL, incidents=(first, same))
    assert replace(SMALL, incidents=(first, apart)).incidents == (first, apart)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "a,b"}, "use letters"),
        ({"metric": "ies"}, "is none of hold_time_seconds"),
        ({"size": 0}, "must be above 0"),
        ({"metric": "complaints", "size": 2}, "at most 1 for complaints"),
        ({"queue": "billling"}, "'billling' is none of billing"),
        ({"metric": "hold_time_seconds", "channel": "email"}, "e-mails have no hold"),
        ({"end": MONDAY}, "it ends at"),
        ({"shape": "jump"}, "neither 'break' nor 'drift'"),
        ({"start": datetime(2026, 9, 14)}, "must be in UTC"),
    ],
)
def test_an_incident_that_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Incident("a", "aht_seconds", 1.5, MONDAY, MONDAY + timedelta(hours=3)), **change)


def test_a_file_of_another_kind_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must end in "):
        write_simulation(SMALL, tmp_path / "rows.csv", tmp_path / "labels.json")
    with pytest.raises(ValueError, match="a file each"):
        write_simulation(SMALL, tmp_path / "rows.csv", tmp_path / "rows.csv")
    assert list(tmp_path.iterdir()) == []


# The committed samples

SAMPLES = (
    "input/training/mock_train.csv",
    "input/inference/mock_inference.csv",
    "labels/mock_train_labels.csv",
    "labels/mock_inference_labels.csv",
    "labels/mock_inference_incidents.csv",
)


def test_the_committed_samples_are_what_is_written_now(tmp_path: Path) -> None:
    write_samples(tmp_path)
    written = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(written) == sorted(SAMPLES)
    for name in SAMPLES:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name
        assert (tmp_path / name).stat().st_size < 3_000_000


def test_the_samples_are_apart_and_have_the_size_and_period_promised() -> None:
    training, inference = (simulated(config)[0] for config in (TRAINING_SAMPLE, INFERENCE_SAMPLE))
    assert 32_000 < len(training["queue"]) < 34_500
    assert 2_800 < len(inference["queue"]) < 3_200
    assert not set(training["interaction_id"]) & set(inference["interaction_id"])
    assert training["timestamp"].max() < inference["timestamp"].min()
    assert set(inference["timestamp"].astype("datetime64[D]").astype(str)) == {"2026-10-12", "2026-10-13"}
    _, simulation = simulated(INFERENCE_SAMPLE)
    anomalies = simulation.labels.num_rows - len(labelled_rows(simulation, "incident"))
    assert 0.01 <= anomalies / len(inference["queue"]) <= 0.02
    assert simulation.incidents.num_rows == 1
    assert len(labelled_rows(simulation, "incident")) >= 40
