"""The end of a campaign that a batch system was given at once: what became of it, for people and for programs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fiducial.batch.planned.plan import Plan
from fiducial.batch.planned.results import counts, enough, metrics
from fiducial.core.errors import FiducialError
from fiducial.core.jsontext import json_text
from fiducial.storage.replace import replace_text

__all__ = ["NOTIFY", "summary", "tell"]

#: The users' own script that tells them.
NOTIFY = "notify.sh"
#: The longest that people are waited for.
_PATIENCE = 300


def summary(plan: Plan, reason: str, failed: int) -> dict[str, Any]:
    """What became of a campaign, as ``summary.json`` holds it.

    Args:
        reason: ``done``, or why it is not.
        failed: how many nodes have failed.
    """
    reached = _reached(plan)
    numbers = metrics(plan, reached, plan.workflow.iterated) if reached else {}
    converged = False
    with suppress(FiducialError):
        converged = bool(reached) and enough(plan, reached)
    return {
        "campaign": plan.name,
        "state": "done" if reason == "done" else "failed",
        "reason": reason,
        "failed_nodes": 0 if reason == "done" else failed,
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


def _text(plan: Plan, found: dict[str, Any], again: str) -> str:
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
        lines.append(again)
    return "\n".join([*lines, ""])


def tell(plan: Plan, here: Path, found: dict[str, Any], again: str) -> None:
    """Write ``summary.json`` and ``summary.txt`` into a folder, and call the users' script there.

    Args:
        again: how to go on with what is left.
    """
    text = _text(plan, found, again)
    replace_text(here / "summary.json", json_text(found, ensure_ascii=False, indent=1) + "\n")
    replace_text(here / "summary.txt", text)
    sys.stdout.write(text)
    sys.stdout.flush()
    _notify(here, plan, found["state"])


def _notify(here: Path, plan: Plan, state: str) -> None:
    """That telling fails is no failure of the campaign, and nobody need be told."""
    if not (here / NOTIFY).exists():
        return
    words = [str(here / NOTIFY), state, plan.name, str(here / "summary.txt")]
    try:
        subprocess.run(words, cwd=here, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.stdout.write(f"{NOTIFY}: {error}\n")
