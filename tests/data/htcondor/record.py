"""Record what HTCondor says of jobs with different fates: ``PYTHONPATH=tests python tests/data/htcondor/record.py``.

Writes ``lives.log`` (one event log of all jobs), ``queue.json`` and ``history.json`` (what ``condor_q`` and
``condor_history`` say of them), and ``nodes.log`` (that of a DAG) beside itself. Needs HTCondor for tests; as root it
becomes a plain user, who must be able to write here.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from fiducial.batch.htcondor.states import ATTRIBUTES
from pools.condor import CondorPool
from pools.identity import become_plain_user

HERE = Path(__file__).parent

#: What each job's submit description has beside the log. The order is that of the clusters.
FATES = {
    "plain": "executable = /bin/true",
    "exit": "executable = /bin/sh\narguments = \"-c 'exit 3'\"",
    "signal": "executable = /bin/sh\narguments = \"-c 'kill -9 $$'\"",
    "held and released": "executable = /bin/true\nhold = true",
    "removed while it waited": "executable = /bin/true\nhold = true",
    "removed while it ran": 'executable = /bin/sleep\narguments = 600\nMY.JobFlavour = "longlunch"',
    "memory": "executable = /usr/bin/python3\n"
    "arguments = \"-c 'import time; x = bytearray(200000000); time.sleep(60)'\"\n"
    'periodic_hold = MemoryUsage > 50\nperiodic_hold_reason = "memory usage exceeded request_memory"\n'
    "periodic_hold_subcode = 102",
    "input": "executable = /bin/true\nshould_transfer_files = YES\ntransfer_input_files = /nonexistent/fïle",
    "output": "executable = /bin/true\nshould_transfer_files = YES\ntransfer_output_files = none",
    "flavour": 'executable = /bin/sleep\narguments = 600\nMY.JobFlavour = "espresso"',
    "requeued": "executable = /bin/sh\narguments = \"-c 'exit 7'\"\nmax_retries = 1",
    "vacated": 'executable = /bin/sleep\narguments = 600\nMY.JobFlavour = "longlunch"',
    "reconnected": 'executable = /bin/sleep\narguments = 25\nMY.JobFlavour = "longlunch"',
    "no such program": "executable = /nonexistent/program\ntransfer_executable = false",
}


def events(log: Path, kind: str) -> int:
    """How many events of a kind a log has."""
    return len(re.findall(rf"^{kind} \(", log.read_text(), re.MULTILINE)) if log.exists() else 0


def record(pool: CondorPool, folder: Path) -> None:
    """Let all jobs meet their fates."""
    log = folder / "lives.log"
    clusters = {}
    for fate, text in FATES.items():
        (folder / "job.sub").write_text(f"{text}\nrequest_memory = 10\nlog = {log}\nqueue\n")
        clusters[fate] = pool.run("condor_submit", "-terse", "job.sub", folder=folder).split(".")[0]
    pool.run("condor_release", clusters["held and released"])
    pool.run("condor_rm", clusters["removed while it waited"])
    running = ("removed while it ran", "vacated", "reconnected")
    pool.wait_for(
        lambda: all(pool.run("condor_q", clusters[fate], "-af", "JobStatus").strip() == "2" for fate in running),
        "running",
    )
    pool.run("condor_rm", clusters["removed while it ran"])
    pool.run("condor_vacate_job", clusters["vacated"])
    evicted = rf"004 \({int(clusters['vacated']):03d}\."
    pool.wait_for(lambda: re.search(evicted, log.read_text()), "an eviction", 60)
    pool.restart(crash=True)
    pool.wait_for(lambda: events(log, "023") >= 1, "a reconnection", 120)
    pool.wait_for(lambda: events(log, "012") >= 4, "holds", 60)
    pool.wait_for(lambda: events(log, "009") >= 3, "removals", 60)
    pool.wait_for(lambda: events(log, "005") >= 6, "ends", 90)
    time.sleep(2)
    names = ",".join(ATTRIBUTES)
    (folder / "queue.json").write_text(pool.run("condor_q", "-json", "-attributes", names))
    pool.run("condor_rm", "-all")
    (folder / "history.json").write_text(pool.run("condor_history", "-json", "-attributes", names))


def record_dag(pool: CondorPool, folder: Path) -> None:
    """A DAG of a node that is tried twice, and one behind it that is held for a while."""
    (folder / "a.sub").write_text("executable = /bin/sh\narguments = \"-c 'test $(RETRY) = 1'\"\nlog = a.log\nqueue\n")
    (folder / "b.sub").write_text("executable = /bin/true\nlog = b.log\nqueue 2\n")
    (folder / "two.dag").write_text(
        "JOB first a.sub\nJOB second b.sub\nRETRY first 1\nSCRIPT POST second /bin/true\nPARENT first CHILD second\n"
    )
    pool.run("condor_submit_dag", "two.dag", folder=folder)
    pool.wait_for((folder / "two.dag.metrics").exists, "the end of the DAG", 120)
    shutil.copy(folder / "two.dag.nodes.log", folder / "nodes.log")


def main() -> None:
    if os.geteuid() == 0:
        become_plain_user(Path(tempfile.gettempdir()))
    base = Path(tempfile.mkdtemp(prefix="record-"))
    with CondorPool(base / "pool") as pool:
        folder = base / "jobs"
        folder.mkdir()
        record(pool, folder)
        record_dag(pool, folder)
    for name in ("lives.log", "queue.json", "history.json", "nodes.log"):
        text = (folder / name).read_text().replace(str(base), "/pool")
        (HERE / name).write_text(text)
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
