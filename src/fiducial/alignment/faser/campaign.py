"""From a request to a workflow: the text of a file that people can go on with, and the campaign that it makes."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from fiducial.alignment.faser import storage
from fiducial.alignment.faser.environment import DEFAULT, EnvironmentScript
from fiducial.alignment.faser.layout import must_be_apart, scope_of
from fiducial.alignment.faser.pede import CALL, Pede, PedeScripts
from fiducial.alignment.faser.recipes import recipe_of_sets, usual_recipe
from fiducial.alignment.faser.request import Request, plain
from fiducial.alignment.faser.storage import packaged_text
from fiducial.alignment.faser.variables import must_be_known, must_be_of_their_kind, must_leave_one_direction
from fiducial.core.filerange import format_range
from fiducial.core.tomltext import with_values
from fiducial.core.variables import render
from fiducial.core.workflowfile import WorkflowFile, parse, resolved
from fiducial.engine.supervisor import Prepared, prepare

__all__ = ["CONFIG", "FILE", "Plan", "data_folder", "plan"]

#: What the workflow file in a campaign's folder is called.
FILE = "align.toml"
#: What the copy of FASER's configuration in it is called.
CONFIG = "config.json"

_AGAINST_THE_FLIGHT, _ALONG_IT = "--noForward", "--noBackward"
_UNTIL = "iteration.until"


@dataclass(frozen=True)
class Plan:
    """A campaign of FASER's alignment as it would be created: nothing is written yet.

    Args:
        request: what was asked for.
        source: the workflow file that would be written.
        prepared: the campaign.
        script: what is sourced before a reconstruction; None in a simulation, which needs none.
        pede: scripts for a pede of the user's; None where none is known or it has no part in this.
    """

    request: Request
    source: WorkflowFile
    prepared: Prepared
    script: EnvironmentScript | None
    pede: PedeScripts | None = None

    @property
    def recipe(self) -> str:
        """Name of the recipe, or path of its file."""
        return str(self.source.workflow.variables["recipe"])

    @property
    def recipe_copy(self) -> Path:
        """The recipe that runs, in the campaign's folder."""
        place = self.source.workflow.variables["recipe_copy"]
        return self.prepared.folder / render(place, {"recipe": self.recipe}, "variables.recipe_copy")

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know before it begins."""
        return (*self.request.notes, *([self.script.note] if self.script and self.script.note else []))


def data_folder(plan: Plan) -> Path | None:
    """Where a campaign's large files lie; None for its own folder."""
    said = plan.source.workflow.variables.get("data_folder")
    return Path(str(said)) if said else None


def plan(request: Request, *, simulate: bool) -> Plan:
    """The campaign of all iterations.

    Args:
        simulate: make the raw files first, and reconstruct them here.

    Raises:
        UsageError: something is missing in the request, or cannot work.
    """
    request = _with_recipe(request)
    script = None if simulate else _script(request)
    packaged = parse(_packaged(simulate), Path(FILE)).workflow.variables
    must_be_known(request.variables, packaged)
    text = _packaged(simulate) + ("" if simulate else storage.more_steps(request))
    text = with_values(text, _values(request, script, simulate=simulate))
    source = parse(text, Path(FILE))
    prepared = prepare(resolved(source), {}, workflow_folder=source.folder)
    _must_work(request, prepared, packaged)
    return Plan(request, source, prepared, script, _pede(request, prepared.folder))


def _must_work(request: Request, prepared: Prepared, packaged: Mapping[str, Any]) -> None:
    values = {**prepared.workflow.variables, **scope_of(prepared).known}
    must_be_of_their_kind(request.variables, values, packaged)
    must_be_apart(prepared)
    if "reco_options" in values:
        must_leave_one_direction(map(str, values["reco_options"]), int(values["stations"]))


