"""A picture of constants: where everything stands, and how it went there over the iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fiducial.alignment.constants.compare import LEVELS, level, unit_of
from fiducial.alignment.constants.values import Six
from fiducial.alignment.report.svg import FIRST, GRID, LAST, MIDDLE, PAPER, drawing, encoded
from fiducial.alignment.tracker.numbering import AXES
from fiducial.core.errors import DataError

__all__ = ["Named", "draw_constants"]

#: Points: width of the picture, height of a panel, and what the heading takes.
_WIDTH, _PANEL, _HEADING = 1000.0, 150.0, 40.0
_COLUMNS = 3


@dataclass(frozen=True)
class Named:
    """Constants and what they are called in the picture."""

    name: str
    constants: Mapping[str, Six]


@dataclass(frozen=True)
class _Panel:
    """One kind of constants, e.g. the rz of modules.

    Args:
        level: number of digits of the keys.
        axis: place among the six.
        keys: of that level, ascending.
    """

    level: int
    axis: int
    keys: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{LEVELS[self.level - 1]} {AXES[self.axis]} ({unit_of(AXES[self.axis])})"

    def values(self, constants: Mapping[str, Six]) -> list[float]:
        """In the unit of the label."""
        return [1e3 * constants[key][self.axis] if key in constants else 0.0 for key in self.keys]


def draw_constants(files: Sequence[Named], suffix: str, *, evolution: bool = False) -> bytes:
    """Draw constants of one file or several, one panel for each kind that is not zero everywhere.

    Args:
        files: in the order of the iterations.
        suffix: ".svg" (follows light and dark surroundings) or ".png" (light).
        evolution: the files lie along the axis, with a line for each part; else the parts lie along it, and the files
            are laid over each other.

    Raises:
        DataError: there is nothing to draw, because all constants are zero.
    """
    panels = _panels(files)
    if not panels:
        raise DataError("all constants are zero: there is nothing to draw", hint="give a later iteration")
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    with drawing(_WIDTH, _HEADING + rows * _PANEL, light=True) as figure:
        figure.set_facecolor(PAPER)
        figure.get_layout_engine().set(w_pad=8 / 72, h_pad=6 / 72, wspace=0.03, hspace=0.05)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            (_draw_evolution if evolution else _draw_places)(axes, panel, files)
            axes.set_title(panel.label, weight="bold", fontsize=10.5)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        _say_what_is_what(figure, files, evolution)
        return encoded(figure, f"Alignment constants: {', '.join(file.name for file in files)}", suffix)


def _panels(files: Sequence[Named]) -> list[_Panel]:
    known = sorted({key for file in files for key in file.constants})
    found = []
    for depth in range(1, len(LEVELS) + 1):
        keys = tuple(key for key in known if LEVELS.index(level(key)) + 1 == depth)
        found += [_Panel(depth, axis, keys) for axis in range(len(AXES)) if _any(files, keys, axis)]
    return found


def _any(files: Sequence[Named], keys: Sequence[str], axis: int) -> bool:
    return any(file.constants[key][axis] != 0.0 for file in files for key in keys if key in file.constants)


def _colours(count: int) -> list[str]:
    return [FIRST, *[MIDDLE] * (count - 2), LAST][-count:] if count > 1 else [LAST]


def _draw_places(axes: Any, panel: _Panel, files: Sequence[Named]) -> None:
    """Parts along the axis, files over each other, the last on top."""
    for number, (file, colour) in enumerate(zip(files, _colours(len(files)), strict=True)):
        size = 2.6 if panel.level == len(LEVELS) else 5.0
        order = {MIDDLE: 2.0, FIRST: 2.1, LAST: 2.2}[colour] + 1e-3 * number
        axes.plot(range(len(panel.keys)), panel.values(file.constants), "o", ms=size, mew=0, color=colour, zorder=order)
    axes.axhline(0.0, color=GRID, lw=1.2, zorder=1)
    _name_places(axes, panel)


def _name_places(axes: Any, panel: _Panel) -> None:
    """Name stations or layers below the axis; modules stand in bands, one a layer, from 0 to 7."""
    groups: dict[str, list[int]] = {}
    for place, key in enumerate(panel.keys):
        groups.setdefault(key[:2], []).append(place)
    axes.set_xticks([(places[0] + places[-1]) / 2 for places in groups.values()], groups)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.7, len(panel.keys) - 0.3)
    for places in list(groups.values())[1:] if panel.level == len(LEVELS) else ():
        axes.axvline(places[0] - 0.5, color=GRID, lw=0.8, zorder=0.5)


def _draw_evolution(axes: Any, panel: _Panel, files: Sequence[Named]) -> None:
    """Files along the axis, a line for each part."""
    columns = [panel.values(file.constants) for file in files]
    lines = list(zip(*columns, strict=True))
    axes.plot(range(1, len(files) + 1), columns, color=MIDDLE, lw=0.8, alpha=0.7)
    for place, colour in zip(range(1, len(files) + 1), _colours(len(files)), strict=True):
        axes.plot([place] * len(lines), [line[place - 1] for line in lines], "o", ms=2.6, mew=0, color=colour)
    axes.axhline(0.0, color=GRID, lw=1.2, zorder=1)
    step = -(-len(files) // 10)
    axes.set_xticks(range(1, len(files) + 1, step))
    axes.set_xlim(0.6, len(files) + 0.4)


def _say_what_is_what(figure: Any, files: Sequence[Named], evolution: bool) -> None:
    from matplotlib.lines import Line2D

    shown = [(files[0].name, FIRST), (f"{len(files) - 2} between", MIDDLE), (files[-1].name, LAST)]
    if len(files) == 1:
        shown = [(files[0].name, LAST)]
    elif len(files) == 2:
        del shown[1]
    handles = [Line2D([], [], ls="", marker="o", color=colour, mew=0, label=name) for name, colour in shown]
    axis = "one file after the other, a line for each part" if evolution else "parts in the order of their keys"
    figure.legend(
        handles=handles, loc="outside upper left", ncols=len(handles), title=f"Alignment constants, {axis}",
        alignment="left", title_fontproperties={"weight": "bold", "size": 11.5}, handletextpad=0.3,
    )  # fmt: skip
