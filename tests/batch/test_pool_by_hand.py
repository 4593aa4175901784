"""``scripts/pool`` starts a pool that outlives the command, and stops it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from pools.gridengine import GridEnginePool
from processes import is_running

SCRIPT = Path(__file__).parents[2] / "scripts" / "pool"


def scripts_pool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=60)


def test_a_pool_by_hand(gridengine_pool: GridEnginePool, tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    started = scripts_pool("start", "gridengine", str(folder))
    try:
        assert started.returncode == 0, started.stderr
        shell = ["sh", "-c", f". {folder}/environment && qstat -f && echo $SGE_QMASTER_PORT"]
        asked = subprocess.run(shell, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        assert "all.q" in asked.stdout
        assert asked.stdout.split()[-1] != gridengine_pool.environment["SGE_QMASTER_PORT"]
        assert scripts_pool("start", "gridengine", str(folder)).returncode == 2
        keeper = int((folder / "keeper.pid").read_text())
    finally:
        stopped = scripts_pool("stop", str(folder))
    assert stopped.returncode == 0, stopped.stderr
    assert not is_running(keeper)
    assert scripts_pool("stop", str(folder)).returncode == 2


def test_as_user_runs_a_command_as_somebody_who_is_not_root() -> None:
    done = scripts_pool("as-user", "id", "-u")
    assert done.stdout.strip() not in ("", "0")
