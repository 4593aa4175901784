"""Sums a DAG up and tells people: what DAGMan runs last, ``python -m … FOLDER STATUS FAILED RETURN [DAG]``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fiducial.batch.dagman.plan import Plan, read_plan
from fiducial.batch.dagman.rescue import complete_rescue
from fiducial.batch.dagman.results import counts, enough, metrics
from fiducial.batch.dagman.scripts import NOTIFY
from fiducial.core.errors import FiducialError
from fiducial.core.jsontext import json_text
from fiducial.storage.replace import replace_text

__all__ = ["main", "summary"]

#: The longest that people are waited for.
_PATIENCE = 300
#: What DAGMan means by the status of a DAG.
_STATUS = {0: "done", 1: "DAGMan failed", 2: "nodes failed", 3: "ended early", 4: "removed", 5: "a circle", 6: "halted"}


def summary(plan: Plan, status: int, failed: int) -> dict[str, Any]:
    """What became of a campaign, as ``summary.json`` holds it."""
    reached = _reached(plan)
    numbers = metrics(plan, reached, plan.workflow.iterated) if reached else {}
    converged = False
    with suppress(FiducialError):
        converged = bool(reached) and enough(plan, reached)
    return {
        "campaign": plan.name,
        "state": "done" if status == 0 else "failed",
        "reason": _STATUS.get(status, f"status {status}"),
        "failed_nodes": failed if status else 0,
        "iterations": reached,
        "converged": converged if plan.until else None,
        "groups": list(_groups(plan, reached)),
        "metrics": {
            step: {n: values[0] for n, values in by.items() if len(values) == 1} for step, by in numbers.items()
        },
    }


def _reached(plan: Plan) -> int:
    """The last iteration of which anything was run."""
    there = [
        iteration
        for iteration in range(1, plan.max_iterations + 1)
        if any((plan.folder / ".fiducial" / step / f"{iteration:02d}").is_dir() for step in plan.workflow.iterated)
    ]
    return max(there, default=0)


def _groups(plan: Plan, reached: int) -> Iterator[dict[str, Any]]:
    for iteration in range(reached + 1):
        for group in plan.groups(iteration):
            found = counts(plan, group.step, iteration)
            yield {"step": group.step, "iteration": iteration, "jobs": found.total(), **found}


def _text(plan: Plan, found: dict[str, Any]) -> str:
    """The summary for people."""
    lines = [
        f"campaign {found['campaign']}: {found['state']}"
        + (f" ({found['reason']})" if found["state"] != "done" else "")
    ]
    if found["iterations"]:
        said = {True: ", converged", False: ", not converged", None: ""}[found["converged"]]
        lines.append(f"{found['iterations']} of at most {plan.max_iterations} iterations{said}")
    for group in found["groups"]:
        where = group["step"] + (f", iteration {plan.layout.number(group['iteration'])}" if group["iteration"] else "")
        states = ", ".join(
            f"{group[state]} {state}" for state in ("done", "failed", "killed", "left") if group.get(state)
        )
        lines.append(f"  {where}: {states} of {group['jobs']}")
    for step, numbers in found["metrics"].items():
        lines += [f"  {step}.{name} = {value:.6g}" for name, value in numbers.items()]
    if found["state"] != "done":
        lines.append("./submit.sh goes on with what is left; the logs of nodes are in the folders logs")
    return "\n".join([*lines, ""])


def main(folder: str, status: str, failed: str, returned: str, ran: str = "") -> int:
    """Write the summary, call the users' script, and return what the DAG shall end with.

    Args:
        ran: the file that DAGMan was given, where it is not the campaign's DAG but a rescue DAG.
    """
    here = Path(folder).absolute()
    code = int(status) or (int(returned) != 0)
    plan = read_plan(here)
    found = summary(plan, 2 if code and not int(status) else int(status), int(failed))
    replace_text(here / "summary.json", json_text(found, ensure_ascii=False, indent=1) + "\n")
    replace_text(here / "summary.txt", _text(plan, found))
    sys.stdout.write(_text(plan, found))
    sys.stdout.flush()
    if int(status):
        _keep_rest(here, plan.dag, ran or plan.dag)
    _notify(here, plan, found["state"])
    return 1 if code else 0


def _keep_rest(here: Path, dag: str, ran: str) -> None:
    """That there is no rescue DAG to be submitted is no failure of the campaign: DAGMan's own is there."""
    try:
        path = complete_rescue(here, dag, ran)
    except OSError as error:
        sys.stdout.write(f"no rescue DAG: {error.filename or here}: {error.strerror}\n")
        return
    if path is not None:
        sys.stdout.write(f"what is left stands in {path.name}\n")


def _notify(here: Path, plan: Plan, state: str) -> None:
    """That telling fails is no failure of the campaign."""
    words = [str(here / NOTIFY), state, plan.name, str(here / "summary.txt")]
    try:
        subprocess.run(words, cwd=here, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.stdout.write(f"{NOTIFY}: {error}\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:6]))
