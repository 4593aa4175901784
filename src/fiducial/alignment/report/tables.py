"""The numbers behind the plots of the report page, as tables: for those who cannot see a plot, or want to copy it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from fiducial.alignment.report.data import Kind, Series, Summary
from fiducial.alignment.report.plots import free_rows, rms_of_shifts
from fiducial.alignment.report.story import number, signed

__all__ = ["Table", "number_tables"]


@dataclass(frozen=True)
class Table:
    """A table as it is shown.

    Args:
        title: what it holds, and in which unit.
        columns: headings.
        rows: cells; the first of each names the row.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]


def number_tables(series: Series) -> list[Table]:
    """All tables; one about which the summaries say nothing is left out."""
    found = [_iterations(series), _widths(series), _shifts(series), _work(series)]
    return [table for table in found if table.rows]


def _iterations(series: Series) -> Table:
    columns = ["iteration", "residuals (µm)", "mean (µm)", "hits", "χ²/ndf", "of the fit", "shift / error"]
    columns += ["of parameter", "verdict", "tracks", "time (s)"]
    return Table(
        "Iterations, and the parameter that moved most",
        columns,
        [_iteration(order, summary) for order, summary in enumerate(series.summaries, 1)],
    )


def _iteration(order: int, summary: Summary) -> list[str]:
    moved = summary.by_label.get(summary.convergence.label or 0)
    return [
        str(order),
        number(summary.residuals.width_um),
        signed(summary.residuals.mean_um, 2),
        f"{summary.residuals.hits:,}",
        number(summary.track_chi2_ndf),
        number(summary.fit.chi2_ndf),
        number(summary.convergence.max_shift_over_error),
        f"{moved.label}: {moved.name}" if moved else "",
        str(summary.fit.verdict),
        f"{summary.tracks.used:,}",
        number(sum(step.seconds for step in summary.steps)) if summary.steps else "",
    ]


def _by_iteration(series: Series) -> list[str]:
    return [f"iteration {order}" for order in range(1, len(series) + 1)]


def _widths(series: Series) -> Table:
    by_layer = [{layer.layer: layer for layer in summary.residuals.layers} for summary in series.summaries]
    rows = []
    for key in sorted({key for layers in by_layer for key in layers}):
        widths = [number(layers[key].width_um) if key in layers else "" for layers in by_layer]
        last = by_layer[-1].get(key)
        rows.append([key, *widths, *((signed(last.mean_um, 2), f"{last.hits:,}") if last else ("", ""))])
    return Table("Residual width by layer (µm)", ["layer", *_by_iteration(series), "last mean", "last hits"], rows)


def _shifts(series: Series) -> Table:
    rows = [_kind(series, kind) for kind in series.kinds]
    columns = ["kind", *_by_iteration(series), "last median error", "largest in the last"]
    return Table("Shifts by kind of parameter (rms, µm or mrad)", columns, rows)


def _kind(series: Series, kind: Kind) -> list[str]:
    free = [free_rows(summary.parameters, kind) for summary in series.summaries]
    last = free[-1]
    error = number(1e3 * median(row.error for row in last)) if last else ""
    largest = number(1e3 * max(abs(row.shift) for row in last)) if last else ""
    shifts = [number(rms_of_shifts(rows)) if rows else "" for rows in free]
    return [f"{kind} ({kind.unit})", *shifts, error, largest]


def _work(series: Series) -> Table:
    names = dict.fromkeys(step.name for summary in series.summaries for step in summary.steps)
    rows = [[name, *(_took(summary, name) for summary in series.summaries)] for name in names]
    return Table("Wall time and largest memory of each part", ["part", *_by_iteration(series)], rows)


def _took(summary: Summary, name: str) -> str:
    steps = [step for step in summary.steps if step.name == name]
    if not steps:
        return ""
    peaks = [step.peak_mib for step in steps if step.peak_mib is not None]
    memory = f", {number(max(peaks))} MiB" if peaks else ""
    return f"{number(sum(step.seconds for step in steps))} s{memory}"
