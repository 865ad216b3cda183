"""Apprise against a real HTTP server: one channel an address, and addresses that appear nowhere."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from alert_parcels import MESSAGE, all_told, failure_of, parcel
from apprise import Apprise
from pydantic import SecretStr

from cxad_pipeline.alerting.channels import AppriseChannel
from cxad_pipeline.alerting.message import Message

USER, PASSWORD, PATH, QUERY = "us3rs3cr3t", "p4ss w0rd", "t0k3nt0k3n", "k3yk3y"


class Receiver:
    """Takes what Apprise's json:// sends; `status` is the answer, `bodies` what came."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.status = 200
        self.silent = False
        self._ended = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                if receiver.silent:
                    receiver._ended.wait()
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing on standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def url(self, more: str = "") -> str:
        quoted = PASSWORD.replace(" ", "%20")
        return f"json://{USER}:{quoted}@127.0.0.1:{self._server.server_port}/{PATH}/?-x={QUERY}{more}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def test_the_headline_is_the_title_and_is_not_said_twice(receiver: Receiver) -> None:
    assert AppriseChannel(receiver.url(), 1).deliver(parcel()) == {"accepted": True}
    (body,) = receiver.bodies
    assert (body["title"], body["message"]) == (MESSAGE.headline, "41 of 55 contacts <!channel>")


def test_a_message_of_one_line_is_sent_as_it_is(receiver: Receiver) -> None:
    AppriseChannel(receiver.url(), 1).deliver(parcel(message=Message("only: a headline", "only: a headline")))
    assert receiver.bodies[0]["message"] == "only: a headline"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("opened", "failure"),
        ("update", "failure"),
        ("repeat", "failure"),
        ("run_failure", "failure"),
        ("resolved", "success"),
        ("digest", "info"),
    ],
)
def test_services_hear_how_bad_it_is(receiver: Receiver, kind: str, told: str) -> None:
    AppriseChannel(receiver.url(), 1).deliver(parcel("k", kind))
    assert receiver.bodies[0]["type"] == told


def test_text_is_not_interpreted(receiver: Receiver) -> None:
    text = r"a \n :smile: {{x}} ${Y} <b>&amp; *z*"
    AppriseChannel(receiver.url(), 1).deliver(parcel(message=Message("h", f"h\n{text}")))
    assert receiver.bodies[0]["message"] == text


def test_each_address_has_a_name_of_its_own(receiver: Receiver) -> None:
    pager = "pagerduty://0123456789abcdef0123456789abcdef@0123456789abcdefghij"
    names = [AppriseChannel(url, 1).name for url in (receiver.url(), pager, "json://other.example/x")]
    assert [name.rpartition("-")[0] for name in names] == ["apprise-json", "apprise-pagerduty", "apprise-json"]
    assert len(set(names)) == 3
    assert AppriseChannel(pager, 3).name == names[1], "the place in the list is no part of it"
    assert not AppriseChannel(receiver.url(), 1).edits


def test_a_refusal_is_told_with_what_apprise_says_of_it(receiver: Receiver) -> None:
    receiver.status = 503
    error = failure_of(AppriseChannel(receiver.url(), 2), parcel())
    name = AppriseChannel(receiver.url(), 2).name
    assert str(error).startswith(f"{name} did not take the message {MESSAGE.headline!r}: ")
    assert "503" in str(error)
    assert (error.permanent, error.uncertain) == (False, False)


def test_what_apprise_says_of_the_address_is_hidden(receiver: Receiver) -> None:
    """The host of an address is the key of some services."""
    receiver.stop()
    text = str(failure_of(AppriseChannel(receiver.url(), 1), parcel()))
    assert "Connection error" in text
    assert "127.0.0.1" not in text


def test_a_service_that_does_not_answer_is_not_waited_for(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxad_pipeline.alerting.channels.apprise.TIMEOUT_SECONDS", 0.2)
    receiver.silent = True
    error = failure_of(AppriseChannel(receiver.url("&rto=5"), 1), parcel())
    assert error.uncertain
    assert "no answer within 0.2 seconds" in str(error)


@pytest.mark.parametrize("fault", ["none", "status", "refused"])
def test_the_address_appears_nowhere(
    receiver: Receiver, fault: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("apprise", "urllib3", "urllib3.connectionpool"):
        caplog.set_level(logging.DEBUG, logger=name)
    channel = AppriseChannel(SecretStr(receiver.url()), 1)
    receiver.status = 404 if fault == "status" else 200
    if fault == "refused":
        receiver.stop()
    told = repr(channel) + str(channel)
    told += repr(channel.deliver(parcel())) if fault == "none" else all_told(failure_of(channel, parcel()))
    told += "".join(record.getMessage() + repr(vars(record)) for record in caplog.records) + caplog.text
    printed = capfd.readouterr()
    for secret in (USER, PASSWORD, PASSWORD.replace(" ", "%20"), PATH, QUERY):
        assert secret not in told + printed.out + printed.err


def test_apprise_alone_does_log_the_address(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """The control of the test above: without our care the address is there to be found."""
    caplog.set_level(logging.DEBUG)
    Apprise(receiver.url()).notify(body="hello")
    assert PATH in caplog.text


def test_the_logs_of_others_are_not_kept_in(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    AppriseChannel(receiver.url(), 1).deliver(parcel())
    logging.getLogger("urllib3.connectionpool").debug("somebody else's request")
    assert "somebody else's request" in caplog.text


@pytest.mark.parametrize("url", ["", "s3cr3t", "nosuch://s3cr3t", "json://", "pagerduty://s3cr3t", "slack://s3cr3t"])
def test_an_unknown_address_is_named_by_its_place(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="APPRISE_URLS: Apprise does not know address 4") as caught:
        AppriseChannel(url, 4)
    printed = capfd.readouterr()
    assert "s3cr3t" not in str(caught.value) + printed.out + printed.err
