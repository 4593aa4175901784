"""The example of a test-beam telescope, run as its README says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "telescope"


def test_the_example_runs_as_it_stands_and_converges(tmp_path: Path) -> None:
    folder = tmp_path / "telescope"
    shutil.copytree(EXAMPLE, folder)
    command = [sys.executable, "-m", "fiducial", "run", "align.toml", "--workers", "2"]
    words = ["--set", 'files="1-3"', "--set", "events=1000"]
    done = subprocess.run([*command, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "converged after 3 iterations" in done.stdout + done.stderr
    campaign = folder / "telescope_R000001_F1-3"
    assert "<html" in (campaign / "report.html").read_text(encoding="utf-8")
    first, *_, last = (
        json.loads((campaign / f"iter{number:02d}" / "millepede" / "summary.json").read_text()) for number in (1, 2, 3)
    )
    assert first["residuals"]["width_um"] > 50.0
    assert 4.1 < last["residuals"]["width_um"] < 4.5  # 18.4 um / sqrt(12), of twelve measurements four parameters
