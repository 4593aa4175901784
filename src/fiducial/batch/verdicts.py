"""What a runner would have said of a job that came to its end without one."""

from __future__ import annotations

import os
import time
from typing import Any, Literal

from fiducial.batch.backend import JobKey
from fiducial.runner import runner

__all__ = ["verdict"]


def verdict(
    key: JobKey,
    ledger: str,
    state: Literal["failed", "killed"],
    cause: str,
    message: str,
    *,
    exit_code: int | None = None,
    signal: int | None = None,
    host: str = "",
    finished: float | None = None,
) -> dict[str, Any]:
    """A result in the runner's format, of a job that published nothing and whose use nobody measured.

    Args:
        ledger: the ledger's identity.
        cause: one of those that a runner has, or a batch system's own.
        host: where it was; by default here.
        finished: when, in seconds since the epoch; by default now.
    """
    end = time.time() if finished is None else finished
    return {
        "format": runner.FORMAT,
        "ledger": ledger,
        "job": key[0],
        "attempt": key[1],
        "state": state,
        "cause": cause,
        "exit_code": exit_code,
        "signal": signal,
        "message": message,
        "host": host or os.uname().nodename,
        "started": end,
        "finished": end,
        "usage": {"wall_s": 0.0, "cpu_s": 0.0, "max_rss": 0, "read_bytes": 0, "write_bytes": 0},
        "outputs": [],
        "metrics": {},
    }
