"""The node's part of a simulated batch system: runs one job in its limits, and writes down how it ended.

It is a process of its own for each job, so that jobs go on while the server is started again, as on a real cluster.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pools.keeper import descendants

LOOK_SECONDS = 0.3
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def usage(pids: Iterable[int]) -> tuple[float, int]:
    """CPU seconds and bytes of memory that processes use together, with the CPU time of children that have ended."""
    cpu, memory = 0.0, 0
    for pid in pids:
        with suppress(OSError, IndexError):
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu += sum(map(int, words[11:15])) / TICKS
            memory += int(words[21]) * PAGE
    return cpu, memory


def write(path: str, content: dict[str, Any]) -> None:
    """Write a file that is there whole, or not at all."""
    Path(f"{path}.new").write_text(json.dumps(content))
    Path(f"{path}.new").rename(path)


class Node:
    """Runs the job of a specification, which `simulated_queue` writes."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.reason = ""
        self.used = {"cput": 0.0, "mem": 0, "walltime": 0.0}
        self.begin = time.time()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the job; what cannot be started ends with 127, as a shell would have it."""
        output = Path(self.spec["output"])
        try:
            with output.open("ab") as log:
                return subprocess.Popen(
                    self.spec["argv"],
                    cwd=self.spec["cwd"],
                    env=self.spec["environment"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError:
            return subprocess.Popen(["/bin/sh", "-c", "exit 127"])

    def look(self) -> None:
        """Measure the job, and see whether it is over a limit."""
        cpu, memory = usage(descendants(os.getpid()))
        walltime = time.time() - self.begin
        self.used = {
            "cput": max(cpu, self.used["cput"]),
            "mem": max(memory, self.used["mem"]),
            "walltime": walltime,
        }
        if self.reason:
            return
        for limit, used in (("walltime", walltime), ("cput", cpu), ("mem", memory)):
            if limit in self.spec and used > self.spec[limit]:
                self.reason = limit

    def order(self, *_: object) -> None:
        """Somebody deletes the job."""
        self.reason = self.reason or "order"

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Send the signals that the batch system sends, each with its time to take effect."""
        for number, seconds in self.spec["signals"]:
            for pid in list(descendants(os.getpid())):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                return

    def run(self) -> None:
        """Run the job to its end."""
        signal.signal(signal.SIGTERM, self.order)
        process = self.start()
        write(self.spec["begun"], {"at": self.begin, "pid": os.getpid()})
        ended = select.poll()  # subprocess would wake up twenty times a second
        ended.register(os.pidfd_open(process.pid), select.POLLIN)
        while process.poll() is None:
            self.look()
            if self.reason:
                self.end(process)
                break
            ended.poll(1000 * LOOK_SECONDS)
        code = process.wait()
        self.used["walltime"] = time.time() - self.begin
        told = {"code": code, "reason": self.reason, "used": self.used, "at": time.time()}
        for pid in list(descendants(os.getpid())):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        write(self.spec["ended"], told)


if __name__ == "__main__":
    Node(json.loads(Path(sys.argv[1]).read_text())).run()
