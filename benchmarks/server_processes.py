"""A server in a process of its own: its start, its memory, its end.

Belongs here: any server that says by a path that it is ready. Does not belong here: requests to measure
(`load_generator`), which servers are compared (`serving`).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

START_SECONDS = 180
STOP_SECONDS = 40
# Port 0 and outgoing connections get higher ones.
_NOT_GIVEN_BY_THE_SYSTEM = range(10_000, 20_000)


@dataclass(frozen=True)
class Memory:
    """Resident memory, in megabytes of 1,000,000 bytes: of the process that listens, and of the others by name."""

    worker: float
    others: dict[str, float]


class Server:
    """A command that serves, on a free port of this machine; use it in a `with` block, which stops it.

    Parameters
    ----------
    name
        For messages and tables.
    command
        What to start; `{port}` stands for the port.
    ready
        Path that is answered with 200 as soon as it serves.
    folder
        Working directory; the server's output goes into a file there.
    variables
        Environment beside this process' own.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        ready: str,
        folder: Path,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.port = name, free_port()
        self._command = [str(word).replace("{port}", str(self.port)) for word in command]
        self._ready, self._folder, self._variables = ready, folder, dict(variables or {})
        self._log = folder / f"{name.replace(' ', '-')}-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> float:
        """Start it; seconds until it is ready.

        Raises
        ------
        SystemExit
            If it ends before, or takes too long; with the end of what it printed.
        """
        with self._log.open("ab") as log:
            started = time.perf_counter()
            # a group of its own, so that those it starts end with it
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=os.environ | self._variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while not answers(self.port, self._ready):
            waited = time.perf_counter() - started
            if self._process.poll() is not None or waited > START_SECONDS:
                self.stop()
                printed = self._log.read_text(encoding="utf-8", errors="replace")[-4000:]
                sys.exit(f"{self.name} was not ready after {waited:.0f} s:\n{' '.join(self._command)}\n{printed}")
            time.sleep(0.01)
        return time.perf_counter() - started

    def stop(self) -> None:
        """End it and all that it started."""
        if self._process is None:
            return
        family = [] if self._process.poll() is not None else self._family()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _, left = psutil.wait_procs(family[1:], timeout=5)
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=5)
        self._process = None

    def memory(self) -> Memory:
        """What it holds now.

        Raises
        ------
        RuntimeError
            If none of its processes listens.
        """
        worker, others = None, {}
        for process in self._family():
            try:
                megabytes = process.memory_info().rss / 1e6
                if worker is None and self._listens(process):
                    worker = megabytes
                else:
                    others[f"{_what(process)} ({process.pid})"] = megabytes
            except psutil.NoSuchProcess:
                continue  # it has ended since it was listed
        if worker is None:
            raise RuntimeError(f"none of the processes of {self.name} listens on port {self.port}")
        return Memory(worker, others)

    def fetched(self, path: str) -> bytes:
        """What a GET of a path gives.

        Raises
        ------
        OSError
            If it is not answered with 200.
        """
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def _listens(self, process: psutil.Process) -> bool:
        connections = process.net_connections("tcp")
        return any(each.status == psutil.CONN_LISTEN and each.laddr.port == self.port for each in connections)

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None, "not started"
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]


def _what(process: psutil.Process) -> str:
    """A child's command without interpreter, options and paths."""
    words = [Path(word).name for word in process.cmdline()[1:] if not word.startswith("-")]
    return " ".join(" ".join(words).split())[:40] or process.name()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that the system gives to nobody before the server is up."""
    for port in random.SystemRandom().sample(_NOT_GIVEN_BY_THE_SYSTEM, 100):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    sys.exit("100 ports of 127.0.0.1 are in use")


def answers(port: int, path: str) -> bool:
    """Whether a path is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
