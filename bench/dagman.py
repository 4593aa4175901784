"""What a DAG costs: to write one of a million nodes, and to run FASER's way beside one that was written by hand.

    python bench/dagman.py                       both
    python bench/dagman.py --nodes 10000         smaller
    python bench/dagman.py --only write          or run, which needs HTCondor's programs and a user who is not root

*write*: a workflow of one step with a million jobs becomes a DAG in a process of its own; time and memory of that
process, and the same for a tenth of the jobs: what memory is needed must not depend on how many there are.

*run*: three iterations of fifty reconstructions and one fit, all of them simulated by ``sleep``, by a real DAGMan on a
private pool; once as Fiducial writes them, and once as somebody would write them by hand: the same nodes, dependencies,
retries, and a FINAL node, whose jobs are started by HTCondor without anything of ours. They take turns. All fifty start
at once on this machine's cores, which a farm would spread over fifty nodes: of jobs that are much shorter than FASER's,
the figure tells of that more than of DAGs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import MIB, describe, environment, median, must, run, save, table

MILLION = 1_000_000
FILES, ITERATIONS, SECONDS, TURNS = 50, 3, 20, 2

WRITE = """\
format = 1
name = "many"

[steps.work]
fanout = {{ files = "0-{nodes}" }}
command = ["work", "{{{{ file | pad(7) }}}}", "{{{{ output }}}}"]
outputs = ["out/{{{{ file | pad(7) }}}}.root"]
resources = {{ memory = "2 GB", flavour = "longlunch" }}
"""

SHAPE = """\
format = 1
name = "shape"

[iteration]
max = {iterations}

[steps.reco]
iterate = true
fanout = {{ files = "0-{files}" }}
command = ["sh", "-c", "sleep {seconds}; echo x > {{{{ output }}}}"]
inputs.before = {{ from = "fit", output = "constants", previous = true, initial = "/dev/null" }}
outputs = ["iter{{{{ iteration }}}}/reco_{{{{ file }}}}"]

[steps.fit]
iterate = true
after = ["reco"]
inputs.all = {{ from = "reco", link = "in" }}
command = ["sh", "-c", "sleep {seconds}; echo x > {{{{ output }}}}"]
outputs.constants = "iter{{{{ iteration }}}}/constants"
"""

SUBMIT = """\
executable = /bin/sh
transfer_executable = False
should_transfer_files = IF_NEEDED
arguments = "-c 'sleep {seconds}; echo x > $(out)'"
output = logs/$(name).out
error = logs/$(name).err
request_cpus = 1
queue
"""


# ------------------------------------------------------------------------------------------------------------ writing


def measure_writing(nodes: int, base: Path) -> dict[str, Any]:
    """One DAG, written in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix=f"dag{nodes}-", dir=base))
    (folder / "many.toml").write_text(WRITE.format(nodes=nodes))
    command = [sys.executable, __file__, "--inside", str(folder)]
    timed = must(run(command, folder, env=environment(folder)), f"{nodes} nodes")
    dag = folder / "many" / "many.dag"
    with dag.open() as file:
        written = sum(line.startswith("JOB ") for line in file)
    if written != nodes:
        raise SystemExit(f"{dag} has {written} nodes instead of {nodes}")
    inside = json.loads(timed.output)["seconds"]
    size = dag.stat().st_size / MIB
    return {"nodes": nodes, "write_s": inside, "process_s": timed.wall, "peak_mib": timed.peak_mib, "dag_mib": size}


def write_inside(folder: Path) -> dict[str, Any]:
    """What ``fiducial run --backend dagman`` does."""
    from fiducial.batch.dagman.site import DagmanSite
    from fiducial.cli.dag import plan_of, write_dag
    from fiducial.core.workflowfile import load, resolved
    from fiducial.engine.supervisor import prepare

    begin = time.perf_counter()
    source = load(folder / "many.toml")
    prepared = prepare(resolved(source), {}, workflow_folder=source.folder, folder=folder / "many")
    site = DagmanSite(name="dagman", backend="dagman")
    found = write_dag(plan_of(prepared, site), site, show=False)
    return {**found, "seconds": time.perf_counter() - begin}


# ------------------------------------------------------------------------------------------------------------ running


