"""Which hosts are this machine.

Belongs here: that question, which decides what may go over the network without a key or in the clear. Does not belong
here: what is decided (`operations`, `serving.security`).
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Whether a host is this machine: a loopback address or `localhost`.

    Other names are not looked up: what they resolve to may differ tomorrow, so they count as open to the network.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
