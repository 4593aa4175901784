"""A personal pool of HTCondor: one machine that advertises more slots than it has cores."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from pools.keeper import descendants
from pools.pool import Pool, PoolError
from processes import is_running

# Names of settings: HTCondor Version 23 manual, "Configuration Macros".
CONFIGURATION = """
RELEASE_DIR = {usr}
BIN = $(RELEASE_DIR)/bin
SBIN = $(RELEASE_DIR)/sbin
LIB = $(RELEASE_DIR)/lib/condor
LIBEXEC = $(RELEASE_DIR)/libexec/condor
SHARE = $(RELEASE_DIR)/share/condor
LOCAL_DIR = {folder}
LOG = $(LOCAL_DIR)/log
SPOOL = $(LOCAL_DIR)/spool
EXECUTE = $(LOCAL_DIR)/execute
LOCK = $(LOCAL_DIR)/lock
RUN = $(LOCAL_DIR)/run
ETC = $(LOCAL_DIR)
LOCAL_CONFIG_FILE =
LOCAL_CONFIG_DIR =
use ROLE:Personal
use POLICY:ALWAYS_RUN_JOBS

# One machine, which needs no name.
NETWORK_INTERFACE = 127.0.0.1
BIND_ALL_INTERFACES = False
ENABLE_IPV6 = False
NO_DNS = True
DEFAULT_DOMAIN_NAME = pool.test
UID_DOMAIN = pool.test
FILESYSTEM_DOMAIN = pool.test
TRUST_UID_DOMAIN = True
SOFT_UID_DOMAIN = True
COLLECTOR_ADDRESS_FILE = $(LOG)/.collector_address
SCHEDD_ADDRESS_FILE = $(LOG)/.schedd_address
MASTER_ADDRESS_FILE = $(LOG)/.master_address
STARTD_ADDRESS_FILE = $(LOG)/.startd_address
NEGOTIATOR_ADDRESS_FILE = $(LOG)/.negotiator_address

# Whoever owns the folder may do all; he proves it by making a file.
SEC_DEFAULT_AUTHENTICATION = REQUIRED
SEC_DEFAULT_AUTHENTICATION_METHODS = FS
# Newer clients want more than older daemons say. HTCondor 25 has this setting.
SEC_FS_ENFORCE_CHANNEL_BINDING = False
SEC_PASSWORD_DIRECTORY = $(LOCAL_DIR)/passwords
SEC_TOKEN_SYSTEM_DIRECTORY = $(LOCAL_DIR)/tokens
SEC_TOKEN_DIRECTORY = $(LOCAL_DIR)/tokens
SEC_CREDENTIAL_DIRECTORY_OAUTH = $(LOCAL_DIR)/credentials
ALLOW_READ = *
ALLOW_WRITE = *
ALLOW_DAEMON = *
ALLOW_ADMINISTRATOR = *
ALLOW_NEGOTIATOR = *

# One slot that is cut up as jobs want it; cores and memory are book-keeping.
NUM_CPUS = {slots}
MEMORY = {memory}
NUM_SLOTS = 1
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True
# What an experiment's requirements ask for.
OpSysAndVer = "AlmaLinux9"
STARTD_ATTRS = $(STARTD_ATTRS) OpSysAndVer

# Flavours of jobs as CERN's farm has them, with a second for a minute. A job without one may run for ever.
JOB_TRANSFORM_NAMES = flavour
JOB_TRANSFORM_flavour @=end
   REQUIREMENTS JobFlavour isnt undefined
   EVALSET MaxRuntime {flavours}
@end
SYSTEM_PERIODIC_REMOVE = JobStatus == 2 && (time() - JobCurrentStartDate > MaxRuntime) =?= true
SYSTEM_PERIODIC_REMOVE_REASON = strcat("Job ran longer than its MaxRuntime of ", MaxRuntime, " s")

# Nothing that takes root or time.
STARTD_HAS_BAD_UTMP = True
BASE_CGROUP =
CREATE_CGROUP_WITHOUT_ROOT = False
DISABLE_SWAP_FOR_JOB = False
SINGULARITY = /bin/false
DOCKER =
JAVA =
FILETRANSFER_PLUGINS = $(LIBEXEC)/curl_plugin
STARTD_CRON_JOBLIST =
RUNBENCHMARKS = 0
DISCARD_SESSION_KEYRING_ON_STARTUP = False
USE_PID_NAMESPACES = False
CONDOR_FSYNC = False

# At once rather than thriftily.
UPDATE_INTERVAL = 5
POLLING_INTERVAL = 1
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
SCHEDD_INTERVAL_TIMESLICE = 1
JOB_START_COUNT = 50
JOB_START_DELAY = 0
JOB_STOP_COUNT = 50
JOB_STOP_DELAY = 0
PERIODIC_EXPR_INTERVAL = 2
MAX_PERIODIC_EXPR_INTERVAL = 5
STARTER_UPDATE_INTERVAL = 2
STARTER_INITIAL_UPDATE_INTERVAL = 1
STARTER_UPDATE_INTERVAL_TIMESLICE = 1
SHADOW_QUEUE_UPDATE_INTERVAL = 5
PID_SNAPSHOT_INTERVAL = 2
PROCD_MAX_SNAPSHOT_INTERVAL = 2
JOB_IS_FINISHED_INTERVAL = 0
JOB_IS_FINISHED_COUNT = 100
CLAIM_WORKLIFE = 3600
MAX_JOBS_RUNNING = 500
RECONNECT_BACKOFF_CEILING = 1
MASTER_BACKOFF_CONSTANT = 1
MASTER_BACKOFF_CEILING = 1

