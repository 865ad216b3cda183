"""The champion in MLflow becomes the copy on disk, or the old copy stays and it is told why."""

from __future__ import annotations

import logging
import os
import queue
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from model_store_world import DAMAGES, RegistryWorld, damage, other_detector, served_files, world_in
from serving_examples import interactions
from unused_ports import unused_port

from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.registry.tracking import mlflow_client
from cxad_pipeline.serving.follower import Follower
from cxad_pipeline.serving.local_copy import ForeignCopyError, LocalCopy, load_copy
from cxad_pipeline.serving.state_folder import state_folder
from cxad_pipeline.settings import Settings


@pytest.fixture
def registry_world(tmp_path: Path) -> Iterator[RegistryWorld]:
    with world_in(tmp_path) as world:
        yield world


def follower_of(settings: Settings) -> Follower:
    return Follower(settings, state_folder(settings))


def copy_in(world: RegistryWorld, settings: Settings | None = None) -> LocalCopy:
    copy = world.copy(settings)
    assert copy is not None
    return copy


def test_a_new_champion_is_followed_and_one_that_was_moved_back_too(registry_world: RegistryWorld):
    world = registry_world
    follower = follower_of(world.settings())
    first = world.new_champion()
    follower.look(careful=False)
    assert (copy_in(world).version, copy_in(world).run_id) == (first, world.run_id(first))

    second = world.register(other_detector())
    follower.look(careful=False)
    assert copy_in(world).version == first  # a challenger does not serve
    world.crown(second)
    follower.look(careful=False)
    assert copy_in(world).version == second
    scores = load_copy(world.state, copy_in(world), InteractionSchema()).score(interactions()).ensemble
    np.testing.assert_array_equal(scores, other_detector().score(interactions()).ensemble)

    world.crown(first)
    follower.look(careful=False)
    assert copy_in(world).version == first
    status = follower.status()
    assert (status["reachable"], status["error"], status["refused"]) == (True, None, None)
    assert status["champion"] == {"version": first, "run_id": world.run_id(first)}


def test_the_same_champion_is_fetched_once(registry_world: RegistryWorld):
    follower = follower_of(registry_world.settings())
    registry_world.new_champion()
    follower.look(careful=False)
    copy = copy_in(registry_world)
    follower.look(careful=False)
    follower.look(careful=True)
    assert copy_in(registry_world) == copy
    assert follower_of(registry_world.settings()).look(careful=True) is None  # as after a restart
    assert copy_in(registry_world) == copy


def test_a_version_number_that_comes_again_with_another_run_is_another_model(registry_world: RegistryWorld):
    world = registry_world
    follower = follower_of(world.settings())
    version = world.new_champion()
    follower.look(careful=False)
    before = copy_in(world)
    client, name = mlflow_client(world.settings()), world.settings().mlflow.registered_model
    client.delete_registered_model(name)
    assert world.new_champion(other_detector()) == version
    follower.look(careful=False)
    assert copy_in(world).version == before.version
    assert copy_in(world).run_id != before.run_id
    scores = load_copy(world.state, copy_in(world), InteractionSchema()).score(interactions()).ensemble
    np.testing.assert_array_equal(scores, other_detector().score(interactions()).ensemble)


def test_without_a_champion_it_is_told_and_a_good_copy_stays(registry_world: RegistryWorld):
    world = registry_world
    follower = follower_of(world.settings())
    follower.look(careful=False)
    status = follower.status()
    assert (status["reachable"], status["champion"]) == (True, None)
    assert status["error"].startswith("no champion of cx-anomaly-detector in MLflow")
    assert "cxad train" in status["error"]
    world.new_champion()
    follower.look(careful=False)
    assert follower.status()["error"] is None
    copy = copy_in(world)
    settings = world.settings()
    mlflow_client(settings).delete_registered_model_alias(settings.mlflow.registered_model, "champion")
    follower.look(careful=False)
    assert follower.status()["error"].startswith("no champion")
    assert copy_in(world) == copy


def test_the_log_says_once_that_there_is_no_champion_and_once_that_there_is_one(
    registry_world: RegistryWorld, caplog: pytest.LogCaptureFixture
):
    world = registry_world
    settings = world.settings()
    name = settings.mlflow.registered_model

    def logged() -> list[tuple[str, str]]:
        found = [(each.levelname, each.getMessage()) for each in caplog.records if "follower" in each.name]
        caplog.clear()
        return found

    follower = follower_of(settings)
    missing = ("WARNING", f"no champion of {name} in MLflow (sqlite:///{world.database}): train one first")
    with caplog.at_level(logging.INFO, "cxad_pipeline.serving.follower"):
        for careful in (True, False, False):
            follower.look(careful)
        ((level, message),) = logged()
        assert (level, message[: len(missing[1])]) == missing
        world.new_champion()
        follower.look(careful=False)
        follower.look(careful=False)
        assert logged() == [("INFO", "MLflow has a champion now"), ("INFO", "champion fetched")]
        mlflow_client(settings).delete_registered_model_alias(name, "champion")
        follower.look(careful=False)
        follower.look(careful=False)
        assert [level for level, _ in logged()] == ["WARNING"]


