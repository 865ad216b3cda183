"""E-mail over a real SMTP server: its form, its threads, and no text that adds a header; what cannot be configured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from alert_parcels import MESSAGE, parcel
from hypothesis import given, settings
from hypothesis import strategies as st
from smtp_double import SmtpDouble, mails_in

from cxad_pipeline.alerting.channels import EmailChannel
from cxad_pipeline.alerting.message import Message
from cxad_pipeline.alerting.wording import one_line

SENDER, ALICE, BOB = "cxad@example.test", "alice@example.test", "bob@example.test"
QUEUED = datetime(2026, 10, 13, 14, 5, tzinfo=UTC)


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


def test_a_mail_has_text_and_html_and_all_its_headers(server: SmtpDouble) -> None:
    receipt = channel_to(server).deliver(parcel(queued_at=QUEUED))
    (mail,) = server.mails
    assert server.recipients == [[ALICE, BOB]]  # one transaction
    assert mail["Subject"] == MESSAGE.headline
    assert (mail["From"], mail["To"]) == (SENDER, f"{ALICE}, {BOB}")
    assert parsedate_to_datetime(mail["Date"]) == QUEUED
    assert mail["Message-ID"] == receipt["message_id"]
    assert mail["Message-ID"].endswith("@example.test>")
    assert mail["X-CXAD-Key"] == "incident:1:opened"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "multipart/alternative"
    plain, html = mail.iter_parts()
    assert (plain.get_content_type(), plain.get_content()) == ("text/plain", MESSAGE.text + "\n")
    assert (html.get_content_type(), html.get_content()) == ("text/html", MESSAGE.html + "\n")
    assert receipt.keys() == {"message_id"}


def test_without_html_the_mail_is_plain(server: SmtpDouble) -> None:
    channel_to(server).deliver(parcel(message=Message("h", "h\nfür 客服 · 7 °C")))
    assert server.mails[0].get_content_type() == "text/plain"
    assert server.mails[0].get_content() == "h\nfür 客服 · 7 °C\n"


def test_the_same_key_has_the_same_message_id_and_another_key_another(server: SmtpDouble) -> None:
    channel = channel_to(server)
    for key in ("a", "a", "b"):
        channel.deliver(parcel(key))
    first, second, third = (mail["Message-ID"] for mail in server.mails)
    assert first == second != third


@pytest.mark.parametrize("kind", ["update", "repeat", "resolved"])
def test_what_follows_is_threaded_below_the_first(server: SmtpDouble, kind: str) -> None:
    channel = channel_to(server)
    first = channel.deliver(parcel())
    channel.deliver(parcel("2", kind, first=first))
    assert server.mails[1]["In-Reply-To"] == server.mails[1]["References"] == first["message_id"]
    assert server.mails[1]["Message-ID"] != first["message_id"]


def test_threads_hold_where_the_domain_is_long(server: SmtpDouble) -> None:
    domain = "notifications.contact-centre.a-long-subdomain.example-company.test"
    channel = EmailChannel(f"cx@{domain}", [ALICE], host="127.0.0.1", port=server.port, security="none")
    first = channel.deliver(parcel())
    channel.deliver(parcel("2", "update", first=first))
    assert server.contents[1].count(first["message_id"].encode()) == 2
    assert server.mails[0]["Message-ID"] == first["message_id"]


def test_digests_are_no_thread(server: SmtpDouble) -> None:
    channel = channel_to(server)
    channel.deliver(parcel("digest:2", "digest", first=channel.deliver(parcel("digest:1", "digest"))))
    assert server.mails[1]["In-Reply-To"] is None


@pytest.mark.parametrize("stored", ["<a@b>\r\nBcc: eve@example.test", "a b", "", "<a@b><c>", 5])
def test_a_stored_receipt_that_is_no_message_id_is_not_referred_to(server: SmtpDouble, stored: object) -> None:
    channel_to(server).deliver(parcel("2", "update", first={"message_id": stored}))
    assert (server.mails[0]["References"], server.mails[0]["Bcc"]) == (None, None)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.text(max_size=60), st.text(max_size=300))
def test_no_text_can_add_a_header_or_a_recipient(server: SmtpDouble, headline: str, key: str, text: str) -> None:
    server.mails.clear()
    server.recipients.clear()
    hostile = f"{headline}\r\nBcc: eve@example.test\n\n{text}"
    channel_to(server).deliver(parcel(f"{key}\nX-Evil: 1", message=Message(hostile, text, html=text)))
    (mail,) = server.mails
    assert server.recipients == [[ALICE, BOB]]
    assert set(mail.keys()) <= {
        *("Subject", "From", "To", "Date", "Message-ID", "X-CXAD-Key", "Auto-Submitted"),
        *("Content-Type", "Content-Transfer-Encoding", "MIME-Version", "X-Peer", "X-MailFrom", "X-RcptTo"),
    }
    assert "\n" not in mail["Subject"]
    assert len(mail["Subject"]) <= 200


PIECES = ["abc ", "é 日本語", "=?utf-8?q?x?=", "=?", "?=", "\U0001f600 ", "ü", "_=20", "; , ", '"', "a" * 90, "\t\r\n"]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=250) | st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_a_subject_is_read_as_it_was_written(server: SmtpDouble, headline: str) -> None:
    server.mails.clear()
    server.contents.clear()
    channel_to(server).deliver(parcel(message=Message(headline, "x")))
    assert str(server.mails[0]["Subject"]) == one_line(headline, 200)
    assert not server.mails[0].defects
    assert max(map(len, server.contents[0].partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 78


def test_an_ordinary_subject_is_not_encoded(server: SmtpDouble) -> None:
    channel_to(server).deliver(parcel(message=Message("Run of train failed: 1 step", "x")))
    assert b"Subject: Run of train failed: 1 step\r\n" in server.contents[0]


@pytest.mark.parametrize(
    "address", ["", "alice", "@example.test", "a@", "a b@example.test", "a@b\r\nBcc: c@d", "a@b,c@d", "<a@b>", "a@x..y"]
)
def test_addresses_that_are_none_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"alerts\.email\.to: .* is not an e-mail address"):
        EmailChannel(SENDER, [address])
    with pytest.raises(ValueError, match=r"alerts\.email\.sender"):
        EmailChannel(address, [ALICE])


def test_a_domain_in_another_script_is_sent_in_ascii(server: SmtpDouble) -> None:
    EmailChannel("cx@müller.test", ["a@bücher.test"], host="127.0.0.1", port=server.port, security="none").deliver(
        parcel()
    )
    assert server.recipients == [["a@xn--bcher-kva.test"]]
    assert server.mails[0]["Message-ID"].endswith("@xn--mller-kva.test>")


def test_a_login_that_cannot_be_sent_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="must be of ASCII characters") as caught:
        EmailChannel(SENDER, [ALICE], user="cxad", password="pässw0rd")
    assert "ssw0rd" not in str(caught.value)
    with pytest.raises(ValueError, match="set CXAD_ALERTS__EMAIL__PASSWORD"):
        EmailChannel(SENDER, [ALICE], user="cxad")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=r"alerts\.email\.ca_file: .*ca\.pem holds no certificates"):
        EmailChannel(SENDER, [ALICE], ca_file=str(file))


def test_as_a_process_of_its_own_the_double_keeps_a_record(tmp_path: Path) -> None:
    record = tmp_path / "mails.jsonl"
    script = Path(__file__).with_name("smtp_double.py")
    command = [sys.executable, str(script), "--record", str(record)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            EmailChannel(SENDER, [ALICE], host="127.0.0.1", port=port, security="none").deliver(parcel("k"))
        finally:
            process.kill()
    (line,) = mails_in(record)
    assert (line["to"], line["key"]) == ([ALICE], "k")
