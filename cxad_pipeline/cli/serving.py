"""The REST API as a command.

Belongs here: checks that are made before anything listens, and starting the server. Does not belong here: what is
served (`serving`).
"""

from __future__ import annotations

import signal
from contextlib import nullcontext

import click

from cxad_pipeline.cli.listening import require_free
from cxad_pipeline.serving.security import check_exposure
from cxad_pipeline.serving.state_folder import state_folder
from cxad_pipeline.serving.worker_metrics import share_between_workers
from cxad_pipeline.settings import Settings

_KEEP_ALIVE_SECONDS = 65  # longer than a proxy keeps its idle connections, so that the proxy closes first
# Of several workers, uvicorn kills one that does not answer within 5 seconds, even while it starts. On a busy machine a
# worker is not hung after so short a time, and its requests would die with it, or it would never get to its first.
_WORKER_ANSWER_SECONDS = 60


def serve_api(settings: Settings) -> None:
    """Serve until a signal asks to stop.

    Raises
    ------
    CannotServeError
        If the port is taken or the address can't be listened on.
    SettingsError
        If other machines could call without a key.
    StateFolderError
        If the state folder can't be used.
    """
    host, port = settings.serving.host, settings.ports.api
    check_exposure(settings)
    state_folder(settings)
    require_free(host, port, "ports.api")
    import uvicorn

    from cxad_pipeline.serving.connections import BoundedHttp

    shown = f"[{host}]" if ":" in host else host
    click.echo(f"REST API http://{shown}:{port}  (docs: http://{shown}:{port}/docs)")
    # uvicorn finishes the requests in flight, and then raises the signal again that asked it to stop.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    # uvicorn's workers are processes started afresh: each makes its own app, and with that its own logging.
    with share_between_workers() if settings.serving.workers > 1 else nullcontext():
        uvicorn.run(
            "cxad_pipeline.serving.app:create_app",
            factory=True,
            http=BoundedHttp,
            host=host,
            port=port,
            workers=settings.serving.workers,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_worker_healthcheck=_WORKER_ANSWER_SECONDS,
            timeout_graceful_shutdown=settings.serving.shutdown_seconds,
        )


def _end(_signal: int, _frame: object) -> None:
    raise SystemExit(0)
