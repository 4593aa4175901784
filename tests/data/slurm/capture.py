"""Makes the recordings in this folder with a real Slurm: see README.md.

scripts/pool as-user env PYTHONPATH=tests .venv/bin/python tests/data/slurm/capture.py
"""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
import time
from pathlib import Path

from fiducial.batch.kinds import read_site
from fiducial.batch.queue.system import Bundle, Ref, Request
from fiducial.batch.slurm.parse import ENDED_FIELDS, QUEUED_FIELDS, SACCT_FIELDS
from fiducial.batch.slurm.render import SCRIPT
from fiducial.batch.slurm.system import Slurm
from pools.slurmdbd import SlurmPoolWithAccounting

HERE = Path(__file__).parent
TOKEN = "fd0123456789abcd"
#: By place; those that sleep meet their ends from outside.
ENDS = """\
case "$SLURM_ARRAY_TASK_ID" in
2) exit 3 ;;
3) kill -9 $$ ;;
6) exec python3 -c 'import time; x = bytearray(300_000_000); time.sleep(30)' ;;
4 | 5 | 7) sleep 100 ;;
*) true ;;
esac
"""
REFUSED = {
    "partition": ["--partition=nosuch"],
    "feature": ["--constraint=nosuch"],
    "memory": ["--mem=900G"],
    "license": ["--licenses=nosuch"],
    "reservation": ["--reservation=nosuch"],
    "array": ["--array=1-2000"],
    "disk": ["--tmp=10T"],
}


def make_bundle(folder: Path, count: int, text: str) -> Bundle:
    """A submission of which only the folder and what is asked for matter."""
    (folder / "logs").mkdir(parents=True)
    site = read_site("site", {"backend": "slurm"}, "capture")
    request = Request("reco", 1, 200 * 2**20, None, None, site)
    bundle = Bundle(TOKEN, "Y2023.reco.01", folder, ((1, 1),) * count, (folder,) * count, request, "ledger")
    (folder / "bundle.json").touch()
    bundle.start.write_text("#!/bin/bash\n" + text)
    bundle.start.chmod(0o755)
    return bundle


def squeue(pool: SlurmPoolWithAccounting, *words: str) -> str:
    return pool.run("squeue", "--me", "--all", "--array", "--noheader", *words)


def record(pool: SlurmPoolWithAccounting, folder: Path) -> None:
    """Bring jobs to all their ends, and write down what Slurm says meanwhile and afterwards."""

    def keep(name: str, text: str) -> None:
        (HERE / name).write_text(hide(text, pool, folder))

    slurm = Slurm(read_site("site", {"backend": "slurm"}, "capture"))  # type: ignore[arg-type]
    os.environ.update({"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0", "TZ": "UTC"})
    keep("config.txt", pool.run("scontrol", "show", "config"))
    first = slurm.submit(make_bundle(folder / TOKEN, 8, ENDS))
    pool.wait_for(lambda: f"{first}|7|RUNNING" in squeue(pool, "-o", QUEUED_FIELDS), "running jobs")
    waits = make_bundle(folder / "waits" / TOKEN, 30, "sleep 100")
    second = slurm.submit(waits)
    slurm.hold([Ref(second, 28), Ref(second, 30)])
    pool.wait_for(lambda: f"{second}|20|RUNNING" in squeue(pool, "-o", QUEUED_FIELDS), "a full node")
    options = ["--array=1-2", "--partition=short", "--time=5", "--mem=10M", f"--job-name=x.{TOKEN}"]
    third = pool.run("sbatch", "--parsable", *options, "--wrap", "true").strip()
    pool.wait_for(lambda: "TimeLimit" in squeue(pool, "-o", "%r"), "a job that cannot start")
    keep("squeue.txt", squeue(pool, "-o", QUEUED_FIELDS))
    slurm.cancel([Ref(first, 4), *(Ref(second, place) for place in (25, 26, 27, 29))])
    pool.run(
        "scontrol", "update", f"JobId={first}_5", f"EndTime={time.strftime('%FT%T', time.gmtime(time.time() + 2))}"
    )
    pool.wait_for(lambda: "TIMEOUT" in squeue(pool, "-t", "all", "-o", "%T"), "a time limit", 90)
    node = pool.run("squeue", "-h", "-t", "R", "-o", "%N").split()[0]
    pool.run("scontrol", "update", f"nodename={node}", "state=down", "reason=capture")
    pool.wait_for(lambda: "RUNNING" not in squeue(pool, "-o", "%T"), "a dead node")
    pool.wait_for(lambda: pool.answers(), "a node that lives again")
    jobs = f"--jobs={first},{second}"
    keep("squeue-ended.txt", squeue(pool, "--states=all", jobs, f"--Format={ENDED_FIELDS}"))
    pool.run("scancel", second, third)
    pool.wait_for(lambda: not squeue(pool, "-o", "%T"), "an empty queue")
    time.sleep(2)  # the database is told last
    since = "--starttime=2000-01-01"
    fields = f"--format={SACCT_FIELDS}"
    keep("sacct.txt", pool.run("sacct", "--allocations", "--noheader", "--parsable2", since, fields, jobs))
    keep("memory.log", (folder / TOKEN / "logs" / "6.log").read_text())
    script = str(folder / TOKEN / SCRIPT)
    refusals = {what: pool.ask("sbatch", *words, script).stderr.strip() for what, words in REFUSED.items()}
    keep("refusals.txt", "".join(f"{what}\n{said}\n\n" for what, said in refusals.items()))


def hide(text: str, pool: SlurmPoolWithAccounting, folder: Path) -> str:
    """Leave out whose machine it was."""
    host = socket.gethostname().partition(".")[0]
    for place, name in ((pool.folder, "/pool"), (pool.prefix.folder, "/prefix"), (folder, "/folder")):
        text = text.replace(str(place), name)
    return re.sub(rf"\b{re.escape(host)}\b", "node1", text)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="fiducial-pool-") as name:
        extra = "JobAcctGatherParams=OverMemoryKill"
        with SlurmPoolWithAccounting(Path(name) / "pool", extra=extra) as pool:
            os.environ.update(pool.environment)
            record(pool, Path(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
