"""The watchdog, daemons, and being told to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fiducial.runner import runner
from processes import is_running, wait_for

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open("%s/new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(file.name, file.name.replace("/new", "/daemon"))
        time.sleep(600)
    os._exit(0)
os.wait()
while not os.path.exists("%s/daemon"):
    time.sleep(0.005)
"""


def test_memory(job: Any) -> None:
    job.python("import time; a = b'x' * 300_000_000; time.sleep(60)", limits={"memory": 100_000_000})
    result = job.run()
    assert (result["state"], result["cause"], result["signal"]) == ("killed", "memory", signal.SIGTERM)
    assert result["usage"]["max_rss"] > 100_000_000
    assert result["usage"]["wall_s"] < 5
    assert "more than 100.0 MB" in result["message"]


def test_memory_of_all_processes_counts_together(job: Any) -> None:
    hog = "a = bytearray(b'x') * 40_000_000; import time; time.sleep(60)"
    job.payload(f'for i in 1 2 3 4; do python3 -S -c "{hog}" & done; wait', limits={"memory": 100_000_000})
    assert job.run()["cause"] == "memory"


def test_shared_memory_counts_once(job: Any) -> None:
    text = "import os, time\na = b'x' * 60_000_000\nfor i in range(4): os.fork()\ntime.sleep(0.5)"
    result = job.python(text, limits={"memory": 300_000_000}).run()
    assert result["state"] == "done", result["message"]


def test_wall_time(job: Any) -> None:
    result = job.payload("sleep 60", limits={"wall_time": 0.3}).run()
    assert (result["state"], result["cause"]) == ("killed", "wall_time")
    assert 0.3 <= result["usage"]["wall_s"] < 1.5
    assert result["message"] == "the payload ran for more than 0.3 s"


def test_cpu_time_of_children_too(job: Any) -> None:
    burn = "import time\nwhile time.process_time() < 0.15: pass"
    result = job.payload(f"for i in 1 2 3 4; do python3 -S -c '{burn}'; done; sleep 60", limits={"cpu_time": 0.4}).run()
    assert (result["state"], result["cause"]) == ("killed", "cpu_time")
    assert result["usage"]["cpu_s"] >= 0.4


def test_disk(job: Any) -> None:
    job.payload("head -c 3000000 /dev/zero > a; sleep 60", limits={"disk": 1_000_000})
    result = job.run()
    assert (result["state"], result["cause"]) == ("killed", "disk")
    assert not (job.directory / "scratch").exists()


def test_limits_that_are_kept(job: Any) -> None:
    limits = {"memory": 500_000_000, "wall_time": 60, "cpu_time": 60, "disk": 10_000_000}
    assert job.payload("sleep 0.3", limits=limits).run()["state"] == "done"


def test_payload_that_does_not_listen_is_killed_after_its_grace(job: Any) -> None:
    job.payload("trap '' TERM; echo deaf; while :; do sleep 0.1; done", limits={"wall_time": 0.3}, grace=0.3)
    result = job.run()
    assert (result["cause"], result["signal"]) == ("wall_time", signal.SIGKILL)
    assert 0.5 <= result["usage"]["wall_s"] < 3


def test_payload_has_its_grace_to_tidy_up(job: Any) -> None:
    job.payload("trap 'sleep 0.2; echo tidied; exit 0' TERM; sleep 60 & wait", limits={"wall_time": 0.2}, grace=5)
    result = job.run()
    assert (result["state"], result["cause"], result["exit_code"]) == ("killed", "wall_time", 0)
    assert "tidied" in job.log
    assert result["usage"]["wall_s"] < 3


def test_check_is_watched_too(job: Any) -> None:
    job.output(check=["sh", "-c", "sleep 60"])
    assert job.payload("echo 1 > out", limits={"wall_time": 0.3}).run()["cause"] == "wall_time"