def _with_recipe(request: Request) -> Request:
    """Steps in FASER's words become a recipe for the stations that are asked for, unless a recipe is named."""
    request.must_be_complete()
    if request.recipe is not None or not request.sets:
        return request
    recipe, told = recipe_of_sets(request.sets, request.stations or 3)
    return replace(request, recipe=recipe, notes=(f"{request.config}: {told}", *request.notes))


def _packaged(simulate: bool) -> str:
    return packaged_text("align.toml" if simulate else "faser.toml")


def _name(request: Request) -> str:
    return request.default_name if request.name is None else request.expand(request.name)


def _folder(request: Request) -> Path:
    text = "{format}" if request.folder is None else request.folder
    return Path.cwd() / request.expand(text, format=_name(request))


def _data(request: Request) -> Path | None:
    """Where large files lie, if not in the campaign's folder."""
    return None if request.data is None else Path.cwd() / request.expand(request.data, format=_name(request))


def _script(request: Request) -> EnvironmentScript:
    """Where only Calypso's files are known, the script is the campaign's own."""
    own = isinstance(request.calypso, tuple) and request.environment_script is None
    path = request.environment_script or (_folder(request) if own else Path.cwd()) / DEFAULT
    pede = request.pede or Pede()
    return EnvironmentScript(path.absolute(), request.calypso, None if pede.script or own else pede.install)


def _pede(request: Request, folder: Path) -> PedeScripts | None:
    """Scripts of a pede that fits, or whose environment script the configuration names and that can be made."""
    known = request.pede or Pede()
    if request.with_pede or (known.script and known.install):
        return PedeScripts(known, folder, bool(request.with_pede))
    return None


def _values(request: Request, script: EnvironmentScript | None, *, simulate: bool) -> dict[str, Any]:
    """What the request changes in the packaged workflow, by dotted place."""
    variables: dict[str, Any] = {
        "year": request.year,
        "run": request.run,
        "files": format_range(request.files or range(0)),
        "max_iterations": request.iterations,
        "stations": request.stations,
        "first_iteration": request.first_iteration,
        "initial_constants": plain(request.initial_constants, "the constants to begin with"),
        "recipe": request.recipe or usual_recipe(request.stations or 3, request.initial_constants),
        "keep_records": True,
    }
    values: dict[str, Any] = {
        "campaign": None if request.name is None else _name(request),
        "folder": None if request.folder is None else plain(_folder(request), "the folder"),
    }
    if script is not None:
        variables |= {
            "source": plain((request.source or Path()).absolute(), "the folder of FASER's scripts"),
            "reco_options": _reco_options(request.reco_words),
        }
        values["steps.reco.environment_script"] = plain(script.path, "the environment script")
        values |= storage.values(request, _data(request))
        variables["taken"] = {file: plain(path, "an ntuple") for file, path in request.taken.items()} or None
        values |= _completed(request.edits, _packaged(simulate))
    values |= {f"variables.{name}": value for name, value in {**variables, **request.variables}.items()}
    if request.with_pede:
        options = request.variables.get("solve_options", [])
        values["variables.solve_options"] = [*options, "--pede", plain(_folder(request) / CALL, "the folder")]
    changed = {place: value for place, value in values.items() if value is not None}
    return changed if request.stop_early is not False else {**changed, _UNTIL: None}


def _completed(edits: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Edits of tables, with all that they leave open as it is in the packaged workflow."""
    packaged = tomllib.loads(text)
    return {
        place: {**reduce(getitem, place.split("."), packaged), **value} if isinstance(value, Mapping) else value
        for place, value in edits.items()
    }


def _reco_options(words: tuple[str, ...]) -> list[str]:
    """The usual words, tracks against the flight, and those that a user adds; one direction has to be left."""
    direction = [] if {_AGAINST_THE_FLIGHT, _ALONG_IT} & set(words) else [_AGAINST_THE_FLIGHT]
    return ["--alignment", *direction, *(word for word in words if word != "--alignment")]
