"""What HTCondor costs us: following many running jobs by their event logs, and handing over many at once.

The jobs run nowhere: their logs are written by a process of their own, as fast as a real farm of that size writes them
(jobs of an hour that begin, tell their memory every five minutes while it grows, and end). What would be a question to
the scheduler is counted: the commands that are found are scripts that note that they were called. ::

    python bench/htcondor.py [follow] [submit] [--jobs 20000] [--seconds 60]

With ``--real``, ``submit`` hands over to the HTCondor that CONDOR_CONFIG and PATH name (``scripts/pool start
htcondor``), as jobs on hold, and removes them again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import MIB, describe, save, table
from runner import spec as touch

from fiducial.batch.backend import JobSpec
from fiducial.batch.htcondor.render import LOG
from fiducial.batch.htcondor.system import KIND
from fiducial.batch.kinds import read_site

BUNDLE = 1000
HOUR = 3600.0
GROWS = 300.0
TOOLS = ("condor_submit", "condor_q", "condor_history", "condor_rm", "condor_config_val")

HEAD = "{:03d} ({}.{:03d}.000) {} "
SUBMIT = "Job submitted from host: <127.0.0.1:9618?addrs=127.0.0.1-9618&alias=ap.site.org&noUDP&sock=schedd_1_a>\n...\n"
EXECUTE = (
    "Job executing on host: <10.0.0.7:9618?addrs=10.0.0.7-9618&alias=wn7.site.org&noUDP&sock=startd_1_b>\n"
    '\tSlotName: slot1_3@wn7.site.org\n\tCondorScratchDir = "/pool/condor/dir_117743"\n'
    "\tCpus = 1\n\tDisk = 2048\n\tGPUs = 0\n\tMemory = 2048\n...\n"
)
SIZE = "Image size of job updated: 2500\n\t2  -  MemoryUsage of job (MB)\n\t1500  -  ResidentSetSize of job (KB)\n...\n"
USAGE = "\t\tUsr 0 00:58:00, Sys 0 00:00:09  -  {} Usage\n"
END = (
    "Job terminated.\n\t(1) Normal termination (return value 0)\n"
    + "".join(USAGE.format(what) for what in ("Run Remote", "Run Local", "Total Remote", "Total Local"))
    + "".join(f"\t0  -  {what} By Job\n" for what in ("Run Bytes Sent", "Run Bytes Received", "Total Bytes Sent"))
    + "\tPartitionable Resources :    Usage  Request Allocated \n"
    + "".join(
        f"\t   {what:21}:        5       10       128 \n" for what in ("Cpus", "Disk (KB)", "GPUs", "Memory (MB)")
    )
    + "\n\tJob terminated of its own accord at 2026-11-20T16:18:02Z with exit-code 0.\n...\n"
)


def spec(number: int, folder: Path) -> dict[str, Any]:
    """A job as the engine describes it."""
    long = {"argv": ["sleep", "3600"], "outputs": [], "limits": {"wall_time": 2 * HOUR, "memory": 2**30}}
    return {**touch(number, folder), "name": f"bench/nap/01/{number:05d}", **long}


def make_tools(folder: Path, most: int) -> Path:
    """Commands that only note that they were called; submissions get numbers, one after the other."""
    tools = folder / "tools"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).write_text(f"#!/bin/sh\necho {name} >> {folder}/calls\n")
        (tools / name).chmod(0o755)
    with (tools / "condor_submit").open("a") as script:
        script.write(f"n=$(wc -l < {folder}/calls)\necho $n.0 - $n.{most - 1}\n")
    (tools / "condor_config_val").write_text("#!/bin/sh\necho ap.site.org\n")
    return tools


def calls(folder: Path) -> list[str]:
    """Which commands were called so far, but for submissions."""
    file = folder / "calls"
    return [line for line in file.read_text().split() if line != "condor_submit"] if file.exists() else []


def backend(folder: Path, tools: Path | None, jobs: int, **keys: Any) -> Any:
    """The backend as ``fiducial run`` makes it."""
    table = {"backend": "htcondor", "bindings": False, "max_jobs": jobs, **keys}
    if tools is not None:
        table["commands"] = str(tools)
    return KIND.open(read_site("bench", table, "bench"), folder / "queue")


# ------------------------------------------------------------------------------------------------------- following


def begin_logs(folders: list[Path], jobs: int) -> None:
    """All jobs were submitted, and run."""
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    for folder in folders:
        cluster = cluster_of(folder)
        with (folder / LOG).open("w") as log:
            for kind, text in ((0, SUBMIT), (1, EXECUTE)):
                log.writelines(HEAD.format(kind, cluster, proc, now) + text for proc in range(jobs))


def write_logs(folders: list[Path], jobs: int) -> None:
    """What a farm writes while all of that runs: another begins for each that ends. Never returns."""
    per_second = len(folders) * jobs * (2 / HOUR + 1 / GROWS)
    kinds = [(6, SIZE)] * round(HOUR / GROWS) + [(5, END), (1, EXECUTE)]
    clusters = [cluster_of(folder) for folder in folders]
    written, start = 0, time.monotonic()
    while True:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        while written < (time.monotonic() - start) * per_second:
            kind, text = kinds[written % len(kinds)]
            folder, proc = folders[written % len(folders)], written // len(folders) % jobs
            if kind == 5:
                leave_result(folder, proc)
            with (folder / LOG).open("a") as log:
                log.write(HEAD.format(kind, clusters[written % len(folders)], proc, now) + text)
            written += 1
        time.sleep(0.05)


def cluster_of(folder: Path) -> str:
    """The number of a submission."""
    return (folder / "native").read_text().rpartition("#")[2]


def leave_result(folder: Path, proc: int) -> None:
    """What a runner leaves at its end."""
    bundle = json.loads((folder / "bundle.json").read_bytes())
    job, attempt = bundle["keys"][proc]
    directory = Path(bundle["directories"][proc])
    directory.mkdir(parents=True, exist_ok=True)
    result = {"format": 1, "job": job, "attempt": attempt, "state": "done", "cause": "ok", "outputs": [], "metrics": {}}
    (directory / "result.json").write_text(json.dumps(result))
    (folder / "ended" / str(proc + 1)).touch()


def follow(jobs: int, seconds: float, folder: Path) -> dict[str, float]:
    """CPU time, memory and questions of a process that follows running jobs, and nothing else."""
    done = subprocess.run(
        [sys.executable, __file__, "--follower", str(folder), "--jobs", str(jobs), "--seconds", str(seconds)],
        capture_output=True,
        text=True,
        check=True,
    )
    first, share, memory, heard, questions = map(float, done.stdout.split())
    return {"first look, s": first, "of a core, %": share, "peak MiB": memory, "heard": heard, "questions": questions}


def follower(jobs: int, seconds: float, folder: Path) -> None:
    """The process that follows."""
    tools = make_tools(folder, BUNDLE)
    queue = backend(folder, tools, jobs, max_array=BUNDLE)
    queue.submit([spec(number, folder) for number in range(1, jobs + 1)])
    folders = sorted((folder / "queue").glob("fd*"))
    begin_logs(folders, BUNDLE)
    begin = time.process_time()
    running = len(queue.poll(5.0))
    first = time.process_time() - begin
    pid = os.fork()
    if pid == 0:
        write_logs(folders, BUNDLE)
    try:
        heard, end = 0, time.monotonic() + seconds
        before, size = time.process_time(), sum((each / LOG).stat().st_size for each in folders)
        while time.monotonic() < end:
            heard += len(queue.poll(min(1.0, end - time.monotonic())))
        share = 100 * (time.process_time() - before) / seconds
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    if running != jobs or sum((each / LOG).stat().st_size for each in folders) <= size:
        raise SystemExit(f"only {running} of {jobs} jobs run, or the logs do not grow")
    print(first, share, _peak() / MIB, running + heard, len(calls(folder)))


def _peak() -> int:
    """Most memory of this process so far; what ``ru_maxrss`` says would be that of the process that it came from."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


