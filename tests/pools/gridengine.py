"""A Grid Engine of one host, with a root folder of its own that links to the programs."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pools.identity import has_name
from pools.keeper import descendants
from pools.pool import Pool, free_port

# Names of settings: the manual pages sge_conf(5), sched_conf(5), queue_conf(5), sge_pe(5), host_conf(5), bootstrap(5).
BOOTSTRAP = {
    "default_domain": "none",
    "ignore_fqdn": "true",
    "spooling_method": "berkeleydb",
    "spooling_lib": "libspoolb",
    "security_mode": "none",
    "listener_threads": "2",
    "worker_threads": "2",
    "scheduler_threads": "1",
    "jvm_threads": "0",
}
# At once rather than thriftily, and for users of any number.
CONFIGURATION = {
    "min_uid": "0",
    "min_gid": "0",
    "mailer": "/bin/true",
    "load_report_time": "00:00:01",
    "execd_params": "PTF_MIN_PRIORITY=0,PTF_MAX_PRIORITY=0",
    "reporting_params": "accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:00 "
    "joblog=false sharelog=00:00:00",
    "finished_jobs": "1000",
}
SCHEDULER = {
    "schedule_interval": "0:0:1",
    "job_load_adjustments": "NONE",
    "load_adjustment_decay_time": "0:0:0",
    "load_formula": "slots",
    "schedd_job_info": "true",
    "flush_submit_sec": "1",
    "flush_finish_sec": "1",
}
HOST = dict.fromkeys(
    (
        *("load_scaling", "complex_values", "user_lists", "xuser_lists", "projects", "xprojects"),
        *("usage_scaling", "report_variables"),
    ),
    "NONE",
)
ENVIRONMENT = {
    "pe_name": "smp",
    "slots": "999",
    "allocation_rule": "$pe_slots",
    "control_slaves": "FALSE",
    "job_is_first_task": "TRUE",
    "urgency_slots": "min",
    "accounting_summary": "FALSE",
    **dict.fromkeys(("user_lists", "xuser_lists", "start_proc_args", "stop_proc_args", "qsort_args"), "NONE"),
}
LIMITS = ("rt", "cpu", "fsize", "data", "stack", "core", "rss", "vmem")
QUEUE = {
    "qname": "all.q",
    "seq_no": "0",
    "nsuspend": "1",
    "suspend_interval": "00:05:00",
    "priority": "0",
    "min_cpu_interval": "00:05:00",
    "processors": "UNDEFINED",
    "qtype": "BATCH INTERACTIVE",
    "pe_list": "smp",
    "rerun": "FALSE",
    "shell": "/bin/sh",
    "shell_start_mode": "unix_behavior",
    "notify": "00:00:60",
    "initial_state": "default",
    **dict.fromkeys(
        (
            *("load_thresholds", "suspend_thresholds", "ckpt_list", "prolog", "epilog", "starter_method"),
            *("suspend_method", "resume_method", "terminate_method", "owner_list", "user_lists", "xuser_lists"),
            *("subordinate_list", "complex_values", "projects", "xprojects", "calendar"),
        ),
        "NONE",
    ),
    **{f"{kind}_{limit}": "INFINITY" for kind in "sh" for limit in LIMITS},
}


def table(values: Mapping[str, str]) -> str:
    """Write settings as Grid Engine reads them."""
    return "".join(f"{name} {value}\n" for name, value in values.items())


def read_table(text: str) -> dict[str, str]:
    """Read settings."""
    pairs = (line.partition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value.strip() for name, _, value in pairs}


def own_names() -> list[str]:
    """What this machine is called, its host name first: whatever a reverse look-up says, it is one host."""
    name = socket.gethostname()
    names = [name, "localhost"]
    for looked_up in {socket.gethostbyname(name), "127.0.0.1"}:
        try:
            first, others, _ = socket.gethostbyaddr(looked_up)
        except OSError:
            continue
        names += [first, *others]
    return list(dict.fromkeys(names))


class GridEnginePool(Pool):
    """A private Grid Engine with the queue ``all.q`` and the parallel environment ``smp``.

    Lines in ``extra`` go into the cluster's configuration, e.g. ``max_aj_tasks 10``.
    """

    system: ClassVar[str] = "gridengine"
    scheduler: ClassVar[str] = "qmaster"

    @classmethod
    def obstacle(cls) -> str | None:
        if not has_name():
            return f"Grid Engine looks up the host name, and {socket.gethostname()} is not found: add it to /etc/hosts"
        return super().obstacle()

    @property
    def programs(self) -> Path:
        """Where the programs themselves are; those in ``usr/bin`` are wrappers with fixed paths."""
        return self.prefix.usr / "lib" / "gridengine"

    @property
    def share(self) -> Path:
        return self.prefix.usr / "share" / "gridengine"

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def configure(self) -> None:
        self.names = own_names()
        self.make_folders()
        common = self.root / "default" / "common"
        own = {
            "admin_user": getpass.getuser(),
            "spooling_params": str(self.spool / "database"),
            "binary_path": str(self.root / "bin"),
            "qmaster_spool_dir": str(self.spool / "qmaster"),
        }
        (common / "bootstrap").write_text(table({**own, **BOOTSTRAP}))
        (common / "act_qmaster").write_text(f"{self.names[0]}\n")
        (common / "host_aliases").write_text(" ".join(self.names) + "\n")
        (common / "cluster_name").write_text("test\n")
        default = read_table((self.share / "default-configuration").read_text())
        own = {"execd_spool_dir": str(self.spool / "execd")}
        (self.folder / "configuration").write_text(table({**default, **CONFIGURATION, **own, **read_table(self.extra)}))

    def make_folders(self) -> None:
        """Lay out the root folder, with the programs under the names that they look for, and set the environment."""
        architecture = subprocess.run([self.share / "util" / "arch"], capture_output=True, text=True, check=True)
        name = architecture.stdout.strip()
        for place in ("bin", "lib", "utilbin"):
            (self.root / place).mkdir(parents=True)
            (self.root / place / name).symlink_to(self.programs)
        (self.root / "util").symlink_to(self.share / "util")
        (self.root / "default" / "common").mkdir(parents=True)
        for place in ("qmaster/job_scripts", "execd", "database"):
            (self.spool / place).mkdir(parents=True)
        for place in ("bin", "tmp"):
            (self.folder / place).mkdir()
        for program in self.programs.glob("q*"):
            (self.folder / "bin" / program.name).symlink_to(program)
        self.environment = {
            "SGE_ROOT": str(self.root),
            "SGE_CELL": "default",
            "SGE_ARCH": name,
            "SGE_CLUSTER_NAME": "test",
            "SGE_QMASTER_PORT": str(free_port()),
            "SGE_EXECD_PORT": str(free_port()),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
        }

    def complete_environment(self) -> dict[str, str]:
        return super().complete_environment() | {"SGE_ND": "1"}  # for daemons: stay in the foreground

    def command(self, daemon: str) -> list[str]:
        return [str(self.programs / f"sge_{daemon}")]

    def launch(self) -> None:
        self.fill_database()
        self.start_daemon("qmaster")
        self.wait_for(lambda: self.ask("qconf", "-sh").returncode == 0, "the qmaster")
        self.set_up()
        self.start_daemon("execd")

    def fill_database(self) -> None:
        """Make the qmaster's database with what must be in it before it starts."""
        resources = self.folder / "resources"
        shutil.copytree(self.share / "util" / "resources", resources)
        self.run(str(self.programs / "spoolinit"), "berkeleydb", "libspoolb", str(self.spool / "database"), "init")
        for what in (
            ("configuration", str(self.folder / "configuration")),
            ("complexes", str(resources / "centry")),
            ("usersets", str(resources / "usersets")),
            ("managers", getpass.getuser()),
        ):
            self.run(str(self.programs / "spooldefaults.bin"), *what)

    def set_up(self) -> None:
        """Tell the qmaster, which runs, of the host and the queue and how to schedule."""
        host = self.names[0]
        self.run("qconf", "-as", host)
        self.qconf("-Msconf", {**read_table(self.run("qconf", "-ssconf")), **SCHEDULER})
        self.qconf("-Ae", {"hostname": host, **HOST})
        self.qconf("-Ap", ENVIRONMENT)
        own = {"hostlist": host, "slots": str(self.slots), "tmpdir": str(self.folder / "tmp")}
        self.qconf("-Aq", {**QUEUE, **own})

    def qconf(self, option: str, values: Mapping[str, str]) -> None:
        """Hand over settings in a file."""
        file = self.folder / f"qconf{option}"
        file.write_text(table(values))
        self.run("qconf", option, str(file))

    def stop_scheduler(self, *, crash: bool = False) -> None:
        """Kill the qmaster, and let the execd sleep meanwhile, which its jobs do not notice.

        An execd tries to register again at once, and then every 30 s; so it should not try in vain. And a qmaster that
        ends in order would wait for an execd that sleeps.
        """
        os.kill(self.pids["execd"], signal.SIGSTOP)
        super().stop_scheduler(crash=True)

    def start_scheduler(self) -> None:
        """Start the qmaster again, and return when the execd has found it; with jobs that may take 30 s."""
        self.start_daemon("qmaster")
        self.wait_for(lambda: self.ask("qconf", "-sh").returncode == 0, "the qmaster")
        execd = self.pids["execd"]
        os.kill(execd, signal.SIGCONT)
        patience = time.monotonic() + 3
        self.wait_for(lambda: self.answers() or time.monotonic() > patience, "the execd at the qmaster")
        if not self.answers() and not any(descendants(execd)):
            self.restart("execd")  # another one finds the qmaster at once, but knows the ends of jobs late
        self.wait_for(self.answers, "the execd at the qmaster")
        self.scheduler_runs = True

    def answers(self) -> bool:
        """Whether the queue is there and its host reports load; a state as ``au`` says that it does not."""
        lines = self.ask("qstat", "-f").stdout.splitlines()
        words = next((line.split() for line in lines if line.startswith("all.q")), [])
        return len(words) == 5 and words[3] != "-NA-"

    def clear(self) -> None:
        self.ask("qdel", "-u", getpass.getuser())  # fails if there is none
        self.wait_for(lambda: not self.run("qstat", "-u", "*").strip(), "an empty queue")

    def log_files(self) -> list[Path]:
        return [
            *super().log_files(),
            *sorted(self.spool.glob("*/messages")),
            *sorted(self.spool.glob("execd/*/messages")),
        ]
