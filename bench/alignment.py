"""Closed loop of the tracker alignment: simulate, reconstruct, fit, again, and compare with the truth.

    python bench/alignment.py --seeds 20 --json

For each seed and for 3 and 4 stations: how many iterations until no determined parameter moves by more than the usual
part of its error, the pulls of all determined parameters against the truth after the last one, and the width of
residuals compared with that under perfect constants.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fiducial.alignment.constants.values import read_constants, write_constants
from fiducial.alignment.iteration.convert import branches, choose
from fiducial.alignment.iteration.recipe import Cuts
from fiducial.alignment.iteration.solve import Outputs, solve
from fiducial.alignment.iteration.summary import Setup
from fiducial.alignment.report.page import Report
from fiducial.alignment.tracker.geometry import FASER
from fiducial.alignment.tracker.ntuple import read_ntuple, write_ntuple
from fiducial.alignment.tracker.numbering import FASER_SCHEME
from fiducial.alignment.tracker.raw import RawData
from fiducial.alignment.tracker.reconstruction import reconstruct
from fiducial.alignment.tracker.residuals import Residuals
from fiducial.alignment.tracker.simulation import Misalignment, misalign, simulate, write_truth

CONVERGED = Report.threshold
MOST_ITERATIONS = 12


def main() -> None:
    options = parse()
    start = time.perf_counter()
    rows = [campaign(seed, stations, options) for stations in options.stations for seed in range(1, options.seeds + 1)]
    figures = {str(count): judge([row for row in rows if row["stations"] == count]) for count in options.stations}
    if options.json:
        print(json.dumps({**figures, "seconds": time.perf_counter() - start}, indent=1))
        return
    for stations, numbers in figures.items():
        print(f"{stations} stations: " + ", ".join(f"{name} {number:.4g}" for name, number in numbers.items()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--stations", type=int, nargs="+", default=[3, 4], choices=[3, 4])
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--events", type=int, default=2000, help="in each file")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def campaign(seed: int, stations: int, options: argparse.Namespace) -> dict[str, Any]:
    """Align one simulated tracker."""
    truth = misalign(FASER, Misalignment(), seed)
    raw = [simulate(FASER, truth, run=1, file=file, events=options.events, seed=seed) for file in range(options.files)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_truth(folder / "truth.json", truth, seed=seed, misalignment=Misalignment())
        write_constants(folder / "0.txt", {})
        shifts: list[float] = []
        for iteration in range(1, MOST_ITERATIONS + 1):
            summary = iterate(folder, iteration, raw, stations)
            shifts.append(round(summary["convergence"]["max_shift_over_error"], 3))
            if shifts[-1] < CONVERGED:
                break
        # The summary's residuals are those of the constants before; one more pass sees the last ones.
        last = width(reconstruct_all(folder, raw, stations, read_constants(folder / f"{iteration}.txt")))
        ideal = width(reconstruct_all(folder, raw, stations, truth))
    row = {"seed": seed, "stations": stations, "iterations": iteration, "shifts": shifts}
    row |= {"width_um": last, "ideal_width_um": ideal}
    print(row, summary["pulls"], file=sys.stderr, flush=True)
    return {**row, "converged": shifts[-1] < CONVERGED, "pulls": pulls(summary)}


def iterate(folder: Path, iteration: int, raw: list[RawData], stations: int) -> dict[str, Any]:
    before, after = folder / f"{iteration - 1}.txt", folder / f"{iteration}.txt"
    ntuples = reconstruct_all(folder, raw, stations, read_constants(before))
    outputs = Outputs(folder / "fit", after, folder / "summary.json")
    return solve(ntuples, before, outputs, Setup(stations), folder / "truth.json")


def reconstruct_all(
    folder: Path, raw: list[RawData], stations: int, constants: Mapping[str, tuple[float, ...]]
) -> list[Path]:
    paths = [folder / f"{data.file:05d}.root" for data in raw]
    for path, data in zip(paths, raw, strict=True):
        write_ntuple(path, reconstruct(FASER, data, constants, stations)[0])
    return paths


def width(ntuples: list[Path]) -> float:
    residuals = Residuals(FASER)
    for path in ntuples:
        for table in read_ntuple(path, branches(FASER_SCHEME)):
            chosen = choose(FASER, table, Cuts())
            hits = chosen.track_passed[table.track]
            residuals.add(chosen.sensor[hits], table.hits["fitParam_align_local_residual_x"][hits])
    return residuals.width_um


def pulls(summary: dict[str, Any]) -> list[float]:
    return [row["pull"] for row in summary["parameters"] if row["state"] == "determined"]


def judge(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures over all seeds."""
    values = np.concatenate([row["pulls"] for row in rows])
    excess = [row["width_um"] / row["ideal_width_um"] - 1 for row in rows]
    return {
        "seeds": len(rows),
        "converged": sum(row["converged"] for row in rows),
        "iterations_mean": float(np.mean([row["iterations"] for row in rows])),
        "iterations_max": max(row["iterations"] for row in rows),
        "pulls": len(values),
        "pull_mean": float(values.mean()),
        "pull_width": float(values.std()),
        "width_excess_mean": float(np.mean(excess)),
        "width_excess_max": float(np.max(np.abs(excess))),
    }


if __name__ == "__main__":
    main()
