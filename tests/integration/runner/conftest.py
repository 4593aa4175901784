"""A job specification to bend, and the runner as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fiducial.runner import runner

RUNNER = Path(runner.__file__)


class JobUnderTest:
    """One job in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "attempts" / "7.2"
        self.spec: dict[str, Any] = {
            "format": 1,
            "ledger": "5f0c",
            "job": 7,
            "attempt": 2,
            "name": "test/job",
            "directory": str(self.directory),
            "metrics": "metrics.json",
            "grace": 1.0,
        }

    def payload(self, text: str, **more: Any) -> JobUnderTest:
        """Let a shell script be the payload."""
        self.spec.update(script=text, **more)
        return self

    def python(self, text: str, **more: Any) -> JobUnderTest:
        """Let a Python program be the payload."""
        self.spec.update(argv=[sys.executable, "-S", "-c", text], **more)
        return self

    def output(self, name: str | None = "out", **more: Any) -> Path:
        """Declare an output, and say where it goes."""
        path = Path(more.pop("path", self.folder / "final" / "out"))
        self.spec.setdefault("outputs", []).append({"key": "out", "path": str(path), "name": name, **more})
        return path

    def start(self, python: str = sys.executable) -> subprocess.Popen[bytes]:
        """Start the runner."""
        file = self.folder / "job.json"
        file.write_text(json.dumps(self.spec))
        return subprocess.Popen([python, str(RUNNER), str(file)], stderr=subprocess.PIPE)

    def start_in(self, cgroup: Path) -> subprocess.Popen[bytes]:
        """Start the runner in a control group."""
        file = self.folder / "job.json"
        file.write_text(json.dumps(self.spec))
        enter = 'echo $$ > "$1/cgroup.procs"; shift; exec "$@"'
        return subprocess.Popen(["sh", "-c", enter, "sh", str(cgroup), sys.executable, str(RUNNER), str(file)])

    def run(self, python: str = sys.executable) -> dict[str, Any]:
        """Run it to its end; the result, with the exit code checked and what went to standard error added."""
        with self.start(python) as process:
            errors = process.communicate(timeout=60)[1].decode()
        result = self.result()
        assert runner.EXIT_CODES[result["cause"]] == process.returncode, errors
        return {**result, "stderr": errors}

    def result(self) -> dict[str, Any]:
        """What the runner has left."""
        found: dict[str, Any] = json.loads((self.directory / "result.json").read_text())
        return found

    @property
    def log(self) -> str:
        """What the payload and the runner have said."""
        return (self.directory / "log.txt").read_text()


@pytest.fixture
def job(tmp_path: Path) -> JobUnderTest:
    """A job in a folder whose name is no plain word."""
    folder = tmp_path / "Spur ø 1"
    folder.mkdir()
    return JobUnderTest(folder)
