"""The scripts of a DAG: before an iteration, behind the last one, around a step, and to submit all of it.

They find everything from their own place, so that the folder may be moved, and leave what they say in a file beside
them.
"""

from __future__ import annotations

import shlex
import sys

from fiducial.batch.planned.plan import Group, Plan
from fiducial.batch.planned.summary import NOTIFY
from fiducial.runner import runner

__all__ = ["CONVERGED", "FINAL", "begin", "final", "finish", "notify", "submit", "wrapper"]

#: What a script before an iteration exits with when no further iteration is needed.
CONVERGED = 10

#: Submit description of the FINAL node, its script, and the one behind it.
FINAL = ("final.sub", "final.sh", "finish.sh")


def _ours(module: str, *words: str) -> str:
    """A command of ours, by the Python that wrote the DAG."""
    return f"{shlex.quote(sys.executable)} -m fiducial.batch.dagman.{module} {shlex.join(words)}"


def _head(comment: list[str], up: str, log: str) -> list[str]:
    return [
        "#!/bin/sh",
        *(f"# {line}" for line in comment),
        f'cd "$(dirname "$0")/{up}" || exit {runner.NO_RETRY}',
        f"exec >> {shlex.quote(log)} 2>&1",
    ]


def _up(path: str) -> str:
    """From a file's folder back to the DAG's."""
    return "/".join([".."] * path.count("/")) or "."


def begin(plan: Plan, iteration: int, path: str, local: list[Group]) -> str:
    """What DAGMan runs before an iteration: has the last one converged, and what does this one begin with."""
    number = plan.layout.number(iteration)
    comment = [
        f"DAGMan runs this before iteration {number}, on its own machine (SCRIPT PRE in {plan.dag}).",
        f"Exit code 0: go on. {CONVERGED}: converged, and the DAG ends as done (ABORT-DAG-ON). {runner.NO_RETRY}: no"
        " retry would mend it.",
    ]
    lines = _head(comment, _up(path), f"{path.rpartition('.')[0]}.log")
    if iteration > 1 and plan.until:
        before = plan.layout.number(iteration - 1)
        lines += [f"# Has iteration {before} converged?  {plan.until}"]
        lines += [f"{_ours('decide', '.', str(iteration - 1))} || exit $?"]
    for group in local:
        description = plan.workflow.steps[group.step].description or group.step
        lines += [f"# {description}", f'./runner.py --node {group.nodes} --key all --retry "${{1:-0}}" || exit $?']
    return "\n".join([*lines, ""])


def final(plan: Plan, path: str, groups: list[Group]) -> str:
    """What the FINAL node runs: the steps behind the iterations, if the DAG went well."""
    comment = [
        f"The FINAL node of {plan.dag} runs this when everything else is over, whether it went well or not.",
        "Its arguments: DAGMan's status of the DAG (0: well), and the number of the retry.",
    ]
    lines = ["#!/bin/sh", *(f"# {line}" for line in comment), f'cd "$(dirname "$0")/{_up(path)}" || exit 1']
    lines += ['[ "$1" = 0 ] || exit 0']
    for group in groups:
        lines.append(f'./runner.py --node {group.nodes} --key all --retry "${{2:-0}}" || exit $?')
    return "\n".join([*lines, ""])


def finish(plan: Plan, path: str) -> str:
    """What DAGMan runs last: sum up, and tell people."""
    comment = [
        f"DAGMan runs this last, on its own machine (SCRIPT POST of the FINAL node in {plan.dag}): it writes",
        f"summary.txt and summary.json, and calls {NOTIFY}. Its exit code is that of the DAG.",
        "Its arguments: DAGMan's status of the DAG (0: well), how many nodes failed, the exit code of the FINAL node.",
    ]
    return "\n".join([*_head(comment, _up(path), "finish.log"), f'exec {_ours("finish", ".")} "$@"', ""])


def notify() -> str:
    """A script that is the user's own to fill in."""
    return "\n".join(
        [
            "#!/bin/sh",
            "# Called when the campaign is over, with its state (done or failed), its name, the file with the summary.",
            "# Put here what shall tell you, such as the next line. Nothing that happens here changes the campaign.",
            '#mail -s "campaign $2: $1" "$USER" < "$3"',
            "",
        ]
    )


def submit(plan: Plan) -> str:
    """DAGMan begins where it is submitted, which must be the DAG's folder."""
    return "\n".join(
        [
            "#!/bin/sh",
            f"# Submits {plan.dag}; after a failure it goes on with what is left, by the newest rescue file.",
            'cd "$(dirname "$0")" || exit 1',
            f'exec condor_submit_dag -batch-name {shlex.quote(plan.name)} "$@" {shlex.quote(plan.dag)}',
            "",
        ]
    )


def wrapper(plan: Plan, group: Group, path: str) -> str:
    """A script that starts the jobs of a group."""
    description = plan.workflow.steps[group.step].description or group.step
    return "\n".join(
        [
            "#!/bin/sh",
            f"# {description}",
            f"# {group.submit} runs this; what it does stands in {group.nodes}.",
            f'cd "$(dirname "$0")/{_up(path)}" || exit {runner.NO_RETRY}',
            f'exec ./runner.py --node {group.nodes} "$@"',
            "",
        ]
    )
