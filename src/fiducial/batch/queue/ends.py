"""What is left of a job without a result: the exit code of its script, and what the batch system wrote of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fiducial.batch.queue.system import Status
from fiducial.core.places import LOG, QUEUE_LOG
from fiducial.runner import runner
from fiducial.storage.replace import replace_bytes

__all__ = ["cause_of", "keep_log", "sentence"]

#: Of what a batch system wrote, no more than this is kept.
_MOST_BYTES = 65536

_CAUSES = {code: cause for cause, code in runner.EXIT_CODES.items()}
#: Exit codes of the shell when there is no such program, or it cannot be run.
_NOT_STARTED = (126, 127)


def cause_of(status: Status) -> str:
    """Why a job without a result ended, by the exit code of its script."""
    if status.exit_code in _NOT_STARTED:
        return "start"
    return _CAUSES.get(status.exit_code or 0, "lost" if status.signal else "")


def sentence(status: Status) -> str:
    """What is told of a job that ended without a result, by the exit code of its script."""
    if status.exit_code in _NOT_STARTED:
        return "the runner could not be started: is the site's python on the nodes, and do they see the folder?"
    return f"it ended with exit code {status.exit_code} and left no result"


def keep_log(folder: Path, place: int, directory: Path) -> None:
    """Keep what the batch system wrote of a job whose runner left no log, for the folder of its submission goes.

    Args:
        folder: of the submission.
        place: of the job in it.
        directory: of the attempt, to which it is brought.
    """
    with suppress(OSError):  # it is for people, and no file system in trouble shall keep a job from its end
        for path in () if (directory / LOG).exists() else _logs(folder, place):
            if path.stat().st_size:
                directory.mkdir(parents=True, exist_ok=True)
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - _MOST_BYTES))
                    replace_bytes(directory / QUEUE_LOG, file.read())


def _logs(folder: Path, place: int) -> Iterator[Path]:
    """Files as we have the batch systems name them; OpenPBS and Torque have names of their own."""
    for pattern in (f"{place}.*", f"*[[]{place}].*", f"*.o*-{place}"):
        yield from (folder / "logs").glob(pattern)
