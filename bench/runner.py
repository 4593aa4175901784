"""Jobs a second of the local backend, beside what the machine can do at all.

The floor is ``xargs -P2 -n1 touch``: no claim, no log, no result, no check. The local backend does the same ``touch``
with all of that, and publishes the file. Both run in turn, and medians are compared::

    python bench/runner.py [--jobs 2000] [--rounds 5]

Where the CPU time of a job goes, on two cores with Python 3.11 and everything on a tmpfs:

    ========================================================================  =======
    the payload itself, from its exec on (dynamic linking for the most part)  1.15 ms
    worker: ``posix_spawn``, where the kernel copies the process              0.11 ms
    worker: 25 other system calls; mkdir, create and rename lead              0.13 ms
    worker: Python, of which JSON takes a fifth                               0.15 ms
    engine: JSON, sockets, accounting                                         0.05 ms
    ========================================================================  =======

What has been tried and counts: a worker that hands its empty scratch on to the next job (on ext4 each mkdir and create
takes 0.2 ms longer while inodes are being freed), events gathered for 10 ms while there is work ahead (halves the
engine's share), copying the environment once, and not importing ``socket``, ``typing`` or ``pathlib`` in the worker.
On a disk, creating the log, the result and the directory of an attempt costs what the file system takes for it.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fiducial.batch.backend import Finished
from fiducial.batch.local import LocalBackend

SLOTS = 2


def spec(number: int, folder: Path) -> dict[str, Any]:
    """A job that makes an empty file."""
    return {
        "format": 1,
        "ledger": "00000000-0000-0000-0000-000000000000",
        "job": number,
        "attempt": 1,
        "name": f"bench/touch/{number:05d}",
        "argv": ["touch", "out"],
        "environment": {},
        "environment_script": None,
        "directory": str(folder / "attempts" / f"{number}.1"),
        "scratch": None,
        "keep_scratch": "never",
        "inputs": [],
        "outputs": [{"path": str(folder / f"out{number}"), "name": "out", "min_size": 0}],
        "metrics": "metrics.json",
        "required_metrics": [],
        "limits": {},
        "grace": 10.0,
        "resources": {"cpus": 1, "memory": None},
    }


def floor(count: int, folder: Path) -> None:
    """The same files by xargs."""
    names = "\n".join(str(folder / f"out{number}") for number in range(count))
    subprocess.run(["xargs", f"-P{SLOTS}", "-n1", "touch"], input=names, text=True, check=True)


def campaign(count: int, folder: Path) -> None:
    """The same files by the local backend, fed as an engine would."""
    specs = [spec(number, folder) for number in range(count)]
    done = position = 0
    with LocalBackend(SLOTS) as backend:
        while done < count:
            room = backend.capacity()
            backend.submit(specs[position : position + room])
            position += room
            events = backend.poll(1.0)
            done += sum(isinstance(event, Finished) and event.result["state"] == "done" for event in events)


def timed(work: Callable[[int, Path], None], count: int, folder: Path) -> tuple[float, float]:
    """Jobs a second, and CPU milliseconds a job of this process and its children."""
    folder.mkdir()
    before, begin = cpu_seconds(), time.perf_counter()
    work(count, folder)
    wall, cpu = time.perf_counter() - begin, cpu_seconds() - before
    made = sum(entry.name.startswith("out") for entry in folder.iterdir())
    if made != count:
        raise SystemExit(f"{made} of {count} files were made")
    return count / wall, 1e3 * cpu / count


def cpu_seconds() -> float:
    """Of this process and those that it has waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rates: dict[str, list[tuple[float, float]]] = {"xargs": [], "local backend": []}
    with tempfile.TemporaryDirectory() as name:  # removed in the end: ext4 creates slowly after removals
        for turn in range(options.rounds):
            rates["xargs"].append(timed(floor, options.jobs, Path(name, f"xargs{turn}")))
            rates["local backend"].append(timed(campaign, options.jobs, Path(name, f"local{turn}")))
    for name, figures in rates.items():
        rate, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{name:14} {rate:7.0f} jobs/s  {cpu:.3f} ms CPU a job, all processes")
    ratios = [ours[0] / peer[0] for ours, peer in zip(rates["local backend"], rates["xargs"], strict=True)]
    print(f"local backend / xargs: {100 * statistics.median(ratios):.0f} % (median of {options.rounds} rounds)")


if __name__ == "__main__":
    main()
