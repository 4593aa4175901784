"""Every error that Fiducial raises on purpose.

The tree, and the exit code that the command line gives each branch::

    FiducialError                1
    ├── UsageError               2   the words of the command are off
    ├── ConfigurationError       3   a file that a user wrote is off
    │   ├── WorkflowError            a workflow file, with every mistake found in it
    │   └── SteeringError            a Millepede steering or constraint file
    ├── NotFoundError            4   a campaign, job or file that is not there
    ├── StateError               5   refused by the state that something is in
    │   ├── LedgerError              the database cannot be used as it is
    │   └── FolderError              the output folder belongs to something else
    ├── BackendError             6   a batch system failed
    └── DataError                1   a data file is damaged, foreign or empty

A message names the thing and what happened; the hint says the way out.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "ChangedError",
    "ConfigurationError",
    "DataError",
    "FiducialError",
    "FolderError",
    "LedgerError",
    "NotFoundError",
    "QueueFullError",
    "StateError",
    "SteeringError",
    "UsageError",
    "WorkflowError",
]


class FiducialError(Exception):
    """Something went wrong that a user can understand.

    Args:
        message: what happened, and to what (a file, a job, a key).
        hint: what to do about it.

    Attributes:
        warnings: what was noticed before it happened, and may be its cause.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.warnings: list[str] = []


class UsageError(FiducialError):
    """The words of a command do not fit."""

    exit_code = 2


class ConfigurationError(FiducialError):
    """A file that a user wrote cannot be taken as it is."""

    exit_code = 3


class WorkflowError(ConfigurationError):
    """A workflow file has mistakes; the message lists each with its line."""


class SteeringError(ConfigurationError):
    """A Millepede steering file has a mistake; the message names file and line."""


class NotFoundError(FiducialError):
    """What was asked for does not exist."""

    exit_code = 4


class StateError(FiducialError):
    """The state of something forbids what was asked."""

    exit_code = 5


class ChangedError(StateError):
    """A campaign was created by another workflow, or with other variables."""


class LedgerError(StateError):
    """The ledger's database cannot be used as it is."""


class FolderError(StateError):
    """A folder holds something that must not be overwritten."""


class BackendError(FiducialError):
    """A batch system refused or failed.

    Args:
        transient: whether the same call may succeed later.
    """

    exit_code = 6

    def __init__(self, message: str, *, hint: str = "", transient: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.transient = transient


class QueueFullError(BackendError):
    """A queue takes no more jobs until some of those in it have ended."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint, transient=True)


class DataError(FiducialError):
    """A data file is missing, damaged, foreign or empty."""
