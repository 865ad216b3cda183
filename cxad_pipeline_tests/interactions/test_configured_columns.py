"""Names of columns in a configuration are held against those that there can be, before any data is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cxad_pipeline.interactions.configured_columns import check_columns, subjects, watched_columns
from cxad_pipeline.settings import Settings, SettingsError, load_settings

REPOSITORY = Path(__file__).parents[2]
MAPPED = [
    {
        "name": "export",
        "columns": {"interaction_id": {"column": "id"}, "timestamp": {"column": "at"}, "queue": {"column": "team"}},
        "keep": ["site"],
    }
]


def _settings(**sections: Any) -> Settings:
    return load_settings(REPOSITORY / "configs" / "config.local.yaml", **sections)


@pytest.mark.parametrize("name", ["local", "production", "technion"])
def test_the_committed_configurations_pass(name: str) -> None:
    check_columns(load_settings(REPOSITORY / "configs" / f"config.{name}.yaml"))


@pytest.mark.parametrize(
    "sections",
    [
        {"features": {"categorical": ["queue", "server"]}},  # the export is read as it is, and may have this column
        {"features": {"categorical": ["queue_name", "channel_id", "language_id", "queue_2", "language2"]}},
        {"segments": {"dimensions": ["channel_id", "language2"]}},
        {"segments": {"dimensions": ["server"]}},
        {"features": {"categorical": ["site"]}, "sources": MAPPED},
        {"features": {"numeric": ["csat"], "categorical": ["channel"]}, "sources": MAPPED},  # which no source maps
        {
            "features": {"numeric": ["csat", "csat2"], "categorical": ["queu"]},
            "interactions": {
                "extra_columns": [
                    {"name": "csat2", "type": "float", "meaning": "A second survey."},
                    {"name": "queu", "type": "string", "meaning": "Something else."},
                ]
            },
        },
        {
            "segments": {"dimensions": ["channels"]},
            "interactions": {"extra_columns": [{"name": "channels", "type": "string", "meaning": "All of them."}]},
        },
        {"incidents": {"metrics": [{"name": "aht_seconds", "bad": "low"}]}},
        {"incidents": {"enabled": False, "metrics": [{"name": "nonsense", "bad": "low"}]}},
    ],
    ids=str,
)
def test_what_a_file_may_give_passes(sections: dict[str, Any]) -> None:
    check_columns(_settings(**sections))


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"features": {"numeric": ["csat", "hold_time"]}}, ["features.numeric: hold_time is no metric", "known: csat"]),
        ({"features": {"numeric": ["csat", "transfer"]}}, ["did you mean transfers?", "interactions.extra_columns"]),
        (
            {"features": {"numeric": ["csat", "queue"], "categorical": ["channel"], "relative_to": []}},
            ["features.numeric: queue is no metric"],
        ),
        ({"features": {"numeric": ["csat", "site"]}, "sources": MAPPED}, ["site is no metric"]),  # which is text
        ({"features": {"categorical": ["queu"]}}, ["features.categorical", "queu; did you mean queue?"]),
        ({"features": {"relative_to": ["chanel"]}}, ["features.relative_to", "did you mean channel?"]),
        ({"segments": {"dimensions": ["langage"]}}, ["segments.dimensions", "did you mean language?"]),
        (
            {"segments": {"dimensions": ["channels"]}},
            ["channels; did you mean channel?", "a column of its own goes under interactions.extra_columns"],
        ),
        ({"features": {"categorical": ["interaction_ids"]}}, ["did you mean interaction_id?"]),
        ({"features": {"categorical": ["channel_id"]}, "sources": MAPPED}, ["channel_id; did you mean channel?"]),
        ({"features": {"categorical": ["server"]}, "sources": MAPPED}, ["gives a column server (known: ", "site"]),
        (
            {"incidents": {"metrics": [{"name": "hold_time_second", "bad": "high"}]}},
            ["incidents.metrics: hold_time_second is no metric", "did you mean hold_time_seconds?"],
        ),
        ({"incidents": {"metrics": [{"name": "complaints", "bad": "high"}]}}, ["counted and tested anyway"]),
    ],
    ids=str,
)
def test_what_no_file_can_give_is_refused_with_the_nearest_name(sections: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SettingsError) as refused:
        check_columns(_settings(**sections))
    assert "\n" not in str(refused.value)
    assert [word for word in words if word not in str(refused.value)] == []


def test_every_fault_has_its_line() -> None:
    wrong = _settings(
        features={"numeric": ["csat", "ahT"], "categorical": ["queu"]},
        incidents={"metrics": [{"name": "x", "bad": "high"}]},
    )
    with pytest.raises(SettingsError) as refused:
        check_columns(wrong)
    places = [line.partition(":")[0] for line in str(refused.value).splitlines()]
    assert places == ["features.numeric", "features.categorical", "incidents.metrics"]


def test_without_a_metric_that_has_a_bad_end_there_is_nothing_to_watch() -> None:
    extra = [{"name": "words", "type": "float", "meaning": "Words that were said."}]
    neutral = {"features": {"numeric": ["words"]}, "interactions": {"extra_columns": extra}}
    with pytest.raises(SettingsError, match=r"set incidents\.enabled to false"):
        watched_columns(_settings(**neutral))
    check_columns(_settings(**neutral, incidents={"enabled": False}))


def test_a_silence_may_name_what_is_watched_and_what_is_counted() -> None:
    assert subjects(_settings(incidents={"metrics": [{"name": "csat", "bad": "low"}]})) == [
        "csat", "complaints", "contacts", "together",
    ]  # fmt: skip
    assert subjects(_settings(incidents={"enabled": False})) == ["complaints", "contacts", "together"]
