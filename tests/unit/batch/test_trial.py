"""What ``fiducial site test`` says of what its jobs met."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fiducial.batch.queue.commands import Commands
from fiducial.batch.site import Site
from fiducial.batch.trial import Trial, judge, no_use
from fiducial.core.errors import BackendError

SITE = Site(name="here", backend="slurm")


def told(trial: Trial) -> list[str]:
    return [f"{row.state} {row.what}" for row in judge(SITE, trial)]


def ended(**result: Any) -> Trial:
    jobs = (1, 2, 3)
    return Trial(
        submitted=0.5, told=dict.fromkeys(jobs, 3.0), results={job: {"message": "so", **result} for job in jobs}
    )


def test_jobs_that_were_refused_were_not_taken_and_never_began() -> None:
    assert told(ended(state="failed", cause="refused")) == ["fail jobs"]


def test_jobs_whose_runner_never_started_have_no_latency() -> None:
    assert told(ended(state="failed", cause="start")) == ["ok submission", "fail jobs"]


def test_jobs_that_are_done_have_begun_even_if_their_marks_were_late() -> None:
    assert told(ended(state="done", cause="ok")) == ["ok submission", "ok latency", "ok jobs"]


@pytest.mark.parametrize(("transient", "way_out"), [(True, "is its daemon up"), (False, "is slurm installed")])
def test_a_daemon_that_does_not_answer_is_no_missing_installation(transient: bool, way_out: str) -> None:
    row = no_use(SITE, BackendError("Slurm: unable to contact slurm controller", transient=transient))
    assert way_out in str(row)


def test_a_folder_without_the_command_is_named_with_its_key(tmp_path: Path) -> None:

    with pytest.raises(BackendError, match=f"there is no command {tmp_path}/sbatch") as caught:
        Commands("Slurm", re.compile("x"), folder=tmp_path).run(["sbatch"])
    assert "`commands`" in caught.value.hint
