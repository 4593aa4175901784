"""Options of the fit, with pede's defaults, from a steering file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from fiducial.alignment.fit.loops import Cuts
from fiducial.alignment.fit.reading import Reading
from fiducial.alignment.steering.reader import Option, Steering

__all__ = ["Search", "Settings", "Solver"]

ITERATIVE = {"fullMINRES", "sparseMINRES", "fullMINRES-QLP", "sparseMINRES-QLP"}
_ALL = 2**31 - 1  # pede's largest integer


@dataclass(frozen=True, slots=True)
class Solver:
    """How the global system is to be solved.

    Args:
        where: file and line of the method, or "".
        method: name as in the manual, e.g. "inversion" or "sparseMINRES".
        tolerance: of the iterative methods, `mrestol`.
        mode: of MINRES-QLP, `mresmode`: 1 only QR, 2 only QLP, other QR and then QLP.
        transition: condition of the matrix at which MINRES-QLP goes over to QLP, `mrestranscond`.
        bandwidth: of the preconditioner; 0: the diagonal, negative: none.
        skyline: whether the band keeps the rank (second number of `bandwidth`).
        multipliers: constraints by Lagrange multipliers instead of elimination.
        error_labels: labels whose errors are wanted from an iterative method, at most 100.
        pair_entries: entries that a pair of parameters needs to have its element in a sparse matrix.
    """

    where: str = ""
    method: str = "sparseMINRES"
    tolerance: float = 1e-6
    mode: int = 0
    transition: float = 1e7
    bandwidth: int = 0
    skyline: bool = False
    multipliers: bool = False
    error_labels: tuple[int, ...] = ()
    pair_entries: int = 0

    @property
    def iterative(self) -> bool:
        """Whether the method comes near to the solution in steps."""
        return self.method in ITERATIVE

    @property
    def sparse(self) -> bool:
        """Whether only elements of the matrix that are not zero are kept."""
        return self.method.startswith("sparse")


@dataclass(frozen=True, slots=True)
class Search:
    """Line search; see `LineSearch`.

    Args:
        mode: 0 never, 1 in the last iteration, 2 where the cut on chi2 is near 1, 3 always.
        slope_ratio: fraction of the first slope at which it has converged.
        first_points: slopes that the first search looks at before it may converge.
        points: the same for later ones.
    """

    mode: int = 2
    slope_ratio: float = 0.5
    first_points: int = 1
    points: int = 3

    @classmethod
    def of(cls, mode: int, method: str) -> Search:
        """The one that belongs to a method."""
        if method in ITERATIVE:
            return cls(mode, 0.1, 3, 4)
        return cls(mode, 0.5, 2 if method == "diagonalization" else 1, 3)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the steering says about the fit.

    Args:
        solver: how the global system is solved.
        search: how the line search goes.
        reading: what of the data is read.
        entries: derivatives in the data that a variable parameter needs.
        entries_accepted: the same in accepted records, at the end.
        iterate_entries: parameters with less than this are counted again without measurements that have a parameter
            below `entries`; 0: none.
        presigma: of parameters that have none of their own; 0: none.
        regularisation: factor on the presigma weights.
        regularised: whether these weights pull the values to 0, not only damp the first step.
        huge: factor of the cut that is always on.
        first_cut: factor on chi2 in the first loop; 0: off, less: even the huge cut is off.
        second_cut: in the second loop; later loops take its square root, down to 1.
        local_iterations: of the local fit from the second loop on; above 1 down-weights outliers.
        down_weight: largest fraction of down-weighting; 0: any.
        condition: decimal logarithm of the largest condition of a band local fit; 0: any.
        band: whether local fits with band structure are solved as such.
        pulls: loops in which pulls of local fits are wanted.
        pull_range: of their histograms; 0: from the data.
        monitoring: what `monitorresiduals` or `monitorpulls` asks for; 0: nothing.
        monitor_pulls: pulls instead of residuals.
        monitor_bins: bins of it.
        iterations: global iterations at most.
        limit: expected decrease of F that ends them.
        matrix_iterations: the matrix is summed again in iterations below this.
        single_step: stop after one step.
        force: go on with a rank defect.
        feasible_start: whether start values are moved onto the constraints.
        skip_empty: whether constraints without variable parameter are left out.
        resolve_redundant: whether parameters that constraints determine alone are fixed, without the constraints.
        check: 1 or more: only look at the input; above 1 also where parameters appear.
        check_groups: whether parameters that appear together only are checked for dependences.
        rejects_warning: percentage of rejected records that is warned of.
        records: numbers of up to two records to be shown; negative: the one with the largest residual, chi2/ndf.
        threads: wanted; 0: not said.
        column: what is written besides for each parameter, see `FitResult`.
        histograms: whether histograms are printed too.
    """

    solver: Solver = field(default_factory=Solver)
    search: Search = field(default_factory=Search)
    reading: Reading = field(default_factory=Reading)
    entries: int = 25
    entries_accepted: int = 10
    iterate_entries: int = 0
    presigma: float = 0.0
    regularisation: float = 1.0
    regularised: bool = False
    huge: float = 50.0
    first_cut: float = 0.0
    second_cut: float = 0.0
    local_iterations: int = 1
    down_weight: float = 0.0
    condition: float = 0.0
    band: bool = True
    pulls: int = 0
    pull_range: float = 0.0
    monitoring: int = 0
    monitor_pulls: bool = False
    monitor_bins: int = 100
    iterations: int = 1
    limit: float = 0.0
    matrix_iterations: int = 0
    single_step: bool = False
    force: bool = False
    feasible_start: bool = True
    skip_empty: bool = False
    resolve_redundant: bool = False
    check: int = 0
    check_groups: bool = False
    rejects_warning: float = 1.0
    records: tuple[int, int] = (0, 0)
    threads: int = 0
    column: str = ""
    histograms: bool = False

    @classmethod
    def of(cls, steering: Steering) -> Settings:
        """Read them, keyword after keyword.

        Raises:
            SteeringError: the method is not one that this fit knows.
        """
        given: dict[str, Any] = {}
        for option in steering.given:
            if option.keyword in _MEANINGS:
                given |= _MEANINGS[option.keyword](option, given)
        method = steering.method
        given |= {"iterations": method.iterations, "limit": method.limit, "column": _column(given)}
        given["matrix_iterations"] = min(given.get("matrix_iterations", 0), method.iterations)
        given["search"] = Search.of(given.get("linesearch", 2), method.name)
        solver = Solver(method.where, method.name, **_parts(given, Solver))
        if given.get("check", 0) > 0:
            given["lenient"] = True  # so that all that is wrong is found at once
        reading = Reading(**_parts(given, Reading))
        settings = cls(solver=solver, reading=reading, **_parts(given, cls))
        if method.name == "decomposition" and solver.multipliers:  # pede's LDLᵀ has no pivots
            settings = replace(settings, solver=replace(solver, multipliers=False))
        return settings

    def cuts(self, large: float, *, first_loop: bool) -> Cuts:
        """What a loop demands of records."""
        return Cuts(self.huge, large, self.down_weight, 1 if first_loop else self.local_iterations)


