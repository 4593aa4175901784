"""What a Millepede fit returns, and the files in which it is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.core.errors import DataError, NotFoundError, SteeringError

__all__ = [
    "FitError",
    "FitResult",
    "Iteration",
    "ResultLine",
    "announce",
    "g14_5",
    "read_results",
    "verdict_of",
    "write_failure",
]

Doubles = NDArray[np.float64]

REJECT_CAUSES = ("rank", "ndf", "huge", "chi2")
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
    13: "Aborted, steering file cannot be understood",
    14: "Aborted, no binary files",
    15: "Aborted, open error(s) for binary files",
    16: "Aborted, open error(s) for text files",
    18: "Aborted, data file cannot be read",
    20: "Aborted, bad binary records",
    21: "Aborted, no labels/parameters defined",
    22: "Aborted, no variable global parameters",
    25: "Aborted, result is not a number",
    26: "Aborted, too many rejects",
    27: "Aborted, singular constraints",
    36: "Aborted, unselected solution method requested",
}
_FILES = ("millepede.res", "millepede.end", "millepede.log", "millepede.json")


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


@dataclass(frozen=True, slots=True)
class Iteration:
    """A row of the iteration table: one loop over the data."""

    iteration: int
    loop: int
    chi2: float
    expected: float | None
    cut: float
    rejected: int
    slope_ratio: float | None = None
    matrix: bool = False


@dataclass
class FitResult:
    """Result of a fit; arrays are by parameter, labels ascending.

    Args:
        verdict: code as in pede's millepede.end: 0 fine, 1 bad measurements, 2 insufficient data, 3 bad matrix.
        message: the verdict in words.
        loops: loops over the data with a function value.
        chi2: F, twice the negative logarithm of the likelihood, at the last loop.
        ndf: degrees of freedom of all local fits, and of measurements; `fitted` is still to be taken off.
        fitted: variable parameters less constraints.
        records: records read.
        rejects: records rejected in the last loop, by cause: "rank", "ndf", "huge", "chi2".
        labels: of all parameters.
        values: of all parameters.
        starts: values at the start, as given in the steering.
        errors: standard deviations; NaN for fixed parameters.
        presigmas: as given; negative for fixed parameters.
        counts: global derivatives in the data.
        accepted: of these, in records accepted in the last loop; 0 for fixed parameters.
        correlations: global correlations; NaN where there is none.
        variable: positions of the variable parameters.
        covariance: (V, V) of the variable parameters; None if it would be too large, or the method gives none.
        iterations: the iteration table.
        warnings: everything a user should know, with labels.
        seconds: wall time by phase.
        mean_weight: of the degrees of freedom, if files have weights.
        checked: what millepede.res says if only the input was looked at; then all values are those at the start.
        records_shown: the records that `printrecord` asks for, for millepede.log.
        column: what millepede.res says besides: "", "correlations", "counts" or "accepted".
    """

    verdict: int
    message: str
    loops: int
    chi2: float
    ndf: int
    fitted: int
    records: int
    rejects: dict[str, int]
    labels: NDArray[np.int64]
    values: Doubles
    starts: Doubles
    errors: Doubles
    presigmas: Doubles
    counts: NDArray[np.int64]
    accepted: NDArray[np.int64]
    correlations: Doubles
    variable: NDArray[np.int64]
    covariance: Doubles | None
    iterations: list[Iteration] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    column: str = ""
    mean_weight: float = 1.0
    checked: str = ""
    records_shown: str = ""

    @property
    def chi2_per_ndf(self) -> float:
        """F over the degrees of freedom that the fit leaves."""
        return self.chi2 / self.mean_weight / max(1, self.ndf - self.fitted)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON can hold it; an error is None for a fixed parameter."""
        columns = (self.labels, self.values, self.errors, self.presigmas, self.counts)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        names = ("verdict", "message", "loops", "chi2", "ndf", "rejects", "records", "warnings")
        return {name: getattr(self, name) for name in names} | {
            "parameters": [
                {"label": label, "value": value, "error": _or_none(error), "presigma": presigma, "count": count}
                for label, value, error, presigma, count in rows
            ],
            "seconds": self.seconds,
        }

    def write(self, directory: Path) -> None:
        """Write millepede.res, .json, .log and .end; earlier ones get the name with ``~``.

        The file .end comes last. If anything fails there is no millepede.res that was not written here.

        Raises:
            OSError: the folder cannot be written.
        """
        announce(directory)
        texts = {
            "millepede.log": self._log(),
            "millepede.json": json.dumps(self.to_json(), indent=1) + "\n",
            "millepede.res": self.checked or "".join(self._result_lines()),
            "millepede.end": _end(self.verdict, self.message),
        }
        try:
            for name, text in texts.items():
                _put(directory / name, text)
        except BaseException:
            (directory / "millepede.res").unlink(missing_ok=True)
            raise

    def _result_lines(self) -> Iterable[str]:
        yield " Parameter   ! first 3 elements per line are significant (if used as input)\n"
        numbers = {"counts": self.counts, "accepted": self.accepted}.get(self.column)
        for k, label in enumerate(self.labels.tolist()):
            line = f"{label:10d}  {g14_5(self.values[k])}{g14_5(self.presigmas[k])}"
            fixed = bool(np.isnan(self.errors[k]))
            if not fixed:
                line += g14_5(self.values[k] - self.starts[k]) + g14_5(self.errors[k])
            if self.column == "correlations" and not fixed:
                line += f"{np.nan_to_num(self.correlations[k], nan=-1.0):8.3f}"
            if numbers is not None:
                line += f"{'':28}{numbers[k]:12d}" if fixed else f"{numbers[k]:12d}"
            yield line + "\n"

    def _log(self) -> str:
        rejects = ", ".join(f"{name} {count}" for name, count in self.rejects.items())
        head = [
            f"{self.records} records, {len(self.labels)} parameters, {len(self.variable)} variable",
            "",
            " it fc      fcn_value   dfcn_exp    slpr   cutf  rejects  FMS",
            " -- -- --------------  ---------  ------  -----  -------  ---",
        ]
        table = [_table_row(row) for row in self.iterations]
        tail = [
            "",
            f"chi2 / ndf = {self.chi2:.8g} / ({self.ndf} - {self.fitted}) = {self.chi2_per_ndf:.6g}",
            f"rejected in the last loop: {rejects}",
            *(f"{phase}: {seconds:.3f} s" for phase, seconds in self.seconds.items()),
            *(f"warning: {warning}" for warning in self.warnings),
            f"{self.verdict}: {self.message}",
        ]
        return "\n".join(head + table + tail) + "\n" + self.records_shown


