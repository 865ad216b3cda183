"""E-mail by SMTP: one message to all recipients, as text and HTML, threaded by topic.

Belongs here: the form of a mail and one transaction with the server. Does not belong here: connections and their limits
(`smtp_connections`), how a subject is written (`mail_subject`), what a message says, and trying again (`delivery`).

The Message-ID is made of the parcel's identity, so a second delivery of the same message has the same one, and
mailboxes that drop doubles can. The password is kept out of repr, error texts and chained exceptions; error texts also
name recipients by their place in the settings only, since servers like to repeat addresses.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from email.headerregistry import HeaderRegistry, MessageIDHeader
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, Literal

from cxad_pipeline.alerting.channels.channel import DeliveryError, Parcel, Secret
from cxad_pipeline.alerting.channels.mail_subject import MailSubject
from cxad_pipeline.alerting.channels.smtp_connections import TIMEOUT_SECONDS, LimitedSMTP, LimitedTLS
from cxad_pipeline.alerting.redaction import redact
from cxad_pipeline.alerting.wording import one_line

SUBJECT_LIMIT = 200

_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("subject", MailSubject)  # type: ignore[arg-type]  # the registry mixes BaseHeader in
# Left to itself, Python encodes these headers when a domain is long, and mailboxes then find no thread.
for _name in ("in-reply-to", "references"):
    _HEADERS.map_to_type(_name, MessageIDHeader)  # type: ignore[arg-type]  # the registry mixes BaseHeader in
_POLICY = SMTP.clone(header_factory=_HEADERS)

_ANSWER_LIMIT = 200
_LATER = "it is tried again later"


class EmailChannel:
    """Sends messages by an SMTP server.

    Parameters
    ----------
    sender, to
        Addresses of the sender and of the recipients, without names.
    host, port
        The server.
    security
        "starttls" and "tls" verify the server's certificate and use TLS 1.2 or later; "none" sends in the clear.
    ca_file
        Certificates (PEM) to trust instead of the system's.
    user, password
        Login; without a user there is none. The password is plain or in an object with `get_secret_value()`.

    Raises
    ------
    ValueError
        If an address or the login cannot be sent, or `ca_file` cannot be read.
    """

    edits = False

    def __init__(
        self,
        sender: str,
        to: Sequence[str],
        *,
        host: str = "localhost",
        port: int = 587,
        security: Literal["starttls", "tls", "none"] = "starttls",
        ca_file: str | None = None,
        user: str | None = None,
        password: Secret | str | None = None,
        name: str = "email",
    ) -> None:
        self.name = name
        self._sender = _address("alerts.email.sender", sender)
        self._to = [_address("alerts.email.to", address) for address in to]
        self._host, self._port, self._security = host, port, security
        self._context = None if security == "none" else _context(ca_file)
        if user is not None and password is None:
            raise ValueError("alerts.email.user is set without a password: set CXAD_ALERTS__EMAIL__PASSWORD")
        self._user, self._password = user, password
        # Python's smtplib can send no other login; its own error would quote the password.
        if user is not None and not (user.isascii() and self._clear_password().isascii()):
            raise ValueError("alerts.email.user and its password must be of ASCII characters (they are not shown)")

    def __repr__(self) -> str:
        return f"EmailChannel({self._host}:{self._port}, {self._security}, to={len(self._to)} addresses)"

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        """Send one message to all recipients, by one SMTP transaction.

        Parameters
        ----------
        parcel
            The headline of its message becomes the subject; the HTML is sent beside the text where there is one.

        Returns
        -------
        dict
            `message_id`, and `refused` where the server took the message for some recipients only: address to answer.

        Raises
        ------
        DeliveryError
            If the server took the message for nobody, could not be reached or trusted, or did not answer.
        """
        mail = self._mail(parcel)
        reached = False
        try:
            with closing(self._connection()) as server:
                if self._security == "starttls":
                    server.starttls(context=self._context)
                if self._user is not None:
                    server.login(self._user, self._clear_password())
                reached = True
                refused = server.send_message(mail, self._sender, self._to)
                # The message is taken; what becomes of the farewell changes nothing.
                with suppress(OSError):
                    server.quit()
        except OSError as error:  # smtplib's and ssl's errors are OSErrors too
            failure = self._failure(parcel, error, reached)
        else:
            receipt: dict[str, Any] = {"message_id": str(mail["Message-ID"])}
            if refused:
                receipt["refused"] = {address: self._answer(*reply) for address, reply in refused.items()}
            return receipt
        # Raised outside the except block: a chained exception would carry the password in its frames.
        raise failure

    def _mail(self, parcel: Parcel) -> EmailMessage:
        message = parcel.message
        domain = self._sender.rpartition("@")[2]
        mail = EmailMessage(policy=_POLICY)
        mail["Subject"] = one_line(message.headline, SUBJECT_LIMIT)
        mail["From"] = self._sender
        mail["To"] = ", ".join(self._to)
        # When it was written, not when it is sent: every attempt sends the same mail.
        mail["Date"] = parcel.queued_at
        mail["Message-ID"] = f"<cxad.{parcel.identity}@{domain}>"
        mail["X-CXAD-Key"] = one_line(parcel.key, SUBJECT_LIMIT)
        mail["Auto-Submitted"] = "auto-generated"
        begun_by = str((parcel.begun_by or {}).get("message_id", ""))
        if re.fullmatch(r"<[!-;=?-~]+>", begun_by):
            mail["In-Reply-To"] = mail["References"] = begun_by
        # Quoted-printable passes every server; lone surrogates, which no encoding has, become question marks.
        mail.set_content(_encodable(message.text), cte="quoted-printable")
        if message.html:
            mail.add_alternative(_encodable(message.html), subtype="html", cte="quoted-printable")
        return mail

    def _connection(self) -> smtplib.SMTP:
        if self._security == "tls":
            return LimitedTLS(self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._context)
        return LimitedSMTP(self._host, self._port, timeout=TIMEOUT_SECONDS)

    def _failure(self, parcel: Parcel, error: OSError, reached: bool) -> DeliveryError:
        server = f"{self._host}:{self._port}"
        what = f"the mail {parcel.message.headline!r} was not sent by {server}"
        permanent = uncertain = False
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            replies = self._replies(error.recipients)
            permanent = all(code >= 500 for code, _ in error.recipients.values())
            fault = f"all recipients were refused ({replies}); " + ("correct alerts.email.to" if permanent else _LATER)
        elif isinstance(error, smtplib.SMTPResponseException):
            # What it says of connection, login and sender can be mended: at the server or in the settings.
            permanent = error.smtp_code >= 500 and (isinstance(error, smtplib.SMTPDataError) or _is_too_large(error))
            lasting = error.smtp_code >= 500 and not isinstance(error, smtplib.SMTPConnectError)
            advice = _advice(error) if lasting else _LATER
            fault = f"it answered {self._answer(error.smtp_code, error.smtp_error)}; {advice}"
        elif isinstance(error, smtplib.SMTPNotSupportedError):
            fault = f"{self._shown(str(error))}; check alerts.email.security, alerts.email.user and the server"
        elif isinstance(error, ssl.SSLCertVerificationError):
            fault = (
                f"its certificate cannot be trusted: {self._shown(error.verify_message)}; set alerts.email.ca_file to "
                "the certificate of the authority that signed it, and alerts.email.host to the name it was made for"
            )
        elif isinstance(error, ssl.SSLError):
            fault = (
                f"no TLS: {self._shown(str(error))}; alerts.email.security is {self._security}: starttls is usual at "
                "port 587, tls at port 465"
            )
        else:
            uncertain = reached
            fault = f"{type(error).__name__}: {self._shown(str(error))}; check host, port and network; {_LATER}"
        return DeliveryError(f"{what}: {fault}", permanent=permanent, uncertain=uncertain)

    def _replies(self, refused: Mapping[str, tuple[int, bytes]]) -> str:
        """The server's answers, by places in the list of recipients."""
        return "; ".join(
            f"recipient {self._to.index(address) + 1}: {self._answer(*reply)}" for address, reply in refused.items()
        )

    def _answer(self, code: int, text: bytes | str) -> str:
        return f"{code} {self._shown(text if isinstance(text, str) else text.decode('utf-8', errors='replace'))}"

    def _shown(self, text: str) -> str:
        """A foreign text, fit to be shown."""
        hidden = [self._sender, *self._to]
        if self._user is not None:
            password = self._clear_password()
            plain = f"\0{self._user}\0{password}"
            hidden += [password, *(b64encode(secret.encode()).decode() for secret in (password, plain))]
        return one_line(redact(text, hidden), _ANSWER_LIMIT)

    def _clear_password(self) -> str:
        password = self._password or ""
        return password if isinstance(password, str) else password.get_secret_value()


