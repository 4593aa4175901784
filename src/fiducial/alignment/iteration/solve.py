"""One iteration's fit: all ntuples and the constants that made them in, new constants and a summary out."""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fiducial.alignment.constants.values import (
    Constants,
    accumulate,
    checksum,
    corrections,
    fingerprint,
    format_constants,
    read_constants,
)
from fiducial.alignment.fit.outputs.files import NAMES
from fiducial.alignment.fit.outputs.res import result_text
from fiducial.alignment.iteration.convert import Selection, append_records, branches, choose
from fiducial.alignment.iteration.meter import metered
from fiducial.alignment.iteration.recipe import Step
from fiducial.alignment.iteration.steeringfiles import BINARY, FILES, write_steering
from fiducial.alignment.iteration.summary import Fitted, Gathered, Setup, fit_summary, metrics, summarize
from fiducial.alignment.mille.writer import MilleOutput
from fiducial.alignment.tracker.geometry import Placement, place
from fiducial.alignment.tracker.ntuple import TrackTable, read_ntuple
from fiducial.alignment.tracker.numbering import reader
from fiducial.alignment.tracker.projection import true_residuals
from fiducial.alignment.tracker.simulation import read_truth
from fiducial.alignment.verdict import FitError
from fiducial.core.errors import DataError, NotFoundError, UsageError
from fiducial.core.jsontext import json_text
from fiducial.storage.replace import keep_apart, replace_text

if TYPE_CHECKING:
    from fiducial.alignment.fit.result import FitResult

__all__ = ["Outputs", "find_ntuples", "solve"]

#: Verdicts of the fit with which its result can be used: normal end, and a chi2 that does not fit the errors, which
#: is how every alignment begins.
_ACCEPTED = (0, 1)
_RESIDUAL = "fitParam_align_local_residual_x"


@dataclass(frozen=True)
class Outputs:
    """What a solve step writes.

    Args:
        folder: for the fit's own files.
        constants: the new constants.
        summary: the iteration's summary.
        metrics: name -> number, for the workflow's decisions; none is written without a path.
        keep_records: whether the Mille file stays.
    """

    folder: Path
    constants: Path
    summary: Path
    metrics: Path | None = None
    keep_records: bool = True


def find_ntuples(places: Sequence[Path]) -> list[Path]:
    """Turn files and folders into files, in the order of their names inside each folder; each file once.

    Raises:
        NotFoundError: a place does not exist, or a folder holds no ``.root`` file.
    """
    files: list[Path] = []
    for place_ in places:
        found = sorted(place_.glob("*.root")) if place_.is_dir() else [place_]
        if not found or not found[0].exists():
            raise NotFoundError(f"{place_}: no ntuple", hint="give .root files, or folders that hold some")
        files += found
    return list({path.resolve(): path for path in files}.values())


def solve(
    ntuples: Sequence[Path], constants: Path, outputs: Outputs, setup: Setup, truth: Path | None = None
) -> dict[str, Any]:
    """Fit one iteration's parameters and write new constants.

    Whatever an earlier try wrote is removed when the inputs have been looked at, and the new constants are written
    last: they are there only if everything went well.

    Returns:
        the summary.

    Raises:
        ConfigurationError: the recipe does not fit the detector.
        DataError: an input is damaged, no track is left, or the fit did not end well.
        NotFoundError: an input is missing.
        UsageError: an output is an input, too.
    """
    keep_apart([outputs.constants, outputs.summary, outputs.metrics], [*ntuples, constants, truth])
    detector, plan = setup.detector, setup.plan
    plan.check()
    before = read_constants(constants, detector)
    _remove_stale(outputs, setup)
    steps: list[dict[str, Any]] = []
    with ExitStack() as stack:
        study = _study(truth, setup, stack)
        with metered(steps, "convert"):
            gathered = _convert(ntuples, before, outputs.folder, setup, study)
        fitted = _fit(outputs.folder, setup, steps)
        expected = _fit(study.folder, replace(setup, pede=None), []) if study else None
    after = accumulate(before, corrections(detector, _heard(fitted, setup), reader(plan.known)))
    summary = summarize(setup, ntuples, gathered, steps, fitted, expected)
    if not summary["convergence"]["determined"]:
        raise DataError(
            f"no parameter is determined: all errors are above {setup.recipe.determined:g} of the presigmas",
            hint=f"more tracks are needed, or larger presigmas; compare both in {outputs.folder / 'millepede.res'}",
        )
    _write(summary, constants, after, outputs)
    return summary


