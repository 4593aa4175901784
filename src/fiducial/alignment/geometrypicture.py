"""A detector seen from the side and from above, to see at a glance whether a geometry file says what was meant."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiducial.alignment.geometry import Detector, place
from fiducial.alignment.reportsvg import FIRST, GRID, LAST, PAPER, drawing, standalone

__all__ = ["draw_detector"]

_SIZE = (880.0, 360.0)
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
            axes.set_ylabel(f"{name} [mm]")
            axes.set_title(title, pad=8, weight="bold")
        axes.set_xlabel("z along the beam [mm]")
        if suffix == ".svg":
            return standalone(figure, f"Sensors of {detector.name}").encode()
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=160)
        return content.getvalue()


def _view(axes: Any, detector: Detector, axis: int) -> None:
    for magnet in detector.magnets:
        axes.axvspan(magnet.z_min, magnet.z_max, color=GRID, lw=0, label="magnet")
    z, height = _outlines(detector, axis)
    along = np.abs(place(detector, {}).axes[:, axis, 0]) > 0.5
    for chosen, colour, label in ((along, LAST, "measures this coordinate"), (~along, FIRST, "measures another one")):
        axes.plot(z[chosen].T, height[chosen].T, color=colour, label=label)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _outlines(detector: Detector, axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends (n, 2) of each sensor along z and another coordinate, in mm: those of its edge that looks longest."""
    placement = place(detector, {})
    half = np.stack([detector.pitch * detector.channels, detector.lengths], axis=1) / 2
    spans = placement.axes[:, :, :2] * half[:, None, :]
    longest = np.abs(spans[:, axis, :]).argmax(axis=1)
    span = np.take_along_axis(spans, longest[:, None, None], axis=2)[:, :, 0]
    ends = np.stack([placement.origin - span, placement.origin + span], axis=1)
    return ends[:, :, 2], ends[:, :, axis]
