"""A real S3 server (SeaweedFS) on free ports of this machine, for tests of what users do with S3 or MinIO."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from pyarrow import fs
from unused_ports import unused_ports

_KEY, _SECRET, _BUCKET = "testkey", "testsecret", "tests"
_READY_SECONDS = 180


class S3Server:
    """Starts on entry, is stopped by its own process id on exit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._folders = itertools.count(1)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def new_folder(self) -> str:
        """Address of a folder that is empty; all are in one bucket, since each bucket takes volumes of its own."""
        return f"s3://{_BUCKET}/{next(self._folders)}"

    def _client(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            endpoint_override=f"http://127.0.0.1:{self._port}",
            access_key=_KEY,
            secret_key=_SECRET,
            region="us-east-1",
            allow_bucket_creation=True,
        )

    def __enter__(self) -> Self:
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        ports = iter(unused_ports(10))
        self._port = next(ports)
        command = [
            shutil.which("weed", path=Path(sys.executable).parent) or "weed",
            "server",
            f"-dir={self._folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
            f"-s3.port={self._port}",
            f"-s3.config={config}",
            "-master.volumeSizeLimitMB=64",
            "-master.telemetry=false",
            "-volume.max=50",
        ]
        others = (
            "s3.port.grpc",
            "s3.port.iceberg",
            "s3.port.lance",
            "master.port",
            "master.port.grpc",
            "volume.port",
            "volume.port.grpc",
            "filer.port",
            "filer.port.grpc",
        )
        command += [f"-{name}={port}" for name, port in zip(others, ports, strict=True)]
        log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=self._folder)
        log.close()
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _wait(self) -> None:
        """Until a file can be written: the port opens some seconds earlier."""
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                self._client().create_dir(_BUCKET)
                with self._client().open_output_stream(f"{_BUCKET}/ready") as sink:
                    sink.write(b"yes")
            except OSError as error:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"no S3 server: {(self._folder / 'log').read_text()[-2000:]}") from error
                time.sleep(0.2)
            else:
                return

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()  # asked to end, it takes 20 s; nothing that it holds is needed
            self._process.wait()