def _remove_stale(outputs: Outputs, setup: Setup) -> None:
    try:
        outputs.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{outputs.folder}: no folder can be made: {error.strerror}") from None
    folders = [outputs.folder, *(outputs.folder / step.name for step in setup.recipe.steps[:-1])]
    names = [*FILES, *NAMES, *(f"{name}~" for name in NAMES)]
    own = [folder / name for folder in folders for name in names]
    for path in (outputs.constants, outputs.summary, outputs.metrics, *own):
        if path is not None:
            path.unlink(missing_ok=True)


def _heard(fitted: Fitted, setup: Setup) -> dict[int, float]:
    """What was fitted or held, without what should have been fitted and had too few hits.

    Nothing is known of such a side of a module, while one that the recipe holds is known to stay.
    """
    wanted = {label for step in setup.recipe.steps for label in setup.plan.free(step)}
    return {label: value for label, value in fitted.values.items() if label in fitted.step or label not in wanted}


@dataclass(frozen=True)
class _Study:
    """The same fit once more, with what the truth would give."""

    placement: Placement
    folder: Path


def _study(truth: Path | None, setup: Setup, stack: ExitStack) -> _Study | None:
    if truth is None:
        return None
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fiducial-truth-"))
    return _Study(place(setup.detector, read_truth(truth)), Path(folder))


def _convert(ntuples: Sequence[Path], before: Constants, folder: Path, setup: Setup, study: _Study | None) -> Gathered:
    """Write the records of all ntuples; those of the study get the residuals that the truth would cause."""
    gathered = Gathered(setup.detector)
    present = place(setup.detector, before)
    scheme = setup.recipe.parameters.scheme
    with ExitStack() as stack:
        records = stack.enter_context(MilleOutput(folder / BINARY))
        others = stack.enter_context(MilleOutput(study.folder / BINARY)) if study else None
        for path, table in _tables(ntuples, before, branches(scheme)):
            chosen = _choose(path, table, setup)
            _gather(gathered, table, chosen, setup.detector.track_parameters)
            append_records(records, setup.detector, table, chosen, scheme, table.hits[_RESIDUAL])
            if study and others:
                residual = true_residuals(setup.detector, table, chosen.sensor, present, study.placement)
                append_records(others, setup.detector, table, chosen, scheme, residual)
    if not gathered.counts.used_tracks:
        dropped = {reason: number for reason, number in gathered.counts.dropped_tracks.items() if number}
        raise DataError(f"none of {gathered.counts.tracks} tracks can be used; dropped by reason: {dropped}")
    return gathered


def _tables(ntuples: Sequence[Path], constants: Constants, wanted: Sequence[str]) -> Iterator[tuple[Path, TrackTable]]:
    for path in ntuples:
        for table in read_ntuple(path, wanted, constants=fingerprint(constants)):
            yield path, table


def _choose(path: Path, table: TrackTable, setup: Setup) -> Selection:
    try:
        return choose(setup.detector, table, setup.recipe.cuts)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint) from None


def _gather(gathered: Gathered, table: TrackTable, chosen: Selection, track_parameters: int) -> None:
    hits = chosen.track_passed[table.track]
    gathered.residuals.add(chosen.sensor[hits], table.hits[_RESIDUAL][hits])
    gathered.counts += chosen.counts
    gathered.chi2 += float(table.scalars["fitParam_chi2"][chosen.track_passed].sum())
    gathered.ndf += int(table.counts[chosen.track_passed].sum()) - track_parameters * int(chosen.track_passed.sum())


