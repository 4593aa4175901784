"""A Slurm of one node that believes to have more cores than the machine, without munge, cgroups or root."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path
from typing import ClassVar

from pools.pool import Pool, free_port

# Names of settings: slurm.conf(5) of Slurm 22.05.
CONFIGURATION = """
ClusterName=test
PluginDir={plugins}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log

# Nothing that needs root, keys, cgroups or a mail server.
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
SwitchType=switch/none
MpiDefault=none
LaunchParameters=disable_send_gids
PropagateResourceLimits=NONE
MailProg=/bin/true
# Nobody outside the machine can reach the daemons, which trust everyone.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny

# What has ended stays known, and is written down.
{accounting}
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/completed
MinJobAge=3600

# At once rather than thriftily.
SchedulerType=sched/builtin
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,sched_interval=1
ReturnToService=2
SlurmctldTimeout=300
SlurmdTimeout=300
InactiveLimit=0
KillWait=1
OverTimeLimit=0
CompleteWait=0
# So long a command looks for the slurmctld in vain, times two or three.
MessageTimeout=4

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
DefMemPerCPU=1024
NodeName={host} NodeAddr=127.0.0.1 CPUs={slots} RealMemory={memory} TmpDisk=1000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes={host} MaxTime=1 State=UP
{extra}
"""


class SlurmPool(Pool):
    """A private Slurm with partitions ``main`` and ``short``, the latter for a minute."""

    system: ClassVar[str] = "slurm"
    scheduler: ClassVar[str] = "slurmctld"
    daemons: ClassVar[tuple[str, ...]] = ("slurmctld", "slurmd")
    accounting = "AccountingStorageType=accounting_storage/none"

    def configure(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        file = self.folder / "slurm.conf"
        file.write_text(
            CONFIGURATION.format(
                plugins=self.libraries,
                host=socket.gethostname().partition(".")[0],
                controller_port=free_port(),
                node_port=free_port(),
                user=getpass.getuser(),
                folder=self.folder,
                accounting=self.accounting,
                slots=self.slots,
                memory=2048 * self.slots,
                extra=self.extra,
            )
        )
        path = f"{self.prefix.usr / 'bin'}:{os.environ['PATH']}"
        self.environment = {"SLURM_CONF": str(file), "PATH": path}

    @property
    def libraries(self) -> Path:
        """Where the plugins are."""
        return self.prefix.usr / "lib" / self.prefix.triplet / "slurm-wlm"

    def command(self, daemon: str) -> list[str]:
        programs = self.prefix.usr / "sbin"
        options = ["-d", str(programs / "slurmstepd")] if daemon == "slurmd" else []
        return [str(programs / daemon), "-D", *options]

    def launch(self) -> None:
        self.start_daemon("slurmctld")
        self.start_daemon("slurmd")

    def answers(self) -> bool:
        return self.state() in ("idle", "mixed", "allocated")

    def state(self) -> str:
        """What the node does."""
        return self.ask("sinfo", "-h", "-o", "%T", "-p", "main").stdout.strip()

    def stop_scheduler(self, *, crash: bool = False) -> None:
        """End the slurmctld; after a crash it has forgotten the last 5 s, jobs and their numbers too."""
        super().stop_scheduler(crash=crash)

    def log_files(self) -> list[Path]:
        """The logs, or what a daemon said that died before it had one."""
        logs = (self.folder / "log" / f"{daemon}.log" for daemon in self.daemons)
        return [log if log.exists() else log.with_suffix(".output") for log in logs]

    def clear(self) -> None:
        self.ask("scancel", "--user", getpass.getuser())
        self.wait_for(lambda: not self.run("squeue", "-h").strip(), "an empty queue")
        self.wait_for(lambda: self.state() == "idle", "an idle node")  # what was killed on it takes a while to go
