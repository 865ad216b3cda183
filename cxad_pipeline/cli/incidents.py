"""Incidents and what people say of them, as commands.

Belongs here: `incidents`, `incident`, `feedback`, `precision`: arguments, and what is shown. Does not belong here:
silences and messages (`silencing`), who was told of it (`telling`), calibration and backtest (`backtesting`).
"""

from __future__ import annotations

import datetime as dt
import getpass
import re
from typing import TYPE_CHECKING, Any

import click

from cxad_pipeline.cli.configured import configured, stored
from cxad_pipeline.cli.moments import moment, placed, shown
from cxad_pipeline.cli.option_types import own_words
from cxad_pipeline.cli.telling import delivery_words, error_words, silence_of, telling_words
from cxad_pipeline.cli.terminal import EXIT_USAGE, Command, printable, say, show, show_table, stop
from cxad_pipeline.cli.verdict_effects import of_anomaly, of_incident, released_words
from cxad_pipeline.serving.incident_answers import titles
from cxad_pipeline.settings import Settings

if TYPE_CHECKING:
    from cxad_pipeline.store.incidents import StoredIncident

STATUSES = ("open", "resolved", "merged", "withdrawn")
VERDICTS = ("confirmed", "expected", "false_alarm", "new_trend")
_INCIDENT_ID = re.compile(r"[0-9]{8}-[0-9a-f]{6,64}")
_NO_INCIDENT = "there is no incident {}; `cxad incidents` lists them; --interaction if it is the id of an interaction"
_NOT_FLAGGED = (
    "interaction {} takes no verdict: it is not among those that were found unusual, and the store has no others. "
    "GET /api/anomalies lists them; one that was missed belongs into the labels of `cxad evaluate --labels FILE`; "
    "--incident if this is the id of an incident"
)
_MOST_CALLS, _MOST_ALERTS = 20, 50


@click.command(cls=Command)
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(STATUSES),
    default=("open", "resolved"),
    show_default=True,
    help="In one of these states; may be given several times.",
)
@click.option("--since", type=moment, metavar="TIME", help="Those that ended after then.")
@click.option("--until", type=moment, metavar="TIME", help="Those that began before then.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Most incidents.")
def incidents(status: tuple[str, ...], since: dt.datetime | None, until: dt.datetime | None, limit: int) -> None:
    """List incidents, the latest first.

    `cxad incident ID` shows one in full; `cxad feedback ID VERDICT` says what it was.
    """
    settings = configured()
    from cxad_pipeline.store.incidents import IncidentFilter, find_incidents
    from cxad_pipeline.store.silences import find_silences

    wanted = IncidentFilter(
        statuses=status,  # type: ignore[arg-type]  # click has checked them
        since=since and placed(since, settings),
        until=until and placed(until, settings),
    )
    with stored(settings) as connection:
        found, more = find_incidents(connection, wanted, limit=limit)
        silences, now = find_silences(connection, scope="incidents"), dt.datetime.now(dt.UTC)
        silenced = {one.incident.id for one in found if silence_of(connection, one, silences, now) is not None}
    if not found:
        say("no incidents")
        return
    title = _titles(settings)
    columns = ("id", "status", f"began ({settings.timezone})", "ended", "severity", "told", "verdict", "what")
    rows = [
        (
            one.incident.id,
            one.incident.status,
            shown(one.incident.started_at, settings),
            "" if one.incident.status == "open" else shown(one.incident.ended_at, settings),
            f"{one.incident.severity:.0f}",
            "silenced" if one.incident.id in silenced else "at once" if one.incident.critical else "digest",
            one.verdict["verdict"] if one.verdict else "",
            title(one.incident),
        )
        for one in found
    ]
    show_table(columns, rows, right=("severity",))
    if more:
        say(f"there are more: --limit {2 * limit}, or --until an earlier time")


