"""What one step of a recipe tells the fit: its steering file, and its files of parameters and constraints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.iteration.patterns import chosen, without_match
from fiducial.alignment.iteration.recipe import Constraint, Recipe, Step
from fiducial.alignment.tracker.geometry import Detector
from fiducial.alignment.tracker.numbering import LEVELS, Meaning, all_labels, meanings
from fiducial.alignment.tracker.trajectory import bending
from fiducial.core.errors import ConfigurationError
from fiducial.storage.replace import replace_text

__all__ = ["BINARY", "FILES", "Plan", "write_steering"]

Array = NDArray[np.float64]

BINARY = "mp2input.bin"
STEERING = "mp2str.txt"
PARAMETERS = "mp2par.txt"
CONSTRAINTS = "mp2con.txt"
#: What a solve step tells the fit, by file.
FILES = (BINARY, STEERING, PARAMETERS, CONSTRAINTS)

#: Sides that measure directions further apart than this are no stereo pair, rad.
_STEREO = 0.5
#: Which part of a key tells groups of a constraint apart.
_GROUPS = {"station": slice(0, 1), "layer": slice(0, 2), "module": slice(0, 3), "stack": slice(2, 3)}


@dataclass(frozen=True)
class Plan:
    """A recipe for a certain detector.

    Args:
        detector: the tracker.
        stations: digits of those that take part.
        recipe: what is done.
    """

    detector: Detector
    stations: tuple[int, ...]
    recipe: Recipe

    @cached_property
    def known(self) -> dict[int, Meaning]:
        """What every label stands for.

        Raises:
            ConfigurationError: two parameters would have one label, or the recipe asks for what the detector lacks.
        """
        kinds = {kind for kind in self.detector.kinds.values() if len(kind.angles) == 2}
        if self.recipe.parameters.sides and any(abs(kind.angles[0] - kind.angles[1]) > _STEREO for kind in kinds):
            raise ConfigurationError(
                f"recipe {self.recipe.name}: parameters.sides: the coordinates of {self.detector.name}'s modules are "
                "no stereo pairs",
                hint='let sides be [] and give layers or modules "x" and "y"',
            )
        return meanings(self.detector, self.stations, self.recipe.parameters.scheme)

    def check(self) -> None:
        """See that every step can be told, before anything is read.

        Raises:
            ConfigurationError: a step fits nothing, or a pattern or a line names what the detector lacks.
        """
        _ = self.known
        self._check_patterns()
        for step in self.recipe.steps:
            self.constraints(step)

    def _check_patterns(self) -> None:
        """See that each pattern names something of the detector, be it of stations that take no part now."""
        parts = dict(zip(LEVELS, self.detector.keys, strict=True))
        labels = all_labels(self.detector, [*map(int, self.detector.keys[0])], self.recipe.parameters.scheme)
        for where, pattern in self._patterns():
            if what := without_match(pattern, parts, labels):
                raise ConfigurationError(
                    f"recipe {self.recipe.name}: {where}: {what} of {self.detector.name}",
                    hint=f"layers are {', '.join(self.detector.keys[1])}: digits of the constants' keys, not of labels",
                )

    def _patterns(self) -> Iterator[tuple[str, str]]:
        """Every pattern of the recipe, and where it stands."""
        for number, constraint in enumerate(self.recipe.constraints):
            yield from ((f"constraints.{number}.parameters", pattern) for pattern in constraint.parameters)
        for step in self.recipe.steps:
            yield from ((f"step {step.name}: free", pattern) for pattern in step.free)
            yield from ((f"step {step.name}: fixed", pattern) for pattern in step.fixed)

    def free(self, step: Step) -> list[int]:
        """Labels that a step fits.

        Raises:
            ConfigurationError: there is none.
        """
        fixed = set(chosen(step.fixed, self.known))
        free = [label for label in chosen(step.free, self.known) if label not in fixed]
        if not free:
            raise ConfigurationError(
                f"recipe {self.recipe.name}: step {step.name} has no free parameter among the {len(self.known)} of "
                f"{self.detector.name}'s stations {', '.join(map(str, self.stations))}",
                hint="see its `free` and `fixed`; or are other --stations meant?",
            )
        return free

    def presigma(self, step: Step, label: int) -> float:
        """Presigma of a parameter that a step fits."""
        presigma = step.presigma or self.recipe.presigma
        return presigma.turn if self.known[label].unit == "rad" else presigma.shift

    def constraints(self, step: Step) -> list[tuple[str, dict[int, float]]]:
        """Title and factors of the constraints that are in force in a step: those with a free parameter."""
        free = set(self.free(step))
        found = [one for constraint in self.recipe.constraints for one in self._groups(constraint)]
        return [(title, factors) for title, factors in found if free & factors.keys()]

    def _groups(self, constraint: Constraint) -> Iterator[tuple[str, dict[int, float]]]:
        groups: dict[tuple[str, ...], dict[int, float]] = {}
        weights = self._weights(constraint)
        for label in chosen(constraint.parameters, self.known):
            what = self.known[label]
            group = tuple(what.axis if each == "axis" else what.key[_GROUPS[each]] for each in constraint.each)
            factor = weights.get(what.part if constraint.weights == "stereo" else what.key[:2], 0.0)
            if factor:
                groups.setdefault(group, {})[label] = factor
        for group in sorted(groups)[: -1 if constraint.skip_last else None]:
            of = zip(constraint.each, group, strict=True)
            title = f"{' and '.join(constraint.parameters)}{''.join(f', {each} {name}' for each, name in of)}"
            yield f"{title}: weights {constraint.weights}", groups[group]

    def _weights(self, constraint: Constraint) -> dict[str, float]:
        """Factor by key of the layer, or of the side for stereo angles."""
        if constraint.weights == "stereo":
            parts = ("".join(map(str, digits)) for digits in self.detector.digits.tolist())
            return dict(zip(parts, np.sign(self.detector.angles).tolist(), strict=True))
        places = {key: z for key, z in self.detector.layer_z.items() if int(key[0]) in self.stations}
        if constraint.weights == "one":
            return dict.fromkeys(places, 1.0)
        z = np.array(list(places.values()))
        if constraint.weights == "z":
            shape = z - z.mean()
        else:
            shape = self._bent(z, [self._layer(list(places), key) for key in constraint.line or ()])
        largest = shape[np.abs(shape).argmax()]
        return dict(zip(places, (shape / largest if largest else shape).tolist(), strict=True))

    def _layer(self, keys: list[str], key: str) -> int:
        if key not in keys:
            raise ConfigurationError(
                f"recipe {self.recipe.name}: constraints: line: layer '{key}' takes no part",
                hint=f"those that do: {', '.join(keys)}",
            )
        return keys.index(key)

    def _bent(self, z: Array, line: list[int]) -> Array:
        """How far a bent track is from the line through two layers, at each layer."""
        height = bending(self.detector, z)[0]
        first, last = line
        if z[first] == z[last]:
            raise ConfigurationError(
                f"recipe {self.recipe.name}: constraints: line: its two layers stand at one place, z = {z[first]:g} mm",
                hint="a line needs two layers, one behind the other",
            )
        slope = (height[last] - height[first]) / (z[last] - z[first])
        shape = height - height[first] - slope * (z - z[first])
        shape[line] = 0.0
        return np.asarray(shape)


def write_steering(folder: Path, plan: Plan, step: Step, held: Mapping[int, float], records: str = BINARY) -> Path:
    """Write the files of one step into a folder; return the steering file.

    Args:
        folder: for them.
        plan: the recipe for this detector.
        step: of the recipe.
        held: what earlier steps found, by label; a parameter that this step does not fit stays there.
        records: the Mille file, seen from the folder.
    """
    replace_text(folder / PARAMETERS, _parameters(plan, step, held))
    replace_text(folder / CONSTRAINTS, _constraints(plan, step))
    replace_text(folder / STEERING, _steering(plan, step, records))
    return folder / STEERING


def _steering(plan: Plan, step: Step, records: str) -> str:
    options = plan.recipe.options(step)
    switches = [name for name in ("skipemptycons", "printcounts") if getattr(options, name)]
    lines = [
        f"* Alignment of {plan.detector.name}, recipe {plan.recipe.name}, step {step.name}",
        "Cfiles",
        records,
        PARAMETERS,
        CONSTRAINTS,
        f"hugecut {options.hugecut:g}",
        f"entries {options.entries}",
        f"method {options.method} {options.iterations} {options.limit:g}",
        *switches,
        *options.lines,
        "end",
    ]
    return "\n".join(lines) + "\n"


def _parameters(plan: Plan, step: Step, held: Mapping[int, float]) -> str:
    free = set(plan.free(step))
    lines = [
        f"{label:<6d} {held.get(label, 0.0)!r} {plan.presigma(step, label) if label in free else -1.0:g}"
        for label in plan.known
    ]
    return "\n".join(["Parameter", *lines]) + "\n"


def _constraints(plan: Plan, step: Step) -> str:
    lines: list[str] = []
    for title, factors in plan.constraints(step):
        lines += [f"* {title}", "Constraint 0.0", *_terms(factors.items())]
    return "\n".join(lines or ["* none"]) + "\n"


def _terms(factors: Iterable[tuple[int, float]]) -> list[str]:
    return [f"{label:<6d} {factor:.9g}" for label, factor in factors]
