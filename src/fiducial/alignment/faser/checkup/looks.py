"""How things are looked at: by what raises an error where one is missing, and by what a command answers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence

from fiducial.core.errors import FiducialError
from fiducial.core.rows import FAIL, OK, WARN, Row

__all__ = ["answer_of", "looked"]

#: A command that asks a server may wait for it, and a person does not want to.
_PATIENCE_S = 20.0


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
