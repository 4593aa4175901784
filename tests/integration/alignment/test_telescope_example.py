"""The example of a test-beam telescope, run as its README says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from fiducial.alignment.constants.values import read_constants
from fiducial.alignment.iteration.recipe import recipe_text
from fiducial.alignment.tracker.geometryfile import load_geometry

EXAMPLE = Path(__file__).parents[3] / "examples" / "telescope"


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fiducial", "run", "align.toml", "--workers", "2"]
    done = subprocess.run([*command, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_the_example_runs_as_it_stands_and_converges(tmp_path: Path) -> None:
    folder = tmp_path / "telescope"
    shutil.copytree(EXAMPLE, folder)
    done = run(folder, "--set", 'files="1-3"', "--set", "events=1000")
    assert "converged after 3 iterations" in done.stdout + done.stderr
    campaign = folder / "telescope_R000001_F1-3"
    assert "<html" in (campaign / "report.html").read_text(encoding="utf-8")
    first, *_, last = (
        json.loads((campaign / f"iter{number:02d}" / "millepede" / "summary.json").read_text()) for number in (1, 2, 3)
    )
    assert first["residuals"]["width_um"] > 50.0
    assert 4.1 < last["residuals"]["width_um"] < 4.5  # 18.4 um / sqrt(12), of twelve measurements four parameters


def test_a_recipe_beside_the_workflow_is_found_in_a_folder_with_a_blank_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "my scope"
    shutil.copytree(EXAMPLE, folder)
    (folder / "my.toml").write_text(recipe_text("planes").replace('layers = ["x", "y", "rz"]', 'layers = ["x", "y"]'))
    run(
        folder,
        *("--set", "recipe=my.toml"),
        *("--set", 'files="1-2"'),
        *("--set", "events=300"),
        *("--set", "max_iterations=1"),
    )
    iteration = folder / "telescope_R000001_F1-2" / "iter01"
    assert "recipe my, step planes" in (iteration / "millepede" / "mp2str.txt").read_text()
    constants = read_constants(iteration / "constants.txt", load_geometry(folder / "geometry.toml").detector)
    assert all(six[0] and six[1] and not six[5] for six in constants.values())
