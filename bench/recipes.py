"""Recipes in the loop of simulation, reconstruction and fit, one line an iteration.

    python bench/recipes.py faser-3st
    python bench/recipes.py one-fit:3:4 faser-4st-layers:4:6 faser-4st-sides:4:5

Each word is a recipe's name or file (without any: faser-3st), stations (default 3) and iterations (default 8); each
goes on from the constants of the one before. Shifts are in units of their errors; the ideal width is that under true
constants.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fiducial.alignment.constants.values import Constants, fingerprint, read_constants, write_constants
from fiducial.alignment.iteration.recipe import find_recipe
from fiducial.alignment.iteration.solve import Outputs, find_ntuples, solve
from fiducial.alignment.iteration.summary import Setup
from fiducial.alignment.tracker.geometry import FASER
from fiducial.alignment.tracker.ntuple import TrackTable, write_ntuple
from fiducial.alignment.tracker.raw import RawData
from fiducial.alignment.tracker.reconstruction import reconstruct
from fiducial.alignment.tracker.simulation import Misalignment, misalign, simulate, write_truth


def main() -> None:
    """Do all recipes, and print what each iteration finds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=["faser-3st"], metavar="RECIPE[:STATIONS[:ITERATIONS]]")
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--events", type=int, default=2000, help="in each file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each iteration")
    options = parser.parse_args()
    truth = misalign(FASER, Misalignment(), options.seed)
    raw = [
        simulate(FASER, truth, run=1, file=n, events=options.events, seed=options.seed) for n in range(options.files)
    ]
    with tempfile.TemporaryDirectory(prefix="fiducial-recipes-") as folder:
        write_truth(Path(folder) / "truth.json", truth, seed=options.seed, misalignment=Misalignment())
        constants: Constants = {}
        for word in options.recipes:
            name, stations, iterations = (word.split(":") + ["3", "8"][word.count(":") :])[:3]
            ideal = width(tracks(raw, truth, int(stations)))
            for iteration in range(1, int(iterations) + 1):
                constants, summary = iterate(Path(folder), raw, constants, name, int(stations))
                print(line(name, iteration, ideal, summary, as_json=options.json), flush=True)


def tracks(raw: list[RawData], constants: Constants, stations: int) -> list[TrackTable]:
    """Reconstruct all files."""
    return [reconstruct(FASER, data, constants, stations)[0] for data in raw]


def width(tables: list[TrackTable]) -> float:
    """Width of the residuals, um."""
    return float(np.concatenate([table.hits["fitParam_align_local_residual_x"] for table in tables]).std() * 1e3)


def iterate(
    folder: Path, raw: list[RawData], constants: Constants, recipe: str, stations: int
) -> tuple[Constants, dict[str, Any]]:
    """One iteration: its constants and its summary."""
    for number, table in enumerate(tracks(raw, constants, stations)):
        write_ntuple(folder / "in" / f"{number}.root", table, fingerprint(constants))
    write_constants(folder / "before.txt", constants)
    outputs = Outputs(folder / "fit", folder / "after.txt", folder / "summary.json")
    setup = Setup(stations, recipe=find_recipe(recipe))
    summary = solve(find_ntuples([folder / "in"]), folder / "before.txt", outputs, setup, folder / "truth.json")
    return read_constants(folder / "after.txt"), summary


def line(name: str, iteration: int, ideal: float, summary: dict[str, Any], *, as_json: bool) -> str:
    """What one iteration found."""
    numbers = {
        "width_um": summary["residuals"]["width_um"],
        "ideal_um": ideal,
        "max_shift_over_error": summary["convergence"]["max_shift_over_error"],
        "pull_mean": summary["pulls"]["mean"],
        "pull_width": summary["pulls"]["width"],
        "weak": len(summary["convergence"]["weak"]),
        "worst_mode": summary["weak_modes"][0]["error"],
        "seconds": sum(step["seconds"] for step in summary["steps"]),
    }
    if as_json:
        return json.dumps({"recipe": name, "iteration": iteration, **numbers})
    return f"{name} {iteration}: " + ", ".join(f"{key} {value:.3g}" for key, value in numbers.items())


if __name__ == "__main__":
    main()
