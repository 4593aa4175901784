"""What the benchmarks share: timed commands, medians, tables, and a word about the machine."""

from __future__ import annotations

import json
import os
import platform
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Timed:
    """A command that has ended: seconds of wall and CPU time (its waited-for children included), highest memory."""

    wall: float
    cpu: float
    peak: int
    code: int
    output: str

    @property
    def peak_mib(self) -> float:
        """The highest memory of any one process of the command."""
        return self.peak / MIB


def fiducial(*words: str | Path) -> list[str]:
    """The command line of this installation."""
    return [sys.executable, "-m", "fiducial", *map(str, words)]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Ours without any settings of the user's, and with the ledger in ``folder``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FIDUCIAL_")}
    return {**kept, "XDG_CONFIG_HOME": str(folder), "FIDUCIAL_LEDGER": str(folder / "ledger.db"), **more}


def run(
    command: Sequence[str | Path],
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    stdin: Path | None = None,
    limit: float = 3600.0,
) -> Timed:
    """Run a command in ``folder``; after ``limit`` seconds it is killed with all that it has started."""
    log = folder / "bench.log"
    with log.open("wb") as output, (stdin or Path(os.devnull)).open("rb") as given:
        begin = time.perf_counter()
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env=env,
            stdin=given,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        guard = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
        guard.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        guard.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    return Timed(wall, cpu, usage.ru_maxrss * 1024, process.returncode, log.read_text(errors="replace"))


def must(timed: Timed, what: str) -> Timed:
    """The same, if it went well; otherwise the end of what was printed, and the end."""
    if timed.code:
        raise SystemExit(f"{what}: exit code {timed.code} after {timed.wall:.1f} s\n{timed.output[-2000:]}")
    return timed


def median(values: Iterable[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns: text to the left, numbers to the right."""
    filled = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[place]) for row in [list(head), *filled]) for place in range(len(head))]
    lines = [list(head), ["-" * width for width in widths], *filled]
    return "\n".join("  ".join(_aligned(cell, width) for cell, width in zip(row, widths, strict=True)) for row in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _aligned(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() or cell == "-" else cell.ljust(width)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "fiducial": _version(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version() -> str:
    from importlib.metadata import version

    return version("fiducial")


def describe() -> str:
    """`machine` in one line, with a warning if it is busy with something else."""
    about = machine()
    busy = " - BUSY, the figures are of no use" if about["load"] > 0.5 else ""
    return ", ".join(f"{name} {value}" for name, value in about.items()) + busy


def save(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write figures and machine as JSON, if a file was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n")
