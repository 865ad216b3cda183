"""The configuration: what is refused and how, who wins, and that secrets stay secret."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from cxad_pipeline.settings import Settings, SettingsError, load_settings
from cxad_pipeline.settings.reading import ALIASES, DEFAULT_CONFIG
from cxad_pipeline.settings.reference import keys, reference

WEBHOOK = "https://hooks.slack.example/services/T0/B0/topsecret"
Load = Callable[..., Settings]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


@pytest.fixture
def load(config: Path) -> Load:
    def written(text: str = "", **overrides: Any) -> Settings:
        config.write_text(text, encoding="utf-8")
        return load_settings(config, **overrides)

    return written


def refusal(load: Load, text: str = "", **overrides: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load(text, **overrides)
    return str(caught.value)


def test_an_empty_file_gives_the_defaults(load: Load) -> None:
    settings = load("")
    assert settings.timezone == "UTC"
    assert settings.model_names == ["iforest", "rcf"]
    assert settings.ports.api == 8000
    assert settings == Settings()


BAD_VALUES = [
    # file, key as the message names it, value, what is allowed
    ("timezone: Mars", "timezone", "'Mars'", "IANA time zone"),
    ("timezone: 5", "timezone", "5", "IANA time zone"),
    ("ports: {api: 0}", "ports.api", "0", "greater than or equal to 1"),
    ("ports: {api: 65536}", "ports.api", "65536", "less than or equal to 65535"),
    ("ports: {api: x}", "ports.api", "'x'", "must be a valid integer"),
    ("ports: {api: 80.5}", "ports.api", "80.5", "must be a valid integer"),
    ("ports: {api: true}", "ports", "api = True", "must not be true or false"),
    ("ports: 5", "ports", "5", "must be a map"),
    ("ports:", "ports", "None", "must be a map"),
    ("schedule: {enabled: maybe}", "schedule.enabled", "'maybe'", "must be a valid boolean"),
    ("schedule: {batch_score_cron: x}", "schedule.batch_score_cron", "'x'", "cron expression of five fields"),
    ("schedule: {batch_score_cron: '0 0 0 * * *'}", "schedule.batch_score_cron", "'0 0 0 * * *'", "five fields"),
    ("schedule: {batch_score_cron: '61 * * * *'}", "schedule.batch_score_cron", "'61 * * * *'", "five fields"),
    ("schedule: {first_window: soon}", "schedule.first_window", "'soon'", "ISO 8601"),
    ("schedule: {first_window: 20260101}", "schedule.first_window", "20260101", "ISO 8601"),
    ("models: []", "models", "[]", "at least 1 item"),
    ("models: 5", "models", "5", "list"),
    ("models: [5]", "models", "", "each entry must be a map with a name"),
    ("models: [{name: a, algorithm: forest}]", "models.a.algorithm", "'forest'", "isolation_forest or random_cut"),
    ("models: [{name: a}]", "models.a.algorithm", "", "isolation_forest or random_cut_forest"),
    ("models: [{name: A b, algorithm: isolation_forest}]", "models.A b.name", "'A b'", "^[a-z][a-z0-9_]*$"),
    ("models: [{name: both, algorithm: isolation_forest}]", "models", "both", "reserved"),
    (
        "models: [{name: a, algorithm: isolation_forest, threshold_percentile: 100}]",
        "models.a.threshold_percentile",
        "100",
        "less than 100",
    ),
    (
        "models: [{name: a, algorithm: isolation_forest, params: {max_samples: 1.5}}]",
        "models.a.params.max_samples",
        "1.5",
        "'auto', or",
    ),
    (
        "models: [{name: a, algorithm: isolation_forest}, {name: a, algorithm: random_cut_forest}]",
        "models",
        "a",
        "a name of its own",
    ),
    ("ensemble: {strategy: best}", "ensemble.strategy", "'best'", "'average', 'max' or 'voting'"),
    ("ensemble: {weights: {iforest: -1}}", "ensemble.weights.iforest", "-1", "greater than or equal to 0"),
    ("ensemble: {weights: {iforest: .inf}}", "ensemble.weights.iforest", "inf", "finite"),
    ("ensemble: {threshold_percentile: .nan}", "ensemble.threshold_percentile", "nan", "finite"),
    ("ensemble: {weights: {nobody: 1}}", "ensemble.weights", "nobody", "models: iforest, rcf"),
    ("ensemble: {weights: {iforest: 0, rcf: 0}}", "ensemble.weights", "", "at least one model"),
    ("landing: {settle_seconds: .inf}", "landing.settle_seconds", "inf", "finite"),
    ("features: {numeric: csat}", "features.numeric", "'csat'", "list"),
    ("features: {numeric: [csat, csat]}", "features", "csat", "named twice"),
    ("features: {categorical: [queue, timestamp]}", "features", "timestamp", "no feature; for hour and weekday"),
    ("features: {relative_to: [queue, csat]}", "features", "csat", "relative_to: csat is a metric"),
    ("features: {relative_to: [queue, queue]}", "features", "queue", "relative_to: queue is named twice"),
    ("features: {time: sometimes}", "features.time", "'sometimes'", "boolean"),
    ("features: {numeric: [], categorical: [queue]}", "features", "", "at least one metric"),
    ("models: [{name: champion, algorithm: random_cut_forest}]", "models", "champion", "reserved"),
    ("training: {start: 2026-02-01, end: 2026-01-01}", "training", "2026-02-01", "not before"),
    ("training: {held_out: 0}", "training.held_out", "0", "greater than 0"),
    ("paths: {training: ''}", "paths.training", "''", "folder or s3://"),
    ("paths: {storage: 'gs://bucket'}", "paths.storage", "'gs://bucket'", "folder or s3://"),
    ("paths: {storage: 's3://'}", "paths.storage", "'s3://'", "folder or s3://"),
    ("sources: []", "sources", "[]", "at least 1 item"),
    ("sources: [{name: a, encoding: klingon}]", "sources.a.encoding", "'klingon'", "text encoding"),
    ("sources: [{name: a, encoding: hex}]", "sources.a.encoding", "'hex'", "text encoding"),
    ("sources: [{name: a, delimiter: ';;'}]", "sources.a.delimiter", "';;'", "at most 1 character"),
    ("sources: [{name: a, delimiter: '\"'}]", "sources.a.delimiter", "'\"'", "must not be a quote"),
    ("sources: [{name: a, columns: {csat: {}}}]", "sources.a.columns.csat", "none", "exactly one of column"),
    (
        "sources: [{name: a, columns: {csat: {column: x, constant: y}}}]",
        "sources.a.columns.csat",
        "column, constant",
        "exactly one of column",
    ),
    (
        "sources: [{name: a, columns: {csat: {column: x, unit: parsec}}}]",
        "sources.a.columns.csat.unit",
        "'parsec'",
        "'h:mm:ss'",
    ),
    ("sources: [{name: a, columns: {csat: {column: x, strict: true}}}]", "sources.a.columns.csat", "", "needs codes"),
    ("sources: [{name: a, columns: {csat: {template: '{x'}}}]", "sources.a.columns.csat.template", "'{x'", "{column}"),
    ("sources: [{name: a, columns: {csat: {template: '{}'}}}]", "sources.a.columns.csat.template", "'{}'", "name"),
    (
        "sources: [{name: a, columns: {timestamp: {column: x, format: '%d.%m.'}}}]",
        "sources.a.columns.timestamp.format",
        "'%d.%m.'",
        "year, month and day",
    ),
    (
        "sources: [{name: a, columns: {timestamp: {column: x, format: '%Y-%m-%d %Q'}}}]",
        "sources.a.columns.timestamp.format",
        "'%Y-%m-%d %Q'",
        "strptime format",
    ),
    ("sources: [{name: a, drop: [{column: x, equals: [], reason: y}]}]", "sources.a.drop.0.equals", "[]", "at least 1"),
    (
        "interactions: {extra_columns: [{name: a, type: number, meaning: x}]}",
        "interactions.extra_columns.0.type",
        "'number'",
        "'float', 'integer' or 'string'",
    ),
    (
        "interactions: {extra_columns: [{name: a, type: float, meaning: x, minimum: 5, maximum: 1}]}",
        "interactions.extra_columns.0",
        "5",
        "above maximum 1",
    ),
    (
        "interactions: {extra_columns: [{name: a, type: string, meaning: x, minimum: 5}]}",
        "interactions.extra_columns.0",
        "",
        "for numbers",
    ),
    (
        "interactions: {extra_columns: [{name: a, type: float, meaning: x}, {name: a, type: float, meaning: x}]}",
        "interactions.extra_columns",
        "a",
        "named twice",
    ),
    ("alerts: {max_age_hours: 0}", "alerts.max_age_hours", "0", "greater than 0"),
]


@pytest.mark.parametrize(("text", "key", "value", "allowed"), BAD_VALUES, ids=[case[0][:70] for case in BAD_VALUES])
def test_a_bad_value_is_refused_with_file_key_value_and_what_is_allowed(
    load: Load, config: Path, text: str, key: str, value: str, allowed: str
) -> None:
    message = refusal(load, text)
    assert message.startswith(f"{config}: {key}")
    assert value in message
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "key", "named"),
    [
        ("timezon: UTC", "timezon", "did you mean timezone?"),
        ("1: 2", "1", "timezone"),
        ("ports: {apj: 1}", "ports.apj", "did you mean api? (allowed: api, dagster, mlflow)"),
        (
            "models: [{name: a, algorithm: isolation_forest, params: {tree_size: 5}}]",
            "models.a.params.tree_size",
            "(allowed: cut_scale, max_features, max_samples, n_estimators)",
        ),
        ("sources: [{name: a, columns: {csat: {colum: x}}}]", "sources.a.columns.csat", "did you mean column?"),
        ("sources: [{name: a, colums: {}}]", "sources.a.colums", "did you mean columns?"),
    ],
)
def test_an_unknown_key_is_refused_with_the_keys_that_there_are(
    load: Load, config: Path, text: str, key: str, named: str
) -> None:
    message = refusal(load, text)
    assert f"{config}: {key}" in message
    assert "no such key" in message
    assert named in message


def test_each_fault_has_a_line(load: Load) -> None:
    lines = refusal(load, "ports: {api: 0, dagster: 0}\ntimezone: Mars\n").splitlines()
    assert sorted(line.split(": ")[1].split(" = ")[0] for line in lines) == ["ports.api", "ports.dagster", "timezone"]


@pytest.mark.parametrize("text", ["a: [", "- a", "just text", "timezone: UTC\ntimezone: UTC"])
def test_a_file_that_is_no_map_of_distinct_keys_is_refused(load: Load, config: Path, text: str) -> None:
    assert refusal(load, text).startswith(f"{config}: ")


def test_a_file_that_is_no_text_is_refused(config: Path) -> None:
    config.write_bytes(b"timezone: \xff\xfe")
    with pytest.raises(SettingsError, match="not valid YAML"):
        load_settings(config)


def test_a_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: no such configuration file"):
        load_settings(tmp_path / "nowhere.yaml")
    monkeypatch.setenv("CXAD_CONFIG", str(tmp_path / "elsewhere.yaml"))
    with pytest.raises(SettingsError, match=r"elsewhere\.yaml: no such configuration file \(named by CXAD_CONFIG\)"):
        load_settings()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CXAD_CONFIG")
    with pytest.raises(SettingsError, match="run from the project's folder"):
        load_settings()


def test_cxad_config_names_the_file_and_an_argument_wins(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("timezone: Europe/Berlin")
    monkeypatch.setenv("CXAD_CONFIG", str(config))
    assert load_settings().timezone == "Europe/Berlin"
    other = tmp_path / "other.yaml"
    other.write_text("timezone: Asia/Tokyo")
    assert load_settings(other).timezone == "Asia/Tokyo"


# Environment


@pytest.mark.parametrize(
    ("variable", "text", "get", "expected"),
    [
        ("CXAD_TIMEZONE", "Asia/Tokyo", lambda s: s.timezone, "Asia/Tokyo"),
        ("CXAD_PORTS__API", "9001", lambda s: s.ports.api, 9001),
        ("CXAD_TRAINING__HELD_OUT", "0.5", lambda s: s.training.held_out, 0.5),
        ("CXAD_TRAINING__START", "2026-01-02", lambda s: s.training.start, dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
        ("CXAD_TRAINING__START", "null", lambda s: s.training.start, None),
        ("CXAD_SCHEDULE__ENABLED", "false", lambda s: s.schedule.enabled, False),
        ("CXAD_FEATURES__NUMERIC", '["ies"]', lambda s: s.features.numeric, ["ies"]),
        ("CXAD_FEATURES__RELATIVE_TO", "[]", lambda s: s.features.relative_to, []),
        ("CXAD_FEATURES__TIME", "true", lambda s: s.features.time, True),
        ("CXAD_ENSEMBLE__WEIGHTS__RCF", "3", lambda s: s.ensemble.weights, {"iforest": 2, "rcf": 3}),
        ("CXAD_ENSEMBLE__WEIGHTS", '{"rcf": 4}', lambda s: s.ensemble.weights, {"rcf": 4}),
        ("CXAD_ALERTS__LINKS__DAGSTER", "http://d", lambda s: s.alerts.links, {"Dagster": "http://d"}),
        ("CXAD_SOURCES__CALLS__DELIMITER", "|", lambda s: s.sources[0].delimiter, "|"),
        ("CXAD_SOURCES__CALLS__COLUMNS__CSAT__UNIT", "percent", lambda s: s.sources[0].columns["csat"].unit, "percent"),
        ("CXAD_MODELS__RCF__PARAMS__TREE_SIZE", "64", lambda s: s.models[1].params.tree_size, 64),
        ("CXAD_MODELS__IFOREST__THRESHOLD_PERCENTILE", "98.5", lambda s: s.models[0].threshold_percentile, 98.5),
        ("CXAD_PATHS__STORAGE", "s3://bucket/storage", lambda s: s.paths.storage, "s3://bucket/storage"),
    ],
)
def test_a_variable_overrides_its_key_alone(
    load: Load, monkeypatch: pytest.MonkeyPatch, variable: str, text: str, get: Callable[[Settings], Any], expected: Any
) -> None:
    file = """
