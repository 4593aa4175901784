"""Where things lie in a campaign's folder. Apart, because a quick look needs nothing else of jobs."""

from __future__ import annotations

from pathlib import Path

__all__ = ["LOCAL", "archived_traces", "attempt_directory", "queue_folder"]

#: Name of the site that this machine is.
LOCAL = "local"


def attempt_directory(folder: Path, step: str, iteration: int, key: str, attempt: int) -> Path:
    """Where log, result and scratch of an attempt lie."""
    return folder / ".fiducial" / step / f"{iteration:02d}" / f"{key}.{attempt}"


def queue_folder(folder: Path, site: str) -> Path:
    """Where what was submitted at a site has its folders; no step's name begins with a dot."""
    return folder / ".fiducial" / ".queue" / site


def archived_traces(campaign: int) -> str:
    """Name that the folder ``.fiducial`` of an archived campaign has."""
    return f".fiducial-{campaign}"
