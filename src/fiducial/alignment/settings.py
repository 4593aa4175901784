"""Options of the fit, with pede's defaults, from a steering file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fiducial.alignment.loops import Cuts
from fiducial.alignment.steering import Steering
from fiducial.core.errors import SteeringError

__all__ = ["Settings"]

_EXACT = {"inversion", "diagonalization", "decomposition"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the steering says about the fit.

    Args:
        entries: derivatives in the data that a variable parameter needs.
        entries_accepted: the same in accepted records, at the end.
        presigma: of parameters that have none of their own; 0: none.
        regularisation: factor on the presigma weights.
        regularised: whether these weights pull the values to 0, not only damp the first step.
        huge: factor of the cut that is always on.
        first_cut: factor on chi2 in the first loop; 0: off, less: even the huge cut is off.
        second_cut: in the second loop; later loops take its square root, down to 1.
        local_iterations: of the local fit from the second loop on; above 1 down-weights outliers.
        down_weight: largest fraction of down-weighting; 0: any.
        iterations: global iterations at most.
        limit: expected decrease of F that ends them.
        matrix_iterations: the matrix is summed again in iterations below this.
        first_points: points before the first line search may converge.
        single_step: stop after one step.
        force: go on with a rank defect.
        feasible_start: whether start values are moved onto the constraints.
        skip_empty: whether constraints without variable parameter are left out.
        column: what is written besides for each parameter, see `FitResult`.
    """

    entries: int
    entries_accepted: int
    presigma: float
    regularisation: float
    regularised: bool
    huge: float
    first_cut: float
    second_cut: float
    local_iterations: int
    down_weight: float
    iterations: int
    limit: float
    matrix_iterations: int
    first_points: int
    single_step: bool
    force: bool
    feasible_start: bool
    skip_empty: bool
    column: str

    @classmethod
    def of(cls, steering: Steering) -> Settings:
        """Read them.

        Raises:
            SteeringError: the method is not one that this fit knows.
        """
        _check_method(steering)
        options, method = steering.options, steering.method

        def number(keyword: str, place: int, default: float) -> float:
            numbers = options.get(keyword, ())
            return numbers[place] if len(numbers) > place else default

        first, second = _chi2_cuts(options.get("chisqcut"))
        down = int(number("outlierdownweighting", 0, 0))
        return cls(
            entries=int(number("entries", 0, 25)),
            entries_accepted=int(number("entries", 1, 10)),
            presigma=number("regularisation", 1, number("presigma", 0, 0.0)),
            regularisation=number("regularisation", 0, 1.0),
            regularised="regularisation" in options,
            huge=max(number("hugecut", 0, 50.0), 1.0),
            first_cut=first,
            second_cut=second,
            local_iterations=max(down, 2) if down > 0 else 1,
            down_weight=float(np.float32(min(number("dwfractioncut", 0, 0.0), 0.5))),
            iterations=method.iterations,
            limit=method.limit,
            matrix_iterations=min(int(number("matiter", 0, 0)), method.iterations),
            first_points=1 if method.name == "inversion" else 2,
            single_step="subito" in options,
            force="force" in options,
            feasible_start="nofeasiblestart" not in options,
            skip_empty="skipemptycons" in options,
            column=_column(options),
        )

    def cuts(self, large: float, *, first_loop: bool) -> Cuts:
        """What a loop demands of records."""
        return Cuts(self.huge, large, self.down_weight, 1 if first_loop else self.local_iterations)


def _chi2_cuts(numbers: tuple[float, ...] | None) -> tuple[float, float]:
    """Factors for the first and the second loop."""
    if numbers is None:
        return 0.0, 0.0
    first = 1.0 if not numbers else numbers[0] if numbers[0] >= 1 else -1.0
    second = 1.0 if len(numbers) < 2 else max(numbers[1], 1.0)
    return first, min(first, second) if first >= 1 else second


def _column(options: dict[str, tuple[float, ...]]) -> str:
    if "printcounts" in options:
        return "counts" if max(options["printcounts"], default=1) > 1 else "accepted"
    return "correlations" if "globalcorr" in options else ""


def _check_method(steering: Steering) -> None:
    method = steering.method
    if method.name in _EXACT:
        return
    where = method.where or str(steering.path)
    given = f"method {method.name}" if method.where else f"no method is given, and the default {method.name}"
    raise SteeringError(f"{where}: {given} is not supported yet", hint="use `method inversion 3 0.001`")