training: {start: 2025-01-01}
features: {numeric: [csat], categorical: [queue]}
ensemble: {strategy: max, weights: {iforest: 2}}
alerts: {links: {Dagster: "http://old"}}
sources:
  - name: calls
    delimiter: ;
    files: "*.csv"
    columns: {interaction_id: {column: id}, timestamp: {column: t}, csat: {column: c}}
models:
  - {name: iforest, algorithm: isolation_forest, threshold_percentile: 97}
  - {name: rcf, algorithm: random_cut_forest, params: {n_estimators: 7}}
"""
    before = load(file)
    assert get(before) != expected
    monkeypatch.setenv(variable, text)
    after = load(file)
    assert get(after) == expected
    assert after.ensemble.strategy == "max"
    assert after.features.categorical == ["queue"]
    assert after.sources[0].files == "*.csv"
    assert after.model_names == ["iforest", "rcf"]
    assert after.models[1].params.n_estimators == 7


def test_a_variable_reaches_the_default_models_and_sources_too(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXAD_MODELS__RCF__PARAMS__TREE_SIZE", "64")
    monkeypatch.setenv("CXAD_SOURCES__INTERACTIONS__DELIMITER", ";")
    settings = load("")
    assert settings.model_names == ["iforest", "rcf"]
    assert settings.models[1].params.tree_size == 64  # type: ignore[union-attr]
    assert settings.sources[0].delimiter == ";"


def test_a_whole_list_replaces_the_files_and_single_keys_refine_it(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXAD_MODELS", '[{"name": "alone", "algorithm": "isolation_forest"}]')
    monkeypatch.setenv("CXAD_MODELS__ALONE__THRESHOLD_PERCENTILE", "98")
    settings = load("models: [{name: rcf, algorithm: random_cut_forest}]")
    assert [(model.name, model.threshold_percentile) for model in settings.models] == [("alone", 98)]


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("CXAD_TIMEZONE", "Mars", "timezone = 'Mars': must be an IANA time zone"),
        ("CXAD_PORTS__API", "x", "ports.api = 'x': must be a valid integer"),
        ("CXAD_PORTS__APJ", "1", "ports.apj = '1': no such key; did you mean api?"),
        ("CXAD_PORTS", "5", "ports = '5': must be a map"),
        ("CXAD_PORTS", "{api: 5", "not JSON"),
        ("CXAD_PORT__API", "5", "no such key (allowed: CXAD_CONFIG, and CXAD_TIMEZONE"),
        ("CXAD_PORTS__", "5", "no such key"),
        ("CXAD__API", "5", "no such key"),
        ("CXAD_TIMEZONE__NAME", "UTC", "timezone is set to str; it has no keys below it"),
        ("CXAD_MODELS__RCFF__PARAMS__TREE_SIZE", "64", "models has no entry named rcff (allowed: iforest, rcf)"),
        ("CXAD_MODELS__RCF__PARAMS__TREE_SIZE", "1", "models.rcf.params.tree_size = '1': must be greater than"),
        ("CXAD_MODELS", '[{"algorithm": "isolation_forest"}]', "models: each entry must be a map with a name"),
        ("CXAD_FEATURES__NUMERIC", "csat", "features.numeric = 'csat': must be a valid list"),
        ("ENABLE_SCHEDULER", "maybe", "schedule.enabled = 'maybe': must be a valid boolean"),
        ("BATCH_SCORE_CRON", "hourly", "schedule.batch_score_cron = 'hourly': must be a cron expression"),
        ("API_PORT", "http", "ports.api = 'http': must be a valid integer"),
        ("ENABLE_ALERTS", "5", "alerts.enabled = '5': must be a valid boolean"),
    ],
)
def test_a_bad_variable_is_refused_by_its_name(
    load: Load, monkeypatch: pytest.MonkeyPatch, variable: str, text: str, expected: str
) -> None:
    monkeypatch.setenv(variable, text)
    message = refusal(load, "timezone: UTC")
    assert message.startswith(f"environment variable {variable}: ")
    assert expected in message


def test_a_fault_between_file_and_variable_names_both(
    load: Load, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXAD_ENSEMBLE__WEIGHTS__RCF", "0")
    message = refusal(load, "ensemble: {weights: {iforest: 0}}")
    assert message.startswith(f"{config} with environment variable CXAD_ENSEMBLE__WEIGHTS__RCF: ensemble.weights")


def test_an_empty_variable_counts_as_not_set(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*ALIASES, "CXAD_CONFIG", "CXAD_TIMEZONE", "CXAD_PORTS__API"]:
        monkeypatch.setenv(name, "")
    assert load("ports: {api: 81}").ports.api == 81


def test_variables_of_other_programs_are_let_alone(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXADMIN", "1")
    monkeypatch.setenv("timezone", "Mars")
    monkeypatch.setenv("PORTS", "5")
    assert load("") == Settings()


def test_the_shared_names_are_honoured(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENABLE_SCHEDULER", "false")
    monkeypatch.setenv("BATCH_SCORE_CRON", "0 * * * *")
    monkeypatch.setenv("ENABLE_ALERTS", "0")
    monkeypatch.setenv("SLACK_WEBHOOK_URL", WEBHOOK)
    monkeypatch.setenv("API_PORT", "81")
    settings = load("schedule: {enabled: true, batch_score_cron: '0 0 * * *'}\nalerts: {enabled: true}")
    assert (settings.schedule.enabled, settings.schedule.batch_score_cron) == (False, "0 * * * *")
    assert (settings.alerts.enabled, settings.ports.api) == (False, 81)
    assert settings.alerts.slack_webhook_url is not None
    assert settings.alerts.slack_webhook_url.get_secret_value() == WEBHOOK


@pytest.mark.parametrize("ours", [{"CXAD_PORTS__API": "9001"}, {"CXAD_PORTS": '{"api": 9001}'}])
def test_code_wins_over_our_name_wins_over_the_shared_name_wins_over_the_file(
    load: Load, monkeypatch: pytest.MonkeyPatch, ours: dict[str, str]
) -> None:
    file = "ports: {api: 1}"
    assert load(file).ports.api == 1
    monkeypatch.setenv("API_PORT", "9000")
    assert load(file).ports.api == 9000
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    assert load(file).ports.api == 9001
    assert load(file, ports={"api": 9002}).ports.api == 9002


def test_a_shared_name_adds_to_a_section_given_as_json(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXAD_ALERTS", '{"max_age_hours": 3}')
    monkeypatch.setenv("SLACK_WEBHOOK_URL", WEBHOOK)
    alerts = load("").alerts
    assert alerts.max_age_hours == 3
    assert alerts.slack_webhook_url is not None


def test_a_fault_given_in_code_is_not_blamed_on_the_file(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "81")
    assert refusal(load, "", ports={"api": 0}).startswith("given in code: ports.api = 0")
    assert "config.yaml: ports.dagster" in refusal(load, "ports: {dagster: 0}", ports={"api": 1})


# Secrets


def test_a_secret_is_never_shown(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK_URL", WEBHOOK)
    settings = load("")
    shown = [
        repr(settings),
        str(settings),
        settings.model_dump_json(),
        str(settings.model_dump()),
        repr(settings.alerts),
    ]
    assert all("topsecret" not in text for text in shown)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CXAD_ALERTS", f'{{"slack_webhook_url": "{WEBHOOK}"'),
        ("CXAD_ALERTS", f'{{"slack_webhook_url": {{"x": "{WEBHOOK}"}}}}'),
        ("CXAD_ALERTS", f'{{"slack_webhook_url": ["{WEBHOOK}"]}}'),
        ("CXAD_ALERTS", f'["{WEBHOOK}"]'),
        ("CXAD_ALERTS", WEBHOOK),
        ("CXAD_ALERTS", f'{{"slack_webhook_url": "{WEBHOOK}", "x": 1}}'),
        ("CXAD_ALERTS__SLACK_WEBHOOK_URL", f"[{WEBHOOK}"),
        ("CXAD_ALERTS__SLACK_WEBHOOK_URL", f'["{WEBHOOK}"]'),
        ("SLACK_WEBHOOK_URL", f'{{"{WEBHOOK}": 1}}'),
        ("SLACK_BOT_TOKEN", '["topsecret"]'),
        ("APPRISE_URLS", '{"pagerduty://topsecret@key": 1}'),
        ("CXAD_ALERTS__SLACK", '{"token": ["topsecret"]}'),
        ("CXAD_ALERTS__EMAIL", '{"password": "topsecret", "x": 1}'),
        ("CXAD_ALERTS__EMAIL__PASSWORD", '["topsecret"'),
    ],
)
def test_no_error_quotes_a_secret(load: Load, monkeypatch: pytest.MonkeyPatch, variable: str, text: str) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError) as caught:
        load("")
    error: BaseException | None = caught.value
    while error is not None:
        assert "topsecret" not in str(error)
        error = error.__cause__
    assert variable in str(caught.value)


def test_a_secret_is_refused_in_the_file_and_not_quoted(load: Load, config: Path) -> None:
    message = refusal(load, f"alerts: {{slack_webhook_url: '{WEBHOOK}'}}")
    assert message == (
        f"{config}: alerts.slack_webhook_url is a secret; set it by the environment variable SLACK_WEBHOOK_URL"
    )
    assert load("alerts: {slack_webhook_url: null}").alerts.slack_webhook_url is None
    for key, variable in (
        ("slack: {token: topsecret}", "SLACK_BOT_TOKEN"),
        ("email: {password: topsecret}", "CXAD_ALERTS__EMAIL__PASSWORD"),
        ("apprise_urls: topsecret", "APPRISE_URLS"),
    ):
        message = refusal(load, f"alerts: {{{key}}}")
        assert message.endswith(f"is a secret; set it by the environment variable {variable}")
        assert "topsecret" not in message


def test_the_short_name_of_a_secret_gives_way_to_the_long_one(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-short")
    token = load("alerts: {slack: {channel: C1}}").alerts.slack.token
    assert token is not None
    assert token.get_secret_value() == "xoxb-short"
    for variable, text in (
        ("CXAD_ALERTS__SLACK__TOKEN", "xoxb-long"),
        ("CXAD_ALERTS__SLACK", '{"token": "xoxb-long"}'),
    ):
        monkeypatch.setenv(variable, text)
        token = load("alerts: {slack: {channel: C1}}").alerts.slack.token
        assert token is not None
        assert token.get_secret_value() == "xoxb-long"
        monkeypatch.delenv(variable)


def test_e_mail_needs_a_sender_and_sends_no_password_in_the_clear(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "sender is not set" in refusal(load, "alerts: {email: {to: [desk@example.org]}}")
    monkeypatch.setenv("CXAD_ALERTS__EMAIL__PASSWORD", "topsecret")
    for host in ("mail.example.org", "10.0.0.1", "localhost.example.org"):
        refused = refusal(load, f"alerts: {{email: {{user: cxad, security: none, host: {host}}}}}")
        assert f"sends the password to {host} in the clear" in refused
        load(f"alerts: {{email: {{security: none, host: {host}}}}}")  # without a login there is nothing to hide
    assert "pattern" in refusal(load, 'alerts: {email: {to: ["desk@example.org, other@example.org"], sender: a@b.c}}')


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "'::1'"])
def test_a_mail_server_on_this_machine_may_be_logged_into_without_encryption(load: Load, host: str) -> None:
    email = load(f"alerts: {{email: {{user: cxad, security: none, host: {host}}}}}").alerts.email
    assert (email.user, email.security, email.host) == ("cxad", "none", host.strip("'"))


def test_incident_windows_must_fit_into_the_scoring_windows(load: Load) -> None:
    message = refusal(load, 'schedule: {batch_score_cron: "30 */6 * * *"}')
    assert "incidents.window_minutes: 60 minutes do not fit" in message
    assert "one ends at 00:30 UTC" in message
    load('{schedule: {batch_score_cron: "30 */6 * * *"}, incidents: {window_minutes: 30}}')
    load('{schedule: {batch_score_cron: "30 */6 * * *"}, incidents: {enabled: false}}')
    assert "do not divide a day" in refusal(load, "incidents: {window_minutes: 50}")
    # In winter the clock of London is that of UTC; in summer windows of two hours would begin between two of ours.
    london = "{schedule: {timezone: Europe/London}, incidents: {window_minutes: 120}}"
    assert "120 minutes do not fit" in refusal(load, london)


# Values


def test_times_without_zone_are_utc(load: Load) -> None:
    for text in ("2026-03-01", "2026-03-01T00:00", "'2026-03-01'", "2026-03-01T01:00:00+01:00"):
        settings = load(f"schedule: {{first_window: {text}}}")
        assert settings.schedule.first_window == dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
        assert settings.schedule.first_window.tzinfo == dt.UTC


def test_a_number_stands_for_its_text_where_text_is_wanted(load: Load) -> None:
    source = (
        "sources: [{name: a, columns: {csat: {column: 7, codes: {1: 5}}}, drop: [{column: x, equals: 0, reason: y}]}]"
    )
    read = load(source).sources[0]
    assert read.columns["csat"].column == "7"
    assert read.columns["csat"].codes == {"1": "5"}
    assert read.drop[0].equals == ["0"]


def test_settings_do_not_change_after_loading(load: Load) -> None:
    settings = load("")
    with pytest.raises(ValueError, match="frozen"):
        settings.ports.api = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", ["config.local.yaml", "config.technion.yaml"])
def test_the_shipped_configurations_load(repository: Path, name: str) -> None:
    assert load_settings(repository / "configs" / name).model_names == ["iforest", "rcf"]


def test_the_default_file_is_the_local_one(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    assert load_settings() == load_settings(repository / "configs" / "config.local.yaml")
    assert DEFAULT_CONFIG.as_posix() == "configs/config.local.yaml"


# Documentation


def fields_of(model: type[BaseModel], path: str) -> Iterator[tuple[str, str | None]]:
    for name, field in model.model_fields.items():
        yield f"{path}.{name}", field.description
        for inner in models_in(field.annotation):
            yield from fields_of(inner, f"{path}.{name}")


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from models_in(argument)


def test_every_key_says_what_it_means() -> None:
    described = dict(fields_of(Settings, ""))
    assert len(described) > 80
    assert [path for path, description in described.items() if not (description or "").strip()] == []


def test_the_reference_names_every_key() -> None:
    named = {key.path.replace("[]", "").replace(".<key>", "") for name in Settings.model_fields for key in keys(name)}
    leaves = {path[1:] for path, _ in fields_of(Settings, "")}
    sections = {path for path in leaves if any(other.startswith(f"{path}.") for other in leaves)}
    assert leaves - sections <= named


def test_each_variable_of_the_reference_reaches_its_key(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [key for name in Settings.model_fields for key in keys(name) if "<" not in key.variable]
    variables = [key.variable.split("`")[1] for key in plain if key.variable.startswith("`")]
    assert len(variables) > 40
    for key, variable in zip([key for key in plain if key.variable.startswith("`")], variables, strict=True):
        with monkeypatch.context() as patch:
            patch.setenv(variable, '{"nonsense": [1]}')
            message = refusal(load, "")
        assert message.startswith(f"environment variable {variable}: {key.path}")


def test_the_committed_reference_is_up_to_date(repository: Path) -> None:
    written = (repository / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == reference(), "write docs/configuration.md again from cxad_pipeline.settings.reference"


def test_a_webhook_that_is_no_address_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "hooks.slack.example/services/T0/B0/secret")
    with pytest.raises(SettingsError) as caught:
        load_settings(repository / "configs" / "config.local.yaml")
    assert "environment variable SLACK_WEBHOOK_URL" in str(caught.value)
    assert "must be the whole address of the webhook" in str(caught.value)
    assert "secret/" not in str(caught.value)
    assert "T0/B0" not in str(caught.value)
