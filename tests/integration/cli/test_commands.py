"""The installed command, from outside: what an engine that was killed has left, and a campaign's whole life."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FIDUCIAL = str(Path(sys.executable).parent / "fiducial")

SLEEPY = """
name = "sleepy"
[steps.nap]
fanout = { files = "0-6" }
command = ["sh", "-c", "echo $$ > {{ folder }}/pid_{{ file }}; exec sleep 600"]
"""

TWICE = """
name = "twice"
[variables]
bad = "none"
[steps.make]
fanout = { files = "450-453" }
command = ["sh", "-c", "echo making {{ file }}; test {{ file }} != {{ bad }} && echo x > {{ output }}"]
outputs = ["made_{{ file }}"]
retry = { max = 0 }
[steps.sum]
after = "make"
inputs = [{ from = "make" }]
metrics = ["number"]
command = ["sh", "-c", 'echo "{\\"number\\": 3}" > metrics.json']
"""


class Place:
    """A folder in which commands are given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("FIDUCIAL_")}
        self.environment["XDG_CONFIG_HOME"] = str(folder / "config")
        self.engines: list[subprocess.Popen[bytes]] = []

    def say(self, *words: str, code: int = 0, **environment: str) -> str:
        done = subprocess.run(
            [FIDUCIAL, *words],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def states(self, campaign: str) -> dict[str, int]:
        counts = json.loads(self.say("campaign", "show", campaign, "--json"))["counts"]
        return {state: count for state, count in counts.items() if count}

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [FIDUCIAL, *words]
        engine = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.engines.append(engine)
        return engine

    def wait_for_files(self, pattern: str, count: int) -> list[Path]:
        deadline = time.monotonic() + 30
        while len(files := [file for file in self.folder.glob(pattern) if file.stat().st_size]) < count:
            assert time.monotonic() < deadline, f"{pattern} does not come"
            time.sleep(0.05)
        return files


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    (tmp_path / "sleepy.toml").write_text(SLEEPY)
    (tmp_path / "twice.toml").write_text(TWICE)
    yield place
    for engine in place.engines:
        engine.kill()
        engine.wait()


def alive(files: list[Path]) -> list[int]:
    numbers = [int(file.read_text()) for file in files]
    return [number for number in numbers if Path(f"/proc/{number}").exists()]


def gone(files: list[Path]) -> bool:
    deadline = time.monotonic() + 15
    while alive(files) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(files)


def test_cancelling_what_a_killed_engine_has_left(place: Place) -> None:
    engine = place.start("run", "sleepy.toml", "--workers", "2")
    files = place.wait_for_files("sleepy/pid_*", 2)
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    assert alive(files)
    assert "no engine runs" in place.say("campaign", "cancel", "sleepy")
    assert place.states("sleepy") == {"killed": 6}
    assert gone(files)
    assert place.say("db", "check") == "the file is sound, and all counters are right\n"


def test_killing_one_job_of_a_killed_engine_spares_the_others(place: Place) -> None:
    engine = place.start("run", "sleepy.toml", "--workers", "2")
    place.wait_for_files("sleepy/pid_*", 2)
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    place.say("job", "kill", "sleepy/nap/0")
    assert place.states("sleepy")["killed"] == 1
    assert gone([place.folder / "sleepy" / "pid_0"])
    assert alive([place.folder / "sleepy" / "pid_1"])
    place.say("campaign", "cancel", "sleepy")
    assert gone([place.folder / "sleepy" / "pid_1"])


def test_cancelling_while_an_engine_runs(place: Place) -> None:
    engine = place.start("run", "sleepy.toml", "--workers", "2")
    files = place.wait_for_files("sleepy/pid_*", 2)
    place.say("campaign", "archive", "sleepy", code=5)
    place.say("campaign", "resume", "sleepy", code=5)
    assert "the engine that runs the campaign stops" in place.say("campaign", "cancel", "sleepy")
    assert engine.wait(timeout=30) == 1
    assert place.states("sleepy") == {"killed": 6}
    assert gone(files)


def test_a_campaign_s_whole_life(place: Place) -> None:
    place.say("run", "twice.toml", "--set", "bad=451", code=1)
    assert place.states("twice") == {"done": 2, "failed": 1, "waiting": 1}
    assert "making 451" in place.say("job", "log", "twice/make/451")
    place.say("db", "backup", "before.db")
    place.say("campaign", "cancel", "twice")
    place.say("campaign", "resume", "twice", "--quiet", code=1)
    place.say("run", "twice.toml", "--update", "--quiet")
    assert place.states("twice") == {"done": 4}
    exported: Any = json.loads(place.say("campaign", "export", "twice"))
    assert exported["metrics"][0]["value"] == 3
    assert [len(job["artifacts"]) for job in exported["jobs"]] == [1, 1, 1, 0]
    place.say("campaign", "archive", "twice")
    place.say("run", "twice.toml", "--quiet")
    assert len(json.loads(place.say("campaign", "list", "--all", "--json"))) == 2
    place.say("db", "restore", "before.db")
    assert place.states("twice") == {"done": 2, "failed": 1, "waiting": 1}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [("fiducial camp", "campaign"), ("fiducial campaign re", "resume"), ("fiducial job list --sta", "--state")],
)
def test_shells_complete_commands_and_options(line: str, wanted: str, place: Place) -> None:
    words = str(len(line.split()) - 1)
    said = place.say(_FIDUCIAL_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=words)
    assert wanted in said.split()
