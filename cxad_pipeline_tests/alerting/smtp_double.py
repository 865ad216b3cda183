"""A real SMTP server for tests: it takes mail by STARTTLS, TLS or in the clear, and fails as scripted.

Belongs here: the server, its certificate, and a record of the mail that it took. Does not belong here: claims about our
code.

In a test: `with SmtpDouble(folder, security="starttls") as server: ...`. As a process of its own, which survives
whoever talks to it:

    python smtp_double.py --record mails.jsonl              # prints its port, serves in the clear until it is ended

The record is a file of JSON lines, one for each mail that was taken: {"to", "key", "message_id", "subject", "at",
"mail"}. `mails_in(path)` reads it, also while it is written.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import ipaddress
import json
import ssl
import threading
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "cxad", "p4ssw0rd-s3cr3t"


class SmtpDouble:
    """An SMTP server on this machine.

    `mails` are the messages that were taken, `contents` their bytes, `recipients` theirs, in the same order. `replies`
    maps a recipient, a sender or "DATA" to what the server answers instead of 250. `drop_after_data` counts down: so
    many messages are taken and recorded, and the connection is then dropped without an answer; `drop_before_data` does
    so at MAIL, `drop_at_quit` at every QUIT. `silent` gives no answer to DATA.

    Parameters
    ----------
    folder
        Where the certificate is written (`certificate`), for TLS.
    security
        As in the settings; "none" offers no TLS.
    login
        Whether mail is taken after a login as `USER` with `PASSWORD` only.
    host
        Name or address that the certificate is made for.
    record
        File of JSON lines that every mail taken is added to.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        security: Literal["starttls", "tls", "none"] = "none",
        login: bool = False,
        host: str = "127.0.0.1",
        record: Path | None = None,
    ) -> None:
        self.mails: list[EmailMessage] = []
        self.contents: list[bytes] = []
        self.recipients: list[list[str]] = []
        self.replies: dict[str, str] = {}
        self.drop_after_data = 0
        self.drop_before_data = 0
        self.drop_at_quit = False
        self.silent = False
        self.port = 0
        self._record = record
        self._security = security
        self._login = login
        self._context: ssl.SSLContext | None = None
        if security != "none":
            assert folder is not None
            self.certificate = folder / "certificate.pem"
            self._context = _server_context(folder, self.certificate, host)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._sessions: list[SMTP] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> SmtpDouble:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening; the port refuses connections from now on."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        listener = self._loop.run_until_complete(
            self._loop.create_server(
                self._session, "127.0.0.1", 0, ssl=self._context if self._security == "tls" else None
            )
        )
        self.port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        listener.close()
        for session in self._sessions:
            if isinstance(session.transport, asyncio.WriteTransport):
                session.transport.abort()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _session(self) -> SMTP:
        starttls = self._security == "starttls"
        session = SMTP(
            self,
            hostname="smtp.double.test",  # or aiosmtpd asks the network for it
            tls_context=self._context if starttls else None,
            require_starttls=starttls,
            auth_require_tls=starttls,
            auth_required=self._login,
            authenticator=_authenticate,
            timeout=60,
            loop=self._loop,
        )
        self._sessions.append(session)
        return session

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a sender, unless scripted otherwise."""
        if self.drop_before_data:
            self.drop_before_data -= 1
            _drop(server)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self.replies.get(address, "250 OK")

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a recipient, unless scripted otherwise."""
        reply = self.replies.get(address, "250 OK")
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Take a message, unless scripted otherwise."""
        if "DATA" in self.replies:
            return self.replies["DATA"]
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content.replace(b"\r\n", b"\n"), policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.contents.append(content)
        self.recipients.append(list(envelope.rcpt_tos))
        if self._record is not None:
            line = {
                "to": envelope.rcpt_tos,
                "key": mail["X-CXAD-Key"],
                "message_id": mail["Message-ID"],
                "subject": mail["Subject"],
                "at": time.time(),
                "mail": content.decode("ascii"),
            }
            with self._record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if self.silent:
            await asyncio.sleep(3600)
        if self.drop_after_data:
            self.drop_after_data -= 1
            _drop(server)
        return "250 OK"

    async def handle_QUIT(  # noqa: N802
        self, server: SMTP, _session: Session, _envelope: Envelope
    ) -> str:
        """Say good-bye, unless scripted otherwise."""
        if self.drop_at_quit:
            _drop(server)
        return "221 Bye"


def mails_in(record: Path) -> list[dict[str, Any]]:
    """The whole lines of a record, the file of a double that may still be writing it."""
    if not record.exists():
        return []
    return [
        json.loads(line) for line in record.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"
    ]


def _drop(server: SMTP) -> None:
    assert isinstance(server.transport, asyncio.WriteTransport)
    server.transport.abort()


def _authenticate(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, auth_data: LoginPassword
) -> AuthResult:
    right = (auth_data.login, auth_data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)  # unhandled: aiosmtpd answers 235 or 535


def _server_context(folder: Path, certificate: Path, host: str) -> ssl.SSLContext:
    """TLS with a certificate that signs itself, written to `certificate`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "SMTP double")])
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = folder / "key.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return context


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, required=True)
    with SmtpDouble(record=parser.parse_args().record) as double:
        print(double.port, flush=True)
        threading.Event().wait()
