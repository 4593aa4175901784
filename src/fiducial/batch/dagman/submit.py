"""Submit descriptions: one for all jobs of a group, whose nodes differ by VARS alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fiducial.batch.planned.nodefile import ladder
from fiducial.batch.planned.plan import Group, Plan
from fiducial.core.resources import FLAVOURS
from fiducial.core.workflow import Step

__all__ = ["Options", "node_submit", "plain_submit"]

#: Hold reason of HTCondor for a job that used more than it had asked for.
_OUT_OF_RESOURCES = 34


@dataclass(frozen=True)
class Options:
    """What a site and its users want in submit descriptions and in the DAG.

    Args:
        requirements: of the machines, as HTCondor has it; by step, "" for all steps.
        lines: more lines of a submit description, name and value; by step, "" for all steps.
        max_jobs: most nodes of a step that are in the queue at a time; by step, "" for each step.
        status_seconds: least time between two writings of the node status file.
        most: nodes in the queue at a time, all together; 0 for DAGMan's own limit.
        python: that nodes start the runner with; empty for their own ``python3``.
        environment_script: sourced before payloads whose workflow names none.
    """

    requirements: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    max_jobs: Mapping[str, int] = field(default_factory=dict)
    status_seconds: int = 60
    most: int = 0
    python: str = ""
    environment_script: str = ""


def node_submit(plan: Plan, group: Group, options: Options, *, parts: bool = False) -> str:
    """The submit description of a group's nodes.

    Args:
        parts: logs lie in folders of their own for each thousand jobs.
    """
    step = plan.workflow.steps[group.step]
    where = f"{plan.dag}, group {group.step}" + (
        f" of iteration {plan.layout.number(group.iteration)}" * (group.iteration > 0)
    )
    wrapper = plan.layout.wrappers.get(group.step)
    words = "--key $(key) --retry $(retry) $(values)"
    start = words if wrapper else f"--node {group.nodes} {words}"
    log = f"{group.logs}/{'$(part)/' if parts else ''}{group.step}" + ("_$(key)" if step.fanout else "")
    head = [
        f"# {step.description or group.step}: {where}.",
        f"# What a job does stands in {group.nodes}; DAGMan sets key, values and retry for each (VARS in {plan.dag}).",
        f"# By hand, where that file lies:  condor_submit {group.submit} key=KEY values='NAME=VALUE'",
    ]
    default = ["if ! defined retry", "  retry = 0", "endif"]
    commands = {
        "executable": f"{group.folder}/{wrapper}" if wrapper else "runner.py",
        "transfer_executable": "False",
        "should_transfer_files": "IF_NEEDED",
        "arguments": f'"{start}"',
        "output": f"{log}.out",
        "error": f"{log}.err",
        **_resources(step),
        **_wanted(options, group.step),
    }
    return "\n".join([*head, *default, *_lines(commands), "queue", ""])


def plain_submit(comment: Sequence[str], executable: str, arguments: str, log: str, options: Options) -> str:
    """The submit description of a script of the DAG's own."""
    commands = {
        "executable": executable,
        "transfer_executable": "False",
        "should_transfer_files": "IF_NEEDED",
        "arguments": f'"{arguments}"',
        "output": f"{log}.out",
        "error": f"{log}.err",
        **_wanted(options, ""),
    }
    return "\n".join([*(f"# {line}" for line in comment), *_lines(commands), "queue", ""])


def _lines(commands: Mapping[str, str]) -> list[str]:
    return [f"{name} = {value}" for name, value in commands.items() if value]


def _resources(step: Step) -> dict[str, str]:
    """What a job asks for; memory and wall time grow with each retry."""
    resources = step.resources
    memory, wall = ladder(step, "memory"), ladder(step, "wall_time")
    found = {"request_cpus": str(resources.cpus)}
    if resources.memory:
        found["request_memory"] = _choice([f"{-(-int(size) // 2**20)}" for size in memory])
        found["periodic_remove"] = f"(JobStatus == 5) && (HoldReasonCode == {_OUT_OF_RESOURCES})"
    if resources.disk:
        found["request_disk"] = str(-(-resources.disk // 2**10))
    if resources.flavour:
        found["+JobFlavour"] = f'"{_choice(_flavours(resources.flavour, wall))}"'
    elif resources.walltime:
        found["+MaxRuntime"] = _choice([f"{int(seconds)}" for seconds in wall])
    return found


def _flavours(first: str, wall: Sequence[float]) -> list[str]:
    """The flavour that was asked for, and by the number of the retry longer ones, as far as there are."""
    wanted = [FLAVOURS[first] * seconds / wall[0] for seconds in wall]
    longest = list(FLAVOURS)[-1]
    return [next((name for name, most in FLAVOURS.items() if most >= seconds), longest) for seconds in wanted]


def _choice(values: Sequence[str]) -> str:
    """A value by the number of the retry."""
    return values[0] if len(set(values)) == 1 else f"$CHOICE(retry,{','.join(values)})"


def _wanted(options: Options, step: str) -> dict[str, str]:
    requirements = options.requirements.get(step, options.requirements.get("", ""))
    return {"requirements": requirements, **options.lines.get("", {}), **options.lines.get(step, {})}
