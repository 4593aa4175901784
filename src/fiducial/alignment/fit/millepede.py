"""The Millepede fit: many records with own local parameters, and the global parameters that they share.

The method is that of V. Blobel, NIM A 566 (2006) 5: eliminate the local parameters record by record, solve for the
global ones, and iterate for outliers. Numbers, cuts, loops and verdicts are those of the program `pede`. Methods
`diagonalization` and `decomposition` are solved like `inversion`, which gives the same values, and errors as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.fit.checkinput import check_input
from fiducial.alignment.fit.linear.methods import is_approached, new_matrix, solve_with
from fiducial.alignment.fit.linear.minres import IterativeSolution
from fiducial.alignment.fit.linear.weakmodes import WeakMode, weak_modes
from fiducial.alignment.fit.linesearch import LineSearch, Outcome
from fiducial.alignment.fit.loops import Cuts, Data, Sums, Workers
from fiducial.alignment.fit.matrices import FullMatrix, SparseMatrix
from fiducial.alignment.fit.notes import Notes
from fiducial.alignment.fit.outputs.files import announce, write_failure
from fiducial.alignment.fit.parametergroups import dependent_groups, parameter_groups
from fiducial.alignment.fit.prediction import Shortcut
from fiducial.alignment.fit.problem import Problem, name_labels
from fiducial.alignment.fit.quality import Findings
from fiducial.alignment.fit.result import REJECT_CAUSES, FitResult, Iteration
from fiducial.alignment.fit.settings import Settings
from fiducial.alignment.steering.reader import Option, Steering, read_steering
from fiducial.alignment.verdict import MESSAGES, FitError
from fiducial.core.errors import FiducialError

__all__ = ["fit", "fit_into"]

_FEASIBLE_START = 1e-12
_FEASIBLE = 1e-6
_MOST_FORETOLD = 3000  # parameters, of which a second matrix is kept
_NOT_A_NUMBER, _NO_MEMORY, _BAD_MATRIX, _BAD_FILES = 25, 30, 3, 4
_EPSILON = float(np.finfo(np.float64).eps)


def fit(
    steering: Steering | Path,
    *,
    threads: int | None = None,
    sampled: bool = False,
    progress: Callable[[str], None] | None = None,
) -> FitResult:
    """Fit the global parameters, or only look at the input if the steering says `checkinput`.

    The numbers do not depend on the number of threads.

    Args:
        steering: what to fit, or the steering file that says it.
        threads: to share the work; None: as many as the steering says, else one.
        sampled: whether the first records shall fill histograms, if the steering does not say `histprint`.
        progress: is told in words what goes on.

    Returns:
        The result; its verdict may be a warning.

    Raises:
        NotFoundError: the steering file or a data file is missing.
        SteeringError: the steering cannot be understood; file and line are named.
        DataError: a data file is damaged; file, record and byte are named.
        FitError: there is no result: nothing to fit, contradicting constraints, too many rejects, too little memory.
    """
    if isinstance(steering, Path):
        steering = read_steering(steering)
    settings = Settings.of(steering)
    workers = Workers(threads or settings.threads or 1)
    try:
        notes = Notes(steering, settings, sampled=sampled)
        return _Fit(steering, settings, workers, notes, progress or _silent).run()
    finally:
        workers.close()


def fit_into(
    steering: Steering | Path,
    directory: Path,
    *,
    threads: int | None = None,
    parquet: bool = False,
    options: Mapping[str, tuple[float, ...]] | None = None,
    progress: Callable[[str], None] | None = None,
) -> FitResult:
    """Fit and write the result files into a folder.

    Earlier files are renamed to ``name~`` before anything is read, so that after a failure no millepede.res of an
    earlier fit can be taken for the new one; millepede.end says why there is none. Errors are those of `fit`.

    Args:
        steering: what to fit, or the steering file that says it.
        directory: folder of the files, made if needed.
        threads: to share the work.
        parquet: whether to write millepede.parquet too.
        options: keywords with their numbers, as if the steering file said them too.
        progress: is told in words what goes on.
    """
    announce(directory)
    try:
        if isinstance(steering, Path):
            steering = read_steering(steering)
        added = [Option("command line", keyword, numbers) for keyword, numbers in (options or {}).items()]
        steering = replace(steering, given=[*steering.given, *added])
        result = fit(steering, threads=threads, sampled=True, progress=progress)
        result.write(directory, parquet=parquet)
    except BaseException as error:
        write_failure(directory, error)
        raise
    return result


def _silent(_: str) -> None:
    pass


@contextmanager
def _memory_named() -> Iterator[None]:
    """Say what it is if memory runs out, and what would need less."""
    try:
        yield
    except MemoryError as error:
        raise FitError(
            f"the memory is not enough: {error}".rstrip(": "),
            _NO_MEMORY,
            hint="fit fewer parameters, take a sparse `method`, ask for fewer bins, or take a machine with more",
        ) from error


class _Fit:
    """State of one fit between its loops over the data."""

    def __init__(
        self, steering: Steering, settings: Settings, workers: Workers, notes: Notes, progress: Callable[[str], None]
    ) -> None:
        self.steering = steering
        self.settings = settings
        self.progress = progress
        self.workers = workers
        self.data = Data(steering.files, workers, settings.reading)
        self.warnings = list(steering.warnings)
        self.notes = notes
        self.seconds: dict[str, float] = {}
        self.groups: list[NDArray[np.int64]] = []

    def run(self) -> FitResult:
        """All of it.

        Raises:
            FiducialError: there is no result; it has the warnings so far.
        """
        try:
            with _memory_named():
                return self._run()
        except FiducialError as error:
            error.warnings = list(dict.fromkeys(self.warnings))
            raise

    def _run(self) -> FitResult:
        with self._timed("count"):
            self.progress("counting records and labels")
            self.data.count()
            self._warn_of_input()
            self.problem = Problem.of(self.steering, self.settings, self.data, self.warnings)
            self._warn_of_method()
            self.data.prepare(self.problem.labels, self.problem.positions)
        constraints = self.steering.constraints
        if self.settings.check:
            result = check_input(self.problem, constraints, self.settings, self.data, self.warnings)
        else:
            result = self._solved()
        result.seconds = self.seconds
        self.notes.complete(result, self.data)
        return result

    def _solved(self) -> FitResult:
        if self.settings.check_groups:
            self.groups = parameter_groups(self.problem, self.data)
        self.shortcut = Shortcut(allowed=self._is_parabola())
        before = len(self.warnings)
        self._begin()
        self._iterate()
        if self.foretold and not self._is_seen() and not self._is_confirmed():
            self.progress("other records are accepted than was expected: once more, with all loops")
            self.shortcut.forbid()
            del self.warnings[before:]
            self._begin()
            self._iterate()
        result = self._result()
        if any(self.settings.records):
            result.records_shown = self._show_records()
        return result

    def _begin(self) -> None:
        """Nothing is done yet, and all parameters are where they start."""
        settings = self.settings
        self.findings = Findings(settings, self.problem, self.data.records)
        self.iterations: list[Iteration] = []
        self.iteration = self.loops = 0
        self.cut = settings.first_cut
        self.points = settings.search.first_points
        self.gain = self.noise = 0.0
        self.rank_defect = 0
        self.solved = self.summed_again = self.not_decreasing = self.group_defect = self.foretold = False
        self.parameter = self.problem.start.copy()
        if settings.feasible_start:
            self.problem.constraints.make_feasible(self.parameter, _FEASIBLE_START)

    def _is_parabola(self) -> bool:
        """Whether loops over much data may be left out, see `prediction`."""
        settings = self.settings
        unchanging = settings.first_cut == settings.second_cut == 0 and settings.local_iterations == 1
        return unchanging and self.data.is_large and len(self.problem.variable) <= _MOST_FORETOLD

    def _is_seen(self) -> bool:
        return self.shortcut.is_seen(self.parameter[self.problem.variable])

    def _is_confirmed(self) -> bool:
        """Make the loop at the end that was left out, and compare."""
        with self._timed("loops"):
            found = self.data.loop(self.parameter, self.settings.cuts(self.cut, first_loop=False))
        confirmed = self.shortcut.confirmed(found, self.parameter[self.problem.variable])
        self.problem.add_terms(found, self.parameter)
        self.sums = found
        return confirmed

    def _warn_of_input(self) -> None:
        without = self.data.records_without_fit
        if self.settings.condition:
            self.warnings.append("maxlocalcond: local fits have no condition of a band here, so nothing is cut on it")
        self.warnings += [f"{why}: read up to there" for why in self.data.damaged.values()]
        if without:
            self.warnings.append(f"{without} of {self.data.records} records have no local parameter and are left out")

    def _warn_of_method(self) -> None:
        method = self.steering.method
        if method.name != "inversion" and not is_approached(self.settings.solver, len(self.problem.variable)):
            where = method.where or str(self.steering.path)
            self.warnings.append(f"{where}: method {method.name} is solved like inversion, with the same values")

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started
        self.notes.phase_ended(phase)

    def _iterate(self) -> None:
        settings = self.settings
        self._evaluate(matrix=True)
        while self._solve() and self._move_along():
            moved = self.problem.constraints.make_feasible(self.parameter, _FEASIBLE)
            done = self.gain <= settings.limit or self.iteration >= settings.iterations
            if done and not moved and self.cut <= 1.0:
                break
            if self.iteration < settings.matrix_iterations:
                self._evaluate(matrix=True)

    def _evaluate(self, *, matrix: bool) -> None:
        """A loop over the data at the present parameters."""
        self._tighten_cut()
        with self._timed("loops with matrix" if matrix else "loops"):
            cuts = self.settings.cuts(self.cut, first_loop=self.loops == 0)
            self.sums = self._summed(cuts, matrix=matrix)
        self.loops += 1
        self.notes.loop_ended(self.loops, self.parameter, cuts)
        self.findings.look(self.sums, self.loops)
        if self.sums.matrix is not None:
            self._check_groups(self.sums.matrix)  # as long as there are no presigmas in it
        self.problem.add_terms(self.sums, self.parameter)
        self._note(matrix=matrix)
        if self.sums.matrix is not None:
            with self._timed("solution"):
                labels = self.problem.labels[self.problem.variable]
                self.solution = solve_with(
                    self.sums.matrix, self.problem.constraints, self.settings.solver, labels, self.workers
                )
            self.sums.matrix = None  # the solution has its own copy, or has overwritten it
            self._check_rank()

    def _summed(self, cuts: Cuts, *, matrix: bool) -> Sums:
        """The sums of a loop over the data, or what is known of them."""
        values = self.parameter[self.problem.variable]
        expected = None if matrix else self.shortcut.expected(values)
        self.foretold = expected is not None
        if expected is not None:
            return expected
        empty = new_matrix(self.settings.solver, len(values), self.workers) if matrix else None
        sums = self.data.loop(self.parameter, cuts, empty)
        self.shortcut.saw(sums, values, empty.elements if isinstance(empty, FullMatrix) else None)
        return sums

    def _check_groups(self, matrix: FullMatrix | SparseMatrix) -> None:
        labels = self.problem.labels[self.problem.variable]
        for group in dependent_groups(matrix, self.groups):
            self.group_defect = True
            self.warnings.append(f"rank defect of a parameter group: labels {name_labels(labels[group])}")

    def _tighten_cut(self) -> None:
        """In the first loop after a solution: the second factor, then square roots down to 1."""
        if not self.solved:
            return
        self.solved = False
        if self.iteration == 1:
            self.cut = self.settings.second_cut
        elif self.cut > 0:
            self.cut = float(np.sqrt(np.float32(self.cut)))
            if self.cut < 1.5 or not self.sums.rejected.sum():
                self.cut = 1.0

    def _note(self, *, matrix: bool) -> None:
        rejected = int(self.sums.rejected.sum())
        expected = self.gain if self.iteration else None
        row = Iteration(
            self.iteration, self.loops, self.sums.chi2, expected, self.cut, rejected, None, matrix,
            foretold=self.foretold, seconds=self.notes.elapsed(),
        )  # fmt: skip
        self.iterations.append(row)
        self.progress(f"loop {self.loops}: F = {self.sums.chi2:.8g}, {rejected} records rejected")

    def _check_rank(self) -> None:
        self.rank_defect = self.solution.rank_defect
        labels = self.problem.labels[self.problem.variable]
        for direction in self.solution.undetermined():
            self.warnings.append(f"rank defect: the data do not determine labels {name_labels(labels[direction])}")
        for mode in [] if self.rank_defect else self._weak_modes():
            self.warnings.append(
                f"weak mode: the data hardly determine labels {name_labels(labels[mode.parameters])} together "
                f"(eigenvalue {mode.eigenvalue:.1e} of the scaled matrix), and rounding shows in their values"
            )
        if self._ends_early():
            missing = self.rank_defect + self.problem.dependent
            self.warnings.append(f"rank defect of {missing}: only one step was made, without a new F; see `force`")

    def _weak_modes(self) -> list[WeakMode]:
        if isinstance(self.solution, IterativeSolution):
            return []  # each step of the search would cost a solution
        at_rest = np.zeros(self.problem.constraints.count)
        return weak_modes(lambda gradient: self.solution.step(gradient, at_rest), self.solution.diagonal())

    def _ends_early(self) -> bool:
        """Whether a rank defect makes pede stop after one step."""
        return bool(self.rank_defect or self.problem.dependent) and not self.settings.force

    def _solve(self) -> bool:
        """The next step of the parameters; False if F is not expected to decrease."""
        self.iteration += 1
        self.solved = True
        with self._timed("solution"):
            moved = self.parameter.copy()
            missing = self.problem.constraints.discrepancy(moved)
            moved[self.problem.variable] += self.solution.step(self.sums.gradient, missing)
            self.problem.constraints.make_feasible(moved, _FEASIBLE)
            self.step = (moved - self.parameter)[self.problem.variable]
        if not np.isfinite(self.step).all():
            raise FitError(
                "the solution is not a number: the matrix of the global parameters is singular", _NOT_A_NUMBER
            )
        self.gain = float(self.step @ self.sums.gradient)
        # As in pede, but for the last digit of F: how small a gradient its rounding leaves is a matter of chance.
        longest = float(np.sqrt(max(self.step @ self.step, self.sums.gradient @ self.sums.gradient)))
        self.noise = _EPSILON * max(16 * longest, self.sums.chi2)
        return self.gain > -self.noise or self._solve_again()

    def _solve_again(self) -> bool:
        """Sum the matrix anew, once, if the expected increase is as small as rounding may make it."""
        if self.gain <= -1e-3 or self.summed_again:
            self.not_decreasing = True
            self.warnings.append(f"F is not expected to decrease (by {self.gain:.3g}): the fit stopped before")
            return False
        self.summed_again = True
        self.iteration -= 1
        self.solved = False
        self._evaluate(matrix=True)
        return self._solve()

    def _move_along(self) -> bool:
        """Follow the step until the line search is content; False if a single step is all that is to be done."""
        search = None
        if self._is_searched():
            search = LineSearch(self.settings.search.slope_ratio, self.points)
            self.points = self.settings.search.points
        outcome = self._move(search)
        if self.settings.single_step or self._ends_early():
            return False
        self._evaluate(matrix=False)
        while search is not None and outcome is Outcome.RECALCULATE:
            outcome = self._move(search)
            self.iterations[-1] = self.notes.searched(self.iterations[-1], search, outcome)
            if outcome is Outcome.RECALCULATE:
                self._evaluate(matrix=False)
        return True

    def _is_searched(self) -> bool:
        """Whether the step is scaled by a line search; pede's mode 2 leaves it out while the cut on chi2 is loose."""
        mode = self.settings.search.mode
        last = self.gain <= self.settings.limit or self.iteration >= self.settings.iterations
        wanted = mode > 2 or (self.cut < 2.25 and (mode == 2 or (mode == 1 and last)))
        return wanted and self.gain > self.noise

    def _move(self, search: LineSearch | None) -> Outcome:
        distance, outcome = (1.0, Outcome.NONE)
        if search is not None:
            distance, outcome = search.advance(-float(self.sums.gradient @ self.step))
        self.parameter[self.problem.variable] += distance * self.step
        return outcome

    def _result(self) -> FitResult:
        problem, sums = self.problem, self.sums
        with self._timed("errors"):
            covariance = self.solution.covariance()
            variances = self.solution.variances() if covariance is None else np.diag(covariance)
        # With constraints a variance may be smaller than alone, and there is no global correlation then.
        with np.errstate(divide="ignore", invalid="ignore"):
            correlations = np.sqrt(1.0 - 1.0 / (variances * self.solution.diagonal()))
        verdict = self._verdict()
        return FitResult(
            verdict=verdict,
            message=MESSAGES[verdict],
            loops=self.loops,
            chi2=sums.chi2,
            ndf=sums.ndf,
            fitted=self._fitted(),
            mean_weight=self._mean_weight(),
            records=self.data.records,
            rejects=dict(zip(REJECT_CAUSES, sums.rejected.tolist(), strict=True)),
            labels=problem.labels,
            values=self.parameter,
            starts=problem.start,
            errors=problem.spread(np.sqrt(np.maximum(variances, 0.0)), np.nan),
            presigmas=problem.presigmas,
            counts=problem.counts,
            accepted=problem.spread(sums.accepted, 0),
            correlations=problem.spread(correlations, np.nan),
            variable=problem.variable,
            covariance=covariance,
            iterations=self.iterations,
            warnings=list(dict.fromkeys(self.warnings)),
            seconds=self.seconds,
            column=self.settings.column,
            few=self.settings.entries_accepted,
        )

    def _fitted(self) -> int:
        return len(self.problem.variable) - self.problem.constraints.count

    def _mean_weight(self) -> float:
        """Of the degrees of freedom, by the weights of the files."""
        return self.sums.weighted_ndf / self.sums.ndf if self.sums.ndf else 1.0

    def _verdict(self) -> int:
        """Code of the worst thing that happened; each is in the warnings too."""
        ratio = self.sums.chi2 / self._mean_weight() / max(1, self.sums.ndf - self._fitted())
        verdict = self.findings.verdict(self.sums, ratio, loops=self.loops, warnings=self.warnings)
        if self.data.damaged:
            return _BAD_FILES
        bad = self.rank_defect or self.problem.dependent or self.not_decreasing or self.group_defect
        return _BAD_MATRIX if bad else verdict

    def _show_records(self) -> str:
        from fiducial.alignment.fit.recordview import show_records

        self.progress("showing records")
        cuts = self.settings.cuts(self.cut, first_loop=self.loops == 1)
        return show_records(self.data, self.problem.labels, self.parameter, self.settings.records, cuts)
