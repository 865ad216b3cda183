"""How the command speaks: lines of progress, the summary, one line for an error, exit codes, and help that names them.

Results go to standard output, all else to standard error. Nothing is wrapped: a path stays on one line. Colours and
progress bars appear on a terminal only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from cxad_pipeline.settings import SettingsError

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

EXIT_FAILED, EXIT_USAGE, EXIT_NO_MODEL, EXIT_INTERRUPTED = 1, 2, 3, 130
_WIDTH = 100_000  # of a table, which is as wide as its rows are
EXIT_CODES = (
    ("0", "done"),
    ("1", "a run failed, or a landed file can't be read; what was done stays"),
    ("2", "wrong arguments, configuration or input; nothing was done"),
    ("3", "no trained model"),
    ("130", "interrupted"),
)


class Command(click.Command):
    """A command whose help ends with the exit codes."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the exit codes below the options."""
        _write_exit_codes(formatter)


class Commands(click.Group):
    """A group of such commands; Ctrl-C, and files that can't be read or written, end each with one line."""

    command_class = Command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the exit codes below the commands."""
        _write_exit_codes(formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            stop("interrupted", EXIT_INTERRUPTED)
        except SettingsError as error:  # what only shows when the settings are used, such as half a channel
            stop(str(error), EXIT_USAGE)
        except BrokenPipeError:
            raise  # the reader of a pipe has left: click ends quietly
        except OSError as error:
            stop(str(error), EXIT_FAILED)


def _write_exit_codes(formatter: click.HelpFormatter) -> None:
    with formatter.section("Exit codes"):
        formatter.write_dl(EXIT_CODES)


def stop(message: str, code: int) -> NoReturn:
    """End the command with a message on standard error."""
    click.echo(f"cxad: {message}", err=True)
    raise SystemExit(code)


def say(line: str, *, bold: bool = False) -> None:
    """Show a line of progress."""
    click.secho(line, err=True, bold=bold, dim=not bold)


def show(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Show what came of a command: a name and a value in each row, a value of several lines below each other."""
    width = max(len(name) for name, _ in rows)
    if sys.stdout.isatty():
        click.echo()  # progress stands above it on the same screen
    click.secho(title, bold=True)
    for name, value in rows:
        first, *others = value.split("\n")
        click.echo(f"  {click.style(name.ljust(width), dim=True)}  {first}")
        for line in others:
            click.echo(f"  {' ' * width}  {line}")


def printable(line: str) -> str:
    """A line without what could steer a terminal."""
    return "".join(ch if ch.isprintable() else " " for ch in line)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Show rows with their columns below each other; nothing is cut, whatever the width of the terminal.

    Parameters
    ----------
    columns
        Their names.
    rows
        Texts, (r, c). What can't be printed is left out: a name in the data must not steer a terminal.
    right
        Columns that are set to the right: figures.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(width=_WIDTH)
    with console.capture() as written:
        console.print(table)
    for line in written.get().splitlines():
        click.echo(line.rstrip())


def progress_bar(*columns: ProgressColumn) -> Progress:
    """A bar that is there while work goes on, and only on a terminal."""
    # Imported here, since the REST API's process, which shows none, begins with this module.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    shown = (TextColumn("{task.description}"), BarColumn(), *columns, TimeRemainingColumn())
    return Progress(*shown, console=console, transient=True, disable=not console.is_interactive)
