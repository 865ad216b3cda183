"""Events of the other worker processes of this machine.

Belongs here: how worker processes with one state folder hear of each other's events. Does not belong here: what becomes
of the events (`stream`).

Each process has a Unix datagram socket in a folder that only this user may enter; the socket's name is the process's
origin. Datagrams of one sender arrive in order. One holds the origin and then a line for each event: its number, a
space and its JSON; without JSON a line only says how far the origin has come, so that a receiver notices what is
missing. Nothing waits: what a full socket does not take is kept for the next time, and dropped and counted when too
much is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import socket
import stat
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path

_log = logging.getLogger(__name__)

# Longest JSON of an event, in bytes. Linux takes datagrams of up to 200 kB by default, macOS needs SO_SNDBUF to be set.
LONGEST_EVENT = 16_384
_LONGEST_DATAGRAM = 49_152
_SOCKET_BYTES = 1 << 18

# Addresses of Unix sockets hold 108 bytes on Linux and 104 on macOS, with a zero at the end.
_LONGEST_ADDRESS = 100

# Some systems let only ten datagrams wait at a socket, so what was published within this time travels together.
_FLUSH_SECONDS = 0.02
_MOST_WAITING = 32
_READ_AT_ONCE = 32

# How often processes tell each other that they are there, and how far they have come.
_BEAT_SECONDS = 2.0

_ORIGIN = re.compile(r"[0-9a-f]{12}", re.ASCII)


class _Peer:
    """Another process, and the datagrams that wait for it with their numbers of events.

    Each has a socket of its own to send with: what lies unread at one process counts against the sending socket, so
    that a process that stands still would keep the others from hearing anything.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.waiting: deque[tuple[bytes, int]] = deque()
        self.socket = _new_socket()