def _parts(given: dict[str, Any], kind: Any) -> dict[str, Any]:
    return {name: given[name] for name in (part.name for part in fields(kind)) if name in given}


_Meaning = Callable[[Option, dict[str, Any]], dict[str, Any]]


def _always(_: float) -> bool:
    return True


def _flag(**values: Any) -> _Meaning:
    return lambda option, given: values


def _number(
    name: str,
    default: float | None = None,
    read: Callable[[float], Any] = float,
    place: int = 0,
    accepts: Callable[[float], bool] = _always,
) -> _Meaning:
    """One of the numbers after a keyword, if it is there and accepted; else the default, if there is one."""

    def meaning(option: Option, given: dict[str, Any]) -> dict[str, Any]:
        number = option.numbers[place] if len(option.numbers) > place else default
        return {name: read(number)} if number is not None and accepts(number) else {}

    return meaning


def _positive(name: str, place: int = 0) -> _Meaning:
    """An integer, unless it is too small."""
    return _number(name, None, round, place, lambda number: number > 0.5)


def _all(*meanings: _Meaning) -> _Meaning:
    """Several meanings together."""
    return lambda option, given: {name: value for mean in meanings for name, value in mean(option, given).items()}


def _entries(option: Option, given: dict[str, Any]) -> dict[str, Any]:
    found = _positive("entries")(option, given) | _positive("entries_accepted", 1)(option, given)
    if len(option.numbers) > 2 and option.numbers[2] > 0.5:
        found["iterate_entries"] = round(option.numbers[0] * option.numbers[2])
    return found


