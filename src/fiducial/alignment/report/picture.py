"""One wide figure of an alignment, for the first screen of a README or a slide."""

from __future__ import annotations

from typing import Any

from fiducial.alignment.report.data import Series
from fiducial.alignment.report.plots import draw_chi2, draw_convergence, draw_histograms, draw_widths
from fiducial.alignment.report.story import to_last
from fiducial.alignment.report.svg import PAPER, drawing, encoded

__all__ = ["picture"]

_SIZE = (880.0, 290.0)


def picture(series: Series, threshold: float, suffix: str) -> bytes:
    """Draw residuals, their width by layer and the convergence side by side.

    Args:
        series: of iterations.
        threshold: largest shift over its error with which an alignment has converged.
        suffix: ".svg" (follows light and dark surroundings) or ".png" (light).
    """
    with drawing(*_SIZE, light=True) as figure:
        _draw(figure, series, threshold)
        return encoded(figure, _title(series), suffix)


def _title(series: Series) -> str:
    width = to_last(series, lambda one: one.residuals.width_um)
    return f"Alignment of a tracker: residual width {width} µm"


def _draw(figure: Any, series: Series, threshold: float) -> None:
    # With a ground of its own the picture is readable even where the surroundings' colours are guessed wrong.
    figure.set_facecolor(PAPER)
    figure.get_layout_engine().set(w_pad=10 / 72, h_pad=10 / 72, wspace=0.04, hspace=0.06)
    axes = figure.subplot_mosaic("abc;abd", width_ratios=(1.15, 1.15, 0.9))
    draw_histograms(axes["a"], series)
    draw_widths(axes["b"], series)
    draw_chi2(axes["c"], series, fits=False)
    axes["c"].set_xlabel("")
    draw_convergence(axes["d"], series, threshold)
    titles = {
        "a": f"Residuals: {to_last(series, lambda one: one.residuals.width_um)} µm wide",
        "b": "Residual width in every layer",
        "c": f"χ²/ndf: {to_last(series, lambda one: one.track_chi2_ndf)}",
    }
    for place, title in titles.items():
        axes[place].set_title(title, pad=10, weight="bold")
