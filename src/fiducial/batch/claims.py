"""What an attempt's directory tells about the attempt, without asking anybody.

The runner claims a directory by renaming onto it, and keeps two locks: see ``fiducial.runner.runner``. The locks are
those of the kernel, so what is found here needs a file system that has them (any local one, or a network one mounted
with ``flock``) and holds for runners on this machine.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from fiducial.core.errors import BackendError
from fiducial.runner import runner

__all__ = ["AttemptState", "kill_left_behind", "read_result", "revoke", "runner_pid", "state_of"]

AttemptState = Literal["absent", "revoked", "finished", "alive", "orphan", "dead"]


def revoke(directory: Path) -> bool:
    """Make sure that no runner can start in ``directory`` any more; false if one has."""
    return runner.revoke(str(directory))


def read_result(directory: Path) -> dict[str, Any] | None:
    """The runner's verdict, if it has given one."""
    try:
        result = json.loads((directory / "result.json").read_bytes())
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def state_of(directory: Path) -> AttemptState:
    """What has become of an attempt.

    Returns:
        ``absent``: no runner has started; ``revoked``: and none ever will; ``finished``: there is a result;
        ``alive``: the runner lives; ``orphan``: the runner is dead, and processes of its payload still run;
        ``dead``: nothing runs, and there is no result.
    """
    if read_result(directory) is not None:
        return "finished"
    if (directory / "revoked").exists():
        return "revoked"
    if not directory.is_dir() or not any(directory.iterdir()):
        return "absent"
    if _has_runner(directory):
        return "alive"
    if read_result(directory) is not None:  # written between the first look and the lock's end
        return "finished"
    return "orphan" if _is_locked(directory / "log.txt") else "dead"


def _has_runner(directory: Path) -> bool:
    lock = directory / runner.LOCK_FILE
    return _is_locked(lock if lock.exists() else directory)


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise _no_locks(path, error) from error
    finally:
        os.close(descriptor)
    return False


def _no_locks(path: Path, error: OSError) -> BackendError:
    reason = errno.errorcode.get(error.errno or 0, str(error))
    return BackendError(
        f"the file system of {path} has no locks ({reason}), so that nobody can tell whether the job still runs",
        hint="put the campaign's folder on a local file system, or mount this one with flock",
    )


def runner_pid(directory: Path) -> int | None:
    """The process of a runner that is alive and has told its number, which it does after a fifth of a second."""
    try:
        about = json.loads((directory / "runner.json").read_bytes())
    except (OSError, ValueError):
        return None
    same = about.get("host") == os.uname().nodename and _has_runner(directory)
    return int(about["pid"]) if same else None


def kill_left_behind(directories: Iterable[Path], *, patience: float = 5.0) -> int:
    """Kill what payloads without a runner have left running, and say how many processes that were."""
    wanted = {str(directory).rstrip("/") for directory in directories}
    killed: set[int] = set()
    deadline = time.monotonic() + patience
    while wanted:
        found = [pid for mark, pids in runner.tagged().items() if mark in wanted for pid in pids]
        runner.signal_all(found, signal.SIGKILL)
        killed.update(found)
        if not found or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return len(killed)
