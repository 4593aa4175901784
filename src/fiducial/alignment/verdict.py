"""How a fit ends: the codes that pede writes into ``millepede.end``, and which error stands for which.

See the Millepede-II manual, "List of exit codes".
"""

from __future__ import annotations

from fiducial.core.errors import DataError, FiducialError, NotFoundError, SteeringError, UsageError

__all__ = [
    "MESSAGES",
    "MILD",
    "FitError",
    "NoSteeringError",
    "ReadError",
    "TwoSteeringsError",
    "WriteError",
    "verdict_of",
]

MESSAGES = {
    -1: "Still running or crashed",
    0: "Ended normally",
    1: "Ended with warnings (bad measurements)",
    2: "Ended with severe warnings (insufficient measurements)",
    3: "Ended with severe warnings (bad global matrix)",
    4: "Ended with severe warnings (bad binary file(s))",
    5: "Ended without solution (empty constraints)",
    10: "Aborted, no steering file",
    11: "Aborted, open error for steering file",
    12: "Aborted, second text file in command line",
    13: "Aborted, steering file cannot be understood",
    14: "Aborted, no binary files",
    15: "Aborted, open error(s) for binary files",
    16: "Aborted, open error(s) for text files",
    18: "Aborted, read error(s) for binary file",
    20: "Aborted, bad binary records",
    21: "Aborted, no labels/parameters defined",
    22: "Aborted, no variable global parameters",
    25: "Aborted, result is not a number",
    26: "Aborted, too many rejects",
    27: "Aborted, singular constraints",
    30: "Aborted, memory allocation failed",
    36: "Aborted, unselected solution method requested",
    40: "Aborted, other errors",
}
# Values may be used although the measurements are not what their errors say; pede's own reading.
MILD = (0, 1)


class FitError(DataError):
    """The fit has no result.

    Args:
        message: why.
        verdict: code that goes to millepede.end.
        hint: what to do about it.
    """

    def __init__(self, message: str, verdict: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.verdict = verdict


class ReadError(DataError):
    """A data file cannot be read to its end: it is cut off, of another kind, or changes meanwhile."""

    verdict = 18


class WriteError(FiducialError):
    """The files of a fit cannot be written."""

    verdict = 40


class NoSteeringError(NotFoundError):
    """No steering file is named, and the default one is not there."""

    verdict = 10


class TwoSteeringsError(UsageError):
    """A fit has one steering file."""

    verdict = 12


def verdict_of(error: BaseException) -> int:
    """The code of millepede.end that fits an error: its own ``verdict``, or that of its kind."""
    if isinstance(error, FiducialError) and isinstance(verdict := getattr(error, "verdict", None), int):
        return verdict
    codes: list[tuple[type[BaseException], int]] = [
        (SteeringError, 13),
        (NotFoundError, 15),
        (DataError, 20),
        (MemoryError, 30),
    ]
    return next((code for kind, code in codes if isinstance(error, kind)), 40)
