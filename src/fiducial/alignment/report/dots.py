"""Plots with a row for each thing and a dot for each iteration: what was dropped, and what the work took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fiducial.alignment.report.data import Series, Summary
from fiducial.alignment.report.plots import Plot, iteration_shades
from fiducial.alignment.report.story import drop_tables, number
from fiducial.alignment.report.svg import GRID, MIDDLE, drawing, inline
from fiducial.core.wording import plural

__all__ = ["dot_plots"]

_WIDTH, _ROW, _FRAME = 400.0, 30.0, 62.0
#: Below this share, in percent, the scale is linear: one track of ten thousand.
_SMALL_SHARE = 0.01


@dataclass(frozen=True)
class _Rows:
    """What a plot shows.

    Args:
        names: of the rows.
        values: by row, then iteration; None where an iteration has none.
        axis: what the numbers are.
        logarithmic: from `_SMALL_SHARE` on.
    """

    names: Sequence[str]
    values: Sequence[Sequence[float | None]]
    axis: str
    logarithmic: bool = False


def dot_plots(series: Series) -> list[Plot]:
    """What was dropped, by reason, and what each step took; nothing where nothing is known."""
    return [*_drops(series), *_work(series)]


def _drops(series: Series) -> Iterator[Plot]:
    for name, what, table in zip(("tracks", "hits"), ("tracks", "hits"), drop_tables(series), strict=True):
        reasons = [(reason, counts) for reason, counts in table.reasons if any(counts)]
        if not reasons:
            continue
        shares = [[100.0 * n / max(read, 1) for n, read in zip(c, table.reads, strict=True)] for _, c in reasons]
        total = 100.0 * (1.0 - table.used[-1] / max(table.reads[-1], 1))
        order = sorted(range(len(reasons)), key=lambda row: -max(shares[row]))
        rows = _Rows([reasons[row][0] for row in order], [shares[row] for row in order], f"% of all {what}", True)
        title = f"{number(total)} % of the {what} were not used in the last iteration"
        text = f"By reason; on a logarithmic scale from {_SMALL_SHARE:g} % on."
        yield Plot("drops", f"drops-{name}", title, text, _svg(series, rows, f"drops-{name}"))


def _work(series: Series) -> Iterator[Plot]:
    names = list(dict.fromkeys(step.name for summary in series.summaries for step in summary.steps))
    if not names:
        return
    seconds = _by_step(series, names, lambda steps, name: sum(s.seconds for s in steps if s.name == name))
    last = sum(step.seconds for step in series.last.steps)
    title = f"The last iteration's solve step took {number(last)} s"
    text = f"Wall time of each part of it; {number(sum(map(_seconds, series.summaries)))} s in all iterations."
    yield Plot("work", "seconds", title, text, _svg(series, _Rows(names, seconds, "seconds"), "seconds"))
    known = [step.peak_mib for summary in series.summaries for step in summary.steps if step.peak_mib is not None]
    if known:
        memory = _by_step(series, names, lambda steps, name: max(s.peak_mib or 0.0 for s in steps if s.name == name))
        title = f"It needed at most {number(max(known))} MiB of memory"
        text = f"Largest resident memory during each part, in {plural(len(series), 'iteration')}."
        yield Plot("work", "memory", title, text, _svg(series, _Rows(names, memory, "MiB"), "memory"))


def _seconds(summary: Summary) -> float:
    return sum(step.seconds for step in summary.steps)


def _by_step(series: Series, names: Sequence[str], value: Callable[[Any, str], float]) -> list[list[float | None]]:
    return [
        [value(one.steps, name) if any(s.name == name for s in one.steps) else None for one in series.summaries]
        for name in names
    ]


def _svg(series: Series, rows: _Rows, name: str) -> str:
    with drawing(_WIDTH, _FRAME + _ROW * len(rows.names), left=10.0) as figure:
        _draw(figure.subplots(), series, rows)
        return inline(figure, name)


def _draw(axes: Any, series: Series, rows: _Rows) -> None:
    """Names stand on top of their rows, so that long ones have room."""
    for order, colour, _ in iteration_shades(series):
        points = [(values[order - 1], row) for row, values in enumerate(rows.values)]
        kept = [(value, row) for value, row in points if value is not None]
        size = 4.0 if colour == MIDDLE else 6.5
        axes.plot([x for x, _ in kept], [y for _, y in kept], "o", ms=size, color=colour, mew=0, clip_on=False)
    for row, (name, values) in enumerate(zip(rows.names, rows.values, strict=True)):
        known = [value for value in values if value is not None]
        axes.hlines(row, 0.0, max(known), color=GRID, lw=2.0, zorder=1)
        axes.annotate(name, (0.0, row), (0, 5), textcoords="offset points", fontsize=9.5)
    if rows.logarithmic:
        axes.set_xscale("symlog", linthresh=_SMALL_SHARE, linscale=0.5)
        axes.set_xticks([0.0, 0.01, 0.1, 1.0, 10.0, 100.0], ["0", "0.01", "0.1", "1", "10", "100"])
        axes.minorticks_off()
    largest = max(value for values in rows.values for value in values if value is not None)
    axes.set_xlim(0.0, min(100.0, 3.0 * largest) if rows.logarithmic else 1.08 * largest)
    axes.set_ylim(len(rows.names) - 0.5, -0.75)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")
    axes.set_xlabel(rows.axis)
    if not rows.logarithmic:
        axes.locator_params(axis="x", nbins=6, prune="upper")
