"""The pools that the other tests rely on: jobs run, and go on while their scheduler is started again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pools.condor import CondorPool
from processes import wait_for

JOBS = 3


def gate_script(folder: Path) -> Path:
    """Make a script that says that it has begun, waits until it may end, and says that it has ended."""
    script = folder / "job.sh"
    script.write_text(
        f"#!/bin/sh\necho begun > {folder}/begun.$1\nwhile [ ! -e {folder}/may-end ]; do sleep 0.1; done\n"
        f"echo ended > {folder}/ended.$1\n"
    )
    script.chmod(0o755)
    return script


def count(folder: Path, what: str) -> int:
    return len(list(folder.glob(f"{what}.*")))


def condor_log(folder: Path, event: str) -> int:
    """How often an event stands in the user log."""
    log = folder / "user.log"
    return sum(line.startswith(event) for line in log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.parametrize("crash", [False, True], ids=["in order", "crash"])
def test_condor_jobs_outlive_a_restart_of_the_schedd(condor_pool: CondorPool, tmp_path: Path, crash: bool) -> None:
    script = gate_script(tmp_path)
    (tmp_path / "jobs.sub").write_text(f"executable = {script}\narguments = $(Process)\nlog = user.log\nqueue {JOBS}\n")
    condor_pool.run("condor_submit", "jobs.sub", folder=tmp_path)
    wait_for(lambda: count(tmp_path, "begun") == JOBS, "the beginning of all jobs")
    condor_pool.restart(crash=crash)
    (tmp_path / "may-end").touch()
    wait_for(lambda: condor_log(tmp_path, "005 (") == JOBS, "the end of all jobs", 60)
    assert count(tmp_path, "ended") == JOBS
    assert condor_log(tmp_path, "001 (") == JOBS, "a job was started twice"
    assert condor_log(tmp_path, "023 (") == JOBS, "a job was not taken over"


def test_condor_runs_a_dag(condor_pool: CondorPool, tmp_path: Path) -> None:
    for node in "AB":
        (tmp_path / f"{node}.sub").write_text(
            f"executable = /bin/sh\narguments = \"-c 'echo {node} >> order'\"\nlog = {node}.log\nqueue\n"
        )
    (tmp_path / "two.dag").write_text("JOB A A.sub\nJOB B B.sub\nPARENT A CHILD B\n")
    condor_pool.run("condor_submit_dag", "two.dag", folder=tmp_path)
    end = tmp_path / "two.dag.metrics"
    wait_for(end.exists, "the end of the DAG", 60)
    assert (tmp_path / "order").read_text().split() == ["A", "B"]


def test_condor_matches_the_requirements_of_an_experiment(condor_pool: CondorPool, tmp_path: Path) -> None:
    for system in ("AlmaLinux9", "AlmaLinux8"):
        (tmp_path / f"{system}.sub").write_text(
            f'executable = /bin/true\nrequirements = OpSysAndVer =?= "{system}"\nlog = {system}.log\nqueue\n'
        )
        condor_pool.run("condor_submit", f"{system}.sub", folder=tmp_path)
    wait_for(lambda: "005 (" in (tmp_path / "AlmaLinux9.log").read_text(), "the end of the job that matches", 60)
    assert "001 (" not in (tmp_path / "AlmaLinux8.log").read_text()
    condor_pool.clear()


def test_condor_spools(condor_pool: CondorPool, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("spooled\n")
    (tmp_path / "job.sub").write_text(
        "executable = /bin/cp\narguments = input output\ntransfer_executable = false\ntransfer_input_files = input\n"
        "should_transfer_files = YES\nwhen_to_transfer_output = ON_EXIT\nlog = user.log\nqueue\n"
    )
    cluster = condor_pool.run("condor_submit", "-spool", "-terse", "job.sub", folder=tmp_path).split(".")[0]
    status = ("condor_q", cluster, "-af", "JobStatus")
    condor_pool.wait_for(lambda: condor_pool.run(*status).strip() == "4", "the end of the spooled job")
    condor_pool.run("condor_transfer_data", cluster, folder=tmp_path)
    assert (tmp_path / "output").read_text() == "spooled\n"
    condor_pool.clear()


def test_condor_is_unreachable_while_its_schedd_is_stopped(condor_pool: CondorPool, tmp_path: Path) -> None:
    condor_pool.stop_scheduler()
    assert condor_pool.ask("condor_q").returncode != 0
    condor_pool.start_scheduler()
    assert condor_pool.ask("condor_q").returncode == 0
