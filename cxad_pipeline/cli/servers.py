"""The user interfaces as child processes of one command.

Belongs here: starting, watching and stopping them. Does not belong here: what they serve.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import dagster as dg

from cxad_pipeline.cli.instance import prepare_home
from cxad_pipeline.cli.listening import CannotServeError, require_free
from cxad_pipeline.cli.terminal import say
from cxad_pipeline.defs.lost_runs import end_lost_runs
from cxad_pipeline.registry.tracking import tracking_uri
from cxad_pipeline.settings import Settings

_HOST = "127.0.0.1"
_WORKSPACE = "workspace.yaml"
_PAGES = {"API": "/docs"}  # where a person begins, if not at the root
_GRACE_SECONDS = 8  # for each of two steps: 20 s in all with what stopping takes by itself
# Remarks that speak to the developers of the servers, not to the person who looks at them; all other warnings stay.
_NOT_FOR_USERS = (
    "Parameter `backfill_policy`",
    "Function `dev_command` is superseded",
    "starlette.middleware.wsgi is deprecated",
)
_PR_SET_PDEATHSIG = 1


def interface_commands(settings: Settings) -> dict[str, list[str]]:
    """The commands that serve the interfaces, by name."""
    store = tracking_uri(settings)
    return {
        "Dagster": [
            sys.executable, "-m", "dagster", "dev", "--workspace", _WORKSPACE,
            "--host", _HOST, "--port", str(settings.ports.dagster), "--log-level", "warning",
        ],
        "MLflow": [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--registry-store-uri", store,
            *(["--default-artifact-root", settings.mlflow.artifacts] if settings.mlflow.artifacts else []),
            "--host", _HOST, "--port", str(settings.ports.mlflow), "--workers", "1",
            "--uvicorn-opts", "--log-level warning",
        ],
        "API": [
            sys.executable, "-m", "uvicorn", "--factory", "cxad_pipeline.serving.app:create_app",
            "--host", _HOST, "--port", str(settings.ports.api), "--log-level", "warning", "--no-access-log",
        ],
    }  # fmt: skip


def serve_interfaces(settings: Settings) -> int:
    """Serve until Ctrl-C, a termination signal, or the end of one of the servers; then stop them all.

    Returns
    -------
    int
        0 when asked to stop, 1 when a server ended by itself.

    Raises
    ------
    CannotServeError
        If a port is taken, or there is no workspace in the working directory; nothing is started then.
    """
    ports = {"Dagster": settings.ports.dagster, "MLflow": settings.ports.mlflow, "API": settings.ports.api}
    if not Path(_WORKSPACE).is_file():
        raise CannotServeError(f"no {_WORKSPACE} in {Path.cwd()}: start this in the folder of the repository")
    for name, port in ports.items():
        require_free(_HOST, port, f"ports.{name.lower()}")
    home = prepare_home(settings)
    # Also where no sensor runs, since the first run that somebody asks for would wait for them.
    with dg.DagsterInstance.get() as instance:
        for run in end_lost_runs(instance):
            say(f"run {run.run_id} of {run.job_name} was killed, or its machine went down: ended")
    # SIGINT, too: a shell that starts this in the background has it ignored, and children would inherit that.
    # SIGHUP: the terminal's window was closed.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in interface_commands(settings).items():
            # A group of its own: Ctrl-C reaches this process alone, which then stops each server with its children.
            running[name] = subprocess.Popen(
                command, env=_environment(home), start_new_session=True, preexec_fn=_end_with_parent()
            )
        say("starting; Ctrl-C stops all")
        waiting = dict(ports)
        while True:
            for name, process in running.items():
                if process.poll() is not None:
                    click.echo(f"cxad: {name} ended with exit code {process.returncode}; stopping the rest", err=True)
                    return 1
            for name, port in list(waiting.items()):
                if _answers(port):
                    click.echo(f"{name:<8} http://{_HOST}:{port}{_PAGES.get(name, '')}")
                    del waiting[name]
            time.sleep(0.5)
    except KeyboardInterrupt:
        say("stopping")
        return 0
    finally:
        _stop(list(running.values()))


def _environment(home: Path) -> dict[str, str]:
    ignored = [f"ignore:{message}" for message in _NOT_FOR_USERS]
    given = os.environ.get("PYTHONWARNINGS")
    return os.environ | {
        "DAGSTER_HOME": str(home),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": os.environ.get("MLFLOW_LOGGING_LEVEL", "WARNING"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven idle processes for features that we have no use for
        "CXAD_SERVING__LOG_LEVEL": os.environ.get("CXAD_SERVING__LOG_LEVEL", "warning"),
        "PYTHONWARNINGS": ",".join([*ignored, *([given] if given else [])]),
    }


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((_HOST, port)) == 0


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask the servers to end, which lets short runs finish; then interrupt what is left of them; then kill it.

    A run that is interrupted is recorded as failed. Killed outright, it would be recorded as running and hold its slot.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave servers behind
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    _await(processes)
    for number in (signal.SIGINT, signal.SIGKILL):
        for process in processes:
            _signal_group(process, number)
        _await(processes)


def _await(processes: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            continue


def _signal_group(leader: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(leader.pid, number)
    except ProcessLookupError:
        return  # none of the group is left


def _end_with_parent() -> Callable[[], object] | None:
    """What a child does before it starts: on Linux, ask to be terminated when the command is killed outright."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
