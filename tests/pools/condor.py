"""A personal pool of HTCondor: one machine that advertises more slots than it has cores."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from pools.keeper import descendants
from pools.pool import Pool
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
# The schedd is no child of the master, which would start it again whenever a test stops it; so it is not of its family.
DAEMON_LIST = MASTER COLLECTOR NEGOTIATOR STARTD
SEC_USE_FAMILY_SESSION = False

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

DAGMAN_USER_LOG_SCAN_INTERVAL = 1
DAGMAN_SUBMIT_DELAY = 0
DAGMAN_MAX_SUBMITS_PER_INTERVAL = 500
DAGMAN_PENDING_REPORT_INTERVAL = 60
DAGMAN_QUEUE_UPDATE_INTERVAL = 2
# Else logs in /tmp, where tests live, are an error.
DAGMAN_USE_STRICT = 0

{extra}
"""

# Flavours as a batch farm has them, with seconds for hours: whatever runs longer is removed.
FLAVOURS = """
JOB_TRANSFORM_NAMES = flavour
JOB_TRANSFORM_flavour @=end
   DEFAULT JobFlavour "espresso"
   EVALSET MaxRuntime ifThenElse(JobFlavour =?= "espresso", 20, ifThenElse(JobFlavour =?= "brief", 3, 3600))
@end
SYSTEM_PERIODIC_REMOVE = (JobStatus == 2) && (time() - JobCurrentStartDate > MaxRuntime)
SYSTEM_PERIODIC_REMOVE_REASON = strcat("MaxRuntime ", MaxRuntime, " s of flavour ", JobFlavour, " exceeded")
"""


class CondorPool(Pool):
    """A private HTCondor; ``flavours`` and a second kind of machine go into ``extra``."""

    system: ClassVar[str] = "htcondor"
    scheduler: ClassVar[str] = "schedd"

    def configure(self) -> None:
        for name in ("spool", "execute", "lock", "run", "credentials", "tokens", "passwords"):
            (self.folder / name).mkdir()
        file = self.folder / "condor_config"
        memory = 2048 * self.slots
        file.write_text(
            CONFIGURATION.format(
                usr=self.prefix.usr, folder=self.folder, slots=self.slots, memory=memory, extra=self.extra
            )
        )
        path = f"{self.prefix.usr / 'bin'}:{self.prefix.usr / 'sbin'}:{os.environ['PATH']}"
        self.environment = {"CONDOR_CONFIG": str(file), "PATH": path}

    def command(self, daemon: str) -> list[str]:
        return [str(self.prefix.usr / "sbin" / f"condor_{daemon}"), "-f"]

    def launch(self) -> None:
        self.start_daemon("master")
        self.wait_for((self.folder / "log" / ".collector_address").exists, "the collector")
        self.start_daemon("schedd")

    def answers(self) -> bool:
        return bool(self.ask("condor_status", "-af", "Name").stdout) and self.schedd_answers()

    def schedd_answers(self) -> bool:
        return self.ask("condor_q", "-totals").returncode == 0

    def clear(self) -> None:
        self.ask("condor_rm", "-all")  # fails if there is none
        self.wait_for(lambda: not self.run("condor_q", "-allusers", "-af", "ClusterId").strip(), "an empty queue")

    def log_files(self) -> list[Path]:
        return sorted((self.folder / "log").glob("*Log"))

    def stop_scheduler(self, *, crash: bool = False) -> None:
        """End the schedd fast, or kill it with all that it started, as a crash of the submitting machine does.

        A graceful end would first wait for the jobs. Were a shadow left alive, it would take the end of its job to the
        grave, and the job would run twice.
        """
        children = list(descendants(self.pids[self.scheduler]))
        self.stop_daemon(self.scheduler, signal.SIGKILL if crash else signal.SIGQUIT)
        if crash:
            for pid in children:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.wait_for(lambda: not any(map(is_running, children)), "the end of the schedd's children")
