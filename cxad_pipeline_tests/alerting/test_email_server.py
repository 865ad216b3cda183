"""E-mail and its server: TLS, login, refusals, lost connections, and a password that appears nowhere."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alert_parcels import all_told, failure_of, parcel
from pydantic import SecretStr
from smtp_double import PASSWORD, USER, SmtpDouble

from cxad_pipeline.alerting.channels import EmailChannel

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

SENDER, ALICE, BOB = "cxad@example.test", "alice@example.test", "bob@example.test"


@pytest.fixture(scope="module")
def server() -> Iterator[SmtpDouble]:
    with SmtpDouble() as double:
        yield double


@pytest.fixture(autouse=True)
def _as_new(server: SmtpDouble) -> None:
    server.mails.clear()
    server.contents.clear()
    server.recipients.clear()
    server.replies.clear()
    server.drop_after_data = server.drop_before_data = 0
    server.silent = server.drop_at_quit = False


def channel_to(server: SmtpDouble, *to: str, **changes: Any) -> EmailChannel:
    arguments: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "security": "none"}
    return EmailChannel(SENDER, to or (ALICE, BOB), **(arguments | changes))


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_mail_goes_encrypted_after_a_login(tmp_path: Path, security: Any, host: str) -> None:
    with SmtpDouble(tmp_path, security=security, login=True, host=host) as server:
        channel = channel_to(
            server,
            host=host,
            security=security,
            ca_file=str(server.certificate),
            user=USER,
            password=SecretStr(PASSWORD),
        )
        channel.deliver(parcel())
        assert len(server.mails) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Path, security: Any) -> None:
    with SmtpDouble(tmp_path, security=security) as server:
        error = failure_of(channel_to(server, security=security), parcel())
        assert "its certificate cannot be trusted: self-signed certificate; set alerts.email.ca_file" in str(error)
        assert (error.permanent, error.uncertain) == (False, False)
        assert server.mails == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_of_another_name_is_not_trusted(tmp_path: Path, security: Any) -> None:
    with SmtpDouble(tmp_path, security=security, host="mail.example.test") as server:
        error = failure_of(channel_to(server, security=security, ca_file=str(server.certificate)), parcel())
        assert "IP address mismatch" in str(error)
        assert "alerts.email.host to the name it was made for" in str(error)
        assert server.mails == []


def test_a_server_without_starttls_gets_no_mail_and_no_password(server: SmtpDouble) -> None:
    channel = channel_to(server, security="starttls", user=USER, password=PASSWORD)
    error = failure_of(channel, parcel())
    assert "STARTTLS extension not supported" in str(error)
    assert "check alerts.email.security" in str(error)
    assert server.mails == []


def test_tls_at_a_port_without_it_says_what_to_change(server: SmtpDouble) -> None:
    error = failure_of(channel_to(server, security="tls"), parcel())
    assert "alerts.email.security is tls: starttls is usual at port 587, tls at port 465" in str(error)


def test_old_versions_of_tls_are_not_spoken(tmp_path: Path) -> None:
    channel = EmailChannel(SENDER, [ALICE])
    assert channel._context is not None
    assert channel._context.minimum_version.name == "TLSv1_2"
    assert channel._context.check_hostname


def test_a_wrong_password_can_be_mended_and_says_how(tmp_path: Path) -> None:
    with SmtpDouble(tmp_path, security="tls", login=True) as server:
        channel = channel_to(
            server, security="tls", ca_file=str(server.certificate), user=USER, password="wr0ng-s3cr3t"
        )
        error = failure_of(channel, parcel())
        assert (error.permanent, error.uncertain) == (False, False)
        assert "535" in str(error)
        assert "check alerts.email.user and CXAD_ALERTS__EMAIL__PASSWORD" in str(error)


def test_one_refused_recipient_does_not_keep_the_mail_from_another(server: SmtpDouble) -> None:
    server.replies = {ALICE: f"550 5.1.1 <{ALICE}> unknown"}
    receipt = channel_to(server).deliver(parcel())
    assert server.recipients == [[BOB]]
    assert receipt["refused"].keys() == {ALICE}
    assert receipt["refused"][ALICE].startswith("550 5.1.1")


@pytest.mark.parametrize(
    ("replies", "permanent"),
    [
        ({ALICE: "550 unknown", BOB: "553 unknown"}, True),
        ({ALICE: "550 unknown", BOB: "451 greylisted"}, False),
        ({ALICE: "450 busy", BOB: "451 greylisted"}, False),
    ],
)
def test_when_all_recipients_are_refused_it_depends_on_the_codes(
    server: SmtpDouble, replies: dict[str, str], permanent: bool
) -> None:
    server.replies = {address: f"{reply} <{address}>" for address, reply in replies.items()}
    error = failure_of(channel_to(server), parcel())
    assert (error.permanent, error.uncertain) == (permanent, False)
    assert f"recipient 1: {replies[ALICE]}" in str(error)
    assert f"recipient 2: {replies[BOB]}" in str(error)
    assert "alice" not in str(error)


@pytest.mark.parametrize(
    ("place", "reply", "permanent"),
    [
        (SENDER, "550 not you", False),
        (SENDER, "530 log in first", False),
        (SENDER, "451 not now", False),
        (SENDER, "452 no room now", False),
        (SENDER, "552 message size exceeds the limit", True),
        ("DATA", "554 looks like spam", True),
        ("DATA", "452 disk full", False),
    ],
)
def test_a_message_that_is_refused_is_given_up_and_a_sender_can_be_mended(
    server: SmtpDouble, place: str, reply: str, permanent: bool
) -> None:
    server.replies = {place: reply}
    error = failure_of(channel_to(server), parcel())
    assert (error.permanent, error.uncertain) == (permanent, False)
    assert reply in str(error)


def test_a_connection_lost_after_the_mail_was_sent_is_uncertain_and_the_next_mail_the_same(
    server: SmtpDouble,
) -> None:
    server.drop_after_data = 1
    given = parcel()
    assert failure_of(channel_to(server), given).uncertain
    channel_to(server).deliver(given)
    first, second = server.mails
    assert first["Message-ID"] == second["Message-ID"]
    assert first["Date"] == second["Date"]


def test_a_server_that_does_not_answer_is_not_waited_for(server: SmtpDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    # What comes before the text of the mail is answered within this time, on a busy machine too.
    monkeypatch.setattr("cxad_pipeline.alerting.channels.email.TIMEOUT_SECONDS", 2)
    server.silent = True
    error = failure_of(channel_to(server), parcel())
    assert (error.uncertain, error.permanent) == (True, False)
    assert "timed out" in str(error)


def test_a_server_that_is_not_there_has_certainly_nothing() -> None:
    with SmtpDouble() as server:
        channel = channel_to(server)
    error = failure_of(channel, parcel())
    assert (error.uncertain, error.permanent) == (False, False)
    assert "ConnectionRefusedError" in str(error)


def test_a_farewell_that_fails_does_not_undo_a_delivery(server: SmtpDouble) -> None:
    server.drop_at_quit = True
    channel_to(server).deliver(parcel())
    assert len(server.mails) == 1


def test_a_connection_lost_before_the_mail_is_tried_again(server: SmtpDouble) -> None:
    server.drop_before_data = 1
    assert not failure_of(channel_to(server), parcel()).permanent
    channel_to(server).deliver(parcel())
    assert len(server.mails) == 1


@pytest.mark.parametrize("fault", ["none", "login", "echo", "drop", "refused"])
def test_the_password_appears_nowhere(tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with SmtpDouble(tmp_path, security="starttls", login=True) as server:
        given = "wr0ng-s3cr3t" if fault == "login" else PASSWORD
        channel = channel_to(
            server, security="starttls", ca_file=str(server.certificate), user=USER, password=SecretStr(given)
        )
        encoded = b64encode(f"\0{USER}\0{given}".encode()).decode()
        server.replies = {"DATA": f"550 AUTH PLAIN {encoded} {given}"} if fault == "echo" else {}
        server.drop_after_data = int(fault == "drop")
        if fault == "refused":
            server.stop()
        told = repr(channel)
        told += repr(channel.deliver(parcel())) if fault == "none" else all_told(failure_of(channel, parcel()))
    told += "".join(f"{record.getMessage()}{vars(record)!r}" for record in caplog.records if record.name != "mail.log")
    assert given not in told
    assert encoded not in told
    assert ALICE not in repr(channel)
