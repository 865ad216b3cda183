"""The sidecar as a process: workers follow MLflow through it, and nothing that is killed leaves two or none of it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from model_store_world import PATIENCE, RegistryWorld, damage, other_detector, served_files, until, world_in
from serving_examples import fitted_detector, interactions
from unused_ports import unused_port

from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.serving.health import concerns
from cxad_pipeline.serving.local_copy import keep
from cxad_pipeline.serving.mailbox import Mailbox
from cxad_pipeline.serving.model_store import ModelStore
from cxad_pipeline.serving.sidecar import Sidecar
from cxad_pipeline.serving.state_folder import model_source
from cxad_pipeline.serving.supervision import Supervisor
from cxad_pipeline.settings import Settings

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="processes are looked up in /proc")


@pytest.fixture(autouse=True)
def _time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may hold up a sidecar's beat, or a load, for longer than a worker waits for them in life."""
    for limit in ("sidecar_status._FRESH_SECONDS", "sidecar_status._MISSING_SECONDS", "model_store._START_SECONDS"):
        monkeypatch.setattr(f"cxad_pipeline.serving.{limit}", PATIENCE)


@pytest.fixture
def registry_world(tmp_path: Path) -> Iterator[RegistryWorld]:
    with world_in(tmp_path) as world:
        yield world


class Worker:
    """What a worker process has of this, and what the model store has said."""

    def __init__(self, settings: Settings) -> None:
        self.failures: list[str] = []
        self.models = ModelStore(settings, on_failure=lambda _, reason: self.failures.append(reason))
        self.supervisor = Supervisor(settings)

    @property
    def version(self) -> str | None:
        return self.models.current.version if self.models.current else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Worker]:
        await self.models.start()
        await self.supervisor.start()
        try:
            yield self
        finally:
            await self.supervisor.stop()
            await self.models.stop()


