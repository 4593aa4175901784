"""The file ``millepede.log``: what was fitted, how the fit went, and how it ended, for people.

The iteration table and the lines of the sums are laid out as in pede's log, so that what reads those reads ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from fiducial.alignment.fit.outputs.fortran import e_format, real

if TYPE_CHECKING:
    from fiducial.alignment.fit.result import FitResult, Iteration, Search

__all__ = ["TABLE_HEAD", "iteration_row", "log_text", "summary_lines"]

TABLE_HEAD = (
    " it fc   fcn_value dfcn_exp  slpr costh  iit st ls  step cutf rejects hhmmss FMS",
    " -- -- ----------- --------  ---- -----  --- -- -- ----- ---- ------- ------ ---",
)
_REJECTS = {
    "nan": "local solution contains NaNs",
    "rank": "local matrix with rank deficit",
    "condition": "local matrix with ill condition",
    "ndf": "local fit with Ndf=0",
    "huge": "local fit with huge Chi2(Ndf)",
    "chi2": "local fit with large Chi2(Ndf)",
}
_OUTCOMES = {
    0: "the step does not go downwards",
    1: "the slope is small enough",
    2: "the most points were looked at",
    3: "the largest step is reached",
    4: "another step would hardly differ",
}
_EXPLANATION = """
 it        number of the solution; 0 is the start
 fc        loops over the data so far
 fcn_value F, twice the negative logarithm of the likelihood: chi2 if no outlier is cut or down-weighted
 dfcn_exp  decrease of F that the solution promised
 slpr      slope of F along the step after the line search, over that at its beginning
 ls        end of the line search: 1 converged, 2 most points, 3 largest step, 4 no change any more
 step      where along the step the line search ended; 1 is the whole step
 cutf      factor of the cut on chi2 of a record, 0 is no cut
 rejects   records rejected
 hhmmss    wall time since the start
 FMS       what the loop gave: F, the matrix M, a solution S; (F) without reading the data again, as the matrix tells it
"""


def log_text(result: FitResult, *, explained: bool = True) -> str:
    """The content of millepede.log, with or without an explanation of the iteration table."""
    return "\n".join(line.rstrip() for line in _lines(result, explained=explained)) + "\n"


def _lines(result: FitResult, *, explained: bool) -> Iterator[str]:
    yield f" Log-file Millepede II, fit by Fiducial      {time.strftime('%a %b %d %H:%M:%S %Y')}"
    yield ""
    yield from (f" {fact}" for fact in result.facts)
    yield f" {result.records} records"
    yield f" {len(result.labels)} parameters, {len(result.variable)} of them variable; {result.fitted} are fitted"
    yield ""
    if result.checked:
        yield " Only the input was checked: there is no solution"
    yield from TABLE_HEAD if result.iterations else ()
    for row in result.iterations:
        yield iteration_row(row)
    for search in result.searches:
        yield from _search(search)
    yield ""
    yield from summary_lines(result)
    yield ""
    yield from _resources(result)
    yield ""
    if result.iterations and explained:
        yield " Explanation of the iteration table"
        yield from _EXPLANATION.strip("\n").splitlines()
        yield ""
    if result.records_shown:
        yield from result.records_shown.splitlines()
        yield ""
    yield f" Verdict {result.verdict}: {result.message}"


def iteration_row(row: Iteration) -> str:
    """A row of the iteration table, in pede's columns."""
    expected = "" if row.expected is None else e_format(row.expected, 2)
    ratio = "" if row.slope_ratio is None else f"{row.slope_ratio:.3f}"
    outcome = "" if row.outcome is None else f"{row.outcome:d}"
    step = "" if row.step is None else f"{row.step:.3f}"
    return (
        f"{row.iteration:3d}{row.loop:3d}{e_format(row.chi2, 5):>12} {expected:>8}{ratio:>6}"
        f"{'':14}{outcome:>3}{step:>6}{max(row.cut, 0.0):5.1f} {min(row.rejected, 9_999_999):7d}"
        f"{_clock(row.seconds):>7}{_what(row)}"
    )


def _what(row: Iteration) -> str:
    return " FMS" if row.matrix else " (F)" if row.foretold else " F  "


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:3d}{whole // 60 % 60:02d}{whole % 60:02d}"


def _search(search: Search) -> Iterator[str]:
    yield ""
    yield f" Line search of solution {search.iteration}: {_OUTCOMES.get(search.outcome, 'it was not finished')}"
    yield "  i      x          half slope of F     ratio"
    first = search.points[0][1] if search.points else 1.0
    for number, (place, slope) in enumerate(search.points):
        yield f"{number:3d} {place:11.6f} {slope:18.6g} {slope / first:11.3g}"


def summary_lines(result: FitResult) -> Iterable[str]:
    """How the fit ended: the sums, the rejects and the warnings."""
    if result.iterations:
        yield from _sums(result)
    if any(result.rejects.values()):
        yield ""
        yield " Data records rejected in last iteration:"
        yield from (f"{count:22d}  ({_REJECTS.get(cause, cause)})" for cause, count in result.rejects.items() if count)
    if result.warnings:
        yield ""
        yield from (f" warning: {warning}" for warning in result.warnings)


def _sums(result: FitResult) -> Iterator[str]:
    weighted = result.mean_weight != 1.0
    head = " Sum(W*Chi^2)/Sum(Ndf)/<W> =" if weighted else " Sum(Chi^2)/Sum(Ndf) ="
    blanks = " " * (len(head) - 1)
    yield f"{head}{real(result.chi2)}"
    yield f"{blanks}/ ({result.ndf:21d} - {result.fitted:11d} )"
    if weighted:
        yield f"{blanks}/{real(result.mean_weight)}"
    yield f"{blanks}={real(result.chi2_per_ndf)}"


def _resources(result: FitResult) -> Iterator[str]:
    yield " phase                     seconds   largest memory so far, MB"
    for phase, seconds in result.seconds.items():
        memory = f"{result.memory[phase] / 1e6:12.0f}" if phase in result.memory else ""
        yield f" {phase:20}{seconds:13.3f}{memory}"
