"""Look at the input of a fit without a fit: what `checkinput` asks for.

The result file has the form that pede gives it: each line of a parameter starts with ``!``, so that the file, read as
text file of a fit, says nothing. What pede reports besides about pairs of parameters serves its storage of sparse
matrices and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fiducial.alignment.fit.appearance import Appearance
from fiducial.alignment.fit.combinations import groups
from fiducial.alignment.fit.loops import Data
from fiducial.alignment.fit.problem import REDUNDANT, VARIABLE, Problem
from fiducial.alignment.fit.result import MESSAGES, REJECT_CAUSES, FitResult, g14_5
from fiducial.alignment.fit.settings import Settings
from fiducial.alignment.steering.reader import Combination

__all__ = ["check_input"]

_BAD_FILES = 4


def check_input(
    problem: Problem, constraints: list[Combination], settings: Settings, data: Data, warnings: list[str]
) -> FitResult:
    """A result at the start values, whose `checked` says what was found."""
    found = groups(constraints)
    appearance = Appearance(problem.labels, data.files, [labels for labels, _ in found])
    appearance.look(data.blocks())
    lines = [*_parameters(problem, appearance, found)]
    if settings.check > 1:
        lines += _appearances(problem, appearance)
    if found:
        lines += _groups(problem, settings, appearance, found)
    return _at_start(problem, settings, data, warnings, "".join(f" {line}\n" for line in lines))


def _parameters(problem: Problem, appearance: Appearance, found: list[tuple[set[int], list[int]]]) -> Iterator[str]:
    yield "*** Results of checking input only, no solution performed ***"
    yield "! === global parameters ==="
    yield "! fixed-1: by pre-sigma, -2: by entries cut, -3: by iterated entries cut"
    yield "!      Label       Value     Pre-sigma         Entries Cons. group  Status "
    member = {label: k for k, (labels, _) in enumerate(found, 1) for label in labels}
    starts = appearance.starts()
    for k, label in enumerate(problem.labels.tolist()):
        status = int(problem.status[k])
        how = "variable" if status == VARIABLE else "redundant" if status == REDUNDANT else f"fixed{status:2d}"
        yield (
            f"!{'>' if starts[k] else ' '}{label:10d}  {g14_5(problem.start[k])}{g14_5(problem.presigmas[k])}"
            f"{problem.counts[k]:12d}{member.get(label, 0):12d}  {how}"
        )


def _appearances(problem: Problem, appearance: Appearance) -> Iterator[str]:
    yield "!."
    yield "!.Appearance statistics "
    yield "!.     Label  First file and record  Last file and record   #files"
    for k, label in enumerate(problem.labels.tolist()):
        yield f"!.{label:10d}{_places(appearance, k)}"


def _places(appearance: Appearance, k: int) -> str:
    places = [*appearance.first[k], *appearance.last[k], appearance.in_files[k]]
    return "".join(f"{place:11d}" for place in places) if appearance.in_files[k] else ""


def _groups(
    problem: Problem, settings: Settings, appearance: Appearance, found: list[tuple[set[int], list[int]]]
) -> Iterator[str]:
    yield "* === constraint groups ==="
    yield "*  Group  #Cons.     Entries First label  Last label"
    variable, size = set(problem.labels[problem.variable].tolist()), len(problem.labels)
    for k, (labels, members) in enumerate(found):
        used = sorted(labels & variable) or [0]
        yield f"* {k + 1:6d}{len(members):8d}{appearance.entries[size + k]:12d}{used[0]:12d}{used[-1]:12d}"
    if settings.check > 1:
        yield "*."
        yield "*.Appearance statistics "
        yield "*.     Group  First file and record  Last file and record   #files"
        yield from (f"*.{k + 1:10d}{_places(appearance, size + k)}" for k in range(len(found)))


def _at_start(problem: Problem, settings: Settings, data: Data, warnings: list[str], checked: str) -> FitResult:
    verdict = _BAD_FILES if data.damaged else 0
    unknown = np.full(len(problem.labels), np.nan)
    return FitResult(
        verdict=verdict,
        message=MESSAGES[verdict],
        loops=0,
        chi2=0.0,
        ndf=0,
        fitted=len(problem.variable) - problem.constraints.count,
        records=data.records,
        rejects=dict.fromkeys(REJECT_CAUSES, 0),
        labels=problem.labels,
        values=problem.start,
        starts=problem.start,
        errors=unknown,
        presigmas=problem.presigmas,
        counts=problem.counts,
        accepted=np.zeros(len(problem.labels), np.int64),
        correlations=unknown,
        variable=problem.variable,
        covariance=np.zeros((0, 0)),
        warnings=warnings,
        obstacles=problem.obstacles,
        column=settings.column,
        checked=checked,
    )