def _is_too_large(error: smtplib.SMTPResponseException) -> bool:
    """Whether the server refuses the size that was announced beside the sender (RFC 1870, section 6)."""
    return isinstance(error, smtplib.SMTPSenderRefused) and error.smtp_code == 552


def _advice(error: smtplib.SMTPResponseException) -> str:
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return "check alerts.email.user and CXAD_ALERTS__EMAIL__PASSWORD"
    if _is_too_large(error):
        return "the message is larger than the server takes: raise its limit"
    if isinstance(error, smtplib.SMTPSenderRefused):
        return "check alerts.email.sender, and whether the server wants a login (alerts.email.user)"
    return "ask the server's administrator about this answer"


def _context(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ValueError(
            f"alerts.email.ca_file: {ca_file} holds no certificates that can be read ({error}): give a file in PEM form"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _address(key: str, address: str) -> str:
    """An address with its domain in ASCII, as servers and Message-IDs want it."""
    local, _, domain = address.rpartition("@")
    try:
        encoded = domain.encode("idna").decode()
    except UnicodeError:
        encoded = ""
    if not local or not encoded or not address.isprintable() or re.search(r"[\s<>,;\"]", address):
        raise ValueError(f"{key}: {address!r} is not an e-mail address such as ops@example.com")
    return f"{local}@{encoded}"


def _encodable(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode("utf-8")
