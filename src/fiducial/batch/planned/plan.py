"""What a DAG is made of: a campaign's groups with the names of their nodes, and the folders of their files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fiducial.core.errors import DataError, NotFoundError
from fiducial.core.places import DAG_PLAN
from fiducial.core.plan import SINGLE, Instance, campaign_scope, instances
from fiducial.core.variables import Scope
from fiducial.core.workflow import Glob, Step, Workflow
from fiducial.core.workflowfile import dump_json, parse_json

__all__ = ["Group", "Layout", "Plan", "frozen", "read_plan"]

#: Words that DAGMan does not take as names of nodes.
_RESERVED = frozenset({"PARENT", "CHILD", "ALL_NODES"})


@dataclass(frozen=True)
class Group:
    """All jobs of a step in one iteration (0 where it is not iterated), as nodes.

    Args:
        folder: where its submit description lies, below the DAG's folder.
        prefix: what its nodes' names begin with.
    """

    step: str
    iteration: int
    folder: str
    prefix: str

    @property
    def submit(self) -> str:
        """Path of the submit description."""
        return f"{self.folder}/{self.step}.sub"

    @property
    def nodes(self) -> str:
        """Path of the node file."""
        return f"{self.folder}/{self.step}.json"

    @property
    def jobs(self) -> str:
        """Path of the lines for its jobs, where a node cannot be told by words."""
        return f"{self.folder}/{self.step}.jobs"

    @property
    def logs(self) -> str:
        """Where standard output and standard error go."""
        return f"{self.folder}/logs"

    def node(self, key: str) -> str:
        """The name of a job's node."""
        if key == SINGLE:
            return f"{self.prefix}_all" if self.prefix.upper() in _RESERVED else self.prefix
        return f"{self.prefix}_{key if '+' not in key else key.replace('+', '%2B')}"  # DAGMan keeps + for itself


@dataclass(frozen=True)
class Layout:
    """Names of the files, where an experiment's users know them by others than ours.

    Args:
        dag: the DAG file; empty for the campaign's name.
        iteration: an iteration's folder, by its number.
        step: a step's folder, by its name and the iteration's number (0 where it is not iterated).
        number: the number that names have for an iteration.
        begin: the script before an iteration.
        local: steps of a single job that takes no time, which that script runs.
        wrappers: scripts, by step, that start a step's jobs.
        folders: further folders of an iteration that users look for from its beginning.
    """

    dag: str = ""
    iteration: Callable[[int], str] = lambda number: f"iter{number:02d}"
    step: Callable[[str, int], str] = lambda name, number: f"iter{number:02d}/{name}" if number else name
    number: Callable[[int], int] = lambda number: number
    begin: str = "begin.sh"
    local: frozenset[str] = frozenset()
    wrappers: Mapping[str, str] = field(default_factory=dict)
    folders: Callable[[int], tuple[str, ...]] = lambda number: ()


