"""What Slurm runs of ours between a campaign's jobs: ``python -m … begin|end|final FOLDER ITERATION RUN``.

``begin``: 0 if the iteration is needed, `CONVERGED` if not: Slurm then cancels all that waits for it. ``end``: 0 if the
iterations are over as they should be. ``final``: sums up.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fiducial.batch.planned.plan import Plan
from fiducial.batch.planned.results import enough
from fiducial.batch.planned.summary import summary, tell
from fiducial.batch.slurm.detached.write import left_of, plan_in
from fiducial.core.errors import FiducialError
from fiducial.runner import runner

__all__ = ["CONVERGED", "main"]

#: What the job before an iteration exits with when no further one is needed.
CONVERGED = 10


def main(what: str, folder: str, iteration: str, run: str) -> int:
    """Do it, say on standard output how it went, and return the exit code."""
    try:
        plan = plan_in(Path(folder))
        match what:
            case "begin":
                return _begin(plan, int(iteration) - 1)
            case "end":
                return _end(plan)
            case _:
                return _final(plan, int(run))
    except FiducialError as error:
        hint = f" ({error.hint})" if error.hint else ""
        sys.stdout.write(f"{error.message}{hint}\n")
        return runner.NO_RETRY


def _begin(plan: Plan, before: int) -> int:
    done = enough(plan, before)
    sys.stdout.write(f"iteration {before}: {'converged' if done else 'not converged'}: {plan.until}\n")
    return CONVERGED if done else 0


def _end(plan: Plan) -> int:
    left, last = left_of(plan)
    missing = sum(len(places) for (_, iteration), places in left.items() if iteration)
    sys.stdout.write(f"iterations up to {last}: {missing} jobs are not done\n")
    return runner.NO_RETRY if missing else 0


def _final(plan: Plan, run: int) -> int:
    left, _ = left_of(plan)
    missing = sum(map(len, left.values()))
    found = summary(plan, "jobs are not done" if missing else "done", missing)
    again = f"fiducial campaign resume {plan.name} goes on with what is left; fiducial follow {plan.folder} tells why"
    tell(plan, plan.folder, {**found, "run": run}, again)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