def test_a_copy_from_another_registry_is_replaced_by_the_champion_of_this_one(
    registry_world: RegistryWorld, caplog: pytest.LogCaptureFixture
):
    """Whoever holds the lock has the folder: the other service has ended, or it was this one, configured otherwise."""
    world = registry_world
    version = world.new_champion()
    moved = world.folder / "moved.db"
    shutil.copy(world.database, moved)
    elsewhere = world.settings(tracking_uri=f"sqlite:///{moved}")
    follower_of(world.settings()).look(careful=True)
    before = copy_in(world)
    follower_of(elsewhere).look(careful=False)
    copy = copy_in(world, elsewhere)
    assert (copy.identity, copy.version) == (before.identity, version)  # it is told by its source alone
    assert copy.folder != before.folder
    assert str(moved) in copy.source
    with pytest.raises(ForeignCopyError):
        copy_in(world)
    # Others may have set loggers to tell of more than warnings.
    own = [record for record in caplog.records if record.name == "cxad_pipeline.serving.follower"]
    (warning,) = [record for record in own if record.levelname == "WARNING"]
    assert "holds a copy of" in warning.__dict__["reason"]


@pytest.mark.parametrize("how", [*DAMAGES, "no detector in it"])
def test_a_champion_that_is_no_good_is_refused_and_not_fetched_again(registry_world: RegistryWorld, how: str):
    world = registry_world
    follower = follower_of(world.settings())
    first = world.new_champion()
    follower.look(careful=False)
    second = world.new_champion(other_detector())
    folder = world.detector_folder(second)
    if how == "no detector in it":
        (folder / "detector.json").unlink()
        (folder / "model.pkl").write_bytes(b"\x80\x05cos\nsystem\n.")
    else:
        damage(folder, how)
    follower.look(careful=False)
    reason = follower.status()["refused"]
    assert reason.startswith(f"version {second} is no detector that can serve: ")
    assert copy_in(world).version == first
    assert world.copies() == [copy_in(world).folder]

    other_detector().save(folder)  # what is fetched now would do, but it is not fetched
    follower.look(careful=False)
    assert (follower.status()["refused"], copy_in(world).version) == (reason, first)
    follower.look(careful=True)  # until somebody asks
    assert (follower.status()["refused"], copy_in(world).version) == (None, second)


def test_a_refused_champion_is_forgotten_when_the_alias_moves(registry_world: RegistryWorld):
    world = registry_world
    follower = follower_of(world.settings())
    first = world.new_champion()
    follower.look(careful=False)
    damage(world.detector_folder(world.new_champion()), "version 1")
    follower.look(careful=False)
    assert follower.status()["refused"] is not None
    world.crown(first)
    follower.look(careful=False)
    assert follower.status()["refused"] is None
    third = world.new_champion()
    follower.look(careful=False)
    assert copy_in(world).version == third


def test_a_version_without_files_is_told_with_its_address(registry_world: RegistryWorld):
    world = registry_world
    follower = follower_of(world.settings())
    first = world.new_champion()
    follower.look(careful=False)
    second = world.new_champion()
    shutil.rmtree(world.model_folder(second))
    follower.look(careful=False)
    assert f"version {second} of cx-anomaly-detector is registered, but its artifacts" in follower.status()["refused"]
    assert copy_in(world).version == first
    assert world.copies() == [copy_in(world).folder]


def test_a_model_of_another_program_is_refused(registry_world: RegistryWorld):
    """Somebody has registered something under our name by MLflow itself."""
    world = registry_world
    follower = follower_of(world.settings())
    first = world.new_champion()
    follower.look(careful=False)
    settings = world.settings()
    foreign = world.folder / "foreign"
    foreign.mkdir()
    (foreign / "MLmodel").write_text("flavors: {}\n")
    client = mlflow_client(settings)
    entry = client.create_model_version(settings.mlflow.registered_model, str(foreign))
    world.crown(str(entry.version))
    follower.look(careful=False)
    assert f"version {entry.version} " in follower.status()["refused"]
    assert copy_in(world).version == first


def test_a_copy_that_was_damaged_is_fetched_again_when_somebody_asks(registry_world: RegistryWorld):
    world = registry_world
    follower = follower_of(world.settings())
    version = world.new_champion()
    follower.look(careful=False)
    damaged = copy_in(world)
    damage(world.state / "models" / damaged.folder, "truncated arrays")
    follower.look(careful=True)
    assert copy_in(world).version == version
    assert copy_in(world).folder != damaged.folder
    load_copy(world.state, copy_in(world), InteractionSchema())


