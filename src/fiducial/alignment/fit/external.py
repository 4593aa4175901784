"""An external `pede` in the place of our own fit: run it, and find out how it really ended.

pede's process ends with status 0 whatever happens; what counts is millepede.end. Its result has five digits, no
covariance and no table of iterations.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from fiducial.alignment.fit.outputs.files import announce, read_end
from fiducial.alignment.fit.outputs.res import ResultLine, read_results
from fiducial.alignment.fit.result import FitResult
from fiducial.alignment.steering.reader import Places
from fiducial.alignment.verdict import MESSAGES, FitError
from fiducial.core.errors import DataError, NotFoundError
from fiducial.core.jsontext import json_text
from fiducial.storage.replace import replace_text

__all__ = ["find_program", "fit_with"]

OUTPUT = "pede.out"
STEERING = "pede-steering.txt"  # pede takes no other names of text files than such with this ending
_POLL_SECONDS = 0.1
_TELL_SECONDS = 1.0
_SECONDS_TO_END = 5.0
_LAST_LINES = 5
# Of these codes the values are there; from 4 on a file was cut off, or there is no solution.
_WITH_RESULT = (0, 1, 2, 3, 4)
# With weights of files there is a third line, their mean, which the sum is to be divided by, too.
_SUMS = re.compile(
    r"Sum\((?:W\*)?Chi\^2\)/Sum\(Ndf\)(?:/<W>)? =\s*(\S+)\s*/ \(\s*(\d+)\s*-\s*(\d+)\s*\)(?:\s*/\s*([\d.Ee+-]+))?"
)
_RECORDS = re.compile(r"NREC\s*=\s*(\d+)|(\d+)\s*=\s*number of records")
_LOOPS = re.compile(r"In total \d \+\s*(\d+)\s+loops")


def find_program(program: str) -> Path:
    """The program of a name or a path.

    Raises:
        NotFoundError: there is none, or it cannot be executed.
    """
    found = shutil.which(program)
    if found is None:
        what = "cannot be executed" if Path(program).exists() else "there is no such program"
        raise NotFoundError(f"{program}: {what}", hint="see the setting alignment.pede, or take --pede away")
    return Path(found).absolute()


def fit_with(
    program: str,
    steering: Path,
    directory: Path,
    *,
    threads: int | None = None,
    timeout: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> FitResult:
    """Let an external pede solve a steering file in a folder.

    Earlier files of a fit in the folder get the name with ``~`` first, so that none can be taken for a new one. What
    the program prints goes to ``pede.out``. It gets a copy of the steering file, ``pede-steering.txt``, in which names
    of files are whole paths, because it looks for them in its own working folder only.

    Args:
        program: name or path of pede.
        steering: the steering file.
        directory: folder of the result, and pede's working folder.
        threads: of pede; None: as many as the steering says.
        timeout: seconds after which pede is ended.
        progress: is told in words what goes on.

    Returns:
        The result as far as pede's files say: five digits, NaN for what is not there, no covariance.

    Raises:
        NotFoundError: there is no such program, or no steering file.
        FitError: pede crashed, took too long, or ended without a result; the verdict is pede's own.
        DataError: pede's result cannot be read.
    """
    path = find_program(program)
    if not steering.is_file():
        raise NotFoundError(f"{steering}: there is no such steering file")
    announce(directory)
    (directory / "millepede.end").unlink()
    replace_text(directory / STEERING, _adapted(steering, threads))
    status, seconds = _run(path, directory, timeout, progress or (lambda _: None))
    verdict, message = _ending(path, directory, status)
    if verdict not in _WITH_RESULT:
        (directory / "millepede.res").unlink(missing_ok=True)
        raise FitError(f"{path.name} ended with {verdict}: {message}", verdict, hint=_hint(directory))
    lines = read_results(directory / "millepede.res")
    result = _result(verdict, message, lines, directory / "millepede.log", seconds)
    replace_text(directory / "millepede.json", json_text(result.to_json(), indent=1) + "\n")
    return result


def _adapted(steering: Path, threads: int | None) -> str:
    """The steering with whole paths of files, and with the number of threads as its last option."""
    lines = []
    places = Places(steering.parent)
    for line in steering.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        said, comment, remark = line.partition("!")
        if said.strip().lower() == "end":
            break  # pede reads no further either
        name, mark, weight = said.partition(" -- ")
        found = None if line.startswith("*") else places.find(name.strip())
        lines.append(f"{found.absolute()} {mark}{weight}{comment}{remark}" if found else line)
    if threads is not None:
        lines.append(f"threads {threads}")
    return "\n".join([*lines, "end"]) + "\n"


def _run(program: Path, directory: Path, timeout: float | None, progress: Callable[[str], None]) -> tuple[int, float]:
    """Exit status and seconds."""
    started = time.monotonic()
    with (directory / OUTPUT).open("wb") as output:
        process = _start(program, directory, output)
        try:
            while (status := process.poll()) is None:
                elapsed = time.monotonic() - started
                if timeout is not None and elapsed > timeout:
                    raise _failure(directory, f"{program.name} was ended: it took longer than {timeout:g} s")
                if elapsed > _TELL_SECONDS:
                    progress(f"{program.name} has been running for {elapsed:.0f} s")
                time.sleep(_POLL_SECONDS)
        finally:
            _end(process)
    return status, time.monotonic() - started


def _start(program: Path, directory: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        # In a session of its own, so that what it starts itself can be ended with it.
        return subprocess.Popen(
            [str(program), STEERING],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise _failure(directory, f"{program}: cannot be started: {error.strerror}") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and everything that it started, if it still runs."""
    if process.poll() is not None:
        return
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_END)
            return


