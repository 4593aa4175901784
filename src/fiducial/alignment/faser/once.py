"""One iteration that ends with the reconstruction: a campaign of its own, after which a fit by hand can follow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fiducial.alignment.faser.campaign import FILE, Plan, data_folder, plan
from fiducial.alignment.faser.layout import CONSTANTS, FOLDERS, Iteration, first_of, iteration
from fiducial.alignment.faser.recipes import usual_recipe
from fiducial.alignment.faser.request import Request, plain
from fiducial.core.errors import UsageError
from fiducial.core.tomltext import with_values
from fiducial.core.workflow import After, Input, Workflow
from fiducial.core.workflowfile import parse, resolved
from fiducial.engine.supervisor import prepare

__all__ = ["Once", "plan_once"]

#: Steps of a reconstruction alone.
_RECONSTRUCTION = ("start", "simulate", "reco")


@dataclass(frozen=True)
class Once:
    """One iteration that ends with the reconstruction.

    Args:
        whole: the campaign that would make all iterations, of which this is one.
        iteration: where it lies.
        before: the iteration whose fit it begins with; None for the first.
        constants: that it begins with; None for none.
    """

    whole: Plan
    iteration: Iteration
    before: Iteration | None
    constants: Path | None

    @property
    def base(self) -> Path:
        """Folder of all iterations."""
        return self.whole.prepared.folder

    @property
    def number(self) -> int:
        """Of the iteration."""
        return self.iteration.number


def plan_once(request: Request, number: int, *, simulate: bool) -> tuple[Plan, Once]:
    """The campaign of one iteration's reconstruction: its folder is the iteration's.

    Raises:
        UsageError: something is missing in the request, or does not go with one iteration.
    """
    whole = plan(request, simulate=simulate)
    once = _once(whole, number)
    source = parse(with_values(whole.source.text, _values(once, simulate=simulate)), Path(FILE))
    workflow = _only_reconstruction(resolved(source))
    return replace(whole, source=source, prepared=prepare(workflow, {}, workflow_folder=source.folder)), once


def _once(whole: Plan, number: int) -> Once:
    first = first_of(whole.prepared)
    if number < first:
        raise UsageError(f"there is no iteration {number}: the first one is {first}", hint=f"-i {first}")
    before = iteration(whole.prepared, number - 1) if number > first else None
    constants = before.constants if before else whole.request.initial_constants
    return Once(whole, iteration(whole.prepared, number), before, constants)


def _values(once: Once, *, simulate: bool) -> dict[str, Any]:
    """What the one iteration has otherwise than the workflow of all, by dotted place."""
    request, reco = once.whole.request, _inside(once, "reco_folder", once.iteration.reco)
    values: dict[str, Any] = {
        "variables.reco_folder": reco,
        "variables.ntuple_folder": _inside(once, "ntuple_folder", once.iteration.ntuples),
        "variables.fit_folder": _inside(once, "fit_folder", once.iteration.fit),
        "variables.recipe": request.recipe or usual_recipe(request.stations or 3, _first_constants(once.whole)),
        "variables.initial_constants": plain(once.constants or "", "the constants to begin with"),
        "steps.start.outputs.constants.path": f"{reco}/{CONSTANTS}",
        "campaign": f"{once.whole.prepared.name}_iter{once.number:02d}",
        "folder": plain(once.iteration.folder, "the folder"),
    }
    data = data_folder(once.whole)
    if data is not None:
        values["variables.data_folder"] = plain(data / once.iteration.folder.relative_to(once.base), "the folder")
    if simulate and "raw" not in request.variables:
        values["variables.raw"] = plain(once.base / "raw", "the folder")
    return values


def _inside(once: Once, name: str, folder: Path) -> str:
    if not folder.is_relative_to(once.iteration.folder):
        hint = f"it has to begin with {{{{ iter }}}} for --once; it is one of {', '.join(FOLDERS)}"
        raise UsageError(f"{name}: {folder} does not lie in the iteration's folder {once.iteration.folder}", hint=hint)
    return str(plain(str(folder.relative_to(once.iteration.folder)), name))


def _first_constants(whole: Plan) -> Path:
    """What the first iteration began with, by which all of them choose their recipe."""
    first = iteration(whole.prepared, first_of(whole.prepared))
    return whole.request.initial_constants or first.began_with


def _only_reconstruction(workflow: Workflow) -> Workflow:
    """Without iterations and all that comes after the reconstruction."""
    reco = workflow.steps["reco"]
    after = [After(step="start"), *(edge for edge in reco.after if edge.step != "constants")]
    inputs: dict[str, Input] = dict(reco.inputs)
    inputs["constants"] = Input.model_validate({"from": "start", "output": "constants"})
    once = {"reco": reco.model_copy(update={"iterate": False, "after": after, "inputs": inputs})}
    steps = {name: once.get(name, step) for name, step in workflow.steps.items() if name in _RECONSTRUCTION}
    return workflow.model_copy(update={"steps": steps, "iteration": None})
