"""Mille files in the shape of FASER's: four stations of three layers, eight modules and two sides; five locals.

Made in blocks, so that ten gigabytes need no more memory than one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fiducial.alignment.mille.writer import MilleOutput

STATION_Z = np.array([-1900.0, 0.0, 1200.0, 2400.0])
LAYER_Z = np.array([-30.0, 0.0, 30.0])
STEREO, RESOLUTION = 0.020, 0.023
BLOCK = 20_000


def truth() -> dict[int, float]:
    """Displacements by label: layers, sides and modules; the middle layers of stations 2 and 4 stay in place."""
    random = np.random.default_rng(99)
    values: dict[int, float] = {}
    for layer in (10 * station + number for station in range(1, 5) for number in range(3)):
        free = layer not in (21, 41)
        sizes = {2: 0.03, 3: 0.002, 4: 0.002, 5: 0.0005}
        values |= {layer * 10 + 1: 0.0}
        values |= {layer * 10 + axis: free * random.normal(0, size) for axis, size in sizes.items()}
        sides, turns = random.normal(0, 0.03, 16), random.normal(0, 0.0005, 8)
        for side, shift in enumerate(sides - sides.mean()):
            values[((layer * 10 + side // 2) * 10 + side % 2) * 10 + 1] = free * float(shift)
        values |= {(layer * 10 + module) * 100 + 2: free * float(t) for module, t in enumerate(turns - turns.mean())}
    return values


def _bend(z: np.ndarray) -> np.ndarray:
    return np.where(z > 0, (z / 1000.0) ** 2, 0.0) * 500.0


def _block(tracks: int, random: np.random.Generator, values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Hits of some tracks: track, residual, locals (n, 5), labels (n, 7), derivatives (n, 7)."""
    x0, y0 = random.uniform(-90, 90, (2, tracks, 1, 1))
    tx, ty = random.normal(0, 0.005, (2, tracks, 1, 1))
    kick = random.normal(0, 0.002, (tracks, 1, 1))
    station, layer, side = (axis.reshape(1, 12, 2) for axis in np.indices((4, 3, 2)))
    z = STATION_Z[station] + LAYER_Z[layer]
    x, y = x0 + tx * z, y0 + ty * z + kick * _bend(z)
    left = x < 0
    module = np.where(left, 0, 4) + np.clip((y + 120) // 60, 0, 3).astype(int)
    first = (side == 0) == np.isin(module, (0, 2, 5, 7))
    sx = np.where(first, STEREO, -STEREO)
    centre, slope = x - np.where(left, -60.0, 60.0), ty + kick * np.maximum(z, 0) / 1000.0
    one = np.ones_like(x)
    local = [sx, one, z * one / 1000.0, sx * z / 1000.0, _bend(z) * one / 1000.0]
    plane = (station + 1) * 10 + layer
    labels = [((plane * 10 + module) * 10 + side) * 10 + 1, (plane * 10 + module) * 100 + 2]
    labels += [plane * 10 + axis + 0 * module for axis in range(1, 6)]
    derivatives = [one, -centre, sx, one, slope * y, -slope * x, -x + sx * y]
    seen = (np.abs(x) <= 118) & (np.abs(y) <= 118) & (random.random(x.shape) < 0.97)
    label = np.stack([array[seen] for array in labels], 1)
    derivative = np.stack([array[seen] for array in derivatives], 1)
    residual = (derivative * values[label]).sum(1) + random.normal(0, RESOLUTION, len(label))
    track = np.broadcast_to(np.arange(tracks).reshape(-1, 1, 1), seen.shape)[seen]
    return track, residual, np.stack([array[seen] for array in local], 1), label, derivative


def write(path: Path, tracks: int, seed: int = 1) -> int:
    """Write records of some tracks; returns the number of hits."""
    random = np.random.default_rng(seed)
    known = truth()
    values = np.zeros(max(known) + 1)
    values[list(known)] = list(known.values())
    hits = 0
    with MilleOutput(path) as output:
        for start in range(0, tracks, BLOCK):
            track, residual, local, label, derivative = _block(min(BLOCK, tracks - start), random, values)
            lengths = np.bincount(track)
            n = len(track)
            output.write_hits(
                lengths[lengths > 0], residual, np.full(n, RESOLUTION),
                np.full(n, 5), np.tile(np.arange(1, 6), n), local.ravel(),
                np.full(n, 7), label.ravel(), derivative.ravel(),
            )  # fmt: skip
            hits += n
    return hits


def write_steering(path: Path, data: Path) -> None:
    """FASER's steering: reference layers and all layer x fixed, presigmas, sums of sides and modules zero."""
    lines = ["Cfiles", data.name, "hugecut 2000", "method inversion 3 0.001", "skipemptycons", "Parameter"]
    for label in sorted(truth()):
        layer, axis = (label // 10, label % 10) if label < 1000 else (label // 1000, 0)
        fixed = layer in (21, 41) or axis == 1
        turn = label % 10 == 2 if axis == 0 else axis > 2
        lines.append(f"{label} 0.0 {-1 if fixed else 0.005 if turn else 0.05}")
    for layer in (10 * station + number for station in range(1, 5) for number in range(3)):
        modules = [layer * 10 + module for module in range(8)]
        lines += ["Constraint 0.0", *(f"{(m * 10 + side) * 10 + 1} 1.0" for m in modules for side in (0, 1))]
        lines += ["Constraint 0.0", *(f"{m * 100 + 2} 1.0" for m in modules)]
    path.write_text("\n".join([*lines, "end"]) + "\n")