# ------------------------------------------------------------------------------------------------------ submitting


def submit(jobs: int, folder: Path, *, real: bool) -> dict[str, float]:
    """Seconds of ours, and of ``condor_submit``, to hand over jobs in one go."""
    tools = None if real else make_tools(folder, jobs)
    queue = backend(folder, tools, jobs, extra=["hold = True"])
    specs: list[JobSpec] = [spec(number, folder) for number in range(1, jobs + 1)]
    schedd = queue._system._here
    theirs, handing = 0.0, schedd.submit

    def timed(*arguments: Any, **named: Any) -> int:
        nonlocal theirs
        begin = time.perf_counter()
        cluster: int = handing(*arguments, **named)
        theirs += time.perf_counter() - begin
        return cluster

    schedd.submit = timed
    begin = time.perf_counter()
    taken = queue.submit(specs)
    whole = time.perf_counter() - begin
    if len(taken) != jobs or not all(each.backend_id for each in taken):
        raise SystemExit(f"{len(taken)} of {jobs} jobs were taken: {queue.poll(0.0)[:1]}")
    if real:
        queue.cancel([(each.job, each.attempt) for each in taken])
        queue.poll(3.0)
    return {"ours, s": whole - theirs, "condor_submit, s": theirs if real else float("nan")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["follow", "submit", []], help="by default both")
    parser.add_argument("--jobs", type=int, help="default: 20,000 to follow, 10,000 to submit")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--real", action="store_true", help="submit to the HTCondor that CONDOR_CONFIG names")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--follower", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follower:
        follower(options.jobs, options.seconds, options.follower)
        return
    print(describe())
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        if "follow" in (options.what or ["follow"]):
            place = Path(name, "follow")
            place.mkdir()
            figures["follow"] = follow(options.jobs or 20_000, options.seconds, place)
        if "submit" in (options.what or ["submit"]):
            place = Path(name, "submit")
            place.mkdir()
            figures["submit"] = submit(options.jobs or 10_000, place, real=options.real)
    for what, values in figures.items():
        print(f"\n{what}\n" + table(list(values), [list(values.values())]))
    save(options.json, figures)


if __name__ == "__main__":
    main()
