"""The log: one JSON object a line, one line a request, and nothing in it that is none of its business."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from front_examples import SECRET, ask, bearer, read, real_server, settings_with_keys, small_app
from hypothesis import given
from hypothesis import strategies as st
from process_state import logging_as_before

from cxad_pipeline.serving.request_log import JsonLines, LogFields, configure_logging
from cxad_pipeline.settings.serving import ServingSettings


@contextlib.contextmanager
def captured(level: str = "info") -> Iterator[io.StringIO]:
    """The log of this process, as configured for a service, until it is put back."""
    stream = io.StringIO()
    with logging_as_before():
        configure_logging(level, stream)
        # pytest's own would put texts into its reports that its workers can't send.
        logging.getLogger().handlers[:] = [own for own in logging.getLogger().handlers if own.get_name() == "cxad"]
        yield stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    text = stream.getvalue()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def requested(*requests: tuple[str, str], **how: Any) -> list[dict[str, Any]]:
    with captured() as stream:
        app = small_app(how.pop("serving", None))
        for method, path in requests:
            asyncio.run(ask(app, path, method, **how))
        return [line for line in lines(stream) if line["event"] == "request"]


def test_each_request_has_one_line_with_what_the_route_added() -> None:
    (line,) = requested(("POST", "/score?limit=7"))
    assert list(line)[:3] == ["ts", "level", "event"]
    assert line["ts"].endswith("Z")
    assert line["duration_ms"] > 0
    assert {name: line[name] for name in line if name not in ("ts", "duration_ms", "request_id", "logger")} == {
        "level": "info", "event": "request", "method": "POST", "route": "/score", "status": 200, "records": 7,
        "anomalies": 0, "model_version": "v3", "caller": "local",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "route", "status", "level"),
    [
        ("/api/anomalies/4711", "/api/anomalies/{number}", 200, "info"),
        ("/api/anomalies/me@example.org", "/api/anomalies/{number}", 422, "info"),
        ("/docs", "/docs", 200, "info"),
        ("/customer/4711", "unmatched", 404, "info"),
        ("/\u2028\n{}", "unmatched", 404, "info"),
        ("/busy", "/busy", 503, "warning"),
        ("/fail", "/fail", 500, "error"),
    ],
)
def test_the_line_names_the_template_and_never_the_path(path: str, route: str, status: int, level: str) -> None:
    (line,) = requested(("GET", path), raw_path=b"/")
    assert (line["route"], line["status"], line["level"]) == (route, status, level)
    assert "4711" not in str(line)
    assert "example.org" not in str(line)


def test_the_front_below_a_prefix_of_the_server_names_the_same_templates() -> None:
    (line,) = requested(("GET", "/base/health"), root_path="/base")
    assert (line["route"], line["status"]) == ("/health", 200)


def test_no_key_query_body_or_header_is_logged() -> None:
    headers = [(b"authorization", b"Bearer score-key"), (b"user-agent", b"SENTINEL"), (b"x-request-id", b"SENT INEL")]
    with captured("debug") as stream:
        app = small_app(settings_with_keys())
        for given_headers in (headers, [(b"authorization", b"Bearer SENTINEL")]):
            asyncio.run(ask(app, "/score?limit=SENTINEL", "POST", headers=given_headers, body=[b"SENTINEL"]))
            asyncio.run(ask(app, "/score?x=SENTINEL", "POST", headers=given_headers, body=[b"SENTINEL"]))
        found = lines(stream)
    assert [line["status"] for line in found if line["event"] == "request"] == [422, 200, 401, 401]
    assert [line.get("caller") for line in found if line["event"] == "request"] == ["score-desk"] * 2 + [None] * 2
    for secret in ("SENTINEL", "score-key", "SENT INEL"):
        assert secret not in stream.getvalue()


def test_a_route_can_add_nothing_but_the_known_members() -> None:
    with pytest.raises(AttributeError):
        LogFields().interaction = "x"  # type: ignore[attr-defined]


TEXT = st.text() | st.sampled_from(
    ["a\nb", "a\r\n{}", "\u2028", "\u2029", "\x85", "\x0b\x0c\x1c", "\udcff", "\x00", '"}\n{"']
)


@given(TEXT, TEXT, st.integers() | st.floats() | st.none() | st.lists(TEXT, max_size=2))
def test_text_cannot_forge_a_line(event: str, text: str, value: Any) -> None:
    with captured() as stream:
        logger = logging.getLogger("cxad_pipeline.anything")
        logger.info("%s", event, extra={"reason": text, "value": value})
        try:
            raise ValueError(text)
        except ValueError:
            logger.exception(event.replace("%", ""))
        (line, failure) = lines(stream)
    assert line["event"] == event
    assert line["reason"] == text
    assert failure["exception"].startswith("Traceback")
    if "\ud800" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert failure["exception"].endswith(f"ValueError: {text}" if text else "ValueError")


@pytest.mark.filterwarnings("always")
def test_everything_else_that_logs_comes_out_the_same_way() -> None:
    with captured() as stream:
        logging.getLogger("cxad_pipeline.x").warning("by %s", "us", extra={"path": Path("a")})
        warnings.warn("old\nways", stacklevel=1)
        logging.getLogger("cxad_pipeline.x").info("by %s", "logging", extra={"n": 3})
        logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[1mStarted"})
        logging.getLogger("uvicorn.access").info("GET /?customer=4711")
        logging.getLogger("some.http.client").info("GET http://tracking/?token=4711")
        logging.getLogger("some.http.client").warning("slow")
        found = lines(stream)
    assert "old\nways" in found[1].pop("event")
    assert [line.get("event") for line in found] == ["by us", None, "by logging", "Started", "slow"]
    assert [line["level"] for line in found] == ["warning", "warning", "info", "info", "warning"]
    assert found[0]["path"] == "a"
    assert found[2]["n"] == 3
    assert "color_message" not in found[3]


def test_values_that_do_not_fit_the_text_are_left_out() -> None:
    record = logging.makeLogRecord(
        {"msg": "%d things", "args": ("SENTINEL",), "level": "extra members replace nothing"}
    )
    line = json.loads(JsonLines().format(record))
    assert line["event"] == "%d things"
    assert line["level"] == record.levelname.lower()
    assert "SENTINEL" not in str(line)


def test_configuring_twice_does_not_log_twice() -> None:
    with captured() as stream:
        configure_logging(stream=stream)
        logging.getLogger("cxad_pipeline.x").info("once")
        assert len(lines(stream)) == 1


def test_stderr_of_a_real_server_is_json_from_the_first_request_on(tmp_path: Path) -> None:
    serving = settings_with_keys()
    with real_server(tmp_path, serving, "--port", "0") as server, contextlib.closing(server.connect()) as connection:
        connection.request("POST", "/score?limit=3", SECRET, {**bearer("score"), "X-Request-ID": "of-the-desk"})
        assert read(connection).status == 200
        connection.request("GET", "/fail", headers=bearer("score"))
        failed = read(connection).json()
    text = server.log.read_text(encoding="utf-8")
    assert all(line.startswith("{") for line in text.splitlines() if "INFO:" not in line)  # uvicorn's first words
    by_id = {line["request_id"]: line for line in server.lines() if line["event"] == "request"}
    assert by_id["of-the-desk"]["caller"] == "score-desk"
    assert by_id["of-the-desk"]["records"] == 3
    assert by_id[failed["request_id"]]["status"] == 500
    (failure,) = [line for line in server.lines() if "exception" in line]
    assert "ZeroDivisionError" in failure["exception"]
    assert "front_examples.py" in failure["exception"]
    assert failure["request_id"] == failed["request_id"]
    assert text.count(SECRET) == 1  # in the trace; the body that held it is not logged
    assert "POST /score" not in text  # no access log beside ours


def test_log_level_of_the_package_can_be_raised() -> None:
    with captured("warning") as stream:
        asyncio.run(ask(small_app(ServingSettings()), "/health"))
        asyncio.run(ask(small_app(ServingSettings()), "/busy"))
        assert [line["status"] for line in lines(stream)] == [503]
