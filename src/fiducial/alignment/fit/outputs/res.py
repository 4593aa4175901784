"""The file ``millepede.res``: written and read; pede takes it as input again.

Format as in the Millepede-II manual, "Output files": label, value, presigma, change, error, and on request the global
correlation or the number of derivatives. Numbers have five digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fiducial.alignment.fit.outputs.fortran import g14_5
from fiducial.core.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from fiducial.alignment.fit.result import FitResult

__all__ = ["ResultLine", "read_results", "result_text"]

_HEAD = " Parameter   ! first 3 elements per line are significant (if used as input)\n"
_BLANKS = {False: 28, True: 14}  # in the place of change and error, or of the error alone


@dataclass(frozen=True, slots=True)
class ResultLine:
    """A line of millepede.res; the count of derivatives is there if the steering says `printcounts`."""

    label: int
    value: float
    presigma: float
    change: float | None = None
    error: float | None = None
    count: int | None = None


def result_text(result: FitResult) -> str:
    """The content of millepede.res."""
    return _HEAD + "".join(_lines(result))


def _lines(result: FitResult) -> Iterator[str]:
    variable = np.zeros(len(result.labels), bool)
    variable[result.variable] = True
    counts = result.column_counts()
    for k, label in enumerate(result.labels.tolist()):
        if comment := result.comments.get(label):
            yield f"!{comment}\n"
        line = f"{label:10d}  {g14_5(result.values[k])}{g14_5(result.presigmas[k])}"
        with_error = bool(variable[k]) and not np.isnan(result.errors[k])
        if variable[k]:
            line += g14_5(result.values[k] - result.starts[k])
        if with_error:
            line += g14_5(result.errors[k])
        if counts is not None:
            line += ("" if with_error else " " * _BLANKS[bool(variable[k])]) + f"{counts[k]:12d}"
        elif with_error and result.column == "correlations":
            line += f"{np.nan_to_num(result.correlations[k], nan=-1.0):8.3f}"
        yield line + "\n"


def read_results(path: Path) -> dict[int, ResultLine]:
    """Read a millepede.res, of pede or of Fiducial.

    Returns:
        lines by label.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is not such a file, it is cut off, or it holds no parameter; the line is named.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        raise NotFoundError(f"{path}: there is no such file", hint="did the fit end well? See millepede.end") from None
    if lines and "checking input only" in lines[0]:
        raise DataError(f"{path}: the input was only checked, there is no solution", hint="fit without --check")
    if not lines or not lines[0].strip().lower().startswith("parameter"):
        raise DataError(f"{path}:1: not a millepede.res: it does not start with 'Parameter'")
    rows = [(number, line) for number, line in enumerate(lines[1:], 2) if line.split("!")[0].strip()]
    found = [_result_line(path, number, line) for number, line in rows]
    if not found:
        raise DataError(f"{path}: holds no parameter")
    return {line.label: line for line in found}


def _result_line(path: Path, number: int, line: str) -> ResultLine:
    words = line.split("!")[0].split()
    try:
        label, value, presigma = words[:3]
        if line[:40].split() == words[:3]:
            # Columns have fixed places: after a fixed parameter, or one without error, a count stands far to the right.
            change, error = (_column(line, start) for start in (40, 54))
        else:
            change, error = map(float, words[3:5]) if len(words) >= 5 else (None, None)
        return ResultLine(int(label), float(value), float(presigma), change, error, _count(line))
    except ValueError:
        raise DataError(f"{path}:{number}: not a line of millepede.res: '{line.strip()[:60]}'") from None


def _count(line: str) -> int | None:
    """The last column if it is a count; -(n + 1) stands for a number n that is too small."""
    text = line.split("!")[0][68:].strip()
    if not text.lstrip("-").isdigit():
        return None
    return int(text) if int(text) >= 0 else -int(text) - 1


def _column(line: str, start: int) -> float | None:
    text = line.split("!")[0][start : start + 14].strip()
    return float(text) if text else None