@click.command(cls=Command)
@click.argument("incident_id", metavar="ID")
def incident(incident_id: str) -> None:
    """Show one incident in full, and who was told of it.

    ID is as `cxad incidents` and messages have it, such as 20261013-3f9a2c.
    """
    settings = configured()
    from cxad_pipeline.store.incidents import get_incident
    from cxad_pipeline.store.outbox_status import find_deliveries
    from cxad_pipeline.store.silences import find_silences

    with stored(settings) as connection:
        found = get_incident(connection, incident_id)
        if found is None:
            stop(f"there is no incident {incident_id}; `cxad incidents` lists them", EXIT_USAGE)
        deliveries, _ = find_deliveries(connection, topic=f"incident:{incident_id}", limit=_MOST_ALERTS)
        silences = find_silences(connection, scope="incidents")
        silence = silence_of(connection, found, silences, dt.datetime.now(dt.UTC))
    show(_titles(settings)(found.incident), _rows(found, telling_words(found, deliveries, silence, settings), settings))
    calls = sorted(found.calls, key=lambda call: (call.window, call.segment))
    click.echo()
    from cxad_pipeline.incidents.incident_words import count_words, figure_words, segment_words
    from cxad_pipeline.interactions.deployment_schema import schema_of

    words = schema_of(settings).words
    show_table(
        (f"window ({settings.timezone})", "segment", "test", "score", "observed", "usual", "affected"),
        [
            (
                shown(dt.datetime.fromtimestamp(call.window, dt.UTC), settings),
                segment_words(call.segment),
                f"{words(call.family)}, {call.kind}",
                f"{call.score:.1f} of {call.threshold:.1f}",
                figure_words(call.observed),
                figure_words(call.expected),
                f"{call.affected:,} of {call.contacts:,}, usually {count_words(call.expected_affected)}",
            )
            for call in calls[-_MOST_CALLS:]
        ],
        right=("observed", "usual"),
    )
    if len(calls) > _MOST_CALLS:
        from cxad_pipeline.alerting.wording import plural

        left_out = plural(len(calls) - _MOST_CALLS, "earlier row is", "earlier rows are")
        say(f"{left_out} not shown; GET /api/incidents/{incident_id} has them")
    if deliveries:
        from cxad_pipeline.alerting.channel_names import channel_labels

        labels = channel_labels(settings)
        click.echo()
        show_table(
            ("message", "channel", f"state ({settings.timezone})", "attempts", "error"),
            [
                (
                    one["kind"],
                    labels.get(one["channel"], one["channel"]),
                    delivery_words(one, settings),
                    str(one["attempts"]),
                    error_words(one),
                )
                for one in deliveries
            ],
            right=("attempts",),
        )


@click.command(cls=Command)
@click.argument("finding", metavar="ID")
@click.argument("verdict", metavar="VERDICT", type=click.Choice(VERDICTS))
@click.option("--note", type=own_words, metavar="TEXT", default="", help="In your own words; no personal data.")
@click.option(
    "--until",
    type=moment,
    metavar="TIME",
    help="End of the silence of expected.  [default: feedback.expected_days]",
)
@click.option("--by", help="Who says so.  [default: your login name]")
@click.option(
    "--incident/--interaction", default=None, help="What ID is of, where its form would mislead; else it decides."
)
def feedback(
    finding: str, verdict: str, note: str, until: dt.datetime | None, by: str | None, incident: bool | None
) -> None:
    """Say whether an anomaly or an incident was real.

    ID is of an incident (20261013-3f9a2c) or of an interaction. VERDICT is confirmed, expected, false_alarm or
    new_trend. What it brings about is said; nothing is changed retroactively.
    """
    settings = configured()
    by = by or login_name("--by")
    if until is not None and verdict != "expected":
        stop(f"--until goes with expected; {verdict} keeps nobody quiet", EXIT_USAGE)
    at = dt.datetime.now(dt.UTC)
    end = None if until is None else placed(until, settings)
    if end is not None and end <= at:
        stop(f"--until {shown(end, settings)} lies in the past", EXIT_USAGE)
    from cxad_pipeline.store.feedback import add_feedback, add_incident_feedback
    from cxad_pipeline.store.gone_incidents import GoneIncidentError
    from cxad_pipeline.store.incidents import get_incident

    given: dict[str, Any] = {"by": by, "note": note, "at": at, "until": end}
    given["expected_for"] = dt.timedelta(days=settings.feedback.expected_days)
    is_incident = _INCIDENT_ID.fullmatch(finding) is not None if incident is None else incident
    known: StoredIncident | None = None
    with stored(settings, write=True) as connection:
        if is_incident:
            try:
                said = add_incident_feedback(connection, finding, verdict, **given)
            except GoneIncidentError as error:
                advice = f": `cxad feedback {error.taker} {verdict}`" if error.taker else ""
                stop(printable(f"{error}{advice}"), EXIT_USAGE)
            known = get_incident(connection, finding)
        else:
            said = add_feedback(connection, finding, verdict, **given)
    if said is None:
        stop(printable((_NO_INCIDENT if is_incident else _NOT_FLAGGED).format(finding)), EXIT_USAGE)
    effects = of_incident(known.incident, said, settings) if known is not None else of_anomaly(said, settings)
    rows = [("said", f"{verdict} of {finding}, by {by}"), ("brings about", effects)]
    if said.released:
        rows.append(("silence", released_words(said, settings)))
    show("Feedback", rows)


