"""Ports of this machine for servers that are told theirs before they start, and for places where nobody is to listen.

Belongs here: choosing a port that stays free until its server binds it. Does not belong here: servers that can be told
port 0 and say which one they were given, which is better still.
"""

from __future__ import annotations

import errno
import random
import socket

# Below those that Linux (32,768 on), macOS and Windows (49,152 on) give to port 0 and to outgoing connections: a port
# that the system has given once, it may give to somebody else before the server is up.
_NOT_GIVEN_BY_THE_SYSTEM = range(20_000, 32_000)
_claims: list[socket.socket] = []


def unused_port() -> int:
    """A port of 127.0.0.1 that is free, and that no other call returns while this process lives, in any process.

    Test processes that run at once agree by UDP sockets: each binds one to the number it has chosen, and keeps it; the
    server's own port is of TCP, and so stays free.

    Raises
    ------
    RuntimeError
        Where a thousand ports are all in use.
    """
    # The generator that pytest plugins seed would draw the same ports in each test process.
    for port in random.SystemRandom().sample(_NOT_GIVEN_BY_THE_SYSTEM, 1000):
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError as error:
            claim.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            _claims.append(claim)
            return port
    raise RuntimeError("1000 ports of 127.0.0.1 are in use; end what listens there")


def unused_ports(count: int) -> list[int]:
    """So many different ones."""
    return [unused_port() for _ in range(count)]
