"""What the exit code of a job's script says, where the job has left no result."""

from __future__ import annotations

from fiducial.batch.queue.system import Status
from fiducial.runner import runner

__all__ = ["cause_of", "sentence"]

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
