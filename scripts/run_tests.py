"""Run every check in order, go on after a failure, and close with one line of counts.

Arguments are handed to every pytest, e.g. ``-k runner``.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Two at a time where tests share nothing; those of faults want a machine that does little else.
TIERS = {
    "unit": ["-n", "2"],
    "integration": ["-n", "2", "--dist", "loadgroup"],
    "batch": ["-n", "6", "--dist", "loadgroup", "--no-loadscope-reorder"],  # jobs of a pool mostly sleep
    "faults": [],
}
NO_TESTS_COLLECTED = 5


@dataclass(frozen=True)
class Outcome:
    """What one check came to."""

    name: str
    ok: bool
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        numbers = {"passed": self.passed, "failed": self.failed, "skipped": self.skipped}
        counts = ", ".join(f"{number} {what}" for what, number in numbers.items() if number)
        return " ".join(filter(None, [self.name, "ok" if self.ok else "FAILED", counts]))


def say(text: str) -> None:
    """Announce the next check."""
    print(f"\n── {text}", flush=True)


def compile_once() -> None:
    """Have our modules compiled already: where nothing may be written each of thousands of processes would do it."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(ROOT / "src", quiet=2)


def setup_beside(commands: dict[str, list[str]]) -> Iterator[Outcome]:
    """Set up what tests need, which is mostly fetched, and run commands beside it, which mostly compute.

    What they print is shown afterwards, one after the other.
    """
    say(f"scripts/test-needs, beside {', '.join(commands)}")
    started = {
        name: subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name, command in commands.items()
    }
    yield Outcome("setup", subprocess.run([ROOT / "scripts" / "test-needs"], cwd=ROOT).returncode == 0)
    for name, process in started.items():
        say(" ".join(commands[name]))
        print(process.communicate()[0], end="", flush=True)
        yield Outcome(name, process.returncode == 0)


def tier(name: str, options: list[str]) -> Outcome:
    """Run the tests of one folder."""
    folder = ROOT / "tests" / name
    if not any(folder.rglob("test_*.py")):
        say(f"tests/{name}: there are none yet")
        return Outcome(f"{name} (no tests yet)", ok=True)
    say(f"tests/{name}")
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", *options, f"--junitxml={report}", str(folder), *sys.argv[1:]]
        code = subprocess.run(command, cwd=ROOT).returncode
        # A selection (-k) may leave a tier empty; without one, an empty tier is a mistake.
        ok = code == 0 or (code == NO_TESTS_COLLECTED and len(sys.argv) > 1)
        return count(name, ok, report)


def count(name: str, ok: bool, report: Path) -> Outcome:
    """Read pytest's own count of a tier; without a report, pytest itself broke."""
    if not report.exists():
        return Outcome(name, ok=False)
    suite = ET.parse(report).getroot().find("testsuite")
    numbers = {} if suite is None else suite.attrib
    failed = int(numbers.get("failures", 0)) + int(numbers.get("errors", 0))
    skipped = int(numbers.get("skipped", 0))
    return Outcome(name, ok, int(numbers.get("tests", 0)) - failed - skipped, failed, skipped)


def main() -> int:
    """Run all checks and give the exit code."""
    start = time.monotonic()
    compile_once()
    make = ["make", "--no-print-directory"]
    beside = {
        "lint": [*make, "lint"],
        "docs": [*make, "docs"],
        "kernels": [sys.executable, "scripts/compile_kernels.py"],
    }
    outcomes = [*setup_beside(beside), *(tier(name, options) for name, options in TIERS.items())]
    total = Outcome(
        "make test",
        all(outcome.ok for outcome in outcomes),
        sum(outcome.passed for outcome in outcomes),
        sum(outcome.failed for outcome in outcomes),
        sum(outcome.skipped for outcome in outcomes),
    )
    print(f"\n{total}, in {time.monotonic() - start:.0f} s ({'; '.join(map(str, outcomes))})")
    return 0 if total.ok else 1


if __name__ == "__main__":
    sys.exit(main())