def _fit(folder: Path, setup: Setup, meters: list[dict[str, Any]]) -> Fitted:
    """Do the recipe's steps: the last in the folder itself, those before it in folders of their own.

    The files of the last one say everything, for what the others found is in them as values that are held.
    """
    results: dict[str, FitResult] = {}
    values: dict[int, float] = {}
    for step in setup.recipe.steps:
        last = step is setup.recipe.steps[-1]
        with metered(meters, step.name) as meter:
            result = results[step.name] = _fit_step(folder if last else folder / step.name, setup, step, values)
            meter |= {"folder": "." if last else step.name, "free": len(result.variable),
                      "constraints": len(result.variable) - result.fitted, **fit_summary(result)}  # fmt: skip
        values = dict(zip(result.labels.tolist(), result.values.tolist(), strict=True))
    fitted = _merged(results)
    # For the files, what any step has fitted was variable; the covariance is that of the last one.
    variable = np.unique(np.concatenate([result.variable for result in results.values()]))
    shown = replace(fitted.result, variable=variable)
    if len(results) > 1 and setup.pede is None:
        shown.write(folder)
    elif len(results) > 1:  # the other files are pede's own
        replace_text(folder / "millepede.res", result_text(shown))
        replace_text(folder / "millepede.json", json_text(shown.to_json(), indent=1) + "\n")
    return fitted


def _fit_step(folder: Path, setup: Setup, step: Step, held: Mapping[int, float]) -> FitResult:
    records = BINARY if step is setup.recipe.steps[-1] else f"../{BINARY}"
    folder.mkdir(exist_ok=True)
    steering = write_steering(folder, setup.plan, step, held, records)
    try:
        result = _fit_result(steering, folder, setup)
    except FitError as error:
        why = f"the fit was aborted (verdict {error.verdict}): {error.message}"
        named = FitError(f"step {step.name}: {why}", error.verdict, hint=error.hint)
        named.warnings = error.warnings
        raise named from None
    if result.verdict not in _ACCEPTED:
        bad = DataError(
            f"step {step.name}: the fit ended with verdict {result.verdict}: {result.message}",
            hint=f"its constants are not used; what it was told lies in {folder}",
        )
        bad.warnings = result.warnings
        raise bad
    if np.isnan(result.errors[result.variable]).any():
        raise DataError(
            f"step {step.name}: method {setup.recipe.options(step).method} gives no errors, and without them nothing "
            "says whether the alignment has converged",
            hint="let the recipe's fit.method be inversion",
        )
    return result


def _fit_result(steering: Path, folder: Path, setup: Setup) -> FitResult:
    if setup.pede is None:
        from fiducial.alignment.fit.millepede import fit_into

        return fit_into(steering, folder, threads=setup.threads)
    from fiducial.alignment.fit.external import fit_with

    result = fit_with(setup.pede, steering, folder, threads=setup.threads)
    return replace(result, counts=np.where(result.counts < 0, result.accepted, result.counts))


def _merged(results: dict[str, FitResult]) -> Fitted:
    """Values, errors and presigmas from the step that fitted each parameter last."""
    *_, last = results.values()
    errors, presigmas = last.errors.copy(), last.presigmas.copy()
    # pede counts nothing for a parameter that it holds
    counts = np.max([result.counts for result in results.values()], axis=0)
    steps: dict[int, str] = {}
    for name, result in results.items():
        errors[result.variable] = result.errors[result.variable]
        presigmas[result.variable] = result.presigmas[result.variable]
        steps |= dict.fromkeys(result.labels[result.variable].tolist(), name)
    starts = last.starts if len(results) == 1 else np.zeros_like(last.starts)
    return Fitted(replace(last, errors=errors, presigmas=presigmas, starts=starts, counts=counts), steps, results)


def _write(summary: dict[str, Any], constants: Path, after: Constants, outputs: Outputs) -> None:
    """Write everything, the new constants last."""
    text = format_constants(after)
    summary["constants"] = {
        "before": {"path": str(constants), "adler32": checksum(constants)},
        "after": {"path": str(outputs.constants), "adler32": f"{zlib.adler32(text.encode()):08x}"},
    }
    if not outputs.keep_records:
        (outputs.folder / BINARY).unlink()
    if outputs.metrics is not None:
        replace_text(outputs.metrics, json.dumps(metrics(summary), indent=1, allow_nan=False) + "\n")
    replace_text(outputs.summary, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    replace_text(outputs.constants, text)
