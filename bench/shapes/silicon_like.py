"""Mille files of a large tracker: layers of modules, straight tracks, one shift a module.

With as many tracks as parameters each module has some twenty hits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fiducial.alignment.mille.writer import MilleOutput

LAYERS, LENGTH, RESOLUTION = 20, 1000.0, 0.02
CROSSING = 0.05
BLOCK = 50_000


def write(path: Path, parameters: int, tracks: int, seed: int = 1) -> None:
    """Write records of tracks through layers that are ten times as wide as deep."""
    random = np.random.default_rng(seed)
    modules = parameters // LAYERS
    shifts = random.normal(0, 0.1, (LAYERS, modules))
    z = np.linspace(0, LENGTH, LAYERS)
    with MilleOutput(path) as output:
        for start in range(0, tracks, BLOCK):
            n = min(BLOCK, tracks - start)
            # Most tracks come from far away, so that a module meets few others; some cross, and tie all together.
            slope = np.where(random.random((n, 1)) < CROSSING, 0.1, 5 / modules) * random.normal(0, 1, (n, 1))
            x = random.uniform(0, 1, (n, 1)) + slope * z / LENGTH
            module = np.floor((x % 1.0) * modules).astype(np.int64)
            layer = np.broadcast_to(np.arange(LAYERS), module.shape)
            residual = shifts[layer, module] + random.normal(0, RESOLUTION, module.shape)
            hits = module.size
            lever = np.tile(z / LENGTH - 0.5, n)
            output.write_hits(
                np.full(n, LAYERS), residual.ravel(), np.full(hits, RESOLUTION),
                np.full(hits, 2), np.tile([1, 2], hits), np.stack([np.ones(hits), lever], 1).ravel(),
                np.ones(hits, np.int64), (layer * modules + module + 1).ravel(), np.ones(hits),
            )  # fmt: skip


def write_steering(path: Path, data: Path, parameters: int, method: str) -> None:
    """Hold the mean and the slope of all shifts, which no track sees."""
    modules = parameters // LAYERS
    lines = ["Cfiles", data.name, f"method {method}", "entries 5 1"]
    for power in (0, 1):
        lines.append("Constraint 0.0")
        lines += [f"{layer * modules + m + 1} {(layer / (LAYERS - 1) - 0.5) ** power:.9g}"
                  for layer in range(LAYERS) for m in range(modules)]  # fmt: skip
    path.write_text("\n".join([*lines, "end"]) + "\n")
