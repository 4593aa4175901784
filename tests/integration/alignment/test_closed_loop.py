"""Simulate, reconstruct, fit, and again: the constants come to the truth, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fiducial.alignment.constants.values import checksum, fingerprint, read_constants, write_constants
from fiducial.alignment.iteration.solve import Outputs, find_ntuples, solve
from fiducial.alignment.iteration.summary import Setup, metrics
from fiducial.alignment.tracker.geometry import FASER
from fiducial.alignment.tracker.ntuple import write_ntuple
from fiducial.alignment.tracker.raw import RawData
from fiducial.alignment.tracker.reconstruction import reconstruct
from fiducial.alignment.tracker.simulation import Misalignment, misalign, simulate, write_truth

RESIDUAL = "fitParam_align_local_residual_x"
TRUTH = misalign(FASER, Misalignment(), seed=1)


@pytest.mark.parametrize("stations", [3, 4])
def test_a_small_alignment_converges(tmp_path: Path, stations: int) -> None:
    """Three iterations bring the residuals from one and a half times their width to that under true constants."""
    raw = [simulate(FASER, TRUTH, run=1, file=file, events=1000, seed=1) for file in range(2)]
    write_truth(tmp_path / "truth.json", TRUTH, seed=1, misalignment=Misalignment())
    write_constants(tmp_path / "0.txt", {})
    summaries = [step(tmp_path, number, raw, stations) for number in range(4)]
    widths = [summary["residuals"]["width_um"] for summary in summaries]
    ideal = np.concatenate([reconstruct(FASER, data, TRUTH, stations)[0].hits[RESIDUAL] for data in raw]).std() * 1e3
    shifts = [summary["convergence"]["max_shift_over_error"] for summary in summaries]
    assert widths[0] > 1.4 * ideal
    assert widths[-1] < 1.03 * ideal
    assert shifts[-1] < 2.0 < 20.0 < shifts[0]
    assert summaries[-1]["pulls"]["parameters"] > 200
    assert abs(summaries[-1]["pulls"]["mean"]) < 0.3
    assert 0.7 < summaries[-1]["pulls"]["width"] < 1.4
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics(summaries[-1])


def step(folder: Path, number: int, raw: list[RawData], stations: int) -> dict[str, Any]:
    before = folder / f"{number}.txt"
    constants = read_constants(before)
    for data in raw:
        table, _ = reconstruct(FASER, data, constants, stations)
        write_ntuple(folder / "in" / f"{data.file}.root", table, fingerprint(constants))
    outputs = Outputs(folder / "fit", folder / f"{number + 1}.txt", folder / "s.json", folder / "metrics.json", False)
    summary = solve(find_ntuples([folder / "in"]), before, outputs, Setup(stations), folder / "truth.json")
    assert json.loads(outputs.summary.read_text()) == summary
    assert not (outputs.folder / "mp2input.bin").exists()
    return summary


def fiducial(*words: object) -> Any:
    """Run a command as a workflow's step does, with JSON out."""
    command = [sys.executable, "-c", "from fiducial.cli.main import main; main()", *map(str, words), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_one_iteration_on_the_command_line(tmp_path: Path) -> None:
    made = fiducial("alignment", "simulate", tmp_path / "raw", "--run", 11705, "--files", "450-452", "--events", 400)
    assert [Path(path).name for path in made["files"]] == [f"Faser-Physics-011705-0045{n}.raw" for n in (0, 1)]
    constants = tmp_path / "inputforalign.txt"
    write_constants(constants, {})
    for number, raw in enumerate(made["files"]):
        output = tmp_path / "2kfalignment" / f"kfalignment_011705_0045{number}.root"
        found = fiducial("alignment", "reconstruct", raw, "--constants", constants, "--stations", 3, "--output", output)
        assert 380 < found["tracks"] <= found["events"] == 400
    solved = fiducial(
        *("alignment", "solve", "--ntuples", tmp_path / "2kfalignment", "--constants", constants, "--stations", 3),
        *("--output-dir", tmp_path / "3millepede", "--new-constants", tmp_path / "new.txt"),
        *("--truth", made["truth"], "--metrics", tmp_path / "m.json"),
    )
    numbers = json.loads((tmp_path / "m.json").read_text())
    assert {name: solved[name] for name in numbers} == numbers
    summary = json.loads((tmp_path / "3millepede" / "summary.json").read_text())
    assert summary["constants"]["before"]["adler32"] == checksum(constants) == "00000001"
    assert summary["constants"]["after"]["adler32"] == checksum(tmp_path / "new.txt")
    assert summary["tracks"]["read"] == sum(summary["tracks"]["dropped"].values()) + summary["tracks"]["used"]
    listed = fiducial("constants", "show", tmp_path / "new.txt")
    assert {key: tuple(six) for key, six in listed["constants"].items()} == read_constants(tmp_path / "new.txt")
    assert (tmp_path / "3millepede" / "millepede.res").exists()
