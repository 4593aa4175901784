"""How parameters hang together, on the report page: the weakest motions in words, and a picture of all correlations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.iteration.modes import unpack_correlations
from fiducial.alignment.report.data import Correlations, Kind, Mode, Parameter, Series, Summary
from fiducial.alignment.report.plots import Plot
from fiducial.alignment.report.story import number, signed
from fiducial.alignment.report.svg import GRID, MUTED, drawing, inline
from fiducial.core.wording import plural

__all__ = ["Motion", "Pair", "Weak", "component", "correlation_plots", "describe_error", "in_words", "motions"]
__all__ += ["strongest", "weak_parameters", "weakness"]

#: Components below this part of the largest are a mere following of the others.
_LEADING = 0.5
#: A kind of parameters with less of a motion's square is not named.
_SMALL_SHARE = 0.03
_SHOWN_PARTS = 8
_ALIKE = 0.95
_PAIRS = 10
_SIZE = 450.0
#: Blue for correlations above zero, orange below; paler is smaller, and nothing is seen at zero.
_POSITIVE, _NEGATIVE = (0, 114, 178), (213, 94, 0)


@dataclass(frozen=True)
class Motion:
    """A weak mode for a reader.

    Args:
        words: what moves.
        error: in units of the presigma.
        share: of the hits in what it is; the rest is the presigma's.
        parts: (name, component) of its largest parameters.
        more: how many parts are not shown.
        step: of fits it belongs to.
    """

    words: str
    error: float
    share: float
    parts: list[tuple[str, float]]
    more: int
    step: str


@dataclass(frozen=True)
class Weak:
    """A weak parameter: its name, error in the unit of its kind, and that over its presigma."""

    name: str
    error: float
    unit: str
    of_presigma: float | None
    entries: int


@dataclass(frozen=True)
class Pair:
    """Two parameters and their correlation, percent."""

    first: str
    second: str
    percent: float


def motions(series: Series) -> list[Motion]:
    """The weakest motions of the last iteration, the weakest of each step first."""
    return [_motion(series.last, mode) for mode in series.last.weak_modes]


def weak_parameters(series: Series) -> list[Weak]:
    """Parameters of the last iteration in which the presigma has a share, the weakest first."""
    rows = [row for row in series.last.parameters if row.state == "weak"]
    found = [
        Weak(
            f"{row.label}: {row.name}",
            1e3 * row.error,
            row.kind.unit,
            row.error / row.presigma if row.presigma > 0.0 else None,
            row.entries,
        )
        for row in rows
    ]
    return sorted(found, key=lambda one: -(one.of_presigma or 0.0))


def _motion(summary: Summary, mode: Mode) -> Motion:
    named = zip(mode.labels, mode.components, strict=True)
    parts = [(f"{label}: {_name(summary, label)}", part) for label, part in named]
    share = max(0.0, 1.0 - min(mode.error, 1.0) ** 2)
    more = max(len(parts) - _SHOWN_PARTS, 0)
    return Motion(in_words(summary, mode), mode.error, share, parts[:_SHOWN_PARTS], more, mode.step)


def _name(summary: Summary, label: int) -> str:
    row = summary.by_label.get(label)
    return row.name if row else "unknown"


def in_words(summary: Summary, mode: Mode) -> str:
    """Say what moves in a motion, the largest kinds of parameters first."""
    kinds: dict[Kind, list[tuple[Parameter, float]]] = {}
    for label, part in zip(mode.labels, mode.components, strict=True):
        if label in summary.by_label:
            row = summary.by_label[label]
            kinds.setdefault(row.kind, []).append((row, part))
    if not kinds:
        return "Parameters that the table does not have."
    shares = {kind: sum(part**2 for _, part in rows) for kind, rows in kinds.items()}
    order = sorted(kinds, key=lambda kind: -shares[kind])
    words = [_leading(order[0], kinds[order[0]])]
    followers = [kind for kind in order[1:] if shares[kind] > _SMALL_SHARE * sum(shares.values())]
    if followers:
        words += [
            "with " + " and ".join(f"{kind.axis} of {plural(len(kinds[kind]), kind.frame)}" for kind in followers)
        ]
    sentence = ", ".join(words)
    return sentence[0].upper() + sentence[1:] + "."


def _leading(kind: Kind, rows: Sequence[tuple[Parameter, float]]) -> str:
    largest = max(abs(part) for _, part in rows)
    leaders = sorted(
        ((row, part) for row, part in rows if abs(part) >= _LEADING * largest), key=lambda one: one[0].label
    )
    what = "rotation" if kind.turns else "shift"
    names = [_place(row) for row, _ in leaders]
    if len(names) > 6:
        where = f"{len(names)} {kind.frame}s"
    else:
        noun = "module" if kind.frame == "side" else kind.frame
        where = (
            f"{noun}{'s' if len(names) > 1 else ''} {', '.join(names[:-1])}{' and ' if names[1:] else ''}{names[-1]}"
        )
    return f"{what} {kind.axis} of {where}{_pattern(leaders)}"


def _place(row: Parameter) -> str:
    return row.key if row.side is None else f"{row.key}/{row.side}"


def _pattern(rows: Sequence[tuple[Parameter, float]]) -> str:
    """How the parts go together: alike, against each other, sheared or bent along the tracker."""
    if len(rows) == 1:
        return " alone"
    parts = np.array([part for _, part in rows])
    if (parts > 0.0).all() or (parts < 0.0).all():
        return " in the same sense"
    if len(rows) == 2:
        return " against each other"
    place = np.array([int(row.key[0]) + 0.1 * int(row.key[1:2] or 0) for row, _ in rows])
    for power, words in ((1, ", growing along the tracker (a shear)"), (2, ", ends against the middle (a bend)")):
        if len({row.key[:2] for row, _ in rows}) > power + 1:
            shape = np.polynomial.polynomial.Polynomial.fit(place, parts, power)(place)
            if np.dot(shape, parts) > _ALIKE * np.linalg.norm(shape) * np.linalg.norm(parts) > 0.0:
                return words
    return " in both senses"


def correlation_plots(series: Series) -> list[Plot]:
    """A picture of the correlations of each step of fits of the last iteration."""
    known = series.last.by_label.keys()
    stored = [one for one in series.last.correlations if len(known & set(one.labels)) > 1]
    return [_heat_map(series.last, one, several=len(stored) > 1) for one in stored]


def _ordered(summary: Summary, stored: Correlations) -> tuple[list[Parameter], NDArray[np.float64]]:
    """Parameters by kind and place, and their correlations in that order."""
    labels, matrix = unpack_correlations(stored.model_dump())
    frames = ("side", "module", "layer", "station")
    parameters = summary.by_label

    def order(known: tuple[int, Parameter]) -> tuple[Any, ...]:
        row = known[1]
        return frames.index(row.kind.frame), row.kind.turns, row.axis, row.key, row.label

    found = enumerate(labels.tolist())
    known = sorted(((place, parameters[label]) for place, label in found if label in parameters), key=order)
    places = [place for place, _ in known]
    return [row for _, row in known], matrix[np.ix_(places, places)]


def strongest(series: Series) -> list[Pair]:
    """The pairs of parameters that are correlated most, in the last iteration."""
    found = [pair for stored in series.last.correlations for pair in _pairs(series.last, stored)]
    return sorted(found, key=lambda pair: -abs(pair.percent))[:_PAIRS]


def _pairs(summary: Summary, stored: Correlations) -> Iterator[Pair]:
    rows, matrix = _ordered(summary, stored)
    above = np.triu_indices(len(rows), 1)
    for at in np.argsort(-np.abs(matrix[above]), kind="stable")[:_PAIRS]:
        first, second = rows[above[0][at]], rows[above[1][at]]
        value = 100.0 * float(matrix[above][at])
        yield Pair(f"{first.label}: {first.name}", f"{second.label}: {second.name}", value)


def _heat_map(summary: Summary, stored: Correlations, *, several: bool) -> Plot:
    rows, matrix = _ordered(summary, stored)
    name = f"correlations-{stored.step}" if several else "correlations"
    with drawing(_SIZE, _SIZE, left=84.0) as figure:
        _draw(figure.subplots(), rows, matrix)
        svg = inline(figure, name)
    high = 100.0 * float(np.abs(np.triu(matrix, 1)).max())
    of_step = f" in step {stored.step}" if several else ""
    title = f"Correlations of up to {high:.0f} % between {plural(len(rows), 'parameter')}{of_step}"
    text = "Blue: errors go together; orange: against each other; paler is less."
    if any(len(row.key) > 2 for row in rows):
        text += " Thin lines stand between layers."
    return Plot("modes", name, title, text, svg)


def _draw(axes: Any, rows: Sequence[Parameter], matrix: NDArray[np.float64]) -> None:
    size = len(rows)
    image = np.zeros((size, size, 4), np.uint8)
    image[..., :3] = np.where(matrix[..., None] > 0.0, _POSITIVE, _NEGATIVE)
    # Less than proportional: a correlation of ten percent is seen, too.
    image[..., 3] = np.rint(255.0 * np.minimum(np.abs(matrix), 1.0) ** 0.7)
    axes.imshow(image, interpolation="none", extent=(0, size, size, 0), aspect="equal")
    axes.grid(False)
    blocks: dict[Kind, list[int]] = {}
    layers: list[int] = []
    for place, row in enumerate(rows):
        if blocks.get(row.kind) and row.key[:2] != rows[place - 1].key[:2] and len(row.key) > 2:
            layers.append(place)
        blocks.setdefault(row.kind, []).append(place)
    _lines(axes, layers, GRID, 0.5, size)
    _lines(axes, [places[0] for places in blocks.values()][1:], MUTED, 0.9, size)
    _name_blocks(axes, blocks, size)


def _lines(axes: Any, places: Sequence[int], colour: str, width: float, size: int) -> None:
    across = [end for place in places for end in (0, size, math.nan)]
    along = [end for place in places for end in (place, place, math.nan)]
    axes.plot(across, along, color=colour, lw=width)
    axes.plot(along, across, color=colour, lw=width)


def _name_blocks(axes: Any, blocks: dict[Kind, list[int]], size: int) -> None:
    """Name each kind beside its rows; below, only those with room, for the order is the same."""
    middles = [(places[0] + places[-1] + 1) / 2 for places in blocks.values()]
    names = [str(kind) for kind in blocks]
    axes.set_yticks(_apart(middles, 0.03 * size), names)
    wide = [
        (at, name)
        for at, name, places in zip(middles, names, blocks.values(), strict=True)
        if len(places) > 0.12 * size
    ]
    axes.set_xticks([at for at, _ in wide], [name for _, name in wide])
    axes.tick_params(length=0)
    axes.set(xlim=(0, size), ylim=(size, 0))
    for side in ("right", "top"):
        axes.spines[side].set_visible(True)


def _apart(places: Sequence[float], least: float) -> list[float]:
    """Places moved as little as needed for names to stand apart: downwards, then up from the lowest one."""
    moved = list(places)
    for at in range(1, len(moved)):
        moved[at] = max(moved[at], moved[at - 1] + least)
    over = moved[-1] - places[-1] if moved else 0.0
    for at in range(len(moved) - 1, -1, -1):
        limit = places[-1] + over / 2 if at == len(moved) - 1 else moved[at + 1] - least
        moved[at] = min(moved[at], limit)
    return moved


def weakness(found: Sequence[Motion]) -> str:
    """How many of the weakest motions the presigma decides more than the hits."""
    undecided = sum(motion.share < 0.5 for motion in found)
    if not undecided:
        least = math.floor(100 * min(motion.share for motion in found))
        return f"The hits decide each of them to {least} % or more."
    return f"In {undecided} of these {len(found)}, the presigma decides more than the hits."


def describe_error(motion: Motion) -> str:
    """How well a motion is known."""
    return f"{number(motion.error)} of the presigma; the hits decide it to {100 * motion.share:.0f} %"


def component(part: float) -> str:
    """A component with its sign."""
    return ("+" if part > 0.0 else "") + signed(part, 2)
