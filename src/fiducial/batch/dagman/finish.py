"""Sums a DAG up and tells people: what DAGMan runs last, ``python -m … FOLDER STATUS FAILED RETURN [DAG]``."""

from __future__ import annotations

import sys
from pathlib import Path

from fiducial.batch.dagman.rescue import complete_rescue
from fiducial.batch.planned.plan import read_plan
from fiducial.batch.planned.summary import summary, tell

__all__ = ["main"]

#: What DAGMan means by the status of a DAG.
_STATUS = {0: "done", 1: "DAGMan failed", 2: "nodes failed", 3: "ended early", 4: "removed", 5: "a circle", 6: "halted"}
_AGAIN = "./submit.sh goes on with what is left; the logs of nodes are in the folders logs"


def main(folder: str, status: str, failed: str, returned: str, ran: str = "") -> int:
    """Write the summary, call the users' script, and return what the DAG shall end with.

    Args:
        ran: the file that DAGMan was given, where it is not the campaign's DAG but a rescue DAG.
    """
    here = Path(folder).absolute()
    code = int(status) or (int(returned) != 0)
    plan = read_plan(here)
    meant = 2 if code and not int(status) else int(status)
    found = summary(plan, _STATUS.get(meant, f"status {meant}"), int(failed))
    if int(status):
        _keep_rest(here, plan.dag, ran or plan.dag)
    tell(plan, here, found, _AGAIN)
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


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:6]))