DAGMAN_USER_LOG_SCAN_INTERVAL = 1
DAGMAN_SUBMIT_DELAY = 0
DAGMAN_MAX_SUBMITS_PER_INTERVAL = 500
DAGMAN_PENDING_REPORT_INTERVAL = 60
DAGMAN_QUEUE_UPDATE_INTERVAL = 2
# Else logs in /tmp, where tests live, are an error.
DAGMAN_USE_STRICT = 0

{extra}
"""

# Seconds that a job may run.
FLAVOURS = {
    "espresso": 20,
    "microcentury": 60,
    "longlunch": 120,
    "workday": 480,
    "tomorrow": 1440,
    "testmatch": 4320,
    "nextweek": 10080,
}

# A second machine in the pool, with another system on it: lines for ``extra``.
SECOND_MACHINE = """
SECOND = $(STARTD)
SECOND_ARGS = -f -local-name SECOND
SECOND.STARTD_NAME = second
SECOND.STARTD_LOG = $(LOG)/SecondStartLog
SECOND.STARTD_ADDRESS_FILE = $(LOG)/.second_address
SECOND.EXECUTE = $(LOCAL_DIR)/execute-second
SECOND.NUM_CPUS = 4
SECOND.OpSysAndVer = "AlmaLinux8"
SECOND.STARTD_ATTRS = OpSysAndVer
DAEMON_LIST = $(DAEMON_LIST) SECOND
"""


class CondorPool(Pool):
    """A private HTCondor, of which ``extra`` may be ``SECOND_MACHINE``."""

    system: ClassVar[str] = "htcondor"
    scheduler: ClassVar[str] = "schedd"

    def configure(self) -> None:
        for name in ("spool", "execute", "execute-second", "lock", "run", "credentials", "tokens", "passwords"):
            (self.folder / name).mkdir()
        flavours = str(FLAVOURS["espresso"])
        for name, seconds in FLAVOURS.items():
            flavours = f'ifThenElse(JobFlavour == "{name}", {seconds}, {flavours})'
        file = self.folder / "condor_config"
        file.write_text(
            CONFIGURATION.format(
                usr=self.prefix.usr,
                folder=self.folder,
                slots=self.slots,
                memory=2048 * self.slots,
                flavours=flavours,
                extra=self.extra,
            )
        )
        path = f"{self.prefix.usr / 'bin'}:{self.prefix.usr / 'sbin'}:{os.environ['PATH']}"
        self.environment = {"CONDOR_CONFIG": str(file), "PATH": path}

    def command(self, daemon: str) -> list[str]:
        return [str(self.prefix.usr / "sbin" / f"condor_{daemon}"), "-f"]

    def launch(self) -> None:
        self.start_daemon("master")
        self.wait_for((self.folder / "log" / ".collector_address").exists, "the collector")

    def answers(self) -> bool:
        return bool(self.ask("condor_status", "-af", "Name").stdout) and self.schedd_answers()

    def schedd_answers(self) -> bool:
        return self.ask("condor_q", "-totals").returncode == 0

    def clear(self) -> None:
        self.ask("condor_rm", "-all")  # fails if there is none
        self.wait_for(lambda: not self.run("condor_q", "-allusers", "-af", "ClusterId").strip(), "an empty queue")

    def log_files(self) -> list[Path]:
        return sorted((self.folder / "log").glob("*Log"))

    # The schedd must be the master's child: daemons of one family trust each other, and others stop for 20 s when
    # negotiator and schedd ask each other who they are at the same time. So the master, which starts it again whenever
    # it ends, is put to sleep for as long as it shall stay away.

    def stop_scheduler(self, *, crash: bool = False) -> None:
        """End the schedd fast, or kill it with all that it started, as a crash of the submitting machine does.

        A graceful end would first wait for the jobs. Were a shadow left alive, it would take the end of its job to the
        grave, and the job would run twice.
        """
        schedd = self.pid_of_schedd()
        family = [schedd, *descendants(schedd)]
        os.kill(self.pids["master"], signal.SIGSTOP)
        self.scheduler_runs = False
        for pid in family if crash else [schedd]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if crash else signal.SIGQUIT)
        self.wait_for(lambda: not any(map(is_running, family)), "the end of the schedd and its children")

    def start_scheduler(self) -> None:
        os.kill(self.pids["master"], signal.SIGCONT)
        self.wait_for(self.answers, "an answer of the schedd")
        self.scheduler_runs = True

    def pid_of_schedd(self) -> int:
        """The number of the schedd's process."""
        for pid in descendants(self.pids["master"]):
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "condor_schedd":
                    return pid
        raise PoolError(f"the schedd does not run\n{self.last_lines()}")
