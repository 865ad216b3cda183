"""Silences and the outbox, as commands: what nobody is told of, and what could not be told.

Belongs here: `silences`, `silence`, `alerts`: arguments, and what is shown. Does not belong here: what is silenced
(`alerting`), how messages are sent (`alerting`, the assets).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from cxad_pipeline.cli.configured import configured, stored
from cxad_pipeline.cli.incidents import login_name
from cxad_pipeline.cli.moments import moment, placed, shown
from cxad_pipeline.cli.option_types import FiniteRange, own_words
from cxad_pipeline.cli.telling import delivery_words, error_words
from cxad_pipeline.cli.terminal import EXIT_USAGE, Command, printable, say, show, show_table, stop
from cxad_pipeline.interactions.configured_columns import subjects
from cxad_pipeline.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ALL = "all"


@click.command(cls=Command)
@click.option("--all", "every", is_flag=True, help="Those that have ended, too.")
def silences(every: bool) -> None:
    """List what nobody is told of, by whom, why and until when."""
    settings = configured()
    from cxad_pipeline.incidents.incident_words import segment_words
    from cxad_pipeline.store.silences import find_silences

    with stored(settings) as connection:
        found = find_silences(connection, active_at=None if every else dt.datetime.now(dt.UTC))
    if not found:
        say("no silences")
        return
    columns = ("id", "of", "segment", "metric", f"from ({settings.timezone})", "until", "owner", "reason")
    rows = [
        (
            str(one.id),
            one.scope,
            segment_words(one.segment),
            one.metric or "all",
            shown(one.starts_at, settings),
            shown(one.ends_at, settings),
            one.owner,
            one.reason,
        )
        for one in found
    ]
    show_table(columns, rows, right=("id",))


@click.command(cls=Command)
@click.option(
    "--segment",
    multiple=True,
    metavar="NAME=VALUE",
    help="A dimension of the segment, such as queue=billing; may be given several times. `all`: all contacts.",
)
@click.option("--metric", help="This one alone, or contacts, complaints, together.  [default: all]")
@click.option("--new", is_flag=True, help="The segment is still to come, such as a queue that opens tomorrow.")
@click.option("--reason", type=own_words, metavar="TEXT", help="Why; no personal data.")
@click.option("--until", type=moment, metavar="TIME", help="When people are told again.")
@click.option("--hours", type=FiniteRange(min=0, min_open=True, max=87_600), help="Or in how many hours.")
@click.option("--owner", help="Who answers for it.  [default: your login name]")
@click.option(
    "--end", type=click.IntRange(min=1), metavar="ID", help="End this one now; `cxad silences` has its number."
)
def silence(
    segment: tuple[str, ...],
    metric: str | None,
    new: bool,
    reason: str | None,
    until: dt.datetime | None,
    hours: float | None,
    owner: str | None,
    end: int | None,
) -> None:
    """Have nobody told of a segment for a time, or end that.

    Incidents in it, and in segments inside it, are found and listed as ever; no message is sent. One that holds for the
    same segment and metric already is extended.
    """
    settings = configured()
    owner = (owner or "").strip() or login_name("--owner")
    if end is not None:
        if segment or metric or new or reason or until or hours:
            stop("--end takes no other option than --owner", EXIT_USAGE)
        _end(end, owner, settings)
        return
    now = dt.datetime.now(dt.UTC)
    if not segment or not reason or (until is None) == (hours is None):
        stop("give --segment, --reason, and either --until or --hours; or --end ID", EXIT_USAGE)
    key = _segment(segment, settings)
    _check_metric(metric, settings)
    ends_at = placed(until, settings) if until is not None else now + dt.timedelta(hours=hours or 0)
    if ends_at <= now:
        stop(f"--until {shown(ends_at, settings)} lies in the past", EXIT_USAGE)
    from cxad_pipeline.incidents.incident_words import segment_words
    from cxad_pipeline.store.known_segments import UnknownSegmentError, check_segment
    from cxad_pipeline.store.silences import add_silence

    with stored(settings, write=True, make=True) as connection:
        if not new:
            try:
                check_segment(connection, key)
            except UnknownSegmentError as error:
                stop(printable(f"--segment: {error}; --new, if it is still to come"), EXIT_USAGE)
        kept, before = add_silence(
            connection,
            scope="incidents",
            segment=key,
            metric=metric,
            owner=owner,
            reason=reason,
            starts_at=now,
            ends_at=ends_at,
        )
    rows = [
        ("id", f"{kept.id}; `cxad silence --end {kept.id}` ends it"),
        ("nobody is told of", f"{segment_words(key)}, {metric or 'all metrics'}"),
        ("until", f"{shown(kept.ends_at, settings)} ({settings.timezone})"),
        ("owner", owner),
    ]
    if before is not None:
        held = f"by {before.owner}, until {shown(before.ends_at, settings)}: the later end counts"
        rows.append(("extended", printable(f"there was one already, {held}")))
    show("Silence", rows)


def _check_metric(metric: str | None, settings: Settings) -> None:
    """A misspelt metric would keep nobody quiet."""
    allowed = subjects(settings)
    if metric is not None and metric not in allowed:
        stop(f"--metric {metric}: no incident is about that; allowed: {', '.join(allowed)}", EXIT_USAGE)


@click.command(cls=Command)
@click.option("--dead", is_flag=True, help="Only those that were given up.")
@click.option(
    "--retry",
    is_flag=False,
    flag_value=_ALL,
    metavar="[ID]",
    help="Send dead letters again: the one of this number, or all.",
)
@click.option("--drop", metavar="ID|all", help="Put dead letters away: the one of this number, or all.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Most messages.")
def alerts(dead: bool, retry: str | None, drop: str | None, limit: int) -> None:
    """List messages and what became of them, the latest first.

    A message is tried again until alerts.max_attempts, and then is a dead letter; --retry makes it pending again, and
    Dagster's sensor, or the next `cxad workflow`, sends it. One that nobody will read any more is put away by --drop:
    it stays in this list, and no digest, check or metric counts it.
    """
    settings = configured()
    if retry is not None and drop is not None:
        stop("give --retry or --drop, not both", EXIT_USAGE)
    from cxad_pipeline.store import outbox_status as outbox

    if retry is not None:
        revived = _dead_letters("--retry", retry, outbox.revive, settings)
        show("Alerts", [("pending again", f"{revived:,}")])
        return
    if drop is not None:
        show("Alerts", [("put away", f"{_dead_letters('--drop', drop, outbox.drop, settings):,}")])
        return
    with stored(settings) as connection:
        status = outbox.outbox_status(connection, dt.datetime.now(dt.UTC))
        found, more = outbox.find_deliveries(connection, state="dead" if dead else None, limit=limit)
    if found:
        from cxad_pipeline.alerting.channel_names import channel_labels

        labels = channel_labels(settings)
        columns = ("id", f"state ({settings.timezone})", "channel", "attempts", "message", "error")
        rows = [
            (
                str(one["id"]),
                delivery_words(one, settings),
                labels.get(one["channel"], one["channel"]),
                str(one["attempts"]),
                one["headline"] or one["key"],
                error_words(one),
            )
            for one in found
        ]
        show_table(columns, rows, right=("id", "attempts"))
    overdue = f"; due since {shown(status.oldest_due_at, settings)}" if status.oldest_due_at else ""
    say(f"{status.pending:,} pending, {status.due:,} of them due{overdue}; {status.dead:,} dead")
    if more:
        say(f"there are more: --limit {2 * limit}")


def _dead_letters(
    option: str, given: str, change: Callable[[Connection, list[int] | None], int], settings: Settings
) -> int:
    """How many dead letters were changed: the one of a number, or all."""
    if given != _ALL and not (given.isascii() and given.isdigit()):
        stop(f"{option} {given}: give the number of a message, as `cxad alerts --dead` has it, or `{_ALL}`", EXIT_USAGE)
    with stored(settings, write=True) as connection:
        changed = change(connection, None if given == _ALL else [int(given)])
    if given != _ALL and not changed:
        stop(f"{option} {given}: no dead letter has this number", EXIT_USAGE)
    return changed


def _end(number: int, by: str, settings: Settings) -> None:
    from cxad_pipeline.store.silences import end_silence

    with stored(settings, write=True) as connection:
        ended = end_silence(connection, number, at=dt.datetime.now(dt.UTC), by=by)
    if ended is None:
        stop(f"there is no silence {number}; `cxad silences` lists them", EXIT_USAGE)
    show("Silence", [("id", str(number)), ("ended", f"{shown(ended.ends_at, settings)} ({settings.timezone})")])


def _segment(given: tuple[str, ...], settings: Settings) -> tuple[tuple[str, str], ...]:
    """The segment of some `name=value`, in the order of the configured dimensions."""
    if given == (_ALL,):
        return ()
    dimensions = settings.segments.dimensions
    values: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not value or name not in dimensions:
            stop(f"--segment {pair}: write NAME=VALUE; names: {', '.join(dimensions)}", EXIT_USAGE)
        if name in values:
            stop(f"--segment: {name} is given twice", EXIT_USAGE)
        values[name] = value
    return tuple((name, values[name]) for name in dimensions if name in values)