def sidecars(state: Path) -> list[int]:
    """Sidecar processes that have a state folder's lock open."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            called = b"-m\0cxad_pipeline.serving.sidecar\0" in (process / "cmdline").read_bytes()
            handles = list((process / "fd").iterdir()) if called else []
        except OSError:  # it is none, or has ended meanwhile
            continue
        if any(leads_to(handle, state / "sidecar.lock") for handle in handles):
            found.append(int(process.name))
    return found


def leads_to(handle: Path, file: Path) -> bool:
    """Whether a file descriptor, as /proc has it, is one of a file; not if it was closed since it was listed."""
    try:
        return handle.readlink() == file
    except OSError:
        return False


def test_workers_follow_the_champion_and_refuse_what_is_no_good(registry_world: RegistryWorld):
    world = registry_world
    first = world.new_champion()

    async def scenario() -> None:
        async with Worker(world.settings()).running() as one, Worker(world.settings()).running() as two:
            assert one.models.current is None
            await until(lambda: one.version == two.version == first)
            assert len(sidecars(world.state)) == 1

            second = world.new_champion(other_detector())
            held = one.models.current
            assert held is not None
            outcomes = await asyncio.gather(*(worker.models.reload(PATIENCE) for worker in (one, one, two)))
            assert outcomes[0] is outcomes[1]
            for outcome in (outcomes[0], outcomes[2]):
                assert (outcome.after, outcome.error) == (second, None)
            assert (outcomes[0].before, outcomes[0].changed) == (first, True)
            np.testing.assert_array_equal(
                held.detector.score(interactions()).ensemble, fitted_detector().score(interactions()).ensemble
            )

            world.crown(first)
            outcome = await one.models.reload(PATIENCE)
            assert (outcome.before, outcome.after, outcome.changed) == (second, first, True)
            assert (await one.models.reload(PATIENCE)).changed is False
            await until(lambda: two.version == first)

            third = world.new_champion()
            damage(world.detector_folder(third), "truncated arrays")
            outcome = await two.models.reload(PATIENCE)
            assert (outcome.before, outcome.after, outcome.changed) == (first, first, False)
            assert outcome.error is not None
            assert outcome.error.startswith(f"version {third} is no detector that can serve: arrays.npz")
            await until(lambda: one.failures and two.failures)
            await one.models.reload(PATIENCE)  # it is refused again
            assert one.failures == two.failures == [outcome.error]

            await until(lambda: one.models.status()["last_error"] == outcome.error)
            status = one.models.status()
            assert (status["model"]["version"], status["mlflow"]["reachable"]) == (first, True)
            assert status["mlflow"]["champion"]["version"] == third
            assert status["sidecar"]["alive"] is True
            assert [status["sidecar"]["pid"]] == sidecars(world.state)
            assert status["store"]["reachable"] is True
            json.dumps(status)
        assert sidecars(world.state) == []

    asyncio.run(scenario())


def test_while_mlflow_is_away_the_last_good_copy_serves_or_it_is_told_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def fetch(into: Path) -> tuple[Path, str, str]:
        fitted_detector().save(into / "detector")
        return into / "detector", "4", "a-run"

    address = f"http://someone:pa55word@127.0.0.1:{unused_port()}"

    async def scenario(with_copy: RegistryWorld, without: RegistryWorld) -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(Worker(with_copy.settings(tracking_uri=address)).running())
            other = await stack.enter_async_context(Worker(without.settings(tracking_uri=address)).running())
            assert one.version == "4"  # before anybody has asked MLflow
            for worker in (one, other):
                # On a busy machine MLflow's client takes so long to import that it is first told to be silent.
                await until(lambda worker=worker: "does not answer" in str(worker.models.status()["mlflow"]))
                status = worker.models.status()
                assert status["mlflow"]["reachable"] is False
                assert status["mlflow"]["since"]
                assert status["last_error"] == status["mlflow"]["error"]
                assert "pa55word" not in json.dumps(status)
            assert one.models.status()["model"]["version"] == "4"
            assert other.models.status()["model"] is None
            outcome = await other.models.reload(PATIENCE)
            assert (outcome.before, outcome.after, outcome.changed) == (None, None, False)
            assert outcome.error is not None
            assert "does not answer" in outcome.error
            assert one.failures == other.failures == []  # no model was refused

    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with world_in(tmp_path / "one") as with_copy, world_in(tmp_path / "other") as without:
        with_copy.state.mkdir()
        source = model_source(with_copy.settings(tracking_uri=address))
        assert "pa55word" not in source
        keep(with_copy.state, InteractionSchema(), source, fetch)
        asyncio.run(scenario(with_copy, without))


WORKER = """
import asyncio, os, sys
from pathlib import Path
from cxad_pipeline.serving.model_store import ModelStore
from cxad_pipeline.serving.supervision import Supervisor
from cxad_pipeline.settings import Settings

async def main():
    settings = Settings.model_validate_json(sys.argv[1])
    models, supervisor = ModelStore(settings), Supervisor(settings)
    await models.start()
    await supervisor.start()
    while True:
        await asyncio.sleep(0.05)
        if models.current:
            print(models.current.version, flush=True)

