"""Where things lie in a campaign's folder. Apart, because a quick look needs nothing else of jobs."""

from __future__ import annotations

from pathlib import Path

__all__ = ["archived_traces", "attempt_directory"]


def attempt_directory(folder: Path, step: str, iteration: int, key: str, attempt: int) -> Path:
    """Where log, result and scratch of an attempt lie."""
    return folder / ".fiducial" / step / f"{iteration:02d}" / f"{key}.{attempt}"


def archived_traces(campaign: int) -> str:
    """Name that the folder ``.fiducial`` of an archived campaign has."""
    return f".fiducial-{campaign}"
