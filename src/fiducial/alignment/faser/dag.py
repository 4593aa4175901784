"""An alignment as a DAG, in the folders and under the names that FASER's users know."""

from __future__ import annotations

from fiducial.alignment.faser.layout import FOLDERS
from fiducial.batch.planned.plan import Layout
from fiducial.core.variables import Scope
from fiducial.core.workflow import Workflow

__all__ = ["is_alignment", "layout"]

#: Steps that take no time: the script before an iteration runs them where DAGMan runs.
_LOCAL = frozenset({"start", "constants"})
#: Variables that name the folders in which steps have their files.
_PLACES = {"reco": "reco_folder", "millepede": "fit_folder"}


def is_alignment(workflow: Workflow) -> bool:
    """Whether a workflow is one of those that ``fiducial align`` makes."""
    return {*FOLDERS, "first_iteration"} <= workflow.variables.keys() and {*_LOCAL, *_PLACES} <= workflow.steps.keys()


def layout(workflow: Workflow, scope: Scope) -> Layout:
    """Names of files in the DAG of an alignment.

    Args:
        scope: the campaign's variables.
    """
    first = int(workflow.variables["first_iteration"])

    def place(variable: str, iteration: int) -> str:
        return str(scope.context({"iteration": iteration})[variable])

    def folder(step: str, iteration: int) -> str:
        if step in _LOCAL:
            return place("iter", max(iteration, 1))
        if not iteration:
            return step
        return place(_PLACES[step], iteration) if step in _PLACES else f"{place('iter', iteration)}/{step}"

    return Layout(
        dag="alignment.dag",
        iteration=lambda iteration: place("iter", iteration),
        step=folder,
        number=lambda iteration: first + iteration - 1,
        begin="pre_reco.sh",
        local=_LOCAL,
        wrappers={"millepede": "run_millepede.sh"},
        folders=lambda iteration: tuple(place(folder, iteration) for folder in _known_from_the_beginning(workflow)),
    )


def _known_from_the_beginning(workflow: Workflow) -> tuple[str, ...]:
    """Variables that name folders of an iteration; that of the ntuples is a link where the data lie elsewhere."""
    return ("reco_folder",) if workflow.variables.get("data_folder") else ("reco_folder", "ntuple_folder")
