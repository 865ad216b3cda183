"""The service's log: one JSON object a line, on stderr.

Belongs here: how lines are rendered, what the line of a request holds, and taking in what the standard library's
loggers and uvicorn say. Does not belong here: when a request is logged (`front`).

Everything logs by `logging.getLogger(__name__)`, so that the parts know nothing of this; further members are given as
`extra={"version": "3"}`. A line never holds content of interactions, keys, query values or bodies: the line of a
request has a fixed set of members (`LogFields`), and its route is the template, not the path.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from typing import Any, TextIO

import orjson
from fastapi import Request

_requests = logging.getLogger("cxad_pipeline.serving.requests")
# What every record has, or gets from formatters of other handlers; `color_message` is uvicorn's, for terminals.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}
# Line breaks to some readers of text, though not to JSON, which lets them stand.
_ODD_BREAKS = {"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


class LogFields:
    """What a route adds to the line of its request, by `note`.

    Attributes
    ----------
    records
        Interactions in the request.
    anomalies
        How many of them were found unusual.
    model_version
        Label of the version that scored, `v3`.
    """

    __slots__ = ("anomalies", "model_version", "records")

    def __init__(self) -> None:
        self.records: int | None = None
        self.anomalies: int | None = None
        self.model_version: str | None = None


def note(
    request: Request, *, records: int | None = None, anomalies: int | None = None, model_version: str | None = None
) -> None:
    """Add to the line of a request, from its route."""
    fields: LogFields = request.state.log_fields
    fields.records, fields.anomalies, fields.model_version = records, anomalies, model_version


def configure_logging(level: str | int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send everything that is logged in this process to stderr as JSON lines; of a service or of its sidecar.

    May be called again, and after uvicorn has set up its own logging, which it replaces; uvicorn's access log is
    silenced, since the front writes a line for each request.

    Parameters
    ----------
    level
        What this package and uvicorn log at least; a name such as `info`, or a number. Others, whose messages may
        hold addresses with query values, log from warnings on.
    stream
        Another place than stderr.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    handler.set_name("cxad")
    root = logging.getLogger()
    for former in [former for former in root.handlers if former.get_name() == "cxad"]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in ("cxad_pipeline", "uvicorn"):
        logging.getLogger(name).setLevel(level.upper() if isinstance(level, str) else level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    logging.captureWarnings(True)


def log_request(
    *, request_id: str, method: str, route: str, status: int, seconds: float, caller: str | None, fields: LogFields
) -> None:
    """Write the line of a request; members without a value are left out."""
    level = logging.INFO if status < 500 else logging.ERROR if status == 500 else logging.WARNING
    if not _requests.isEnabledFor(level):
        return
    members = {
        "request_id": request_id,
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": round(seconds * 1000, 3),
        "records": fields.records,
        "anomalies": fields.anomalies,
        "model_version": fields.model_version,
        "caller": caller,
    }
    members = {name: value for name, value in members.items() if value is not None}
    # Not `_requests.log`, which looks for the line of code that called it: a quarter of the cost.
    record = _requests.makeRecord(_requests.name, level, "", 0, "request", (), None, None, members)
    _requests.handle(record)


class JsonLines(logging.Formatter):
    """One line for each record: time, level, event, logger, and what was given as `extra`; a trace in one member.

    The standard library's records, and not structlog's, which brings `rich` along, 4.5 MB in each worker, and takes
    twice as long for a line.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="microseconds")
        members: dict[str, Any] = {
            "ts": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": _message(record),
            # uvicorn says by this one also what is no error.
            "logger": "uvicorn" if record.name == "uvicorn.error" else record.name,
        }
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                members.setdefault(name, value)
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        try:
            line = orjson.dumps(members, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:  # lone surrogates of undecodable file names, numbers beyond 64 bits
            line = json.dumps(members, default=str)
        for odd, escaped in _ODD_BREAKS.items():
            if odd in line:
                line = line.replace(odd, escaped)
        return line


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # values that don't fit the text: the library would print them all
        return str(record.msg)
