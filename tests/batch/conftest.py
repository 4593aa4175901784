"""Pools of real batch systems, one of each for a worker, started when the first test asks.

``pytest tests/batch`` as root goes on as a plain user, for batch systems refuse root. In a session that has other tests
as well it cannot, and these are skipped.
"""

from __future__ import annotations

import getpass
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pools.condor import CondorPool
from pools.gridengine import GridEnginePool
from pools.identity import IdentityError, become_plain_user
from pools.pool import Pool
from pools.simulated_lsf import LsfPool
from pools.simulated_pbs import OpenPbsPool, TorquePool
from pools.slurm import SlurmPool
from pools.slurmdbd import SlurmPoolWithAccounting

HERE = Path(__file__).parent
# What needs a cluster of somebody's, who names it.
collect_ignore = [] if "FIDUCIAL_TEST_SITE" in os.environ else ["test_live_site.py"]
#: Tests that fill a pool and one job more shall not keep a small machine busy with waiting jobs.
SLOTS = 8
RUNNING: list[Pool] = []
WHY_NOT = pytest.StashKey[str]()


#: What takes longest begins first; tests of the same group share a worker, and so a pool.
GROUPS = (
    *("slurm_pool", "conformance condor_pool", "gridengine_pool", "simulated_openpbs", "simulated_lsf"),
    *("slurm_pool_with_accounting", "test_htcondor", "dagman 1", "dagman 0", "condor_pool"),
)


def group_of(item: pytest.Item, number: int) -> str:
    """The pool that a test is of; HTCondor, of which there is most to test, has several."""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    pools = [parameter.fixture for parameter in parameters.values() if hasattr(parameter, "fixture")]
    pools += [name for name in getattr(item, "fixturenames", ()) if "_pool" in name or name.startswith("simulated_")]
    pool = next(iter(pools), item.path.stem.replace("test_gridengine", "gridengine_pool"))
    folder = item.path.parent.name
    names = (f"{folder} {number % 2}", f"{folder} {pool}")
    return next((name for name in names if name in GROUPS), pool)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a pool together: a pool that another worker needs too is one more to start and to keep."""
    for number, item in enumerate(items):
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.xdist_group(group_of(item, number)))
    groups = [mark.args[0] if (mark := item.get_closest_marker("xdist_group")) else "" for item in items]
    ranks = [GROUPS.index(group) if group in GROUPS else len(GROUPS) for group in groups]
    items[:] = [item for _, item in sorted(zip(ranks, items, strict=True), key=lambda pair: pair[0])]


def is_ours_alone(config: pytest.Config) -> bool:
    """Whether all that the session runs is below this folder."""
    places = [Path(config.invocation_params.dir, argument.partition("::")[0]).resolve() for argument in config.args]
    return all(place.is_relative_to(HERE) for place in places)


def pytest_configure(config: pytest.Config) -> None:
    if is_ours_alone(config):
        home = Path(tempfile.mkdtemp(prefix="fiducial-home-"))
        config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
        try:
            become_plain_user(home)
        except IdentityError as error:
            config.stash[WHY_NOT] = f" ({error})"


def pool_for_session(request: pytest.FixtureRequest, kind: type[Pool], extra: str = "") -> Iterator[Any]:
    """Run a pool while it is used, in a folder with a short path: a socket's may have 107 characters."""
    if obstacle := kind.obstacle():
        pytest.skip(obstacle + request.config.stash.get(WHY_NOT, ""))
    folder = Path(tempfile.mkdtemp(prefix="fiducial-pool-"))
    with kind(folder, slots=SLOTS, extra=extra, passing=True) as pool:
        RUNNING.append(pool)
        yield pool
        RUNNING.remove(pool)


@pytest.fixture(autouse=True)
def _schedulers_run_again() -> Iterator[None]:
    """What a test stopped and did not start again must not fail the next."""
    yield
    for pool in RUNNING:
        pool.mend()


@pytest.fixture(scope="session")
def condor_pool(request: pytest.FixtureRequest) -> Iterator[CondorPool]:
    """HTCondor with a few slots that call themselves AlmaLinux9."""
    yield from pool_for_session(request, CondorPool)


@pytest.fixture(scope="session")
def condor_pool_with_policies(request: pytest.FixtureRequest) -> Iterator[CondorPool]:
    """HTCondor that holds what uses a quarter of its memory and takes 40 jobs of a user."""
    extra = """
SYSTEM_PERIODIC_HOLD = (JobStatus == 2) && (MemoryUsage > RequestMemory / 4)
SYSTEM_PERIODIC_HOLD_REASON = strcat("Job has gone over its memory limit: ", MemoryUsage, " MB")
MAX_JOBS_PER_OWNER = 40
"""
    yield from pool_for_session(request, CondorPool, extra)


@pytest.fixture(scope="session")
def slurm_pool(request: pytest.FixtureRequest) -> Iterator[SlurmPool]:
    """Slurm with a few cores, without accounting."""
    yield from pool_for_session(request, SlurmPool)


@pytest.fixture(scope="session")
def slurm_pool_with_accounting(request: pytest.FixtureRequest) -> Iterator[SlurmPoolWithAccounting]:
    """Slurm with a few cores, and accounting in a database."""
    yield from pool_for_session(request, SlurmPoolWithAccounting)


@pytest.fixture(scope="session")
def slurm_pool_with_limits(request: pytest.FixtureRequest) -> Iterator[SlurmPoolWithAccounting]:
    """Slurm with accounting, by which limits can be set, and which kills jobs for the memory that they take."""
    extra = "AccountingStorageEnforce=limits,qos\nJobAcctGatherParams=OverMemoryKill"
    for pool in pool_for_session(request, SlurmPoolWithAccounting, extra):
        pool.run("sacctmgr", "-i", "add", "account", "physics")
        pool.run("sacctmgr", "-i", "add", "user", getpass.getuser(), "account=physics")
        yield pool


@pytest.fixture(scope="session")
def gridengine_pool(request: pytest.FixtureRequest) -> Iterator[GridEnginePool]:
    """Grid Engine with a few slots in one queue."""
    yield from pool_for_session(request, GridEnginePool)


@pytest.fixture(scope="session")
def simulated_lsf(request: pytest.FixtureRequest) -> Iterator[LsfPool]:
    """What stands in for LSF, with a few slots."""
    yield from pool_for_session(request, LsfPool)


@pytest.fixture(scope="session")
def simulated_openpbs(request: pytest.FixtureRequest) -> Iterator[OpenPbsPool]:
    """What stands in for OpenPBS, with a few slots."""
    yield from pool_for_session(request, OpenPbsPool)


@pytest.fixture(scope="session")
def simulated_torque(request: pytest.FixtureRequest) -> Iterator[TorquePool]:
    """What stands in for Torque, with a few slots."""
    yield from pool_for_session(request, TorquePool)
