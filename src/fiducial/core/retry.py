"""What happens to a job whose attempt failed: the decision is a value, and depends on nothing but its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fiducial.core.states import JobState
from fiducial.core.workflow import Step

__all__ = ["Decision", "decide"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a job goes after a failure, and with what it is tried again.

    ``memory`` (bytes), ``walltime`` (s) and ``delay`` (s) are for the next attempt; ``retries`` counts them by cause.
    """

    state: JobState
    retries: Mapping[str, int]
    memory: int | None = None
    walltime: float | None = None
    delay: float = 0.0


def decide(
    step: Step,
    cause: str,
    exit_code: int | None,
    retries: Mapping[str, int],
    memory: int | None = None,
    walltime: float | None = None,
) -> Decision:
    """Decide by cause whether a job is tried again, and with what.

    Args:
        retries: how often each cause has been tried again so far.
        memory: the limit of the failed attempt in bytes, where it differs from the step's.
        walltime: the same for wall time, in seconds.
    """
    policy = step.retry
    used = retries.get(cause, 0)
    final = cause == "exit" and exit_code in policy.final_exit_codes
    if final or used >= policy.allowed(cause):
        return Decision(JobState.FAILED, retries)
    memory = memory or step.resources.memory
    walltime = walltime or step.resources.wall_seconds()
    more_memory, more_walltime = memory, walltime
    if cause == "memory" and memory:
        more_memory = max(memory, min(int(memory * policy.memory_factor), policy.memory_max or 2**62))
    if cause == "wall_time" and walltime:
        more_walltime = max(walltime, min(walltime * policy.walltime_factor, policy.walltime_max or 1e12))
    if (cause == "memory" and more_memory == memory) or (cause == "wall_time" and more_walltime == walltime):
        return Decision(JobState.FAILED, retries)  # at the cap: the same again would fail the same way
    delay = policy.delay * 2**used
    return Decision(JobState.READY, {**retries, cause: used + 1}, more_memory, more_walltime, delay)
