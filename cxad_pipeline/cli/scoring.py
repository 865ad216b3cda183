"""Scoring one file from a terminal, with a progress bar.

Belongs here: the bar, and what every summary of scoring says. Does not belong here: the scoring
(`registry.file_scoring`).
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.progress import DownloadColumn

from cxad_pipeline.alerting.wording import plural
from cxad_pipeline.cli.terminal import progress_bar
from cxad_pipeline.interactions.sources import SourceError
from cxad_pipeline.registry import versions
from cxad_pipeline.registry.file_scoring import FileScores, score_file, split_address
from cxad_pipeline.settings import Settings


def score_with_progress(source: str, output: str, model: str, settings: Settings) -> tuple[FileScores, str]:
    """Score a file with the champion; also give the version's label.

    Raises
    ------
    RegistryError
        If there is no champion.
    SourceError
        If the file is not there or can't be read.
    UnknownModelError
        If the champion has no such model.
    """
    folder, name = split_address(source)
    if not folder.exists(name):  # said before anything else: whoever mistypes a name needs no model for the answer
        raise SourceError(f"{source}: no such file")
    registered = versions.load(settings)
    with progress_bar(DownloadColumn()) as progress:
        task = progress.add_task(f"scoring {name}", total=folder.size(name))
        scores = score_file(
            registered,
            source,
            output,
            settings,
            model=model,
            on_bytes=lambda read: progress.update(task, completed=read),
        )
    return scores, registered.label


def unknown_rows(unknown: Mapping[str, int]) -> list[tuple[str, str]]:
    """The row of the summary on categories that training has not seen; none where there are none."""
    named = ", ".join(f"{name} in {plural(count, 'row')}" for name, count in sorted(unknown.items()))
    return [("unknown to the model", f"{named}: not seen in training")] if named else []
