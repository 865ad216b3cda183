"""Requests of workers to the sidecar, and its answers, as files in the state folder.

Belongs here: asking it to look at MLflow now, and answering. Does not belong here: what the sidecar then does
(`follower`), and who may ask (`routes_operations`).
"""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path
from typing import Any

from cxad_pipeline.serving.state_folder import read_json, write_json

# Nobody waits so long for an answer.
_STALE_SECONDS = 900.0
_NAME = re.compile(r"[0-9a-f]{32}")


class Mailbox:
    """The folder `requests` of a state folder: a worker writes `<nonce>.json`, the sidecar answers `<nonce>.done`.

    A request stays until it is answered: when the sidecar dies in between, the next one answers it.

    Parameters
    ----------
    state
        State folder of the service.
    """

    def __init__(self, state: Path) -> None:
        self._folder = state / "requests"

    def ask(self) -> str:
        """Ask the sidecar to look at MLflow now; gives the request's nonce.

        Raises
        ------
        OSError
            If the request can't be written.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        nonce = uuid.uuid4().hex
        write_json(self._folder / f"{nonce}.json", {"at": time.time()}, durable=False)
        return nonce

    def answer_to(self, nonce: str) -> dict[str, Any] | None:
        """The sidecar's answer; None as long as there is none."""
        return read_json(self._folder / f"{nonce}.done")

    def forget(self, nonce: str) -> None:
        """Remove a request and its answer."""
        for ending in ("json", "done"):
            (self._folder / f"{nonce}.{ending}").unlink(missing_ok=True)

    def open_requests(self) -> list[str]:
        """Nonces of the requests without an answer; what nobody waits for any more is removed."""
        if not self._folder.is_dir():
            return []
        found, too_old = [], time.time() - _STALE_SECONDS
        for path in list(self._folder.iterdir()):
            try:
                old = path.stat().st_mtime < too_old
            except FileNotFoundError:  # its worker has just removed it
                continue
            if old:
                path.unlink(missing_ok=True)
            elif path.suffix == ".json" and _NAME.fullmatch(path.stem) and not path.with_suffix(".done").exists():
                found.append(path.stem)
        return found

    def answer(self, nonce: str, content: dict[str, Any]) -> None:
        """Answer a request, unless the one who asked has given up.

        Raises
        ------
        OSError
            If the answer can't be written.
        """
        if (self._folder / f"{nonce}.json").exists():
            write_json(self._folder / f"{nonce}.done", content, durable=False)
