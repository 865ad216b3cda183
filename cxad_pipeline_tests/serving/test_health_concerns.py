"""What `/health` is concerned about, and what it takes for well."""

from __future__ import annotations

from typing import Any

import pytest

from cxad_pipeline.serving.health import concerns

SINCE = "2026-01-01T00:00:00+00:00"
GOING_ON = "; the last good model goes on scoring"
CHAMPION = {"version": "3", "run_id": "r"}
MODEL = CHAMPION | {"loaded_at": SINCE, "fetched_at": SINCE}
WELL_MLFLOW = {"reachable": True, "since": SINCE, "error": None, "champion": CHAMPION, "refused": None}
WELL_STORE = {"reachable": True, "since": None, "why": None, "waiting_records": 0}
WELL_SIDECAR = {"alive": True, "missing": False, "works_for_another": None, "failures": {}, "pid": 1, "at": 1.0}
NOT_ASKED = {"reachable": None}


def status(**parts: Any) -> dict[str, Any]:
    """What a model store tells while all is well, with some parts otherwise."""
    well = {
        "model": MODEL,
        "copy_refused": None,
        "copy_of_another": None,
        "last_error": None,
        "mlflow": WELL_MLFLOW,
        "store": WELL_STORE,
        "sidecar": WELL_SIDECAR,
    }
    assert parts.keys() <= well.keys()
    return well | parts


def store_away(waiting: int | None) -> dict[str, Any]:
    why = {"reachable": False, "since": SINCE, "why": "db.example.org does not answer"}
    return status(store=WELL_STORE | why | {"waiting_records": waiting})


def sidecar(**parts: Any) -> dict[str, Any]:
    return WELL_SIDECAR | parts


def test_all_is_well():
    assert concerns(status(), 0) == []


@pytest.mark.parametrize("alive", [True, False], ids=["runs", "is being started"])
def test_a_copy_that_serves_before_mlflow_was_asked_is_well(alive: bool):
    assert concerns(status(mlflow=NOT_ASKED, store=None, sidecar=sidecar(alive=alive)), 0) == []


CASES = {
    "mlflow away": (
        status(
            mlflow=WELL_MLFLOW | {"reachable": False, "error": "secret-host does not answer"},
            last_error="secret-host does not answer",
        ),
        [f"MLflow has not answered since {SINCE}{GOING_ON}"],
    ),
    "no champion": (
        status(mlflow=WELL_MLFLOW | {"champion": None, "error": "no champion"}, last_error="no champion"),
        [f"MLflow has no champion{GOING_ON}"],
    ),
    "no champion and no model": (
        status(mlflow=WELL_MLFLOW | {"champion": None, "error": "none"}, last_error="none", model=None),
        ["MLflow has no champion"],
    ),
    "champion refused": (
        status(mlflow=WELL_MLFLOW | {"refused": "version 4 is damaged"}, last_error="version 4 is damaged"),
        [f"the champion in MLflow was refused{GOING_ON}"],
    ),
    "copy refused": (
        status(copy_refused="arrays.npz is damaged", last_error="arrays.npz is damaged"),
        [f"the champion could not be taken over{GOING_ON}"],
    ),
    "copy refused while MLflow is away": (
        status(copy_refused="damaged", last_error="damaged", mlflow=WELL_MLFLOW | {"reachable": False}, model=None),
        ["the champion could not be taken over", f"MLflow has not answered since {SINCE}"],
    ),
    "copy of another": (
        status(model=None, copy_refused="x", copy_of_another="m in http://secret-host", last_error="x"),
        [
            "the model in the state folder is another service's, or of an earlier configuration, and does not serve; "
            "give each service a serving.state of its own (its log names the other one)"
        ],
    ),
    "another service's sidecar": (
        status(
            copy_refused="x",
            copy_of_another="m in http://secret-host",
            last_error="x",
            mlflow=NOT_ASKED,
            store=None,
            sidecar=sidecar(works_for_another="m in http://secret-host"),
        ),
        [
            f"another service uses the state folder: the champion is not followed{GOING_ON}; give each service a "
            "serving.state of its own (its log names the other one)"
        ],
    ),
    "no sidecar": (
        status(mlflow=NOT_ASKED, store=None, sidecar=sidecar(alive=False, missing=True), last_error="no sidecar"),
        [f"the sidecar process does not run: the champion is not followed and anomalies wait{GOING_ON}"],
    ),
    "a part of the sidecar": (
        status(sidecar=sidecar(failures={"drain": "OSError: /secret-host"}), last_error="OSError: /secret-host"),
        ["the sidecar's drain has failed and is started again"],
    ),
    "store away": (store_away(2), [f"the store has not answered since {SINCE}; 2 anomalies wait for it"]),
    "store away, one waits": (store_away(1), [f"the store has not answered since {SINCE}; 1 anomaly waits for it"]),
    "store away, none waits": (store_away(0), [f"the store has not answered since {SINCE}; 0 anomalies wait for it"]),
}


@pytest.mark.parametrize(("told", "expected"), CASES.values(), ids=CASES)
def test_what_needs_care_is_said_in_words_without_names_of_machines(told: dict[str, Any], expected: list[str]):
    found = concerns(told, 0)
    assert found == expected
    assert "secret-host" not in str(found)


@pytest.mark.parametrize(("lost", "words"), [(1, "1 anomaly"), (2, "2 anomalies")])
def test_what_was_lost_is_told_beside_all_else(lost: int, words: str):
    away = concerns(store_away(3), 0)
    assert concerns(store_away(3), lost) == [*away, f"{words} could not be kept for the store"]
