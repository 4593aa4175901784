"""Where things lie in a campaign's folder. Apart, because a quick look needs nothing else of jobs."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DAG_PLAN", "DETACHED", "LOCAL", "LOG", "QUEUE_LOG", "archived_traces", "attempt_directory", "is_dag"]
__all__ += ["is_detached", "queue_folder"]

#: Name of the site that this machine is.
LOCAL = "local"

#: Where the plan of a campaign that is a DAG lies in the DAG's folder.
DAG_PLAN = ".fiducial/dag.json"

#: What an attempt wrote, in its directory.
LOG = "log.txt"
#: What a batch system wrote of an attempt whose runner never started, likewise.
QUEUE_LOG = "queue.txt"


def is_dag(folder: Path) -> bool:
    """Whether a folder holds a campaign's DAG, which DAGMan runs and nobody else."""
    return (folder / DAG_PLAN).is_file()


#: Where all of a campaign lies that Slurm was given at once; no step's name begins with a dot.
DETACHED = ".fiducial/.detached"


def is_detached(folder: Path) -> bool:
    """Whether Slurm was given all of the campaign in a folder, and nobody else runs it."""
    return (folder / DETACHED / "plan.json").is_file()


def attempt_directory(folder: Path, step: str, iteration: int, key: str, attempt: int) -> Path:
    """Where log, result and scratch of an attempt lie."""
    return folder / ".fiducial" / step / f"{iteration:02d}" / f"{key}.{attempt}"


def queue_folder(folder: Path, site: str) -> Path:
    """Where what was submitted at a site has its folders; no step's name begins with a dot."""
    return folder / ".fiducial" / ".queue" / site


def archived_traces(campaign: int) -> str:
    """Name that the folder ``.fiducial`` of an archived campaign has."""
    return f".fiducial-{campaign}"
