"""What LSF's states and reasons mean. Source: IBM Spectrum LSF 10.1, command reference, bjobs; termination reasons."""

from __future__ import annotations

import re

from fiducial.batch.queue.system import QueueState, Status

__all__ = ["STATES", "ending"]

#: State and reason for each state of LSF; those that have ended are told by `ending`.
STATES: dict[str, tuple[QueueState, str]] = {
    "PEND": ("pending", ""),
    "PROV": ("pending", "its host is being made ready"),
    "WAIT": ("pending", "waits for the others of its chunk"),
    "PSUSP": ("held", "suspended before it began, by its owner or an administrator"),
    "FWD_PEND": ("pending", "waits in another cluster"),
    "RUN": ("running", ""),
    "USUSP": ("running", "suspended by its owner or an administrator"),
    "SSUSP": ("running", "suspended by LSF, for others need its host"),
    "UNKWN": ("running", "LSF has lost contact to its host"),
}

_ENDS = {
    "TERM_MEMLIMIT": ("memory", "used more memory than LSF allows"),
    "TERM_SWAP": ("memory", "used more swap space than LSF allows"),
    "TERM_RUNLIMIT": ("wall_time", "ran longer than LSF allows"),
    "TERM_CPULIMIT": ("cpu_time", "used more CPU time than LSF allows"),
    "TERM_CWD_NOTEXIST": ("environment", "its working directory is not on the node"),
    "TERM_DATA": ("input", "LSF could not bring its data"),
    "TERM_OWNER": ("removed", "killed by its owner"),
    "TERM_ADMIN": ("removed", "killed by an administrator"),
    "TERM_FORCE_OWNER": ("removed", "killed by its owner, without waiting for its end"),
    "TERM_FORCE_ADMIN": ("removed", "killed by an administrator, without waiting for its end"),
    "TERM_BUCKET_KILL": ("removed", "killed with many others (bkill -b)"),
    "TERM_ORPHAN_SYSTEM": ("removed", "removed by LSF, as it depended on what failed"),
    "TERM_PROCESSLIMIT": ("signal", "had more processes than LSF allows"),
    "TERM_THREADLIMIT": ("signal", "had more threads than LSF allows"),
    "TERM_PREEMPT": ("lost", "had to give way to a job of higher priority"),
    "TERM_WINDOW": ("lost", "its queue closed"),
    "TERM_LOAD": ("lost", "the load on its host was too high"),
    "TERM_DEADLINE": ("lost", "its deadline came"),
    "TERM_REQUEUE_OWNER": ("lost", "put back into the queue by its owner"),
    "TERM_REQUEUE_ADMIN": ("lost", "put back into the queue by an administrator"),
    "TERM_EXTERNAL_SIGNAL": ("lost", "ended by a signal that LSF did not send"),
    "TERM_CHKPNT": ("lost", "ended when it was checkpointed"),
    "TERM_ZOMBIE": ("lost", "ended while its host could not be reached"),
    "TERM_REMOVE_HUNG_JOB": ("lost", "removed, since its host hung"),
    "TERM_PRE_EXEC_FAIL": ("lost", "the host was not ready for it (pre-execution command)"),
    "TERM_CTRL_PID": ("lost", "the process that controlled it died"),
    "TERM_MC_RECALL": ("lost", "called back from another cluster"),
    "TERM_RC_RECLAIM": ("lost", "its host was taken back by the cloud"),
    "TERM_RC": ("lost", "its host was taken back by the cloud"),
    "TERM_CSM_ALLOC": ("lost", "its hosts could not be allocated"),
    "TERM_KUBE": ("lost", "ended by Kubernetes"),
    "TERM_SLURM": ("lost", "ended by Slurm"),
}


def ending(reason: str, code: int, *, host: str = "", at: float | None = None) -> Status:
    """How a job ended.

    Args:
        reason: what LSF says, with a word such as ``TERM_RUNLIMIT`` in it, or nothing.
        code: exit code; over 128 for a signal.
    """
    found = re.search(r"TERM_[A-Z_]+", reason)
    signal = code - 128 if code > 128 else None
    if found and found[0] in _ENDS:
        cause, words = _ENDS[found[0]]
        return Status("ended", f"{words} ({found[0]})", cause, signal=signal, host=host, at=at)
    words = reason.strip().rstrip(";.")
    if signal is not None:
        return Status("ended", words or f"ended by signal {signal}", "lost", signal=signal, host=host, at=at)
    return Status("ended", words, exit_code=code, host=host, at=at)