def _chi2_cuts(option: Option, given: dict[str, Any]) -> dict[str, Any]:
    """Factors for the first and the second loop."""
    numbers = option.numbers
    first = 1.0 if not numbers else numbers[0] if numbers[0] >= 1 else -1.0
    second = 1.0 if len(numbers) < 2 else max(numbers[1], 1.0)
    return {"first_cut": first, "second_cut": min(first, second) if first >= 1 else second}


def _regularisation(option: Option, given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"regularised": True, "regularisation": option.numbers[0]}
    return found | ({"presigma": option.numbers[1]} if len(option.numbers) > 1 else {})


def _local_iterations(number: float) -> int:
    return max(round(number), 2) if round(number) > 0 else 1


def _is_set(number: float) -> bool:
    return round(number) > 0


def _scale_errors(option: Option, given: dict[str, Any]) -> dict[str, Any]:
    if not option.numbers:
        return {}
    return {"global_scale": option.numbers[0], "local_scale": option.numbers[min(1, len(option.numbers) - 1)]}


def _monitoring(option: Option, given: dict[str, Any]) -> dict[str, Any]:
    found = _number("monitoring", 3, round)(option, given)
    if option.keyword == "monitorpulls":
        found["monitor_pulls"] = True
    if len(option.numbers) > 1:
        found["monitor_bins"] = max(given.get("monitor_bins", 100), round(option.numbers[1]))
    return found


def _error_labels(option: Option, given: dict[str, Any]) -> dict[str, Any]:
    labels = (*given.get("error_labels", ()), *(round(number) for number in option.numbers))
    return {"error_labels": labels[:100]}


def _records(option: Option, given: dict[str, Any]) -> dict[str, Any]:
    first, second = given.get("records", (0, 0))
    numbers = [round(number) for number in option.numbers]
    return {"records": (numbers[0] if numbers else first, numbers[1] if len(numbers) > 1 else second)}


# What is missing here is about output, memory or pede's own work only; see the reference of the steering language.
_MEANINGS: dict[str, _Meaning] = {
    "entries": _entries,
    "printrecord": _records,
    "maxrecord": _positive("most_records"),
    "chisqcut": _chi2_cuts,
    "hugecut": _number("huge", None, lambda number: max(number, 1.0)),
    "linesearch": _number("linesearch", None, round),
    "localfit": _all(_number("pulls", None, round), _number("band", None, _is_set, 1)),
    "regularisation": _regularisation,
    "presigma": _number("presigma"),
    "matiter": _number("matrix_iterations", None, round),
    "bandwidth": _all(
        _number("bandwidth", None, lambda number: max(round(number), -1)), _number("skyline", None, _is_set, 1)
    ),
    "outlierdownweighting": _number("local_iterations", None, _local_iterations),
    "outlierfracwarnthreshold": _number("rejects_warning"),
    "dwfractioncut": _number("down_weight", None, lambda number: float(np.float32(min(number, 0.5)))),
    "maxlocalcond": _number("condition", accepts=lambda number: number > 0),
    "pullrange": _number("pull_range", None, abs),
    "subito": _flag(single_step=True),
    "force": _flag(force=True),
    "globalcorr": _flag(globalcorr=True),
    "printcounts": _number("printcounts", 1, round),
    "skipemptycons": _flag(skip_empty=True),
    "resolveredundancycons": _flag(resolve_redundant=True),
    "withelimination": _flag(multipliers=False),
    "withlapackelimination": _flag(multipliers=False),
    "withmultipliers": _flag(multipliers=True),
    "checkinput": _number("check", 1, round),
    "checkparametergroups": _flag(check_groups=True),
    "monitorresiduals": _monitoring,
    "monitorpulls": _monitoring,
    "scaleerrors": _scale_errors,
    "iterateentries": _number("iterate_entries", _ALL, round),
    "threads": _positive("threads"),
    "countrecords": _flag(by_record=True),
    "errlabels": _error_labels,
    "pairentries": _positive("pair_entries"),
    "mrestol": _number("tolerance", accepts=lambda number: 1e-10 <= number <= 1e-4),
    "mrestranscond": _number("transition"),
    "mresmode": _number("mode", None, int),
    "nofeasiblestart": _flag(feasible_start=False),
    "histprint": _flag(histograms=True),
    "readerroraseof": _flag(lenient=True),
}


def _column(given: dict[str, Any]) -> str:
    counts = given.get("printcounts", 0)
    if counts:
        return "counts" if counts > 1 else "accepted"
    return "correlations" if given.get("globalcorr") else ""
