"""Daemons and what they start end with their owner, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pools.keeper import Keeper, KeeperError
from processes import is_running, wait_for

# A daemon that lets go of a child in a session of its own, and ends.
DAEMON = "setsid sh -c 'echo $$ > child; exec sleep 600' & sleep 0.1; {then}"
OWNER = """
import sys
from pathlib import Path
from pools.keeper import Keeper
keeper = Keeper(Path("log"))
keeper.remove_in_the_end(Path("removed").resolve())
print(keeper.start(["sh", "-c", sys.argv[1]], {}, Path(), Path("output")), flush=True)
sys.stdin.read()
"""


def child(folder: Path) -> int:
    file = folder / "child"
    return int(wait_for(lambda: file.exists() and file.read_text(), "the daemon's child"))


@pytest.mark.parametrize("then", ["exec sleep 600", "true"], ids=["daemon", "daemon that has ended"])
def test_close_kills_all(tmp_path: Path, then: str) -> None:
    keeper = Keeper(tmp_path / "log")
    pid = keeper.start(["sh", "-c", DAEMON.format(then=then)], dict(os.environ), tmp_path, tmp_path / "output")
    grandchild = child(tmp_path)
    wait_for(lambda: is_running(pid) == (then != "true"), "the daemon's end")
    keeper.close()
    assert not is_running(pid)
    assert not is_running(grandchild)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_all_end_with_their_owner(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "removed" / "inner").mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, DAEMON.format(then="exec sleep 600")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as owner:
        assert owner.stdout
        pid = int(owner.stdout.readline())
        grandchild = child(tmp_path)
        os.kill(owner.pid, number)
    wait_for(lambda: not is_running(pid) and not is_running(grandchild), "the end of all", 10)
    wait_for(lambda: not (tmp_path / "removed").exists(), "the removal of a folder", 10)


def test_what_cannot_be_started_is_told(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "log")
    with pytest.raises(KeeperError, match="no-such-daemon"):
        keeper.start(["/no-such-daemon"], {}, tmp_path, tmp_path / "output")
    keeper.close()
