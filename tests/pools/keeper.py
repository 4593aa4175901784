"""Runs daemons, and leaves none behind, however the process ends that asked for them.

A process of its own starts them. What they start, even when they let go of it, becomes that process's child by the
kernel's rule for sub-reapers. When the asking process closes the pipe between the two, which its death does as well,
all descendants are killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

PR_SET_CHILD_SUBREAPER = 36
SECONDS_TO_DIE = 20.0


class KeeperError(Exception):
    """A daemon could not be started, or would not die."""


class Keeper:
    """The process that keeps the daemons, as its owner sees it."""

    def __init__(self, log: Path) -> None:
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is for the owner, who then closes
            )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request, and return the answer."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline() or '{"error": "the keeper has died"}')
        if "error" in answer:
            raise KeeperError(answer["error"])
        return answer

    def start(self, command: list[str], environment: Mapping[str, str], folder: Path, output: Path) -> int:
        """Start a daemon that stays in the foreground, and return its number."""
        answer = self.ask(command=command, environment=dict(environment), folder=str(folder), output=str(output))
        return int(answer["pid"])

    def remove_in_the_end(self, folder: Path) -> None:
        """Have a folder removed when all daemons are dead, even if nobody is there any more to do it."""
        self.ask(remove=str(folder))

    def detach(self) -> int:
        """Leave the daemons running until the keeper, whose number is returned, gets SIGTERM."""
        self.ask(detach=True)
        return self.process.pid

    def close(self) -> None:
        """Kill all daemons and what they have started."""
        assert self.process.stdin
        assert self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        code = self.process.wait(SECONDS_TO_DIE + 10)
        self.process.stdout.close()
        if code != 0:
            raise KeeperError(f"the keeper ended with {code}")


def parents() -> dict[int, int]:
    """The parent of each process."""
    found = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # it ended while we looked
            if entry.name.isdigit():
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def descendants(ancestor: int) -> Iterator[int]:
    """All processes that come from one."""
    parent_of = parents()
    families: dict[int, list[int]] = {}
    for child, parent in parent_of.items():
        families.setdefault(parent, []).append(child)
    front = [ancestor]
    while front:
        children = families.get(front.pop(), [])
        yield from children
        front += children


def reap(*_: object) -> None:
    """Collect all children that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def kill_descendants() -> None:
    """Kill until none is left: while we look, some start others."""
    deadline = time.monotonic() + SECONDS_TO_DIE
    while found := list(descendants(os.getpid())):
        if time.monotonic() > deadline:
            raise KeeperError(f"{found} would not die")
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        reap()


def started(request: dict[str, Any]) -> dict[str, Any]:
    """Start what a request says."""
    with Path(request["output"]).open("ab") as output:
        try:
            process = subprocess.Popen(
                request["command"],
                env=request["environment"],
                cwd=request["folder"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            return {"error": f"{request['command'][0]}: {error}"}
    process.returncode = 0  # it is reaped with all others, not through this object
    return {"pid": process.pid}


def serve(requests: TextIO, answers: TextIO, removed: list[str]) -> None:
    """Do what the owner asks until it is gone; folders to remove in the end are added to a list."""
    for line in requests:
        request = json.loads(line)
        removed += [request["remove"]] if "remove" in request else []
        answers.write(json.dumps(started(request) if "command" in request else {}) + "\n")
        answers.flush()
        if "detach" in request:
            while True:
                signal.pause()


def end(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit


def main() -> None:
    """Be the keeper."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGCHLD, reap)
    removed: list[str] = []
    try:
        serve(sys.stdin, sys.stdout, removed)
    finally:
        kill_descendants()
        for folder in removed:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
