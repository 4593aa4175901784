"""A detector seen from the side and from above, to see at a glance whether a geometry file says what was meant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.report.svg import FIRST, GRID, LAST, MUTED, PAPER, drawing, encoded
from fiducial.alignment.tracker.geometry import Detector, place

__all__ = ["draw_detector"]

_SIZE = (880.0, 360.0)
#: Layers closer than this part of the detector's length share a label.
_CLOSE = 0.04
#: Coordinates that a view shows upwards, and what it is called.
_VIEWS = ((1, "y", "From the side"), (0, "x", "From above"))


def draw_detector(detector: Detector, suffix: str) -> bytes:
    """Draw every sensor as a line in two views.

    Args:
        detector: at its nominal place.
        suffix: ".svg" (follows light and dark surroundings) or ".png" (light).
    """
    with drawing(*_SIZE, light=True) as figure:
        figure.set_facecolor(PAPER)
        for axes, (axis, name, title) in zip(figure.subplots(2, 1, sharex=True), _VIEWS, strict=True):
            _view(axes, detector, axis)
            axes.set_ylabel(f"{name} (mm)")
            axes.set_title(title, pad=18, weight="bold")
        axes.set_xlabel("z along the beam (mm)")
        return encoded(figure, f"Sensors of {detector.name}", suffix)


def _view(axes: Any, detector: Detector, axis: int) -> None:
    for magnet in detector.magnets:
        axes.axvspan(magnet.z_min, magnet.z_max, color=GRID, lw=0, label="magnet")
    z, height = _outlines(detector, axis)
    along = np.abs(place(detector, {}).axes[:, axis, 0]) > 0.5
    _, module = np.unique(detector.digits[:, :3], axis=0, return_inverse=True)
    # Of a module that measures both, as a pixel plane, the sensor that measures what is shown is drawn.
    other = ~np.isin(module, module[along])
    for chosen, colour, label in ((along, LAST, "measures this coordinate"), (other, FIRST, "measures another one")):
        if chosen.any():
            axes.plot(z[chosen].T, height[chosen].T, color=colour, label=label)
    for at, keys in _places(detector):
        axes.annotate(keys, (at, 1.0), (0, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
                      ha="center", fontsize=9.0, color=MUTED)  # fmt: skip
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _places(detector: Detector) -> list[tuple[float, str]]:
    """Where layers stand along the beam, mm, and their keys; those that stand close together have one label."""
    layers = sorted((z, key) for key, z in detector.layer_z.items())
    close = _CLOSE * (layers[-1][0] - layers[0][0])
    groups: list[list[tuple[float, str]]] = []
    for z, key in layers:
        if groups and z - groups[-1][-1][0] < close:
            groups[-1].append((z, key))
        else:
            groups.append([(z, key)])
    return [((one[0][0] + one[-1][0]) / 2, _span(one[0][1], one[-1][1])) for one in groups]


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def _outlines(detector: Detector, axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends (n, 2) of each sensor along z and another coordinate, in mm: those of its edge that looks longest."""
    placement = place(detector, {})
    half = np.stack([detector.pitch * detector.channels, detector.lengths], axis=1) / 2
    spans = placement.axes[:, :, :2] * half[:, None, :]
    longest = np.abs(spans[:, axis, :]).argmax(axis=1)
    span = np.take_along_axis(spans, longest[:, None, None], axis=2)[:, :, 0]
    ends = np.stack([placement.origin - span, placement.origin + span], axis=1)
    return ends[:, :, 2], ends[:, :, axis]
