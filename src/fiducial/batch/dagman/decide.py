"""Has an iteration converged? The program that DAGMan runs before the next one: ``python -m … FOLDER ITERATION``.

It ends with 10 if it has, with 0 if not, and with the runner's code for what no retry mends if that cannot be told.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fiducial.batch.dagman.scripts import CONVERGED
from fiducial.batch.planned.plan import read_plan
from fiducial.batch.planned.results import enough
from fiducial.core.errors import FiducialError
from fiducial.runner import runner

__all__ = ["main"]


def main(folder: str, iteration: str) -> int:
    """Decide, say it on standard output, and return the exit code."""
    try:
        plan = read_plan(Path(folder).absolute())
        done = enough(plan, int(iteration))
    except FiducialError as error:
        hint = f" ({error.hint})" if error.hint else ""
        sys.stdout.write(f"iteration {iteration}: {error.message}{hint}\n")
        return runner.NO_RETRY
    number = plan.layout.number(int(iteration))
    sys.stdout.write(f"iteration {number}: {'converged' if done else 'not converged'}: {plan.until}\n")
    return CONVERGED if done else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