def _table_row(row: Iteration) -> str:
    expected = "" if row.expected is None else f"{row.expected:9.2e}"
    slope = "" if row.slope_ratio is None else f"{row.slope_ratio:6.3f}"
    what = "FMS" if row.matrix else "F"
    return (
        f"{row.iteration:3d}{row.loop:3d} {row.chi2:14.8g}  {expected:>9}  {slope:>6}  "
        f"{max(row.cut, 0):5.1f}  {row.rejected:7d}  {what}"
    )


def _or_none(number: float) -> float | None:
    return None if np.isnan(number) else number


def g14_5(number: float) -> str:
    """Fortran's G14.5 of a number in single precision."""
    number = float(np.float32(number))
    if number == 0 or not 0.1 <= float(f"{abs(number):.4e}") < 1e5:
        return f"{'0.0000':>10}    " if number == 0 else f"{_scientific(number):>14}"
    digits = 5 - (int(f"{number:.4e}".partition("e")[2]) + 1)
    text = f"{number:.{digits}f}" + ("." if digits == 0 else "")
    return f"{text:>10}    "


def _scientific(number: float) -> str:
    mantissa, _, exponent = f"{number:.4e}".partition("e")
    sign = "-" if number < 0 else ""
    return f"{sign}0.{mantissa.lstrip('-').replace('.', '')}E{int(exponent) + 1:+03d}"


def announce(directory: Path) -> None:
    """Make room for a new result: rename earlier files to ``name~`` and note in millepede.end that a fit runs."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        path = directory / name
        if path.exists() and not _says_running(path):
            path.replace(directory / f"{name}~")
    _put(directory / "millepede.end", _end(-1, MESSAGES[-1]))


def _says_running(path: Path) -> bool:
    return path.name == "millepede.end" and path.read_text(errors="replace") == _end(-1, MESSAGES[-1])


def write_failure(directory: Path, error: BaseException) -> None:
    """Write in millepede.end why there is no result."""
    _put(directory / "millepede.end", _end(verdict_of(error), f"Aborted: {error}"))


def verdict_of(error: BaseException) -> int:
    """The code of millepede.end that fits an error."""
    verdict = getattr(error, "verdict", None)
    if isinstance(verdict, int):
        return verdict
    codes: list[tuple[type[BaseException], int]] = [(SteeringError, 13), (NotFoundError, 15), (DataError, 20)]
    return next((code for kind, code in codes if isinstance(error, kind)), -1)


def _end(verdict: int, message: str) -> str:
    return f"{verdict:5d}   {message}\n"


def _put(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class ResultLine:
    """A line of millepede.res."""

    label: int
    value: float
    presigma: float
    change: float | None = None
    error: float | None = None


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
    if not lines or not lines[0].strip().lower().startswith("parameter"):
        raise DataError(f"{path}:1: not a millepede.res: it does not start with 'Parameter'")
    found = [_result_line(path, number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    if not found:
        raise DataError(f"{path}: holds no parameter")
    return {line.label: line for line in found}


def _result_line(path: Path, number: int, line: str) -> ResultLine:
    try:
        label, value, presigma, *rest = line.split("!")[0].split()
        numbers = [float(word) for word in rest]
        # Two more columns are change and error; a single one after a fixed parameter is a count.
        change, error = numbers[:2] if len(numbers) >= 2 else (None, None)
        return ResultLine(int(label), float(value), float(presigma), change, error)
    except ValueError:
        raise DataError(f"{path}:{number}: not a line of millepede.res: '{line.strip()[:60]}'") from None