asyncio.run(main())
"""


def test_when_the_worker_with_the_lock_is_killed_another_takes_over(registry_world: RegistryWorld):
    world = registry_world
    first = world.new_champion()
    command = [sys.executable, "-c", WORKER, world.settings().model_dump_json()]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    most = 0

    def running() -> list[int]:
        nonlocal most
        found = sidecars(world.state)
        most = max(most, len(found))
        return found

    async def scenario() -> None:
        for worker in workers:
            assert worker.stdout is not None
            assert await asyncio.to_thread(worker.stdout.readline) == f"{first}\n".encode()
        (pid,) = await until(running)
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        holder = next(worker for worker in workers if worker.pid == parent)
        other = next(worker for worker in workers if worker.pid != parent)
        os.kill(pid, signal.SIGSTOP)  # it may take long to end
        holder.kill()
        holder.wait()
        with (world.state / "sidecar.lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.kill(pid, signal.SIGCONT)
        await until(lambda: [found for found in running() if found != pid])
        assert most == 1
        assert pid not in running()
        second = world.new_champion()  # the new one works
        Mailbox(world.state).ask()
        await until(lambda: (copy := world.copy()) and copy.version == second)
        assert other.stdout is not None
        while await asyncio.to_thread(other.stdout.readline) != f"{second}\n".encode():
            assert other.poll() is None
        other.kill()
        other.wait()
        await until(lambda: not running())  # without a worker there is no sidecar
        assert most == 1

    try:
        asyncio.run(scenario())
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()
        for left in sidecars(world.state):
            os.kill(left, signal.SIGKILL)


def test_a_fetch_that_hangs_stops_nothing_else_and_what_it_leaves_is_removed(
    registry_world: RegistryWorld, monkeypatch: pytest.MonkeyPatch
):
    # Whoever waits for the fetch, or for the supervisor's patience to end, waits for longer than a test may take.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3600")
    monkeypatch.setattr("cxad_pipeline.serving.supervision._END_SECONDS", 3600)
    world = registry_world
    first = world.new_champion()

    async def scenario(port: int) -> None:
        async with Worker(world.settings()).running() as worker:
            await until(lambda: worker.version == first)
            good = world.copies()
            second = world.new_champion(other_detector())
            place = world.move_files(second, served_files(port))
            asked = asyncio.create_task(worker.models.reload(PATIENCE))
            await until(lambda: len(world.copies()) == 2)  # the one that is being fetched has its folder
            before = worker.models.status()["sidecar"]["at"]
            await until(lambda: worker.models.status()["sidecar"]["at"] != before)  # the others go on
            assert worker.version == first
            (pid,) = sidecars(world.state)
            os.kill(pid, signal.SIGKILL)
            world.move_files(second, place)
            await until(lambda: worker.version == second)  # by the next sidecar, which finds the request
            assert sidecars(world.state) != [pid]
            outcome = await asked
            assert (outcome.before, outcome.after, outcome.error) == (first, second, None)
            assert len(world.copies()) == 2
            assert set(good) < set(world.copies())

            third = world.new_champion()
            world.move_files(third, served_files(port))
            asked = asyncio.create_task(worker.models.reload(PATIENCE))
            await until(lambda: len(world.copies()) == 3)
        assert sidecars(world.state) == []
        with pytest.raises(asyncio.CancelledError):
            await asked

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        asyncio.run(scenario(silent.getsockname()[1]))


def test_a_full_disk_costs_no_model_and_no_sign_of_life(registry_world: RegistryWorld):
    """A limit of file sizes stands for the full disk: the system refuses the same writes, with another number."""
    world = registry_world
    first = world.new_champion()

    async def scenario() -> None:
        async with Worker(world.settings()).running() as worker:
            await until(lambda: worker.version == first)
            (pid,) = sidecars(world.state)
            second = world.new_champion(other_detector())
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            outcome = await worker.models.reload(PATIENCE)
            assert (outcome.before, outcome.after, outcome.changed) == (first, first, False)
            assert outcome.error is not None
            assert outcome.error.startswith(f"version {second} can't be kept in {world.state} (")
            assert "make room" in outcome.error
            assert world.copies() == [world.copy().folder]

            resource.prlimit(pid, resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
            beat = world.state / "sidecar.json"

            async def next_beat() -> None:
                last = beat.stat().st_mtime_ns
                await until(lambda: beat.stat().st_mtime_ns > last)

            await next_beat()  # one may have been written already, and only not yet be in its place
            content = beat.read_text()
            for _ in range(2):
                await next_beat()
            assert beat.read_text() == content  # it could not be written, and yet lives
            assert json.loads(content)["pid"] == pid

            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
            outcome = await worker.models.reload(PATIENCE)
            assert (outcome.before, outcome.after, outcome.error) == (first, second, None)
            assert sidecars(world.state) == [pid]

    asyncio.run(scenario())


@pytest.mark.parametrize("first_is_there", [True, False], ids=["model there", "model comes later"])
def test_a_second_service_on_a_state_folder_serves_nothing_of_the_first_and_says_so(
    registry_world: RegistryWorld, first_is_there: bool
):
    world = registry_world
    stranger = world.settings(registered_model="another-model")
    version = world.new_champion() if first_is_there else None

    async def scenario() -> None:
        nonlocal version
        async with Worker(world.settings()).running() as ours:
            await until(lambda: ours.models.status()["mlflow"]["reachable"])
            await until(lambda: ours.version == version)
            async with Worker(stranger).running() as theirs:
                await until(lambda: theirs.models.status()["sidecar"]["works_for_another"])
                if version is None:
                    version = world.new_champion()
                    assert (await ours.models.reload(PATIENCE)).after == version
                await until(lambda: theirs.models.status()["copy_of_another"])
                outcome = await theirs.models.reload(PATIENCE)
                assert (outcome.after, outcome.changed) == (None, False)
                status = theirs.models.status()
                assert theirs.models.current is None
                for told in (outcome.error, status["last_error"], *theirs.failures):
                    assert "serving.state of its own" in told
                    assert "another-model" in told
                    assert f"cx-anomaly-detector in sqlite:///{world.database}" in told
                assert outcome.error == status["last_error"]
                assert len(theirs.failures) == 1
                assert (status["mlflow"], status["store"]) == ({"reachable": None}, None)
                assert concerns(status, 0) == [
                    "another service uses the state folder: the champion is not followed; give each service a "
                    "serving.state of its own (its log names the other one)"
                ]
                assert (await ours.models.reload(PATIENCE)).error is None
                assert (ours.failures, concerns(ours.models.status(), 0)) == ([], [])

    asyncio.run(scenario())


def test_a_second_service_with_another_store_says_that_its_anomalies_go_astray(registry_world: RegistryWorld):
    world = registry_world
    version = world.new_champion()
    settings = world.settings()
    other = settings.model_copy(update={"store": settings.store.model_copy(update={"url": "sqlite:///other.db"})})

    async def scenario() -> None:
        async with Worker(settings).running() as ours:
            await until(lambda: ours.version == version)
            async with Worker(other).running() as theirs:
                assert theirs.version == version  # its own champion, too
                await until(lambda: theirs.failures)
                assert f"anomalies to sqlite:///{world.folder}/store.db" in theirs.failures[0]
                assert "other.db" in theirs.failures[0]
                assert (await theirs.models.reload(PATIENCE)).error == theirs.failures[0]

    asyncio.run(scenario())


def test_while_mlflow_is_away_the_log_has_our_warning_alone(registry_world: RegistryWorld):
    world = registry_world
    settings = world.settings(tracking_uri=f"http://127.0.0.1:{unused_port()}")
    child = subprocess.Popen(
        [sys.executable, "-m", "cxad_pipeline.serving.sidecar"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"},
    )
    told = world.state / "sidecar.json"
    try:
        child.stdin.write(settings.model_dump_json().encode() + b"\n")
        child.stdin.flush()
        asyncio.run(until(lambda: told.exists() and "does not answer" in told.read_text()))
    finally:
        _, log = child.communicate(timeout=PATIENCE)
    assert log.count(b"MLflow does not answer") == 1
    assert b"Retrying" not in log
    assert b"urllib3.connectionpool" not in log


def test_a_part_that_fails_is_started_again_and_the_other_goes_on(
    registry_world: RegistryWorld, monkeypatch: pytest.MonkeyPatch
):
    world = registry_world
    version, starts = world.new_champion(), []

    def fails(self: Sidecar) -> None:
        starts.append(1)
        raise RuntimeError("no such table")

    monkeypatch.setattr(Sidecar, "_drain", fails)
    sidecar = Sidecar(world.settings())
    thread = threading.Thread(target=sidecar.run)
    thread.start()

    async def scenario() -> None:
        await until(lambda: (copy := world.copy()) and copy.version == version)
        await until(lambda: len(starts) > 1)
        told = world.state / "sidecar.json"
        await until(lambda: json.loads(told.read_text())["failures"] == {"drain": "RuntimeError: no such table"})

    try:
        asyncio.run(scenario())
    finally:
        sidecar.stop()
        thread.join(60)
    assert not thread.is_alive()


def test_by_hand_it_says_who_starts_it():
    done = subprocess.run(
        [sys.executable, "-m", "cxad_pipeline.serving.sidecar"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "cxad serve" in done.stderr
