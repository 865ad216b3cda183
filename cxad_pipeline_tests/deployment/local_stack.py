"""The services of docker-compose.yml as processes of this machine.

Each of our services runs with its own command and with the environment that Compose and its image would give it, and
nothing of this machine's environment beside it. Only addresses change: `postgres:5432` becomes 127.0.0.1 and a free
port, `/opt/dagster` and `/var/lib/cxad` temporary folders.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from compose_project import copies, dockerfile, env_file, image_environment, services

_SCRIPTS = Path(sys.executable).parent
_READY_SECONDS = 400


class LocalStack:
    """Starts services one by one; `stop` ends all that it started."""

    def __init__(self, root: Path, folder: Path, given: dict[str, str], addresses: dict[str, tuple[str, int]]) -> None:
        """`addresses`: `service:port` of Compose -> host and port here."""
        self._addresses = addresses
        self.folder, self.app, self.home = folder, folder / "app", folder / "opt/dagster"
        self.logs, self._volume = folder / "logs", folder / "volume"
        for made in (self.app, self.home, self.logs, self._volume):
            made.mkdir(parents=True)
        self.compose = services(root / "docker-compose.yml", env_file(root / ".env.example") | given)
        self._images: dict[str, dict[str, str]] = {}
        for file in sorted({service["build"]["dockerfile"] for service in self.compose.values() if "build" in service}):
            instructions = dockerfile(root / file)
            self._images[file] = image_environment(instructions)
            for sources, target in copies(instructions, stage=max(each.stage for each in instructions)):
                for source in sources:
                    into = folder / target.lstrip("/") if target.startswith("/") else self.app / target
                    if (root / source).is_dir():
                        shutil.copytree(root / source, into, dirs_exist_ok=True)
                    else:
                        shutil.copy(root / source, into)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def port(self, name: str) -> int:
        return self._addresses[name][1]

    def environment(self, service: str) -> dict[str, str]:
        """Of a service, with the addresses of this machine; compiled kernels are taken from the checkout."""
        built = self._images[self.compose[service]["build"]["dockerfile"]]
        image = {name: self._here(value) for name, value in built.items() if name != "NUMBA_CACHE_DIR"}
        base = {"PATH": f"{_SCRIPTS}{os.pathsep}/usr/bin{os.pathsep}/bin", "HOME": str(self.folder), "LANG": "C.UTF-8"}
        own = {name: self._here(value) for name, value in self.compose[service]["environment"].items()}
        return image | base | own

    def run(self, service: str, command: list[str], **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's environment until it ends; its output is kept among the logs, too."""
        result = subprocess.run(
            command, cwd=self.app, env=self.environment(service) | extra, text=True, timeout=300, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        with (self.logs / f"{service}-commands.log").open("a") as log:
            log.write(result.stdout)
        return result

    def command(self, service: str) -> list[str]:
        """The service's command, with its port, host and files as they are here."""
        return self._command(service, self.compose[service]["command"])

    def _command(self, service: str, words: list[str]) -> list[str]:
        def local(found: re.Match[str]) -> str:
            before = "--port=" if found[1] == "--port=" else "127.0.0.1:"
            return f"{before}{self.port(f'{service}:{found[2]}')}"

        own = rf"(--port=|127\.0\.0\.1:|{service}:)(\d{{4}})\b"
        return [
            re.sub(own, local, word) if "allowed-hosts" not in word else word
            for word in (word.replace("0.0.0.0", "127.0.0.1").replace("/opt/dagster", str(self.home)) for word in words)
        ]

    def start(self, service: str) -> None:
        log = (self.logs / f"{service}.log").open("ab")
        # A group of its own, so that the workers of a server end with it.
        self._running[service] = subprocess.Popen(
            self.command(service), cwd=self.app, env=self.environment(service), stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        log.close()

    def healthy(self, service: str) -> bool:
        """Whether the health check of the compose file passes."""
        return (
            self.run(service, self._command(service, self.compose[service]["healthcheck"]["test"][1:])).returncode == 0
        )

    def wait(self, service: str, path: str = "") -> None:
        """Until the service is healthy; with a path, until that page answers, which is quicker to ask."""
        deadline = time.monotonic() + _READY_SECONDS
        ports = [port for name, (_, port) in self._addresses.items() if name.startswith(f"{service}:")]
        while not (_answers(f"http://127.0.0.1:{ports[0]}{path}") if path else self.healthy(service)):
            ended = self._running[service].poll() is not None
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"{service} {'ended' if ended else 'is not ready'}:\n{self.log(service)[-4000:]}")
            time.sleep(0.3)

    def log(self, service: str) -> str:
        return (self.logs / f"{service}.log").read_text(errors="replace")

    def stop(self) -> None:
        for ask in (signal.SIGTERM, signal.SIGKILL):
            for process in self._running.values():
                try:
                    os.killpg(process.pid, ask)
                except ProcessLookupError:
                    continue
            deadline = time.monotonic() + 5
            for process in self._running.values():
                try:
                    process.wait(max(deadline - time.monotonic(), 0.1))
                except subprocess.TimeoutExpired:
                    continue

    def _here(self, value: Any) -> str:
        text = str(value).replace("/opt/dagster", str(self.home)).replace("/var/lib/cxad", str(self._volume))
        text = "127.0.0.1" if text == "0.0.0.0" else text
        for name, (host, port) in self._addresses.items():
            service, _, inside = name.partition(":")
            if text == service:
                return host
            if text == inside:
                return str(port)
            text = text.replace(name, f"{host}:{port}")
        return text


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