class Siblings:
    """The other worker processes.

    Parameters
    ----------
    folder
        Where they meet; made when it is not there.
    origin
        Name of this process.
    receive
        Called with origin, number and JSON of each event of another process, in the order of the numbers; without
        JSON, the number that the process has come to. Raises ValueError or TypeError when the JSON is no event.
    forget
        Called now and then with the origins of the processes that are there.

    Attributes
    ----------
    unsent
        Events that another process did not take, summed over the processes.
    """

    def __init__(
        self,
        folder: Path,
        origin: str,
        receive: Callable[[str, int, bytes], None],
        forget: Callable[[set[str]], None],
    ) -> None:
        self._folder, self._origin = folder, origin
        self._receive, self._forget = receive, forget
        self._peers: dict[str, _Peer] = {}
        self._outbox: deque[tuple[int, bytes]] = deque()
        self._number = 0
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._blind = False
        self.unsent = 0

    @property
    def alive(self) -> set[str]:
        """Origins of the processes that are there."""
        return set(self._peers)

    def start(self) -> None:
        """Open this process's socket and greet the others. Without one, this process's clients see its events alone."""
        self._loop = asyncio.get_running_loop()
        try:
            self._folder = meeting_place(self._folder, len(self._origin))
            self._socket = self._bind()
        except OSError as error:
            _log.warning("live stream: clients of one worker won't see events of the others (%s)", error)
            return
        self._loop.add_reader(self._socket, self._read)
        self._greet()

    def stop(self) -> None:
        """Send what waits, as far as the others take it, and take the socket away."""
        if self._socket is None or self._loop is None:
            return
        self._send()
        for timer in (self._flush, self._beat):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        for name in list(self._peers):
            self._lose(name)
        (self._folder / self._origin).unlink(missing_ok=True)

    def offer(self, number: int, data: bytes) -> None:
        """An event of this process for the others, sent by the next `flush_soon`; from any thread, in order of numbers.

        Parameters
        ----------
        number
            Of the event.
        data
            Its JSON; empty when it is too long to be sent.
        """
        if self._peers:
            self._outbox.append((number, data))
        # Only now, or a beat in between would tell of an event that is not on its way.
        self._number = number

    def flush_soon(self) -> None:
        """Send what was offered, together with what comes in the next milliseconds; on the event loop."""
        if self._flush is None and self._outbox and self._socket is not None and self._loop is not None:
            self._flush = self._loop.call_later(_FLUSH_SECONDS, self._send)

    def _bind(self) -> socket.socket:
        own = _new_socket()
        try:
            own.bind(str(self._folder / self._origin))
        except OSError:
            own.close()
            raise
        return own

    def _greet(self) -> None:
        """Look who is there, and tell everybody how far this process has come."""
        if self._loop is None:
            return
        self._beat = self._loop.call_later(_BEAT_SECONDS, self._greet)
        try:
            names = {path.name for path in self._folder.iterdir() if _ORIGIN.fullmatch(path.name)} - {self._origin}
        except OSError as error:
            if not self._blind:
                _log.warning("live stream: can't see which other workers there are (%s)", error)
            self._blind = True
            return
        self._blind = False
        for name in names - set(self._peers):
            self._peers[name] = _Peer(str(self._folder / name))
        for name in set(self._peers) - names:
            self._lose(name)
        number = self._number
        self._send()
        if not self._outbox:
            for name, peer in list(self._peers.items()):
                if not peer.waiting:
                    peer.waiting.append((f"{self._origin}\n{number} ".encode(), 0))
                    self._send_to(name, peer)
        self._forget(self.alive)

    def _send(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        datagrams = self._datagrams()
        for name, peer in list(self._peers.items()):
            peer.waiting.extend(datagrams)
            self._send_to(name, peer)
            while len(peer.waiting) > _MOST_WAITING:
                self.unsent += peer.waiting.popleft()[1]
        if self._loop is not None and any(peer.waiting for peer in self._peers.values()):
            self._flush = self._loop.call_later(_FLUSH_SECONDS, self._send)

    def _send_to(self, name: str, peer: _Peer) -> None:
        while peer.waiting:
            try:
                peer.socket.sendto(peer.waiting[0][0], peer.address)
            except (BlockingIOError, InterruptedError):
                return
            except (ConnectionRefusedError, FileNotFoundError):
                # Its process is gone; one that ended in order has taken the socket away itself.
                Path(peer.address).unlink(missing_ok=True)
                self._lose(name)
                return
            except OSError as error:
                # ENOBUFS on macOS: the socket is full there, too.
                _log.debug("live stream: %s did not take a datagram (%s)", name, error)
                return
            peer.waiting.popleft()

    def _lose(self, name: str) -> None:
        self._peers.pop(name).socket.close()

    def _datagrams(self) -> list[tuple[bytes, int]]:
        """What was offered, as datagrams with their numbers of events."""
        datagrams: list[tuple[bytes, int]] = []
        lines: list[bytes] = []
        size = 0
        while self._outbox:
            number, data = self._outbox.popleft()
            line = b"%d %s" % (number, data)
            if lines and size + len(line) > _LONGEST_DATAGRAM:
                datagrams.append((b"\n".join([self._origin.encode(), *lines]), len(lines)))
                lines, size = [], 0
            lines.append(line)
            size += len(line) + 1
        if lines:
            datagrams.append((b"\n".join([self._origin.encode(), *lines]), len(lines)))
        return datagrams

    def _read(self) -> None:
        for _ in range(_READ_AT_ONCE):
            if self._socket is None:
                return
            try:
                datagram = self._socket.recv(2 * _LONGEST_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            try:
                self._take(datagram)
            except (TypeError, ValueError) as error:
                # Another version of this program, perhaps; its clients are told what they miss by the numbers.
                _log.warning("live stream: a datagram can't be read (%s)", type(error).__name__)

    def _take(self, datagram: bytes) -> None:
        head, *lines = datagram.split(b"\n")
        origin = head.decode("ascii")
        if _ORIGIN.fullmatch(origin) is None or origin == self._origin:
            raise ValueError("no origin of another process")
        if origin not in self._peers:
            self._peers[origin] = _Peer(str(self._folder / origin))
            # The newcomer hears at once how far this process has come.
            self._peers[origin].waiting.append((f"{self._origin}\n{self._number} ".encode(), 0))
            self._send_to(origin, self._peers[origin])
        for line in lines:
            number, _, data = line.partition(b" ")
            self._receive(origin, int(number), data)


def _new_socket() -> socket.socket:
    new = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    new.setblocking(False)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        new.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BYTES)
    return new


def meeting_place(folder: Path, name_length: int) -> Path:
    """The folder for sockets, which only this user may enter: the one asked for, or one in the system's folder for
    temporary files when paths in it would be too long for addresses of sockets.

    Parameters
    ----------
    folder
        Where the sockets should be.
    name_length
        Length of a socket's name.

    Raises
    ------
    PermissionError
        The folder belongs to another user.
    OSError
        The folder can't be made.
    """
    folder = folder.absolute()
    if len(os.fsencode(folder)) + 1 + name_length > _LONGEST_ADDRESS:
        digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"cxad-{os.geteuid()}-{digest}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is not a folder of this user")
    if found.st_mode & 0o077:
        folder.chmod(0o700)
    return folder