@click.command(cls=Command)
@click.option("--since", type=moment, metavar="TIME", help="Verdicts since then.  [default: all]")
def precision(since: dt.datetime | None) -> None:
    """Show how often incidents were real, by segment, as people say.

    Precision is the share of confirmed incidents among those that are confirmed or a false alarm.
    """
    settings = configured()
    from cxad_pipeline.incidents.incident_words import segment_words
    from cxad_pipeline.store.feedback import precision_by_segment

    begin = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) if since is None else placed(since, settings)
    with stored(settings) as connection:
        found = precision_by_segment(connection, begin)
    if not found:
        say("nobody has said anything of an incident yet: `cxad feedback ID VERDICT`")
        return
    rows = [
        (
            segment_words(one.segment),
            "" if one.precision is None else f"{one.precision:.0%}",
            *(str(count) for count in (one.confirmed, one.false_alarms, one.expected, one.new_trends)),
        )
        for one in found
    ]
    figures = ("precision", "confirmed", "false alarms", "expected", "new trends")
    show_table(("segment", *figures), rows, right=figures)


def login_name(option: str) -> str:
    """Who is logged in; ends the command where the system does not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without an entry, as in a container
        stop(f"your login name is not known; give {option} NAME", EXIT_USAGE)


def _titles(settings: Settings) -> Any:
    from cxad_pipeline.interactions.deployment_schema import schema_of

    return titles(schema_of(settings))


def _rows(found: StoredIncident, telling: str, settings: Settings) -> list[tuple[str, str]]:
    """What its message says, as rows, and how far that has come."""
    from cxad_pipeline.incidents.incident_words import cause_words, further_reasons, reason_words
    from cxad_pipeline.interactions.deployment_schema import schema_of

    one, schema = found.incident, schema_of(settings)

    def unit(name: str) -> str:
        return schema[name].unit if name in schema else ""

    begun = f"{shown(one.started_at, settings)} to {shown(one.ended_at, settings)} ({settings.timezone})"
    severity, found_as = f"{one.severity:.0f}", f"{one.alert_severity:.0f}"
    rows = [
        (
            "incident",
            f"{one.id}, {one.status}, into {one.merged_into}" if one.merged_into else f"{one.id}, {one.status}",
        ),
        ("period", f"{begun}; found {shown(one.opened_at, settings)}"),
        ("severity", severity if severity == found_as else f"{severity}, {found_as} when it was found"),
        ("told", telling),
    ]
    reasons = [reason_words(reason, schema.words, unit) for reason in further_reasons(one)]
    causes = [cause_words(cause, one.kind) for cause in one.causes]
    examples = [
        f"{example.interaction_id} ({shown(example.timestamp, settings)}, severity {example.severity:.0f})"
        + (f": {example.reasons}" if example.reasons else "")
        for example in one.examples
    ]
    rows += [
        (name, "\n".join(lines))
        for name, lines in (("also", reasons), ("mostly in", causes), ("examples", examples))
        if lines
    ]
    rows.append(("model", one.model_version or "none has scored its contacts"))
    if found.verdict is not None:
        said = found.verdict
        rows.append(
            ("verdict", f"{said['verdict']}, by {said['by']}, {shown(said['at'], settings)}  {said['note']}".rstrip())
        )
    return [(name, "\n".join(map(printable, value.split("\n")))) for name, value in rows]