def by_hand(folder: Path) -> str:
    """A DAG of the same shape, with nothing of ours; the name of its file."""
    (folder / "logs").mkdir(parents=True)
    (folder / "job.sub").write_text(SUBMIT.format(seconds=SECONDS))
    lines = ["RETRY ALL_NODES 2 UNLESS-EXIT 79"]
    for number in range(1, ITERATIONS + 1):
        recos = [f"reco_{number:02d}_{file:05d}" for file in range(FILES)]
        for name in (*recos, f"fit_{number:02d}"):
            lines += [f"JOB {name} job.sub", f'VARS {name} name="{name}" out="{name}.txt"']
        lines += [f"PARENT {' '.join(recos)} CHILD fit_{number:02d}"]
        if number > 1:
            lines += [f"PARENT fit_{number - 1:02d} CHILD {' '.join(recos)}"]
    (folder / "finish.sh").write_text("#!/bin/sh\nexit $1\n")
    (folder / "finish.sh").chmod(0o755)
    lines += ["FINAL last job.sub NOOP", "SCRIPT POST last finish.sh $DAG_STATUS"]
    (folder / "hand.dag").write_text("\n".join([*lines, ""]))
    return "hand.dag"


def by_us(folder: Path) -> str:
    """The DAG that we write."""
    folder.parent.mkdir(exist_ok=True)
    file = folder.with_suffix(".toml")
    file.write_text(SHAPE.format(iterations=ITERATIONS, files=FILES, seconds=SECONDS))
    words = [sys.executable, "-m", "fiducial", "run", str(file), "--backend", "dagman", "--folder", str(folder)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return "shape.dag"


def duration(folder: Path, make: Callable[[Path], str], pool: Any) -> float:
    """Seconds that DAGMan took, as it says itself."""
    dag = make(folder)
    pool.run("condor_submit_dag", dag, folder=folder)
    metrics = folder / f"{dag}.metrics"
    pool.wait_for(metrics.exists, f"the end of {dag}", 600)
    time.sleep(0.5)
    found = json.loads(metrics.read_text())
    if found["exitcode"] != 0:
        raise SystemExit(f"{folder / dag} failed: see {dag}.dagman.out")
    return float(found["duration"])


def measure_running(base: Path) -> dict[str, Any]:
    """Both DAGs in turn, on one pool."""
    from pools.condor import CondorPool  # type: ignore[import-not-found]

    times: dict[str, list[float]] = {"ours": [], "hand": []}
    with CondorPool(base / "pool", slots=FILES) as pool:
        os.environ.update(pool.environment)
        duration(base / "warm", by_hand, pool)
        for turn in range(TURNS):
            for name, make in (("hand", by_hand), ("ours", by_us)):
                times[name].append(duration(base / f"{name}{turn}", make, pool))
                print(f"  {name}: {times[name][-1]:.1f} s", flush=True)
    ours, hand = median(times["ours"]), median(times["hand"])
    shape = {"jobs": ITERATIONS * (FILES + 1), "job_s": SECONDS}
    return {**shape, "ours_s": ours, "hand_s": hand, "overhead": ours / hand - 1}


def show_writing(rows: list[dict[str, Any]]) -> str:
    """The figures as a table."""
    keys = ("nodes", "write_s", "process_s", "peak_mib", "dag_mib")
    return table(("nodes", "s", "s with start", "peak MiB", "DAG MiB"), [[row[key] for key in keys] for row in rows])


def show_running(row: dict[str, Any]) -> str:
    """The figures as a table."""
    cells = (row["jobs"], row["job_s"], row["ours_s"], row["hand_s"], f"{100 * row['overhead']:+.1f} %")
    return table(("jobs", "s each", "ours s", "by hand s", "overhead"), [cells])


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=MILLION)
    parser.add_argument("--only", choices=["write", "run"])
    parser.add_argument("--folder", type=Path, help="where it happens; the folder for temporary files by default")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(write_inside(options.inside)))
        return
    print(describe())
    with tempfile.TemporaryDirectory(prefix="fd-", dir=options.folder) as name:
        save(options.json, measure(options, Path(name)))


def measure(options: argparse.Namespace, base: Path) -> dict[str, Any]:
    """All figures that were asked for, printed as they come."""
    figures: dict[str, Any] = {}
    if options.only in (None, "write"):
        figures["write"] = [measure_writing(nodes, base) for nodes in (options.nodes // 10, options.nodes)]
        print(show_writing(figures["write"]), flush=True)
    if options.only in (None, "run"):
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        from pools.identity import become_plain_user  # type: ignore[import-not-found]

        become_plain_user(base)
        figures["run"] = measure_running(base)
        print(show_running(figures["run"]), flush=True)
    return figures


if __name__ == "__main__":
    main()
