"""Slurm's states, reasons and refusals, and what they mean.

Source: squeue(1), "JOB REASON CODES" and "JOB STATE CODES".
"""

from __future__ import annotations

import re

from fiducial.batch.queue.system import QueueState

__all__ = ["ENDS", "FULL", "HINTS", "TRANSIENT", "keeps_waiting", "queue_state", "sentence"]

#: What the commands say when the same call may succeed later.
TRANSIENT = re.compile(
    r"Unable to contact|Socket timed out|temporarily unable|partition not available|Resource temporarily unavailable|"
    r"Connection (?:refused|reset|timed out)|Zero Bytes were transmitted|Transport endpoint|Message receive failure|"
    r"Unexpected message received|standby mode|Header lengths|slurm_persist_conn|Munge (?:encode|decode) failed|"
    r"Socket communication|Slurmdbd connection|"
    r"slurmctld is (?:starting|shutting)|Configuring|Try again|Broken pipe|No route to host|Name or service",
    re.IGNORECASE,
)

#: What sbatch says when a user, account or quality of service has as many jobs in the queue as it may.
FULL = re.compile(r"\b(?:Assoc|QOS)\w*SubmitJob\w*")

#: What to do about a refusal, by its words.
HINTS = {
    "partition name": "`sinfo -s` lists the partitions; the site's key `queue` names one",
    "account/partition combination": "`sacctmgr show associations user=$USER` lists what you may use; "
    "the site's keys are `account`, `queue` and `qos`",
    "account": "`sacctmgr show associations user=$USER` lists your accounts; the site's key is `account`",
    "qos": "`sacctmgr show associations user=$USER format=account,partition,qos` lists yours; the site's key is `qos`",
    "accounting/qos policy": "the step asks for more than one job may have here: compare its resources with "
    "`sacctmgr show qos`",
    "feature": "`sinfo -o '%P %f'` lists what nodes offer; the site's key `requirements` asks for it",
    "license": "`scontrol show licenses` lists them; the site's key is `licenses`",
    "reservation": "`scontrol show reservations` lists them; the site's key is `reservation`",
    "node configuration": "no node has that many cores, that much memory or disk: "
    "`sinfo -o '%P %c %m %d'` lists what there is",
    "time limit": "`sinfo -o '%P %l'` lists the longest times; the step's `walltime` is more, or the site's key "
    "`queue` names the wrong partition",
    "memory": "the step asks for more memory than its partition gives: `sinfo -o '%P %m'`",
}

_SENTENCES = {
    "AccountNotAllowed": "its account may not use this partition",
    "AssociationJobLimit": "the account has as many jobs as it may",
    "AssociationResourceLimit": "the account uses as much as it may",
    "BadConstraints": "no node can ever have what it asks for",
    "BeginTime": "it is not to start before a certain time",
    "Cleaning": "it is being requeued, and its former run is still being cleaned up",
    "Dependency": "a job that it depends on has not ended",
    "DependencyNeverSatisfied": "a job that it depends on ended in a way that it can never start",
    "InvalidAccount": "its account is not valid",
    "InvalidQOS": "its quality of service is not valid",
    "JobArrayTaskLimit": "as many jobs of its submission run as may",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "it is held by order of its user",
    "JobHoldMaxRequeue": "Slurm has requeued it too often",
    "JobLaunchFailure": "Slurm could not start it on the node",
    "Licenses": "licences that it needs are in use",
    "NodeDown": "a node that it needs is down",
    "None": "",
    "PartitionConfig": "the partition cannot give what it asks for",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionNodeLimit": "it asks for more nodes than the partition gives",
    "PartitionTimeLimit": "it asks for more time than the partition gives",
    "Priority": "jobs of higher priority come first",
    "QOSJobLimit": "its quality of service has as many jobs as it may",
    "QOSNotAllowed": "its quality of service may not be used here",
    "QOSResourceLimit": "its quality of service uses as much as it may",
    "ReqNodeNotAvail": "a node that it needs is not available",
    "Reservation": "it waits for its reservation to begin",
    "ReservationDeleted": "its reservation is no more",
    "Resources": "it waits for free resources",
    "SystemFailure": "Slurm itself failed",
}
_STUCK = {
    "AccountNotAllowed",
    "BadConstraints",
    "DependencyNeverSatisfied",
    "InvalidAccount",
    "InvalidQOS",
    "JobHeldAdmin",
    "JobHeldUser",
    "JobHoldMaxRequeue",
    "PartitionConfig",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSNotAllowed",
    "ReservationDeleted",
}
#: Limits of one job; others are of many jobs together, and pass.
_PER_JOB = re.compile(r"PerJob(?:Limit)?$|WallDuration\w*Limit$|^QOSMin|PerNode(?:Limit)?$|^(?:Assoc|QOS)TimeLimit$")

