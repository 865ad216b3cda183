"""Apprise: PagerDuty, Teams, Telegram and about a hundred other services, one channel for each address.

Belongs here: one notification by Apprise, and keeping its addresses, which hold keys and passwords, from being shown.
Does not belong here: the services themselves (Apprise has them), and trying again (`delivery`).

Each address is a channel of its own with its own deliveries, so that a failure of one does not send doubles to another.
Apprise is imported when a channel is made: it is large, and most installations do without.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from cxad_pipeline.alerting.channels.channel import DeliveryError, Parcel, Secret
from cxad_pipeline.alerting.redaction import address_secrets, redact
from cxad_pipeline.alerting.wording import one_line

if TYPE_CHECKING:
    from apprise import Apprise

TIMEOUT_SECONDS = 30
"""Apprise stops waiting for a service after this time."""

_HINT_LIMIT = 200

_KINDS = {"resolved": "success", "digest": "info"}
"""What Apprise is told of a message; all other kinds are failures, which services show in red or page for."""

_LOGGERS = ("apprise", "urllib3.connectionpool", "urllib3.util.retry")
"""Loggers that Apprise's work writes to, addresses and payloads included."""

_warnings: ContextVar[list[str] | None] = ContextVar("warnings", default=None)
"""While Apprise works for us: what it warns of. Apprise's own threads share the list with the one that waits."""


class AppriseChannel:
    """Sends messages to one address of Apprise.

    Parameters
    ----------
    url
        The address, such as "pagerduty://...", plain or in an object with `get_secret_value()`.
    position
        Its place among the configured addresses, from 1: errors name it by that.

    Raises
    ------
    ValueError
        If Apprise does not know such an address; the message names its position and does not repeat it.
    """

    edits = False

    def __init__(self, url: Secret | str, position: int) -> None:
        self._url = url
        self._apprise = _apprise_for(self._address(), position)
        schema = self._address().partition("://")[0].lower()
        # Not its place, which changes when another address is taken away: what waits would go to the wrong service.
        digits = hashlib.sha256(self._address().encode()).hexdigest()[:6]
        self.name = f"apprise-{schema}-{digits}"

    def __repr__(self) -> str:
        return f"AppriseChannel({self.name!r}, url='[hidden]')"

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        """Send one notification, the headline as its title.

        Parameters
        ----------
        parcel
            Any message; its plain text is sent.

        Returns
        -------
        dict
            `{"accepted": True}`: Apprise tells no more.

        Raises
        ------
        DeliveryError
            If Apprise says that the service did not take it. Why it did not, Apprise only writes to its log; the
            last such line is told.
        """
        from apprise.result import AppriseResultStatus

        message = parcel.message
        # Services show the title above the body; the text begins with the same line.
        body = message.text.removeprefix(message.headline).strip("\n")
        with (
            _kept_in() as warnings,
            self._apprise.notify(
                body=body or message.headline,
                title=message.headline if body else "",
                notify_type=_KINDS.get(parcel.kind, "failure"),
                body_format="text",
            ) as result,
        ):
            accepted, late = bool(result), result.status == AppriseResultStatus.TIMEOUT
        if accepted:
            return {"accepted": True}
        said = redact(warnings[-1], address_secrets(self._address())) if warnings else "no reason given"
        reason = f"no answer within {TIMEOUT_SECONDS} seconds" if late else one_line(said, _HINT_LIMIT)
        raise DeliveryError(
            f"{self.name} did not take the message {message.headline!r}: {reason}; check this address of APPRISE_URLS; "
            "it is tried again later",
            uncertain=late,
        )

    def _address(self) -> str:
        return self._url if isinstance(self._url, str) else self._url.get_secret_value()


def _apprise_for(url: str, position: int) -> Apprise:
    from apprise import Apprise, AppriseAsset

    asset = AppriseAsset(
        app_id="cxad-pipeline",
        app_desc="Contact-centre alerts",
        image_url_mask="",  # or services would fetch pictures from Apprise's site
        image_url_logo="",
        async_mode=False,
        interpret_emojis=False,
        service_timeout=TIMEOUT_SECONDS,
        # No file of Apprise's own; the outbox keeps what is to be kept.
        storage_mode="memory",
    )
    with _kept_in():
        service = Apprise.instantiate(url, asset=asset)
    if service is None:
        raise ValueError(
            f"APPRISE_URLS: Apprise does not know address {position} (it is not shown, since it may hold a key): see "
            "https://github.com/caronc/apprise/wiki for the form of each service's address, and escape blanks as %20"
        )
    return Apprise(service, asset=asset)


@contextmanager
def _kept_in() -> Iterator[list[str]]:
    """Keep what Apprise logs meanwhile from all log handlers; gives the list of its warnings."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_collected)  # adding it again changes nothing
    warnings: list[str] = []
    token = _warnings.set(warnings)
    try:
        yield warnings
    finally:
        _warnings.reset(token)


def _collected(record: logging.LogRecord) -> bool:
    """Whether a record may go on to the handlers: those of our own calls may not."""
    warnings = _warnings.get()
    if warnings is not None and record.name == "apprise" and record.levelno >= logging.WARNING:
        warnings.append(record.getMessage())
    return warnings is None
