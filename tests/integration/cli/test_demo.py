"""The demonstration: what it prints, and that the same command goes on and another is told apart."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from fiducial.engine.supervisor import locked

FIDUCIAL = str(Path(sys.executable).parent / "fiducial")


def demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = [FIDUCIAL, "demo", "--stations", "4", "--files", "2", "--events", "1000", "--dir", "here", *options]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_demo(tmp_path: Path) -> None:
    done = demo(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["converged"] is True
    # Truth, report, two raw files; in every iteration the constants, two reconstructions and a fit.
    assert found["jobs"] == 4 + 4 * found["iterations"]
    for name in ("chi2_ndf", "max_shift_over_error", "residual_width_um"):
        assert len(found[name]) == found["iterations"]
        assert found[name][-1] < found[name][0]
    assert found["max_shift_over_error"][-1] < 0.3
    assert 0.9 < found["chi2_ndf"][-1] < 1.2
    assert abs(found["pull_mean"]) < 0.3
    assert 0.7 < found["pull_width"] < 1.4
    assert Path(found["report"]).read_text("utf-8").startswith("<!DOCTYPE html>")

    again = demo(tmp_path)
    assert again.returncode == 0
    assert f"aligned after {found['iterations']} iterations, {found['jobs']} jobs" in again.stdout

    other = demo(tmp_path, "--seed", "5")
    assert other.returncode == 5
    assert other.stderr.splitlines()[-1].endswith("another --dir begins another")

    # What is wrong now is another thing, and so is the way out.
    with locked(Path(found["report"]).parent):
        busy = demo(tmp_path)
    assert busy.returncode == 5
    assert "is running the campaign" in busy.stderr
    assert "another --dir" not in busy.stderr
