"""The user interfaces as child processes of one command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import click

from cxad_pipeline.cli.instance import prepare_home
from cxad_pipeline.registry.tracking import tracking_uri
from cxad_pipeline.settings import Settings

_GRACE_SECONDS = 20


class PortInUseError(RuntimeError):
    """A port is taken; the message names it and the key that moves it."""


def interface_commands(settings: Settings) -> dict[str, list[str]]:
    """The commands that serve the interfaces, by name."""
    python = sys.executable
    scripts = Path(python).parent
    return {
        "Dagster": [
            str(scripts / "dagster"), "dev", "--workspace", "workspace.yaml",
            "--host", "127.0.0.1", "--port", str(settings.ports.dagster), "--log-level", "warning",
        ],
        "MLflow": [
            str(scripts / "mlflow"), "server", "--backend-store-uri", tracking_uri(settings),
            *(["--default-artifact-root", settings.mlflow.artifacts] if settings.mlflow.artifacts else []),
            "--host", "127.0.0.1", "--port", str(settings.ports.mlflow), "--workers", "1",
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
    PortInUseError
        If a port is taken; nothing is started then.
    """
    _require_free({"ports.dagster": settings.ports.dagster, "ports.mlflow": settings.ports.mlflow})
    home = prepare_home(settings)
    environment = os.environ | {"DAGSTER_HOME": str(home), "MLFLOW_DISABLE_TELEMETRY": "true"}
    signal.signal(signal.SIGTERM, _interrupt)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in interface_commands(settings).items():
            # A group of its own: Ctrl-C reaches this process alone, which then stops each server with its children.
            running[name] = subprocess.Popen(command, env=environment, start_new_session=True)
        click.echo(f"Dagster  http://127.0.0.1:{settings.ports.dagster}")
        click.echo(f"MLflow   http://127.0.0.1:{settings.ports.mlflow}")
        click.echo("Ctrl-C stops both.")
        while True:
            for name, process in running.items():
                if process.poll() is not None:
                    click.echo(f"cxad: {name} ended with exit code {process.returncode}; stopping the rest", err=True)
                    return 1
            time.sleep(0.5)
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(list(running.values()))


def _require_free(ports: dict[str, int]) -> None:
    for key, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                variable = f"CXAD_{key.upper().replace('.', '__')}"
                raise PortInUseError(
                    f"port {port} is in use: stop what listens there, or set {key} (for example {variable}={port + 1})"
                ) from error


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
