"""Whether a server of ours can listen where the configuration says.

Belongs here: the look before anything starts, and the one error. Does not belong here: starting servers (`servers`,
`serving`).
"""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address


class CannotServeError(RuntimeError):
    """Nothing can be served as configured; the message says why and what to do."""


def require_free(host: str, port: int, key: str) -> None:
    """Refuse a port that is in use, or an address that is not this machine's.

    Parameters
    ----------
    host, port
        Where a server is to listen.
    key
        The port's key in the configuration, `ports.api`.

    Raises
    ------
    CannotServeError
        If nothing can listen there.
    """
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        family = socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror as error:
            raise CannotServeError(f"serving.host: no address of this machine is named {host!r}") from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise CannotServeError(f"serving.host: {host} is no address of this machine") from error
            variable = f"CXAD_{key.upper().replace('.', '__')}"
            raise CannotServeError(
                f"port {port} is in use or not to be had on {host} ({error.strerror}): stop what listens there, or set "
                f"{key} (for example {variable}={port + 1})"
            ) from error
