"""The registered pyfunc gives the scores of the Detector and of batch scoring, in this process and behind a server."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from registry_examples import artifact_folder
from unused_ports import unused_port

from cxad_pipeline.detection import Detector
from cxad_pipeline.detection.output import output_columns, score_table
from cxad_pipeline.registry.training_rows import model_input
from cxad_pipeline.settings import Settings

STRATEGIES = ("average", "max", "voting")


@pytest.fixture(scope="module")
def timed(rows: pa.Table, detector: Detector) -> Detector:
    """A detector that knows the hour, and what is usual in a channel and queue."""
    relative = dataclasses.replace(detector.config, relative_to=("channel", "queue"))
    return Detector.fit(rows, dataclasses.replace(relative, timestamp="timestamp", timezone="Asia/Jerusalem"))


@pytest.fixture(scope="module")
def registered(
    new_settings: Callable[[], Settings],
    register: Callable[[Settings, Detector], str],
    detectors: dict[str, Detector],
    timed: Detector,
) -> dict[str, str]:
    """Folder of the registered model by strategy, and of the one that knows the hour."""
    settings = new_settings()
    folders = {}
    for name, one in {**detectors, "timed": timed}.items():
        version = register(settings, one)
        folders[name] = str(artifact_folder(settings, version))
    return folders


def test_the_registered_version_is_found_by_alias(
    settings: Settings, register: Callable[[Settings, Detector], str], detector: Detector, fresh: pa.Table
):
    register(settings, detector)
    mlflow.set_registry_uri(settings.mlflow.tracking_uri)
    model = mlflow.pyfunc.load_model("models:/cx-anomaly-detector@challenger")
    np.testing.assert_array_equal(
        model.predict(model_input(fresh, detector))["rcf_score"], detector.score(fresh).raw["rcf"]
    )


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("model", ["ensemble", "iforest", "rcf"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_pyfunc_gives_the_columns_of_batch_scoring_to_the_bit(
    registered: dict[str, str],
    detectors: dict[str, Detector],
    fresh: pa.Table,
    strategy: str,
    model: str,
    explain: bool,
):
    detector = detectors[strategy]
    given = mlflow.pyfunc.load_model(registered[strategy]).predict(
        model_input(fresh, detector), params={"model": model, "explain": explain}
    )
    scored = score_table(detector, fresh, model=model, explain_all=explain)
    assert [*given.columns, "model_version"] == output_columns(["iforest", "rcf"], model)
    for name in given.columns:
        assert given[name].tolist() == scored[name].to_pylist(), name
    scores = detector.score(fresh)
    raw = scores.ensemble if model == "ensemble" else scores.raw[model]
    np.testing.assert_array_equal(given[f"{model}_score"], raw)
    np.testing.assert_array_equal(given[f"{model}_anomaly"], scores.flags[model])
    assert 0 < given[f"{model}_anomaly"].sum() < len(given)
    explained = given["top_reasons"] != ""
    flagged = given[f"{model}_anomaly"] == 1
    assert (explained & ~flagged).any() == explain
    assert explained[flagged].mean() > 0.9


def test_a_detector_that_knows_the_hour_takes_the_timestamp(
    registered: dict[str, str], timed: Detector, fresh: pa.Table
):
    model = mlflow.pyfunc.load_model(registered["timed"])
    frame = model_input(fresh, timed)
    expected = timed.score(fresh).ensemble
    np.testing.assert_array_equal(model.predict(frame)["ensemble_score"], expected)
    assert "timestamp" in model.metadata.signature.inputs.input_names()
    without = timed.score(fresh.drop_columns(["timestamp"])).ensemble
    np.testing.assert_array_equal(model.predict(frame.drop(columns="timestamp"))["ensemble_score"], without)
    assert not np.array_equal(without, expected)


def test_the_timestamp_may_have_a_zone_or_be_text(registered: dict[str, str], timed: Detector, fresh: pa.Table):
    model = mlflow.pyfunc.load_model(registered["timed"])
    frame = model_input(fresh, timed)
    expected = timed.score(fresh).ensemble
    aware = frame["timestamp"].dt.tz_localize("UTC")
    for given in (aware, aware.dt.tz_convert("Asia/Kolkata"), frame["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")):
        np.testing.assert_array_equal(model.predict(frame.assign(timestamp=given))["ensemble_score"], expected)
    gaps = aware.where(np.arange(len(frame)) % 2 == 0)
    text = gaps.dt.strftime("%Y-%m-%dT%H:%M:%SZ").astype(object)
    np.testing.assert_array_equal(
        model.predict(frame.assign(timestamp=text))["ensemble_score"],
        model.predict(frame.assign(timestamp=gaps))["ensemble_score"],
    )
    as_json = infer_and_parse_data(
        {"dataframe_split": json.loads(frame.assign(timestamp=text).to_json(orient="split", index=False))},
        model.metadata.get_input_schema(),
    )
    np.testing.assert_array_equal(
        model.predict(as_json)["ensemble_score"], model.predict(frame.assign(timestamp=gaps))["ensemble_score"]
    )
    with pytest.raises(MlflowException, match="column 'timestamp' must hold times, such as"):
        model.predict(frame.assign(timestamp="yesterday"))


def test_a_frame_as_pandas_reads_it_is_scored(
    registered: dict[str, str], detector: Detector, fresh: pa.Table, tmp_path: Path
):
    frame = fresh.to_pandas()
    frame["aht_seconds"] = frame["aht_seconds"].round()
    frame.to_csv(tmp_path / "rows.csv", index=False)
    read = pd.read_csv(tmp_path / "rows.csv")
    assert str(read["complaints"].dtype) == "int64"
    given = mlflow.pyfunc.load_model(registered["average"]).predict(read)
    np.testing.assert_array_equal(given["ensemble_score"], detector.score(read).ensemble)


def test_missing_columns_and_values_are_scored_as_the_detector_does(
    registered: dict[str, str], detector: Detector, fresh: pa.Table
):
    model = mlflow.pyfunc.load_model(registered["average"])
    for table in (
        fresh.drop_columns(["csat", "queue"]),
        fresh.set_column(fresh.column_names.index("csat"), "csat", pa.nulls(fresh.num_rows, pa.float64())),
        fresh.select(["hold_time_seconds"]),
    ):
        expected = detector.score(table).ensemble
        np.testing.assert_array_equal(model.predict(table.to_pandas())["ensemble_score"], expected)
        assert not np.array_equal(expected, detector.score(fresh).ensemble)


def test_no_rows_give_no_rows(registered: dict[str, str], fresh: pa.Table, detector: Detector):
    given = mlflow.pyfunc.load_model(registered["average"]).predict(model_input(fresh.slice(0, 0), detector))
    assert len(given) == 0
    assert "ensemble_score" in given.columns


@pytest.mark.parametrize(
    ("frame", "params", "message"),
    [
        ({"csat": [4.0]}, {"model": "both"}, "unknown model 'both'; this detector has: ensemble, iforest, rcf"),
        ({"csat": ["good"]}, {}, "column 'csat' is to be numeric and holds"),
    ],
)
def test_what_can_not_be_scored_is_one_error_of_mlflow(
    registered: dict[str, str], frame: dict[str, list[Any]], params: dict[str, Any], message: str
):
    with pytest.raises(MlflowException, match=message) as caught:
        mlflow.pyfunc.load_model(registered["average"]).predict(pd.DataFrame(frame), params=params)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_the_signature_names_every_column_and_parameter(registered: dict[str, str], detector: Detector):
    signature = mlflow.models.get_model_info(registered["voting"]).signature
    assert signature.inputs.input_names() == [*detector.config.numeric, *detector.config.categorical]
    assert signature.inputs.required_input_names() == []
    assert {entry.name: entry.default for entry in signature.params.params} == {"model": "ensemble", "explain": False}


@pytest.fixture(scope="module")
def served(registered: dict[str, str]) -> Iterator[str]:
    """Address of `mlflow models serve` over the averaging detector."""
    port = unused_port()
    command = ["-m", "mlflow", "models", "serve", "-m", registered["average"], "--env-manager", "local"]
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow looks for uvicorn on the path
    process = subprocess.Popen(
        [sys.executable, *command, "-h", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": here},
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "Uvicorn running on" in line:
                break
        else:
            pytest.fail(f"mlflow models serve ended:\n{''.join(said)}")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the group that this process leads, so its server too
        process.communicate(timeout=60)


def invoke(address: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=120) as response:
        return json.load(response)


def test_mlflow_models_serve_gives_the_scores_of_the_detector(served: str, detector: Detector, fresh: pa.Table):
    frame = model_input(fresh, detector)
    split = json.loads(frame.to_json(orient="split", index=False, double_precision=15))
    answer = invoke(served, {"dataframe_split": split})
    given = pd.DataFrame(answer["predictions"])
    scores = detector.score(fresh)
    np.testing.assert_allclose(given["ensemble_score"], scores.ensemble, rtol=0, atol=1e-9)
    for name, raw in scores.raw.items():
        np.testing.assert_allclose(given[f"{name}_score"], raw, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(given[f"{name}_anomaly"], scores.flags[name])
    one = invoke(served, {"dataframe_split": split | {"data": split["data"][:3]}, "params": {"model": "rcf"}})
    assert list(one["predictions"][0]) == [
        "rcf_score",
        "rcf_anomaly",
        "rcf_threshold",
        "severity",
        "top_reasons",
    ]


def test_the_server_answers_an_unknown_model_with_the_reason(served: str):
    body = {"dataframe_split": {"columns": ["csat"], "data": [[4.0]]}, "params": {"model": "both"}}
    with pytest.raises(urllib.error.HTTPError) as caught:
        invoke(served, body)
    assert caught.value.code == 400
    assert "unknown model 'both'; this detector has: ensemble, iforest, rcf" in caught.value.read().decode()
