"""Scoring one file from a terminal, with a progress bar."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

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
        If the file can't be read.
    """
    folder, name = split_address(source)
    size = folder.size(name)
    registered = versions.load(settings)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"scoring {name}", total=size)
        scores = score_file(
            registered,
            source,
            output,
            settings,
            model=model,
            on_bytes=lambda read: progress.update(task, completed=read),
        )
    return scores, registered.label
