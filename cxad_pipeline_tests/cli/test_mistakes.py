"""What a user's mistake gets: one line that says what to do, and an exit code that scripts can use."""

from __future__ import annotations

import signal

import dagster as dg
import pytest
from command_world import FAILED, INTERRUPTED, NO_MODEL, TRAINING_ROWS, USAGE, CommandWorld, one_line


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> CommandWorld:
    return CommandWorld(tmp_path_factory.mktemp("untrained"))


@pytest.mark.parametrize(
    "arguments",
    [("score",), ("score", "--input", "data/input/inference/mock_inference.csv"), ("evaluate",)],
    ids=" ".join,
)
def test_without_a_model_the_only_line_names_the_command_that_makes_one(
    untrained: CommandWorld, arguments: tuple[str, ...]
) -> None:
    done = untrained.run(*arguments)
    assert done.returncode == NO_MODEL
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "`cxad train`" in one_line(done.stderr)
    assert not untrained.processed.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("score", "--model", "nope"), ["unknown model 'nope'", "ensemble, iforest, rcf"]),
        (("score", "--input", "absent.csv"), ["absent.csv: no such file"]),
        (("score", "--output", "a.csv"), ["--output needs --input"]),
        (("score", "--input", "a.csv", "--output", "a.xlsx"), ["a.xlsx", ".parquet"]),
        (("score", "--input", "a.csv", "--since", "2026-01-01"), ["--since"]),
        (("evaluate", "--labels", "absent.csv"), ["absent.csv: no such file of labels"]),
        (("train", "--labels", "absent.csv"), ["absent.csv: no such file of labels"]),
        (("simulate",), ["--output", "--samples"]),
        (("simulate", "--samples", "--rows", "5"), ["--rows"]),
        (("simulate", "--output", "a.xlsx"), ["a.xlsx", ".csv.gz or .parquet"]),
        (("simulate", "--output", "a.csv", "--labels", "a.csv"), ["a.csv more than once"]),
        (("simulate", "--output", "a.csv", "--incidents-per-week", "1000"), ["between 0 and 20"]),
    ],
    ids=lambda part: " ".join(part)[:40],
)
def test_wrong_arguments_are_refused_before_anything_is_done(
    untrained: CommandWorld, arguments: tuple[str, ...], words: list[str]
) -> None:
    done = untrained.run(*arguments)
    assert done.returncode == USAGE
    said = one_line(done.stderr)
    assert all(word in said for word in words), said
    assert not list(untrained.folder.glob("*.csv"))


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("simulate", "--rows", "0", "--output", "a.csv"), ("--config", "absent.yaml", "config")],
    ids=" ".join,
)
def test_click_refuses_what_it_can_see_itself(untrained: CommandWorld, arguments: tuple[str, ...]) -> None:
    done = untrained.run(*arguments)
    assert done.returncode == USAGE
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_an_unknown_key_is_named_with_its_file(untrained: CommandWorld) -> None:
    (untrained.folder / "mine.yaml").write_text("modles: []\n", encoding="utf-8")
    done = untrained.run("--config", "mine.yaml", "train")
    assert done.returncode == USAGE
    said = one_line(done.stderr)
    assert "mine.yaml" in said
    assert "modles" in said
    assert "did you mean models" in said


def test_a_wrong_variable_is_named(untrained: CommandWorld) -> None:
    done = untrained.run("config", CXAD_PORTS__DAGSTER="many")
    assert done.returncode == USAGE
    assert "CXAD_PORTS__DAGSTER" in one_line(done.stderr)


@pytest.mark.parametrize(
    "command", [["config"], ["train"], ["workflow"], ["calibrate"], ["incidents"], ["serve"]], ids=str
)
def test_a_misspelt_column_ends_every_command_at_once(untrained: CommandWorld, command: list[str]) -> None:
    before = set(untrained.folder.rglob("*"))
    done = untrained.run(*command, CXAD_INCIDENTS__METRICS='[{"name": "hold_time_second", "bad": "high"}]')
    assert done.returncode == USAGE
    assert done.stdout == ""
    assert "hold_time_second is no metric of the schema; did you mean hold_time_seconds?" in one_line(done.stderr)
    assert set(untrained.folder.rglob("*")) == before


def test_config_refuses_a_source_that_maps_to_no_column_of_ours(untrained: CommandWorld) -> None:
    columns = '{"interaction_id": {"column": "id"}, "timestamp": {"column": "at"}, "qeue": {"column": "team"}}'
    done = untrained.run("config", CXAD_SOURCES__INTERACTIONS__COLUMNS=columns)
    assert done.returncode == USAGE
    assert "source interactions: qeue is no column of the schema" in one_line(done.stderr)


def test_too_few_training_rows_fail_the_run_in_one_line(fresh: CommandWorld) -> None:
    done = fresh.run("train", CXAD_TRAINING__MIN_ROWS="90000")
    assert done.returncode == FAILED
    said = one_line(done.stderr)
    assert f"{TRAINING_ROWS:,} training rows" in said
    assert "training.min_rows asks for 90000" in said


def test_a_state_that_cannot_be_written_is_one_line(fresh: CommandWorld) -> None:
    (fresh.folder / "data" / "state").write_text("in the way", encoding="utf-8")
    done = fresh.run("train")
    assert done.returncode == FAILED
    assert "data/state" in one_line(done.stderr)


def test_an_interrupt_ends_a_training_without_traceback_and_frees_its_slot(fresh: CommandWorld) -> None:
    process = fresh.start("train")
    assert process.stderr is not None
    for line in process.stderr:
        if "iforest_model ..." in line:
            break
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert one_line(rest) == "cxad: interrupted"
    with fresh.instance() as instance:
        (run,) = instance.get_runs()
    assert run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def test_a_landed_file_that_cannot_be_read_is_named_and_the_others_are_scored(trained: CommandWorld) -> None:
    bad = trained.folder / "data/input/inference/bad.csv"
    bad.write_text("interaction_id,when\nx,1\n")
    try:
        done = trained.run("score", CXAD_LANDING__SETTLE_SECONDS="0")
    finally:
        bad.unlink()
    assert done.returncode == 1
    assert "bad.csv: no column timestamp" in done.stderr
    assert "map the export's names under sources" in done.stderr
    assert any("can't be read" in line and "bad.csv" in line for line in done.stdout.splitlines())
