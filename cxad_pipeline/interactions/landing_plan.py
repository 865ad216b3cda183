"""What new and changed files ask for: the decision of the landing and training sensors.

Belongs here: comparing what lies in a folder with what was seen there before. Does not belong here: Dagster's
cursors and run requests, which carry the answer.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from cxad_pipeline.files import FileStat
from cxad_pipeline.interactions.landing import Window
from cxad_pipeline.interactions.landing_index import FileIndex, LandingIndex


@dataclass
class SeenFile:
    """What was known of a file when it was last acted upon."""

    sha256: str
    rows: int
    windows: list[str] = field(default_factory=list)


@dataclass
class Seen:
    """The memory between two looks at a folder.

    Attributes
    ----------
    files
        All files that were acted upon, by path.
    pending
        Windows that were asked for and are not scored yet, with the model version that was to score them; empty where
        there was none.
    """

    files: dict[str, SeenFile] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str | None) -> Self:
        """Read what `to_json` wrote; None is an empty memory."""
        entries = json.loads(text) if text else {"files": {}, "pending": {}}
        return cls({path: SeenFile(**entry) for path, entry in entries["files"].items()}, entries["pending"])

    def to_json(self) -> str:
        """The memory as text."""
        files = {path: vars(entry) for path, entry in sorted(self.files.items())}
        return json.dumps({"files": files, "pending": dict(sorted(self.pending.items()))})


@dataclass(frozen=True)
class LandingPlan:
    """The answer to a look at the landing folder.

    Attributes
    ----------
    windows
        Keys of ended windows that new or changed files touch, or touched before they changed; in order of time.
    changed
        The new and changed files, with the keys of the windows that each touches now.
    unreadable
        Those of the changed files that can't be read, with the reason.
    seen
        Memory for the next look.
    complete
        Whether all files were looked at; else the next look goes on.
    """

    windows: list[str]
    changed: dict[str, list[str]]
    unreadable: dict[str, str]
    seen: Seen
    complete: bool


def plan_scoring(
    files: Sequence[FileStat],
    index: LandingIndex,
    windows_in: Callable[[dt.datetime, dt.datetime], Sequence[Window]],
    seen: Seen,
    out_of_time: Callable[[], bool] = lambda: False,
) -> LandingPlan:
    """Find the windows that have to be scored, again or for the first time.

    A file that has gone is forgotten and asks for nothing: scored windows outlive their files. Windows that have not
    ended are left to the schedule.

    Parameters
    ----------
    files
        The settled files.
    index
        Says which minutes a file touches.
    windows_in
        The ended windows that overlap a period, in order of time.
    seen
        Memory of the last look.
    out_of_time
        Asked before each file; those after a yes are left for the next look.
    """
    there = {stat.path for stat in files}
    now = Seen({path: entry for path, entry in seen.files.items() if path in there}, dict(seen.pending))
    wanted: set[str] = set()
    changed: dict[str, list[str]] = {}
    unreadable: dict[str, str] = {}
    complete = True
    for stat in files:
        if out_of_time():
            complete = False
            break
        entry, before = index.of(stat), seen.files.get(stat.path)
        touched = entry.windows(windows_in(*entry.period))
        if before is not None and before.sha256 == entry.sha256:
            # windows that have ended since belong to the memory too: they are stale once the file changes
            now.files[stat.path] = SeenFile(entry.sha256, entry.rows, touched)
            continue
        changed[stat.path] = touched
        if entry.unreadable:
            unreadable[stat.path] = entry.unreadable
        wanted.update(touched, before.windows if before else ())
        now.files[stat.path] = SeenFile(entry.sha256, entry.rows, touched)
    return LandingPlan(sorted(wanted), changed, unreadable, now, complete)


def ask_again(unscored: Sequence[str], plan: LandingPlan, champion: str) -> list[str]:
    """Which of the unscored windows to ask for now; the plan's memory keeps the others.

    A window is asked for when its files have changed, and again when another version has become champion since: a run
    that failed would fail again with the same one. Without a champion nothing can be scored, and all wait.

    Parameters
    ----------
    unscored
        Windows of the plan, and pending ones, whose scores are not of the files that lie there.
    plan
        The look at the folder; its memory is brought up to date.
    champion
        Version of the champion, empty where there is none.
    """
    before = plan.seen.pending
    asked = [key for key in unscored if champion and (key in plan.windows or before.get(key) != champion)]
    plan.seen.pending = {key: champion if key in asked else before.get(key, "") for key in unscored}
    return asked


@dataclass(frozen=True)
class TrainingPlan:
    """Whether to train again, why, and the memory for the next look; a reason that is empty asks for nothing."""

    reason: str
    seen: Seen


def plan_training(files: Sequence[FileIndex], seen: Seen, new_rows: int) -> TrainingPlan:
    """Decide whether the landed training files ask for a training.

    A new file does; files that have changed do once they hold `new_rows` more rows than when they last trained. Until
    then the memory keeps their old state, so that rows that trickle in add up.

    Parameters
    ----------
    files
        All settled training files.
    seen
        Memory of the last training.
    new_rows
        Rows that are enough.
    """
    new = [index.path for index in files if index.path not in seen.files]
    gained = sum(
        max(index.rows - seen.files[index.path].rows, 0)
        for index in files
        if index.path in seen.files and index.sha256 != seen.files[index.path].sha256
    )
    reasons = [f"new file {', '.join(new)}"] if new else []
    if gained >= new_rows:
        reasons.append(f"{gained} new rows")
    if not reasons:
        return TrainingPlan("", seen)
    return TrainingPlan(" and ".join(reasons), trained_on(files))


def trained_on(files: Sequence[FileIndex]) -> Seen:
    """The memory after a training on these files."""
    return Seen({index.path: SeenFile(index.sha256, index.rows) for index in files})
