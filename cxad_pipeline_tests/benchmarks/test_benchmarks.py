"""The benchmarks run, and their JSON has every row and column that they promise; their numbers are not judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)  # end to end starts ten processes

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

Tables = dict[str, dict[str, dict[str, Any]]]


def quick_run(name: str, folder: Path, **variables: str) -> tuple[dict[str, Any], Tables]:
    """The JSON of a tiny run; and its tables as rows by the value of their first column."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", "--quick", "--output", folder],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
        env=os.environ | variables,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    assert content["benchmark"] == name
    assert content["quick"] is True
    for table in content["tables"].values():
        assert table["title"] in done.stdout
    assert done.stdout.splitlines()[-2:] == [str(folder / f"{name}.json"), str(folder / f"{name}.png")]
    return content, {
        key: {str(next(iter(row.values()))): row for row in table["rows"]} for key, table in content["tables"].items()
    }


def has(row: dict[str, Any], package: str, *columns: str) -> None:
    """A row has positive numbers in these columns, or says that the package is not installed."""
    if find_spec(package) is None:
        assert package in row["missing"]
        return
    for column in columns:
        assert row[column] > 0, column


@pytest.fixture(scope="module")
def speed_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Tables]:
    return quick_run("speed", tmp_path_factory.mktemp("speed"))


def test_speed_has_every_engine_its_ratios_and_its_growth(speed_run: tuple[dict[str, Any], Tables]) -> None:
    content, tables = speed_run
    speed = tables["speed"]
    fit, one, two, row = "fit s", "rows/s, 1 thread", "rows/s, 2 threads", "one row us"
    ratios = ("ours / it, 1 thread", "ours / it, one row")
    has(speed["ours: RandomCutForest"], "cxad_pipeline", fit, one, two, row)
    has(speed["ours: IsolationForest"], "cxad_pipeline", fit, one, two, row)
    has(speed["rrcf"], "rrcf", fit, one, row, *ratios)
    has(speed["krcf"], "krcf", fit, one, row, *ratios)
    has(speed["scikit-learn IsolationForest"], "sklearn", fit, one, two, row, *ratios, "ours / it, 2 threads")
    has(speed["isotree"], "isotree", fit, one, two, row, *ratios, "ours / it, 2 threads")
    has(speed["ours: both models"], "cxad_pipeline", row)
    has(speed["ours: Detector.score"], "cxad_pipeline", row)
    assert {line["by"] for line in content["tables"]["growth"]["rows"]} == {"rows", "columns", "trees"}
    for line in content["tables"]["growth"]["rows"]:
        assert line["ours: RandomCutForest"] > 0
        assert line["scikit-learn IsolationForest"] > 0
    assert len(content["bars"]) == 7


def test_a_ratio_is_the_quotient_of_the_two_speeds(speed_run: tuple[dict[str, Any], Tables]) -> None:
    _, tables = speed_run
    ours, its = tables["speed"]["ours: IsolationForest"], tables["speed"]["scikit-learn IsolationForest"]
    for threads, column in ((1, "rows/s, 1 thread"), (2, "rows/s, 2 threads")):
        thread = "thread" if threads == 1 else "threads"
        assert its[f"ours / it, {threads} {thread}"] == pytest.approx(ours[column] / its[column], rel=2e-3)
    assert its["ours / it, one row"] == pytest.approx(its["one row us"] / ours["one row us"], rel=2e-3)


def test_a_peer_that_is_not_installed_says_so_in_its_row_and_the_rest_goes_on(tmp_path: Path) -> None:
    for package in ("krcf", "isotree"):
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{package}'\")\n")
    content, tables = quick_run("speed", tmp_path, PYTHONPATH=str(tmp_path))
    for package in ("krcf", "isotree"):
        assert f"{package} is not installed" in tables["speed"][package]["missing"]
        assert "fit s" not in tables["speed"][package]
    assert tables["speed"]["rrcf"]["ours / it, 1 thread"] > 0
    assert [bar["bar"] for bar in content["bars"] if bar["measured"] is None] == [
        "random cut forest over krcf, per core"
    ]
    assert not any(bar["met"] for bar in content["bars"] if bar["measured"] is None)


def test_quality_has_every_model_ensemble_and_peer(tmp_path: Path) -> None:
    content, tables = quick_run("quality", tmp_path)
    metrics = ("ROC-AUC", "average precision", "rank by ROC-AUC", "rank by average precision")
    ours = ("iforest", "rcf depth", "rcf codisp", "default ensemble", "ensemble, max")
    packages = {f"ours: {name}": "cxad_pipeline" for name in ours}
    packages |= {"ours: ensemble with fcf": "isotree", "isotree Fair-Cut Forest": "isotree", "krcf": "krcf"}
    packages |= {"scikit-learn IsolationForest": "sklearn"}
    packages |= {f"PyOD {name}": "pyod" for name in ("ECOD", "COPOD", "HBOS", "KNN", "CBLOF", "LOF")}
    assert set(tables["quality"]) == set(packages)
    for name, package in packages.items():
        has(tables["quality"][name], package, *metrics)
    assert {bar["bar"].split(":")[0] for bar in content["bars"]} == {"ROC-AUC", "average precision"}
    for data_set in tables["data sets"].values():
        assert 0 <= data_set["ours"] <= 1
        assert data_set["best peer"] >= data_set["scikit-learn"]
    if find_spec("shap") is not None:
        assert 0 <= tables["attribution"]["mean"]["all rows"] <= 1


def test_end_to_end_has_the_command_the_plain_script_and_the_training(tmp_path: Path) -> None:
    content, tables = quick_run("end_to_end", tmp_path)
    scoring = content["tables"]["scoring"]["rows"]
    assert [row["what"] for row in scoring] == ["cxad score", "cxad score", "plain script"]
    for row in [*scoring, tables["training"]["Detector.fit"]]:
        assert row["rows/s"] == pytest.approx(row["rows"] / row["seconds"], rel=2e-3)
        assert row["peak GB"] > 0.05  # Python with numpy takes more than that
    assert all(row["processor s"] > 0 for row in scoring[:-1])
    assert scoring[0]["times plain script"] == pytest.approx(scoring[0]["rows/s"] / scoring[-1]["rows/s"], rel=2e-3)
    assert len(content["bars"]) == 4