def test_while_mlflow_is_away_it_is_told_since_when_and_without_its_password(registry_world: RegistryWorld):
    world = registry_world
    world.new_champion()
    follower_of(world.settings()).look(careful=False)
    copy = copy_in(world)
    away = world.settings(tracking_uri=f"http://someone:pa55word@127.0.0.1:{unused_port()}")
    follower = follower_of(away)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "10"
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    assert follower.status()["reachable"] is None
    follower.look(careful=True)
    first = follower.status()
    assert first["reachable"] is False
    assert first["since"]
    assert "MLflow (http://127.0.0.1:" in first["error"]
    assert "pa55word" not in str(first)
    follower.look(careful=False)
    assert follower.status()["since"] == first["since"]
    assert copy_in(world) == copy


def test_when_mlflow_answers_again_its_champion_is_followed(registry_world: RegistryWorld):
    world = registry_world
    version = world.new_champion()
    volume = world.folder / "volume"
    volume.write_text("where the volume with the database is to be mounted")
    settings = world.settings(tracking_uri=f"sqlite:///{volume}/mlflow.db")
    follower = follower_of(settings)
    follower.look(careful=True)
    away = follower.status()
    assert (away["reachable"], (world.state / "champion.json").exists()) == (False, False)
    assert "volume" in away["error"]
    volume.unlink()
    volume.mkdir()
    shutil.copy(world.database, volume)
    follower.look(careful=False)
    assert copy_in(world, settings).version == version
    status = follower.status()
    assert (status["reachable"], status["error"]) == (True, None)
    assert status["since"] >= away["since"]


def test_what_the_user_has_set_for_mlflow_s_patience_stays(
    registry_world: RegistryWorld, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    follower_of(registry_world.settings())
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield int(server.getsockname()[1])


def test_a_server_that_never_answers_counts_as_away_while_it_is_waited_for(
    registry_world: RegistryWorld, silent_port: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("cxad_pipeline.serving.follower._SILENT_SECONDS", 0.1)
    follower = follower_of(registry_world.settings(tracking_uri=f"http://127.0.0.1:{silent_port}"))
    looking = threading.Thread(target=follower.look, args=(False,))
    looking.start()
    seen = []
    while looking.is_alive():
        seen.append(follower.status())
        time.sleep(0.02)
    told = [status for status in seen if status["reachable"] is False]
    assert told
    assert "has not answered since" in told[0]["error"]
    assert follower.status()["reachable"] is False


def test_who_asks_is_answered_when_mlflow_has_been_asked_and_it_ends_when_told(registry_world: RegistryWorld):
    world = registry_world
    follower = follower_of(world.settings())  # polls once an hour
    stop, answers = threading.Event(), queue.SimpleQueue()
    thread = threading.Thread(target=follower.run, args=(stop,))
    thread.start()
    try:
        follower.ask(answers.put)
        assert answers.get(timeout=120)["error"].startswith("no champion")
        version = world.new_champion()
        follower.ask(answers.put)
        assert answers.get(timeout=120) == {"error": None}
        assert copy_in(world).version == version
        damage(world.detector_folder(world.new_champion()), "no JSON")
        follower.ask(answers.put)
        assert "no valid JSON" in answers.get(timeout=120)["error"]
    finally:
        stop.set()
        follower.wake()
        thread.join(60)
    assert not thread.is_alive()


def test_it_polls_without_being_asked(registry_world: RegistryWorld):
    world = registry_world
    settings = world.settings()
    settings = settings.model_copy(update={"serving": settings.serving.model_copy(update={"poll_seconds": 0.05})})
    follower, stop = follower_of(settings), threading.Event()
    thread = threading.Thread(target=follower.run, args=(stop,))
    thread.start()
    try:
        for _ in range(2):
            version, end = world.new_champion(), time.monotonic() + 120
            while (copy := world.copy()) is None or copy.version != version:
                assert time.monotonic() < end
                time.sleep(0.02)
    finally:
        stop.set()
        follower.wake()
        thread.join(60)


def test_the_files_of_a_champion_can_be_away_for_a_while(registry_world: RegistryWorld):
    """The artifact store fails, MLflow answers: it is tried again by itself, more and more rarely."""
    world = registry_world
    settings = world.settings()
    settings = settings.model_copy(update={"serving": settings.serving.model_copy(update={"poll_seconds": 0.01})})
    follower = follower_of(settings)
    version = world.new_champion()
    place = world.move_files(version, served_files(unused_port()))
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    follower.look(careful=False)
    assert f"version {version} of cx-anomaly-detector" in follower.status()["refused"]
    assert world.copy() is None
    world.move_files(version, place)
    end = time.monotonic() + 120
    while world.copy() is None:
        assert time.monotonic() < end
        follower.look(careful=False)
    assert follower.status()["refused"] is None
    load_copy(world.state, copy_in(world), InteractionSchema())
