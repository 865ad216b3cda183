"""Whether to train again: what landed files, drift and verdicts ask for together.

Belongs here: the decision, and the memory that it needs between two looks. Does not belong here: what each reason
stands on (`interactions.landing_plan`, `detection.drift`), and Dagster's cursors and run requests, which carry it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cxad_pipeline.interactions.landing_plan import Seen


@dataclass(frozen=True)
class DriftSeen:
    """Drift in a scoring window.

    Attributes
    ----------
    window
        Key of the window; keys are in order of time.
    words
        Which features, where, how much.
    """

    window: str
    words: str


@dataclass(frozen=True)
class TrainingMemory:
    """The memory between two looks.

    Attributes
    ----------
    seen
        Files that the last training was asked for.
    asked_at
        When a training was last asked for; None where it never was.
    drifted_window
        The newest window whose drift a training was asked for; empty where there is none.
    """

    seen: Seen
    asked_at: dt.datetime | None = None
    drifted_window: str = ""

    @classmethod
    def from_json(cls, text: str | None) -> Self:
        """Read what `to_json` wrote, or the memory of files alone; None is an empty memory."""
        seen = Seen.from_json(text)
        asked = json.loads(text).get("asked") if text else None
        if asked is None:
            return cls(seen)
        return cls(seen, dt.datetime.fromisoformat(asked["at"]), asked["drifted_window"])

    @property
    def stamp(self) -> str:
        """Another one after each time that a training was asked for."""
        return "" if self.asked_at is None else self.asked_at.isoformat()

    def to_json(self) -> str:
        """The memory as text."""
        content = json.loads(self.seen.to_json())
        if self.asked_at is not None:
            content["asked"] = {"at": self.stamp, "drifted_window": self.drifted_window}
        return json.dumps(content)


NEW_TRENDS = 5
"""Interactions said to be a new trend since the last training that ask for one."""


def new_trend_reasons(number: int) -> list[str]:
    """What so many verdicts ask for, in words; empty where they are too few."""
    return [f"{number} interactions are said to be a new trend"] if number >= NEW_TRENDS else []


def newer_files_wanted(folder: str) -> str:
    """What people are told where another training would give the same models.

    Parameters
    ----------
    folder
        Where training files land.
    """
    return f"the training files are those of the last training: land newer ones in {folder}"


def asks_for_training(
    files: str,
    drift: DriftSeen | None,
    others: Sequence[str],
    *,
    memory: TrainingMemory,
    trained_at: dt.datetime | None,
    cooldown: dt.timedelta,
    now: dt.datetime,
    same_files: bool = False,
) -> str:
    """Why to train again; empty where nothing asks for it.

    Files always ask. Drift and other reasons stay true until the training that they ask for has changed something, so
    they wait until the cool-down has passed since the last training and since one was last asked for; drift must
    also have been seen in a newer window than that which last asked. While the training files are those of the last
    training, neither asks: it would give the same models again.

    Parameters
    ----------
    files
        What new and changed files ask for, in words; empty where they ask for nothing.
    drift
        Drift in the newest window.
    others
        Other reasons, in words.
    memory
        What was asked for before.
    trained_at
        When the last training began; None where there was none.
    cooldown
        Shortest time between such trainings.
    now
        The present.
    same_files
        Whether the last training has read all training files as they are.
    """
    reasons = [files] if files else []
    last = max((moment for moment in (memory.asked_at, trained_at) if moment is not None), default=None)
    if not same_files and (last is None or now - last >= cooldown):
        if drift is not None and drift.window > memory.drifted_window:
            reasons.append(f"drift: {drift.words}")
        reasons.extend(others)
    return " and ".join(reasons)
