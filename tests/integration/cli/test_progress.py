"""What a user sees while a campaign runs: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import errno
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

FIDUCIAL = str(Path(sys.executable).parent / "fiducial")

FLOW = """
name = "watched"
iteration.max = 2
[steps.nap]
iterate = true
fanout = { files = "0-4" }
command = ["sleep", "0.8"]
[steps.sum]
iterate = true
after = "nap"
metrics = ["number"]
command = ["sh", "-c", 'echo "{\\"number\\": {{ iteration }}.25}" > metrics.json']
"""

UNMET = '[iteration]\nmax = 1\nuntil = "one.x < 1"'


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("FIDUCIAL_LEDGER", str(tmp_path / "ledger.db"))
    (tmp_path / "flow.toml").write_text(FLOW)
    return [FIDUCIAL, "run", str(tmp_path / "flow.toml"), "--workers", "2"]


def test_terminal(command: list[str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    said = read_all(ours)
    assert process.communicate(timeout=60)[0].decode().startswith("campaign watched done")
    rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[━╸╺]", " ", said).splitlines()
    heading = ["step", "iteration", "done", "running", "queued", "failed", "retrying", "left"]
    assert any(row.split() == heading for row in rows)
    naps = [row.split() for row in rows if row.startswith("nap")]
    assert ["nap", "1", "0/4", "2", "2"] in [nap[:5] for nap in naps], "two run, two are queued"
    assert any(nap[2] == "2/4" and nap[-2].startswith("~") for nap in naps), "how long it will still take"
    assert naps[-1][1:3] == ["2", "4/4"]
    assert any(row.strip() == "iteration 2: sum.number = 2.25" for row in rows)


def test_pipe(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    lines = [re.sub(r"in [\d.]+ m?s", "in T", line) for line in done.stderr.splitlines()]
    sums = [f"sum (iteration {number}): 1 of 1 done in T; sum.number = {number}.25" for number in (1, 2)]
    naps = [f"nap (iteration {number}): 4 of 4 done in T" for number in (1, 2)]
    assert lines == [naps[0], sums[0], naps[1], sums[1]]


def test_quiet(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run([*command, "--quiet"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""


def read_all(descriptor: int) -> str:
    """Everything that is written to a terminal until the other side closes it."""
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            part = b""
        if not part:
            os.close(descriptor)
            return b"".join(parts).decode()
        parts.append(part)


@pytest.mark.parametrize(("iterations", "hinted"), [("", False), ("[iteration]\nmax = 1", False), (UNMET, True)])
def test_more_iterations_are_advised_only_where_they_may_help(tmp_path: Path, iterations: str, hinted: bool) -> None:
    step = '[steps.one]\ncommand = ["sh", "-c", "echo {\\\\\\"x\\\\\\": 2} > metrics.json"]\nmetrics = ["x"]\n'
    text = f'name = "short"\n{iterations}\n{step}' + ("iterate = true\n" if iterations else "")
    (tmp_path / "flow.toml").write_text(text)
    words = [FIDUCIAL, "run", "flow.toml", "--quiet"]
    for _ in range(2):
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.startswith("campaign short done")
        assert done.stderr.startswith("hint: allow more iterations") is hinted
        assert bool(done.stderr) is hinted
