"""What all tiers share: tests that need a program, and no silent skips where it counts.

``@pytest.mark.needs("condor_submit")`` skips a test with a reason where the program is missing. With ``CI`` set, a
skipped test fails the whole session: there, every need is installed, so a skip means that something was not tested.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

# One thread for linear algebra: threads that wait for each other cost more than small matrices take.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A machine that is busy with other things fails no test: times are for the benchmarks.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

pytest.register_assert_rewrite("calypso", "campaigns", "pools", "processes", "sites")

from campaigns import Stage  # noqa: E402 - first it must be known that it holds assertions


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A ledger to play on; whatever a test does, counters and histories must be right in the end."""
    stage = Stage(tmp_path)
    try:
        yield stage
        stage.check()
    finally:
        stage.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "small disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_variant: for every way to use a batch system, not one of each alone")
    config.addinivalue_line("markers", "needs(*programs): skip, with a reason, where a program is not installed")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        missing = [program for program in marker.args if shutil.which(program) is None]
        if missing:
            pytest.skip(f"needs {', '.join(missing)}: scripts/test-needs installs it where it may")


def skips_that_fail(config: pytest.Config) -> list[str]:
    """List the skipped tests, if a skip is a failure here and this process sees all of them."""
    reporter: TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("CI"):
        return []
    return [report.nodeid for report in reporter.stats.get("skipped", [])]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if skips_that_fail(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    skipped = skips_that_fail(config)
    if skipped:
        terminalreporter.section("CI is set, so a skipped test is a failure", red=True)
        for nodeid in skipped:
            terminalreporter.line(nodeid)
