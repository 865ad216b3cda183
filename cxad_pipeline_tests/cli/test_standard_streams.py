"""Standard streams that Dagster points elsewhere while steps run, that nobody reads, or that are not there."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import dagster as dg
import pytest

from cxad_pipeline.defs.progress import progress_logger
from cxad_pipeline.standard_streams import standard_error, standard_output, standard_streams_kept


@contextmanager
def _terminal(folder: Path) -> Iterator[Path]:
    """A file in the place of the terminal: standard output, whose encoding has few characters, and standard error."""
    # No fixture: between setup and test pytest puts its own streams back.
    screen = folder / "terminal"
    with (
        screen.open("a", encoding="latin-1", errors="replace") as out,
        screen.open("a", encoding="utf-8") as error,
        redirect_stdout(out),
        redirect_stderr(error),
    ):
        yield screen


def test_what_is_written_while_they_point_elsewhere_is_on_the_terminal_at_once(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    with _terminal(tmp_path) as terminal, standard_streams_kept():
        with elsewhere.open("w") as file:
            for stream in (sys.stdout, sys.stderr):
                os.dup2(file.fileno(), stream.fileno())
        output, error = standard_output(), standard_error()
        assert output is not None
        assert error is not None
        output.write("told 客\n")
        error.write("done 客\n")
        assert terminal.read_bytes() == b"told ?\n" + "done 客\n".encode()
        print("for the file", flush=True)
    assert elsewhere.read_text() == "for the file\n"
    assert output.closed
    assert error.closed


def test_within_another_the_first_place_is_kept_until_both_are_left(tmp_path: Path) -> None:
    with _terminal(tmp_path) as terminal, standard_streams_kept():
        first = standard_output()
        with (tmp_path / "elsewhere").open("w") as file:
            os.dup2(file.fileno(), sys.stdout.fileno())
        with standard_streams_kept():
            second = standard_output()
            assert second is not None
            second.write("told\n")
        assert standard_output() is first
        assert terminal.read_text() == "told\n"
    assert standard_output() is sys.stdout
    assert standard_error() is sys.stderr


def test_the_place_is_forgotten_when_what_ran_within_fails(tmp_path: Path) -> None:
    with _terminal(tmp_path) as terminal:
        with pytest.raises(RuntimeError, match="a step"), standard_streams_kept():
            raise RuntimeError("a step")
        assert standard_output() is sys.stdout
        assert terminal.read_text() == ""


def test_streams_without_a_descriptor_and_none_at_all_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", None)
    with standard_streams_kept():
        assert standard_output() is sys.stdout
        assert standard_error() is None


def test_progress_that_nobody_reads_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as pipe:
        unread = io.TextIOWrapper(pipe, write_through=True)
        monkeypatch.setattr(sys, "stderr", unread)
        logger = progress_logger.logger_fn(dg.build_init_logger_context())
        for number in range(3):
            logger.info("row %d", number, extra={"dagster_meta": {"step_key": "rows", "orig_message": f"row {number}"}})
        unread.detach()
