"""One thing that was looked at, and how it was found."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fiducial.core.errors import FiducialError

__all__ = ["FAIL", "OK", "WARN", "Row", "answer_of", "looked"]

OK, WARN, FAIL = "ok", "warn", "fail"
#: A command that asks a server may wait for it, and a person does not want to.
_PATIENCE_S = 20.0


@dataclass(frozen=True)
class Row:
    """One line of the check.

    Args:
        state: ok, warn (it can be gone on with), fail (it cannot).
        what: was looked at.
        told: how it was found.
        mend: what to do about it; empty where nothing has to be done.
    """

    state: str
    what: str
    told: str
    mend: str = ""


def looked(what: str, look: Callable[[], list[str]], fine: str) -> Row:
    """The row of a look that raises an error where something is missing, and returns what is unusual.

    Args:
        fine: what is told where nothing is.
    """
    try:
        notes = look()
    except FiducialError as error:
        return Row(FAIL, what, error.message, error.hint)
    return Row(WARN, what, "; ".join(notes)) if notes else Row(OK, what, fine)


def answer_of(words: Sequence[str], environment: dict[str, str] | None = None) -> tuple[int, str] | None:
    """Exit code and output of a command; None where there is no such program, or it does not answer in time."""
    program = shutil.which(words[0])
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.returncode, done.stdout