@dataclass(frozen=True)
class Plan:
    """A campaign that is to become a DAG.

    Args:
        names: simply there in templates, such as ``campaign`` and ``folder``.
        variables: of the campaign.
        folder: of the campaign's files, absolute.
        ledger: identity of the ledger that knows it, or of the DAG itself.
        done: keys of the jobs that are done already, by step and iteration.
    """

    workflow: Workflow
    name: str
    folder: Path
    names: Mapping[str, Any]
    variables: Mapping[str, Any]
    max_iterations: int
    ledger: str
    layout: Layout = field(default_factory=lambda: Layout())
    done: Mapping[tuple[str, int], frozenset[str]] = field(default_factory=dict)

    @property
    def dag(self) -> str:
        """Name of the DAG file."""
        return self.layout.dag or f"{self.name}.dag"

    @property
    def until(self) -> str | None:
        """When the iterations are enough."""
        return self.workflow.iteration.until if self.workflow.iteration and self.workflow.iterated else None

    @cached_property
    def scope(self) -> Scope:
        """The campaign's variables."""
        return self.scope_at(str(self.folder))

    def scope_at(self, folder: str) -> Scope:
        """The same with the campaign's folder in another place."""
        return campaign_scope(self.workflow, [{}, self.variables], {**self.names, "folder": folder})

    def group(self, step: str, iteration: int) -> Group:
        """The group of a step in an iteration (0 where it is not iterated)."""
        number = self.layout.number(iteration) if iteration else 0
        prefix = f"{step}{self._gap}{number:02d}" if iteration else step
        return Group(step, iteration, self.layout.step(step, iteration), prefix)

    @cached_property
    def _gap(self) -> str:
        """An underscore, where no other step's name looks like that of an iterated step and its number."""
        numbered = re.compile(rf"({'|'.join(map(re.escape, self.workflow.iterated)) or '$'})_\d+(_|$)")
        return "." if any(numbered.match(name) for name in self.workflow.steps) else "_"

    def instances(self, step: str, iteration: int) -> Iterator[Instance]:
        """The jobs of a group, one after the other."""
        context = self.scope.context({"iteration": iteration})
        return instances(self.workflow.steps[step], context, f"steps.{step}.fanout")

    def total(self, step: str, iteration: int) -> int:
        """How many jobs a group has."""
        if (step, iteration) not in self._totals:
            self._totals[step, iteration] = sum(1 for _ in self.instances(step, iteration))
        return self._totals[step, iteration]

    @cached_property
    def _totals(self) -> dict[tuple[str, int], int]:
        return {}

    def tolerated(self, step: str, iteration: int) -> int:
        """How many jobs of a group may fail for good."""
        # 0.29 x 100 is a little less than 29.
        return int(self.workflow.steps[step].tolerate * self.total(step, iteration) + 1e-6)

    def is_after(self, step: str) -> bool:
        """Whether a step comes after all iterations."""
        one = self.workflow.steps[step]
        return not one.iterate and any(
            self.workflow.steps[edge.step].iterate or self.is_after(edge.step) for edge in one.after
        )

    def groups(self, iteration: int) -> list[Group]:
        """The groups of an iteration; with 0 those of all steps that are not iterated."""
        return [
            self.group(name, iteration) for name, step in self.workflow.steps.items() if step.iterate == (iteration > 0)
        ]

    def dump(self, here: Path) -> str:
        """The plan as a file in the DAG's folder ``here`` holds it."""
        place = "." if self.folder == here else str(self.folder)
        numbers = {str(number): self.layout.number(number) for number in range(1, self.max_iterations + 1)}
        return json.dumps(
            {
                "format": 1,
                "name": self.name,
                "dag": self.dag,
                "folder": place,
                "ledger": self.ledger,
                "max_iterations": self.max_iterations,
                "numbers": numbers,
                "local": sorted(self.layout.local),
                "names": dict(self.names),
                "variables": dict(self.variables),
                "workflow": json.loads(dump_json(self.workflow)),
            },
            ensure_ascii=False,
            indent=1,
        )


def frozen(workflow: Workflow, scope: Scope) -> Workflow:
    """The workflow with the files of its patterns by their names: those that turn up later belong to others."""
    steps: dict[str, Step] = {}
    for name, step in workflow.steps.items():
        steps[name] = step
        if step.fanout is not None and isinstance(step.fanout.files, Glob):
            given = step.fanout.name or "file"
            made = instances(step, scope.context({"iteration": 1}), f"steps.{name}.fanout")
            files = list(dict.fromkeys(str(instance.values[given]) for instance in made))
            fanout = step.fanout.model_copy(update={"files": files})
            steps[name] = step.model_copy(update={"fanout": fanout})
    return workflow.model_copy(update={"steps": steps})


def read_plan(here: Path, name: str = DAG_PLAN) -> Plan:
    """The plan of the campaign that was given away from a folder, wherever that is by now.

    Args:
        name: of the plan's file there; that of a DAG by default.

    Raises:
        NotFoundError: there is none.
        DataError: it is damaged.
    """
    file = here / name
    try:
        data = json.loads(file.read_text("utf-8"))
        folder = (here / data["folder"]).absolute() if data["folder"] != "." else here.absolute()
        numbers = {int(number): shown for number, shown in data["numbers"].items()}
        return Plan(
            workflow=parse_json(json.dumps(data["workflow"])),
            name=data["name"],
            folder=folder,
            names={**data["names"], "folder": str(folder)},
            variables=data["variables"],
            max_iterations=data["max_iterations"],
            ledger=data["ledger"],
            layout=replace(Layout(), dag=data["dag"], number=numbers.__getitem__, local=frozenset(data["local"])),
        )
    except FileNotFoundError:
        hint = "name the folder of a DAG, as --backend dagman has written it, or of a campaign begun with --detached"
        raise NotFoundError(f"no campaign in {here} was given to DAGMan or Slurm", hint=hint) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is damaged: {error!r}", hint="export the campaign anew") from None
