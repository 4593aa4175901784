"""What the Millepede fit of a tracker is told besides the records: which parameters are free, held or tied.

One fit determines everything at once: all layers but the reference layers, all sides and all modules' rz.

- The reference layers (the middle ones of the first and the last spectrometer station) keep their y, rx, ry and rz,
  and their modules their rz: they are what heights and angles are measured against.
- In every layer the shifts of the 16 sides add up to zero, as do the rz of the 8 modules: their common part is the
  layer's own y and rz.
- No layer's x is fitted: it is the same as moving all its sides against each other, which the fit is free to do.
  In the reference layers that pattern adds up to zero too; else the tracker could slide and shear along x.
- Heights that grow along the beam like the bending of a track look like another momentum, and rotations that do look
  like momenta that change across the tracker. What the momenta can absorb of the layers' y, rx, ry and rz is held at
  zero; free, it would drift with the choice of tracks, which is by momentum, without end. The same holds for the rz of
  the modules that stand behind each other: tracks through one such stack can absorb what is linear along the beam
  (hence the reference layers' modules) and what grows like the bending. Of such motions the fit would learn only
  through the errors of the tracks' own coordinates, and so it would learn wrong.

Each parameter has a presigma, which damps its step in one fit, but does not bias the result of an iteration of fits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fiducial.alignment.constants import replace_text
from fiducial.alignment.geometry import Detector
from fiducial.alignment.numbering import all_labels, describe, layer_label, module_label, side_label
from fiducial.alignment.trajectory import bending

__all__ = ["FILES", "Recipe", "write_steering"]

BINARY = "mp2input.bin"
STEERING = "mp2str.txt"
PARAMETERS = "mp2par.txt"
CONSTRAINTS = "mp2con.txt"
#: What a solve step tells the fit, by file.
FILES = (BINARY, STEERING, PARAMETERS, CONSTRAINTS)


@dataclass(frozen=True)
class Recipe:
    """How the fit is set up.

    Args:
        shift_presigma: of all shifts, mm.
        turn_presigma: of all rotations, rad.
        reference_layers: (station, layer) of the layers that stay where they are.
        fixed_layer_axes: constants that no layer gets.
        hugecut: tracks whose chi2 is more than this times the three-sigma limit are dropped. Very wide, because in the
            first iteration all tracks fit badly.
        entries: parameters with fewer hits stay where they are.
        iterations: steps of one fit at most.
        limit: expected decrease of chi2 that ends them.
        stereo_constraints: whether the reference layers' x is held.
        bending_constraints: constants of layers of which the part that momenta can absorb is held; with rz among them,
            that of the modules' rz too.
    """

    shift_presigma: float = 0.05
    turn_presigma: float = 0.005
    reference_layers: tuple[tuple[int, int], ...] = ((1, 1), (3, 1))
    fixed_layer_axes: tuple[str, ...] = ("x",)
    hugecut: float = 2000.0
    entries: int = 50
    iterations: int = 3
    limit: float = 0.001
    stereo_constraints: bool = True
    bending_constraints: tuple[str, ...] = ("y", "rx", "ry", "rz")

    def presigma(self, label: int) -> float:
        """Presigma of a parameter; -1 for one that is held where it is."""
        what = describe(label)
        reference = (int(what.key[0]), int(what.key[1])) in self.reference_layers
        if reference and what.side is None:
            return -1.0
        if len(what.key) == 2 and what.axis in self.fixed_layer_axes:
            return -1.0
        return self.turn_presigma if what.unit == "rad" else self.shift_presigma


def write_steering(folder: Path, detector: Detector, stations: range, recipe: Recipe) -> Path:
    """Write steering, parameter and constraint files into a folder; return the steering file."""
    replace_text(folder / PARAMETERS, _parameters(detector, stations, recipe))
    replace_text(folder / CONSTRAINTS, _constraints(detector, stations, recipe))
    replace_text(folder / STEERING, _steering(recipe))
    return folder / STEERING


def _steering(recipe: Recipe) -> str:
    lines = [
        "* Alignment of the tracker: records, parameters and constraints lie beside this file",
        "Cfiles",
        BINARY,
        PARAMETERS,
        CONSTRAINTS,
        f"hugecut {recipe.hugecut:g}",
        f"entries {recipe.entries}",
        f"method inversion {recipe.iterations} {recipe.limit:g}",
        "skipemptycons",
        "printcounts",
        "end",
    ]
    return "\n".join(lines) + "\n"


def _parameters(detector: Detector, stations: range, recipe: Recipe) -> str:
    lines = [f"{label:<6d} 0.0 {recipe.presigma(label):g}" for label in all_labels(detector, stations)]
    return "\n".join(["Parameter", *lines]) + "\n"


def _constraints(detector: Detector, stations: range, recipe: Recipe) -> str:
    modules = range(detector.shape[2])
    lines: list[str] = []
    for layer in ((s, c) for s in stations for c in range(detector.shape[1])):
        sides = [(m, d) for m in modules for d in (0, 1)]
        lines += _constraint(f"sides of layer {layer}", ((side_label(*layer, m, d), 1) for m, d in sides))
        lines += _constraint(f"modules of layer {layer}", ((module_label(*layer, m), 1) for m in modules))
        if recipe.stereo_constraints and layer in recipe.reference_layers:
            pattern = ((side_label(*layer, m, d), detector.module_sign[m] * (2 * d - 1)) for m, d in sides)
            lines += _constraint(f"x of layer {layer}", pattern)
    shape = _bending_shape(detector, stations, recipe)
    for axis in recipe.bending_constraints:
        terms = ((layer_label(*layer, axis), factor) for layer, factor in shape.items())
        lines += _constraint(f"bending of the layers' {axis}", terms)
    if "rz" in recipe.bending_constraints:
        # The last stack's follows from the others, because the modules of each layer add up to zero.
        for module in modules[:-1]:
            terms = ((module_label(*layer, module), factor) for layer, factor in shape.items())
            lines += _constraint(f"bending of rz of the modules {module}", terms)
    return "\n".join(lines) + "\n"


def _constraint(title: str, terms: Iterable[tuple[int, float]]) -> list[str]:
    return [f"* {title}", "Constraint 0.0", *(f"{label:<6d} {factor:.9g}" for label, factor in terms)]


def _bending_shape(detector: Detector, stations: range, recipe: Recipe) -> dict[tuple[int, int], float]:
    """How far a bent track is from the line through the reference layers, at each layer; the largest is 1."""
    layers = [(s, c) for s in stations for c in range(detector.shape[1])]
    z = np.array([detector.station_z[s] + detector.layer_z[c] for s, c in layers])
    height = bending(detector, z)[0]
    first, last = (layers.index(layer) for layer in recipe.reference_layers)
    slope = (height[last] - height[first]) / (z[last] - z[first])
    shape = height - height[first] - slope * (z - z[first])
    shape[[first, last]] = 0.0
    factors = shape / shape[np.abs(shape).argmax()]
    return {layer: factor for layer, factor in zip(layers, factors.tolist(), strict=True) if factor}
