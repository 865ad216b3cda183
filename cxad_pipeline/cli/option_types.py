"""Values of options with bounds that click's own types leave open.

Belongs here: finite numbers, texts that people write to others. Does not belong here: times (`moments`), and which
options a command takes.
"""

from __future__ import annotations

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A range of numbers; click lets NaN pass through any, since it is neither below nor above an end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; the command ends with one line where it is none, or lies outside."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


def own_words(text: str) -> str:
    """A text in somebody's own words, as long as the API takes it. For click's `type=`.

    Raises
    ------
    click.BadParameter
        If it is longer.
    """
    from cxad_pipeline.serving.review_schema import LONGEST_NOTE

    if len(text) > LONGEST_NOTE:
        raise click.BadParameter(f"{len(text):,} characters; give at most {LONGEST_NOTE:,}")
    return text
