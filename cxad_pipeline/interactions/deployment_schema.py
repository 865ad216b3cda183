"""The schema of a deployment, from its configuration.

Belongs here: the standard columns and those that the configuration adds. Does not belong here: what a column is
(`schema`, which imports no settings, since detection stands on it).
"""

from __future__ import annotations

from cxad_pipeline.interactions.schema import Column, InteractionSchema
from cxad_pipeline.settings import Settings


def schema_of(settings: Settings) -> InteractionSchema:
    """The deployment's columns."""
    return InteractionSchema(
        Column(
            extra.name, extra.type, extra.meaning, extra.unit, extra.minimum, extra.maximum,
            bad_direction=extra.bad_direction, label=extra.label,
        )
        for extra in settings.interactions.extra_columns
    )  # fmt: skip