@pytest.mark.parametrize("end", ["", "\ntime.sleep(60)"])
def test_daemon_does_not_escape(job: Any, end: str) -> None:
    limits = {"wall_time": 0.5} if end else {}
    result = job.python(DAEMON % (job.folder, job.folder) + end, limits=limits).run()
    assert result["cause"] == ("wall_time" if end else "ok")
    assert not is_running(int((job.folder / "daemon").read_text()))
    assert ("left behind were killed: 1\n" in job.log) is not bool(end)


def test_daemon_is_found_by_its_mark_without_the_kernels_help(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (job.folder / "ctypes.py").write_text("raise ImportError('not built')\n")
    monkeypatch.setenv("PYTHONPATH", str(job.folder))
    result = job.python(DAEMON % (job.folder, job.folder)).run()
    assert result["cause"] == "ok"
    assert not is_running(int((job.folder / "daemon").read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_runner_is_told_to_stop(job: Any, number: signal.Signals) -> None:
    job.output()
    job.payload(f'echo 1 > out; echo $$ > "{job.folder}/pid"; sleep 60')
    process = job.start()
    wait_for(lambda: (job.folder / "pid").exists() and (job.folder / "pid").read_text())
    process.send_signal(number)
    errors = process.communicate(timeout=10)[1]
    result = job.result()
    assert (result["state"], result["cause"]) == ("killed", "stopped")
    assert number.name in result["message"]
    assert process.returncode == runner.EXIT_CODES["stopped"]
    assert errors == b""
    assert not is_running(int((job.folder / "pid").read_text()))


@pytest.mark.parametrize("end", ["exec sleep 60", "trap 'exit 143' TERM; while true; do sleep 0.05; done"])
def test_payload_that_is_told_to_stop_before_the_runner_was_stopped_too(job: Any, end: str) -> None:
    job.payload(f'echo $$ > "{job.folder}/pid"; {end}')
    process = job.start()
    wait_for(lambda: (job.folder / "pid").exists() and (job.folder / "pid").read_text())
    payload = int((job.folder / "pid").read_text())
    time.sleep(0.1)  # until it is a sleep, or has its trap
    os.kill(payload, signal.SIGTERM)
    wait_for(lambda: not is_running(payload))
    process.terminate()
    process.communicate(timeout=10)
    assert (job.result()["state"], job.result()["cause"]) == ("killed", "stopped")


@pytest.fixture
def small_cgroup(tmp_path: Path) -> Iterator[Path]:
    """A control group with 60 MB of memory, of whichever version there is."""
    for base, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(base) / f"fiducial-test-{os.getpid()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            (group / name).write_text("60000000")
            break
    else:
        pytest.skip("no control group with a memory limit can be made here")
    yield group
    group.rmdir()


def test_kill_by_the_kernel_for_want_of_memory(job: Any, small_cgroup: Path) -> None:
    job.python("a = b'x' * 200_000_000; print(len(a))")
    with job.start_in(small_cgroup) as process:
        process.communicate(timeout=30)
    result = job.result()
    assert (result["state"], result["cause"], result["signal"]) == ("killed", "memory", signal.SIGKILL)


def test_kill_by_somebody_else(job: Any) -> None:
    result = job.payload("kill -9 $$").run()
    assert (result["state"], result["cause"]) == ("failed", "signal")


def test_runner_says_who_it_is_when_the_job_is_no_short_one(job: Any) -> None:
    job.payload("sleep 60", resources={"cpus": 1, "memory": None})
    process = job.start()
    wait_for((job.directory / "runner.json").exists)
    assert str(process.pid) in (job.directory / "runner.json").read_text()
    process.terminate()
    process.communicate()


def test_descendants_are_found_with_and_without_the_list_of_children(monkeypatch: pytest.MonkeyPatch) -> None:
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    try:
        assert child in runner.descendants(os.getpid())
        monkeypatch.setattr(runner, "_CHILDREN", "/proc/%d/no/%d/such")
        assert child in runner.descendants(os.getpid())
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
