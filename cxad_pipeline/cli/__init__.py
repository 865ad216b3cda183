"""The command `cxad`.

Belongs here: arguments, what is shown, exit codes. Does not belong here: the work, which Dagster's jobs and plain
functions do. Commands that make data run through Dagster on the persistent instance, so that lineage has no gaps.
"""

from cxad_pipeline.cli.commands import main

__all__ = ["main"]