def _ending(program: Path, directory: Path, status: int) -> tuple[int, str]:
    """The verdict that pede wrote; an error if it did not come to write one."""
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    try:
        verdict, message = read_end(directory / "millepede.end")
    except (OSError, ValueError):
        raise _failure(directory, f"{program.name} {how} and left no millepede.end") from None
    if verdict < 0:
        raise _failure(directory, f"{program.name} {how} before it came to an end ({verdict}: {message})")
    if status != 0 and verdict in _WITH_RESULT:
        raise _failure(directory, f"{program.name} {how} although millepede.end says {verdict}: {message}")
    return verdict, message


def _failure(directory: Path, what: str) -> FitError:
    """A crash: whatever result is there cannot be trusted."""
    (directory / "millepede.res").unlink(missing_ok=True)
    replace_text(directory / "millepede.end", f"{-1:5d}   {MESSAGES[-1]}\n")
    return FitError(what, -1, hint=_hint(directory))


def _hint(directory: Path) -> str:
    """The last lines that pede printed."""
    path = directory / OUTPUT
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    last = [line.strip() for line in lines if line.strip()][-_LAST_LINES:]
    return f"it printed last (see {path}): " + " | ".join(last) if last else f"it printed nothing (see {path})"


def _result(verdict: int, message: str, lines: dict[int, ResultLine], log: Path, seconds: float) -> FitResult:
    rows = [lines[label] for label in sorted(lines)]
    values = np.array([row.value for row in rows])
    changes = np.array([row.change or 0.0 for row in rows])
    errors = np.array([np.nan if row.error is None else row.error for row in rows])
    text = log.read_text(errors="replace") if log.exists() else ""
    sums, records, loops = _SUMS.search(text), _RECORDS.search(text), _LOOPS.search(text)
    if sums is None:
        raise DataError(f"{log}: there is no Sum(Chi^2)/Sum(Ndf) in it", hint="was it really pede that wrote it?")
    counts = np.array([-1 if row.count is None else row.count for row in rows], np.int64)
    return FitResult(
        verdict=verdict,
        message=message,
        loops=int(loops[1]) if loops else 0,
        chi2=float(sums[1]),
        ndf=int(sums[2]),
        fitted=int(sums[3]),
        mean_weight=float(sums[4] or 1.0),
        records=int(records[1] or records[2]) if records else 0,
        rejects={},
        labels=np.array(sorted(lines), np.int64),
        values=values,
        starts=values - changes,
        errors=errors,
        presigmas=np.array([row.presigma for row in rows]),
        counts=np.full(len(rows), -1, np.int64),
        accepted=counts,
        correlations=np.full(len(rows), np.nan),
        variable=np.flatnonzero([row.change is not None for row in rows]),
        covariance=None,
        seconds={"total": seconds},
    )
