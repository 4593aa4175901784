"""Jobs of a queue bear the names that people give to the batch system's own commands."""

from __future__ import annotations

from typing import Any

import pytest

from fiducial.batch.gridengine.system import GridEngine
from fiducial.batch.htcondor.system import HTCondor
from fiducial.batch.kinds import read_site
from fiducial.batch.lsf.system import Lsf
from fiducial.batch.pbs.system import Pbs
from fiducial.batch.queue.system import Ref
from fiducial.batch.slurm.system import Slurm


@pytest.mark.parametrize(
    ("kind", "system", "native", "name"),
    [
        ("slurm", Slurm, "10", "10_3"),
        ("gridengine", GridEngine, "10", "10.3"),
        ("lsf", Lsf, "10", "10[3]"),
        ("pbs", Pbs, "10[].server", "10[3].server"),
        ("pbs", Pbs, "10.server", "10.server"),  # an array of one is none
        ("htcondor", HTCondor, "bigbird01#10", "bigbird01#10.2"),  # which counts from 0
    ],
)
def test_names_of_jobs_are_those_of_the_systems_own_commands(kind: str, system: Any, native: str, name: str) -> None:
    site = read_site("here", {"backend": kind}, "test")
    assert system(site).job_id(Ref(native, 3)) == name
