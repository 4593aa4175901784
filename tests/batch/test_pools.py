"""The pools that the other tests rely on: jobs run, and go on while their scheduler is started again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pools.condor import SECOND_MACHINE, CondorPool
from pools.gridengine import GridEnginePool
from pools.pool import Pool
from pools.slurm import SlurmPool
from pools.slurmdbd import SlurmPoolWithAccounting
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


def test_condor_removes_a_job_that_outruns_its_flavour(condor_pool: CondorPool, tmp_path: Path) -> None:
    (tmp_path / "job.sub").write_text(
        "executable = /bin/sleep\narguments = 60\nlog = user.log\n"
        'MY.JobFlavour = "workday"\nqueue\nMY.JobFlavour = undefined\nMY.MaxRuntime = 1\nqueue\n'
    )
    cluster = condor_pool.run("condor_submit", "-terse", "job.sub", folder=tmp_path).split(".")[0]
    assert condor_pool.run("condor_q", cluster, "-af", "MaxRuntime").split() == ["480", "1"]
    wait_for(lambda: condor_log(tmp_path, "009 (") == 1, "the removal of a job")
    assert "Job ran longer than its MaxRuntime of 1 s" in (tmp_path / "user.log").read_text()
    condor_pool.clear()


def test_condor_has_a_second_machine_on_request(condor_pool: CondorPool, tmp_path: Path) -> None:
    assert set(condor_pool.run("condor_status", "-af", "OpSysAndVer").split()) == {"AlmaLinux9"}
    with CondorPool(tmp_path / "mixed", extra=SECOND_MACHINE) as pool:
        (tmp_path / "job.sub").write_text(
            'executable = /bin/true\nrequirements = OpSysAndVer =?= "AlmaLinux8"\nlog = user.log\nqueue\n'
        )
        pool.run("condor_submit", "job.sub", folder=tmp_path)
        wait_for(lambda: condor_log(tmp_path, "005 (") == 1, "the end of the job")
        assert "second" in (tmp_path / "user.log").read_text()


def slurm_states(pool: SlurmPool, jobs: list[str]) -> list[str]:
    """The states that the controller knows, of jobs that have ended too."""
    return pool.run("squeue", "-h", "-t", "all", "-j", ",".join(jobs), "-o", "%T").split()


def outlive_a_restart_of_slurm(pool: SlurmPool, folder: Path) -> list[str]:
    script = gate_script(folder)
    jobs = [pool.run("sbatch", "--parsable", script.name, str(n), folder=folder).strip() for n in range(JOBS)]
    wait_for(lambda: count(folder, "begun") == JOBS, "the beginning of all jobs")
    pool.restart()
    assert slurm_states(pool, jobs) == ["RUNNING"] * JOBS
    (folder / "may-end").touch()
    wait_for(lambda: slurm_states(pool, jobs) == ["COMPLETED"] * JOBS, "the end of all jobs")
    assert count(folder, "ended") == JOBS
    return jobs


def test_slurm_jobs_outlive_a_restart_of_the_slurmctld(slurm_pool: SlurmPool, tmp_path: Path) -> None:
    outlive_a_restart_of_slurm(slurm_pool, tmp_path)
    assert "disabled" in slurm_pool.ask("sacct").stderr


def test_slurm_goes_on_after_a_crash_of_the_slurmctld(slurm_pool: SlurmPool, tmp_path: Path) -> None:
    slurm_pool.restart(crash=True)  # which jobs it still knows depends on when it last saved them
    slurm_pool.run("srun", "touch", "ran", folder=tmp_path)
    assert (tmp_path / "ran").exists()


def test_slurm_accounts_for_jobs(slurm_pool_with_accounting: SlurmPoolWithAccounting, tmp_path: Path) -> None:
    pool = slurm_pool_with_accounting
    jobs = outlive_a_restart_of_slurm(pool, tmp_path)
    question = ("sacct", "-n", "-P", "-X", "-j", ",".join(jobs), "-o", "State,ExitCode")
    pool.wait_for(lambda: pool.run(*question).split() == ["COMPLETED|0:0"] * JOBS, "the accounts of all jobs")


def exit_status(pool: GridEnginePool, job: str) -> list[str]:
    """What the accounting file says, if it knows the job yet."""
    lines = (line.split() for line in pool.ask("qacct", "-j", job).stdout.splitlines())
    return next((words for words in lines if words[:1] == ["exit_status"]), [])


def test_gridengine_jobs_outlive_a_restart_of_the_qmaster(gridengine_pool: GridEnginePool, tmp_path: Path) -> None:
    pool, script = gridengine_pool, gate_script(tmp_path)
    jobs = [pool.run("qsub", "-terse", "-cwd", script.name, str(n), folder=tmp_path).strip() for n in range(JOBS)]
    wait_for(lambda: count(tmp_path, "begun") == JOBS, "the beginning of all jobs")
    pool.restart()
    (tmp_path / "may-end").touch()
    for job in jobs:
        status = pool.wait_for(lambda job=job: exit_status(pool, job), f"the account of job {job}")
        assert status == ["exit_status", "0"]
    assert count(tmp_path, "ended") == JOBS


@pytest.mark.parametrize(
    ("fixture", "question"),
    [("condor_pool", "condor_q"), ("slurm_pool", "squeue"), ("gridengine_pool", "qstat")],
)
def test_the_queue_is_unreachable_while_the_scheduler_is_stopped(
    request: pytest.FixtureRequest, fixture: str, question: str
) -> None:
    pool: Pool = request.getfixturevalue(fixture)
    pool.stop_scheduler()
    assert pool.ask(question).returncode != 0
    pool.start_scheduler()
    assert pool.ask(question).returncode == 0


@pytest.mark.parametrize(
    ("fixture", "submit"),
    [
        ("condor_pool", ["condor_submit", "long.sub"]),
        ("slurm_pool", ["sbatch", "--wrap", "sleep 600"]),
        ("gridengine_pool", ["qsub", "-b", "y", "sleep", "600"]),
    ],
)
def test_a_pool_is_cleared(request: pytest.FixtureRequest, tmp_path: Path, fixture: str, submit: list[str]) -> None:
    pool: Pool = request.getfixturevalue(fixture)
    (tmp_path / "long.sub").write_text("executable = /bin/sleep\narguments = 600\nqueue\n")
    pool.run(*submit, folder=tmp_path)
    pool.clear()
