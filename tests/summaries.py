"""Summaries of an alignment that went well, made up for tests of what reads them."""

from __future__ import annotations

import base64
import json
import math
import random
import zlib
from pathlib import Path
from typing import Any

EDGES = [-200.0 + 5.0 * bin_ for bin_ in range(81)]


def summary(iteration: int, *, truth: bool = True, stations: int = 3, converging: float = 6.0) -> dict[str, Any]:
    """One iteration, counted from 1; shifts shrink by a factor with each.

    Args:
        iteration: counted from 1.
        truth: whether it is known.
        stations: 3 or 4.
        converging: by what shifts shrink.
    """
    left = converging ** (1 - iteration)
    width = math.hypot(20.0, 40.0 * left)
    table = parameters(left, truth=truth, stations=stations)
    free = [row for row in table if row["state"] == "determined"]
    largest = max(free, key=lambda row: abs(row["shift"]) / row["error"])
    pulls = [row["pull"] for row in free]
    return {
        "format": "fiducial-alignment-summary",
        "version": 1,
        "detector": "faser",
        "recipe": "one-fit",
        "stations": stations,
        "inputs": ["kfalignment_1.root", "kfalignment_2.root"],
        "constants": {
            "before": {"path": f"c{iteration - 1}.txt", "adler32": f"{iteration:08x}"},
            "after": {"path": f"c{iteration}.txt", "adler32": f"{iteration + 1:08x}"},
        },
        "tracks": {"read": 1000, "used": 971, "dropped": {"momentum": 20, "hits": 9}},
        "hits": {"read": 18000, "used": 17400, "dropped": {"residual": 300}},
        "residuals": residuals(width, stations),
        "track_chi2_ndf": 1.0 + 3.6 * left,
        "fit": {
            "verdict": 1 if iteration == 1 else 0,
            "message": "Ended with warnings (bad measurements)" if iteration == 1 else "Ended normally",
            "loops": 6,
            "chi2": 9800.0,
            "ndf": 10000,
            "chi2_ndf": 0.98,
            "rejects": {"rank": 0, "huge": 0},
        },
        "steps": steps(),
        "correlations": [correlation(free)],
        "weak_modes": [weak_mode(number, free) for number in range(5)],
        "convergence": {
            "max_shift_over_error": abs(largest["shift"]) / largest["error"],
            "label": largest["label"],
            "determined": len(free),
            "weak": [row["label"] for row in table if row["state"] == "weak"],
            "fixed": sum(row["state"] == "fixed" for row in table),
            "definition": "determined: error below 0.2 of the presigma",
        },
        "pulls": pull_summary(pulls) if truth else None,
        "parameters": table,
    }


def residuals(width: float, stations: int) -> dict[str, Any]:
    counts = [round(4000.0 * math.exp(-0.5 * ((edge + 2.5) / width) ** 2)) for edge in EDGES[:-1]]
    moments = {"hits": 17700, "mean_um": 0.01}
    layers = [f"{station}{layer}" for station in range(4 - stations, 4) for layer in range(3)]
    return {
        **moments,
        "width_um": width,
        "layers": [{**moments, "layer": layer, "width_um": width + 0.1 * int(layer)} for layer in layers],
        "histogram": {"edges_um": EDGES, "counts": counts, "outside": 7},
    }


def steps() -> list[dict[str, Any]]:
    fit = {"folder": ".", "free": 100, "constraints": 18, "verdict": 0, "message": "Ended normally", "loops": 6}
    return [
        {"name": "convert", "seconds": 1.25, "peak_mib": 210.5},
        {"name": "fit", **fit, "chi2_ndf": 0.98, "rejects": {"rank": 0, "huge": 0}, "seconds": 2.5, "peak_mib": 320.0},
    ]


def correlation(free: list[dict[str, Any]]) -> dict[str, Any]:
    """Each parameter is correlated with the next one by half, and with no other."""
    labels = [row["label"] for row in free]
    percent = bytes(50 * (b == a + 1) for a in range(len(labels)) for b in range(a + 1, len(labels)))
    return {"step": "fit", "labels": labels, "percent": base64.b64encode(zlib.compress(percent)).decode()}


def weak_mode(number: int, free: list[dict[str, Any]]) -> dict[str, Any]:
    rows = free[number : number + 4]
    error = 0.5 / (number + 1)
    labels = [row["label"] for row in rows]
    return {"step": "fit", "eigenvalue": error**-2, "error": error, "labels": labels, "components": [0.5] * len(rows)}


def pull_summary(pulls: list[float]) -> dict[str, Any]:
    mean = sum(pulls) / len(pulls)
    width = math.sqrt(sum((pull - mean) ** 2 for pull in pulls) / len(pulls))
    return {"mean": mean, "width": width, "parameters": len(pulls), "definition": "(shift - true shift) / error"}


def parameters(left: float, *, truth: bool, stations: int) -> list[dict[str, Any]]:
    numbers = random.Random(1)
    layers = [(station, layer) for station in range(4 - stations, 4) for layer in range(3)]
    table = []
    for station, layer in layers:
        key, digits = f"{station}{layer}", f"{station + 1}{layer}"
        for number, axis in enumerate(("x", "y", "rx"), 1):
            state = {"x": "fixed", "y": "determined", "rx": "weak"}[axis]
            table += [row(numbers, int(f"{digits}{number}"), key, None, axis, state, left)]
        for module in range(8):
            table += [row(numbers, int(f"{digits}{module}02"), f"{key}{module}", None, "rz", "determined", left)]
            table += [
                row(numbers, int(f"{digits}{module}{side}1"), f"{key}{module}", side, "x", "determined", left)
                for side in (0, 1)
            ]
    return table if truth else [{**one, "true_shift": None, "pull": None} for one in table]


def row(
    numbers: random.Random, label: int, key: str, side: int | None, axis: str, state: str, left: float
) -> dict[str, Any]:
    error = 0.0 if state == "fixed" else 0.002
    true = 0.02 * left * numbers.uniform(-1.0, 1.0) if error else 0.0
    pull = numbers.gauss(0.0, 1.0) if error else None
    # What an iteration finds is off by its error only where the fit is new; afterwards the same data give the same.
    shift = 0.0 if pull is None else true if left < 1.0 else true + pull * error
    return {
        "label": label,
        "key": key,
        "side": side,
        "axis": axis,
        "unit": "rad" if axis.startswith("r") else "mm",
        "state": state,
        "step": "fit" if error else None,
        "shift": shift,
        "error": error,
        "presigma": 0.05 if error else -1.0,
        "entries": 400,
        "true_shift": None if shift is None else shift - (pull or 0.0) * error,
        "pull": pull,
    }


def write(folder: Path, content: dict[str, Any], name: str = "summary.json") -> Path:
    """Write a summary into a folder that is made for it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_series(folder: Path, iterations: int, **settings: Any) -> list[Path]:
    """Write the summaries of so many iterations."""
    return [write(folder / f"iteration{number}", summary(number, **settings)) for number in range(1, iterations + 1)]
