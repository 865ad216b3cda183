"""Names of channels: the one that is stored, and what it is called where an engineer reads it.

Belongs here: from an address to its channel's name, and from the settings to labels. Does not belong here: the channels
(`channels`).

The outbox, metrics and logs have names, of which an e-mail's tells nobody the address. Whoever runs the system needs to
know which of the configured addresses fails: a label is made from the settings each time it is shown, and kept nowhere
but in what Dagster shows of a check, so it hides all of a person's name that need not be seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from cxad_pipeline.settings import Settings


def email_name(address: str) -> str:
    """By which an address is told from others without being shown, wherever it stands in the list."""
    digits = hashlib.sha256(address.strip().lower().encode()).hexdigest()[:6]
    return f"email-{digits}"


def channel_labels(settings: Settings) -> Mapping[str, str]:
    """What the configured e-mail channels are called for people, by their names.

    Returns
    -------
    Mapping of str to str
        Such as "email-3f9a2c" to "email-3f9a2c (o…@example.com)": first letter and domain of the address, and its place
        in alerts.email.to where another one begins likewise. Other channels, and those that are no longer configured,
        are not in it: their names say all there is.
    """
    places: dict[str, int] = {}
    for place, address in enumerate(settings.alerts.email.to, start=1):
        places.setdefault(address.strip().lower(), place)  # the same address twice is one channel
    masks = [_masked(address) for address in places]
    labels = {}
    for (address, place), mask in zip(places.items(), masks, strict=True):
        where = f", {place} in alerts.email.to" if masks.count(mask) > 1 else ""
        labels[email_name(address)] = f"{email_name(address)} ({mask}{where})"
    return labels


def _masked(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}…@{domain}"