_STATES: dict[str, QueueState] = {
    "PENDING": "pending",
    "CONFIGURING": "pending",
    "REQUEUED": "pending",
    "REQUEUE_FED": "pending",
    "POWER_UP_NODE": "pending",
    "REQUEUE_HOLD": "held",
    "SPECIAL_EXIT": "held",
    "RUNNING": "running",
    "SUSPENDED": "running",
    "STOPPED": "running",
    "RESIZING": "running",
    "SIGNALING": "running",
    "COMPLETING": "ended",
    "STAGE_OUT": "ended",
}

#: States in which a job has ended, with the cause, if the state tells it, and in English.
ENDS = {
    "BOOT_FAIL": ("lost", "its node did not boot"),
    "CANCELLED": ("removed", "it was cancelled"),
    "COMPLETED": ("", "it ended with exit code 0 and left no result"),
    "COMPLETING": ("", ""),
    "DEADLINE": ("wall_time", "Slurm ended it at its deadline"),
    "FAILED": ("", ""),
    "LAUNCH_FAILED": ("lost", "Slurm could not start it on the node"),
    "NODE_FAIL": ("lost", "its node failed"),
    "OUT_OF_MEMORY": ("memory", "it needed more memory than Slurm gave it"),
    "PREEMPTED": ("lost", "it was preempted by a job of higher priority"),
    "RECONFIG_FAIL": ("lost", "its node could not be set up"),
    "REVOKED": ("lost", "another cluster has taken it"),
    "STAGE_OUT": ("", ""),
    "TIMEOUT": ("wall_time", "Slurm ended it at its time limit"),
}


def keeps_waiting(reason: str) -> bool:
    """Whether a job that waits for this reason starts only when somebody has acted."""
    code = _code(reason)
    return code in _STUCK or "held" in code.lower() or _PER_JOB.search(code) is not None


def queue_state(state: str, reason: str) -> QueueState:
    """What a state means to us; one that this Slurm has and we do not know is taken for waiting."""
    known: QueueState = "ended" if state in ENDS else _STATES.get(state, "pending")
    return "held" if known == "pending" and keeps_waiting(reason) else known


def sentence(reason: str) -> str:
    """A reason in English, with Slurm's own word for those who want to look it up."""
    code = _code(reason)
    told = _SENTENCES.get(code)
    if told is None:
        told = _of_limits(code)
    return f"{told} ({reason})" if told else "" if told == "" else reason


def _code(reason: str) -> str:
    """The code itself: ``ReqNodeNotAvail, UnavailableNodes:n[1-3]`` has more behind it."""
    return reason.partition(",")[0].strip("() ")


def _of_limits(code: str) -> str | None:
    """The many limits of associations and qualities of service, whose names say what they limit."""
    match = re.match(r"(Assoc|QOS)(Grp|Max|Min)?", code)
    if match is None:
        return None
    whose = "its account" if match[1] == "Assoc" else "its quality of service"
    if keeps_waiting(code):
        return f"it asks for what {whose} does not give to one job"
    return f"{whose} uses as much as it may"
