"""The plots of the report page: one function each, from summaries to SVG.

In all of them the first iteration is orange, the last is blue and those between are grey. Each comes with a sentence
that says what is to be seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from fiducial.alignment.report.data import Histogram, Kind, Parameter, Series
from fiducial.alignment.report.story import number, signed, to_last
from fiducial.alignment.report.svg import FIRST, GRID, INK, LAST, MIDDLE, MUTED, WEAK, drawing, inline
from fiducial.core.wording import plural

__all__ = ["Plot", "draw_chi2", "draw_convergence", "draw_histograms", "draw_widths", "free_rows", "iteration_shades"]
__all__ += ["plots", "rms_of_shifts"]

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_WIDTH, _HEIGHT = 400.0, 250.0
#: Of plots that stand three in a row.
_NARROW = 340.0
#: Beyond this the scale is logarithmic: on a linear one, nobody could tell 1 from 2.
_HIGH_CHI2 = 15.0
#: Pulls are shown up to here; what lies outside goes into the outermost bins.
_PULL_RANGE = 5.0


@dataclass(frozen=True)
class Plot:
    """A plot and what is said of it.

    Args:
        section: of the page: "course", "truth", "shifts", "modes", "drops" or "work".
        name: unique on the page.
        title: a sentence that says what is seen.
        text: how to read it.
        svg: the drawing.
    """

    section: str
    name: str
    title: str
    text: str
    svg: str


def plots(series: Series, threshold: float) -> list[Plot]:
    """All plots, in the order of the page."""
    found = [_widths(series), _histograms(series), _shifts_over_error(series, threshold), _chi2(series)]
    if series.last.pulls and series.last.pulls.parameters:
        found += [_pulls(series), *_true_and_found(series)]
    return found + [_shifts(series, kind) for kind in series.kinds]


def _colours(count: int) -> list[str]:
    """Colour of each iteration; a single one is the last."""
    return [FIRST, *[MIDDLE] * (count - 2), LAST][-count:] if count > 1 else [LAST]


def iteration_shades(series: Series) -> Iterator[tuple[int, str, Any]]:
    """Number, colour and summary of the iterations, the first and the last at the end so that they lie on top."""
    found = list(zip(range(1, len(series) + 1), _colours(len(series)), series.summaries, strict=True))
    yield from found[1:-1]
    yield from found[:1] if len(found) > 1 else []
    yield found[-1]


def _widths(series: Series) -> Plot:
    with drawing(_WIDTH, _HEIGHT) as figure:
        draw_widths(figure.subplots(), series)
        svg = inline(figure, "widths")
    widest = max(series.last.residuals.layers, key=lambda layer: layer.width_um, default=None)
    title = f"Residual width: {to_last(series, lambda one: one.residuals.width_um)} µm over all layers"
    text = (
        f"Layer {widest.layer} is the widest now, with {number(widest.width_um)} µm."
        if widest
        else "No layer has hits."
    )
    return Plot("course", "widths", title, f"{text} A layer's key is its station and its number.", svg)


def draw_widths(axes: Any, series: Series) -> None:
    """Width of residuals by layer and iteration."""
    drawn: dict[int, list[float]] = {}
    keys = sorted({layer.layer for summary in series.summaries for layer in summary.residuals.layers})
    for order, colour, summary in iteration_shades(series):
        widths = {layer.layer: layer.width_um for layer in summary.residuals.layers}
        height = [widths.get(key, math.nan) for key in keys]
        axes.plot(range(len(keys)), height, "o", color=colour, mew=0, ms=3.5 if colour == MIDDLE else 6.5)
        drawn[order] = height
    if len(drawn) > 1:
        axes.vlines(range(len(keys)), drawn[1], drawn[len(series)], color=GRID, lw=2.5, zorder=1)
    axes.set_xticks(range(len(keys)), keys)
    axes.set_ylim(bottom=0.0)
    axes.margins(y=0.12)
    axes.set(xlabel="layer", ylabel="residual width (µm)")


def _histograms(series: Series) -> Plot:
    with drawing(_WIDTH, _HEIGHT) as figure:
        draw_histograms(figure.subplots(), series)
        svg = inline(figure, "histograms")
    shown = series.last.residuals.histogram
    hits = plural(series.last.residuals.hits, "hit")
    beyond = f"{shown.outside:,} of them outside {_tick(shown.edges_um[0])} to {_tick(shown.edges_um[-1])} µm"
    title = "Residuals gather around zero" if _narrower(series) else "Residuals have not become narrower"
    if len(series) == 1:
        title = "Residuals before the only iteration"
    return Plot("course", "histograms", title, f"{hits} in the last iteration, {beyond}.", svg)


def _narrower(series: Series) -> bool:
    return series.last.residuals.width_um < 0.99 * series.first.residuals.width_um


def draw_histograms(axes: Any, series: Series) -> None:
    """Residuals of the first and the last iteration."""
    for order, colour, summary in iteration_shades(series):
        if colour != MIDDLE:
            shown: Histogram = summary.residuals.histogram
            axes.stairs(shown.counts, shown.edges_um, color=colour, fill=True, alpha=0.18)
            axes.stairs(shown.counts, shown.edges_um, color=colour, lw=1.6, label=f"iteration {order}")
    edges = series.last.residuals.histogram.edges_um
    axes.set(xlabel="residual (µm)", ylabel=f"hits per {edges[1] - edges[0]:g} µm", xlim=_visible(series))
    axes.set_ylim(bottom=0.0)
    axes.legend(handletextpad=0.5, borderaxespad=0.2, handlelength=1.2, loc="upper left")


def _visible(series: Series) -> tuple[float, float]:
    """Range that holds nearly all residuals of all iterations, so that the plot is not mostly empty."""
    far = 0.0
    for summary in series.summaries:
        shown = summary.residuals.histogram
        enough = sum(shown.counts) / 2000.0
        for count, low, high in zip(shown.counts, shown.edges_um, shown.edges_um[1:], strict=False):
            far = max(far, abs(low), abs(high)) if count > enough else far
    edges = series.last.residuals.histogram.edges_um
    return (max(edges[0], -far), min(edges[-1], far)) if far else (edges[0], edges[-1])


def _shifts_over_error(series: Series, threshold: float) -> Plot:
    with drawing(_WIDTH, _HEIGHT) as figure:
        draw_convergence(figure.subplots(), series, threshold)
        svg = inline(figure, "convergence")
    values = [summary.convergence.max_shift_over_error for summary in series.summaries]
    below = [order for order, value in enumerate(values, 1) if value < threshold]
    title = f"The largest shift is below {threshold:g} of its error from iteration {below[0]} on" if below else ""
    if not below or below != list(range(below[0], len(values) + 1)):
        title = f"The largest shift is {number(values[-1])} of its error in the last iteration"
    return Plot("course", "convergence", title, "Of all well-determined parameters, on a logarithmic scale.", svg)


def draw_convergence(axes: Any, series: Series, threshold: float) -> None:
    """Largest shift over its error, by iteration."""
    values = [summary.convergence.max_shift_over_error or math.nan for summary in series.summaries]
    _line_of_iterations(axes, values)
    axes.set_yscale("log")
    axes.axhline(threshold, color=MUTED, lw=1.2, ls=(0, (4, 3)))
    low, high = (pick([threshold, *(value for value in values if value == value)]) for pick in (min, max))
    axes.set_ylim(low / 4.0, high * 2.2)
    # The curve comes from above and leaves the room below the line free, if there is anything to converge at all.
    below = len(values) > 1 and values[0] > threshold
    where = {"xytext": (0, -4 if below else 3), "va": "top" if below else "bottom"}
    axes.annotate(f"threshold {threshold:g}", (0.7, threshold), textcoords="offset points", fontsize=9.5, **where)
    axes.yaxis.set_major_formatter(lambda value, _: _tick(value))
    axes.minorticks_off()
    axes.set_ylabel("largest shift / error")


def _tick(value: float) -> str:
    """A number on an axis; small powers of ten as 10⁻⁵."""
    if 0.0 < abs(value) < 1e-3:
        sign = "\N{MINUS SIGN}" if value < 0.0 else ""
        return f"{sign}10⁻{str(round(-math.log10(abs(value)))).translate(_SUPERSCRIPTS)}"
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _line_of_iterations(axes: Any, values: Sequence[float], **style: Any) -> None:
    orders = range(1, len(values) + 1)
    axes.plot(orders, values, color=MIDDLE, zorder=2, **style)
    axes.scatter(orders, values, c=_colours(len(values)), s=44, lw=0, zorder=3)
    _iteration_axis(axes, len(values))


def _iteration_axis(axes: Any, count: int) -> None:
    step = max(1, math.ceil(count / 12))
    axes.set_xticks(range(1, count + 1, step))
    axes.set_xlim(0.5, count + 0.5)
    axes.set_xlabel("iteration")


def _chi2(series: Series) -> Plot:
    with drawing(_WIDTH, _HEIGHT) as figure:
        draw_chi2(figure.subplots(), series)
        svg = inline(figure, "chi2")
    title = f"χ²/ndf of the tracks: {to_last(series, lambda one: one.track_chi2_ndf)}"
    text = "Circles: tracks with the constants before the iteration. Diamonds: what was left after the fit."
    return Plot("course", "chi2", title, text, svg)


def draw_chi2(axes: Any, series: Series, *, fits: bool = True) -> None:
    """The chi2/ndf of the tracks and, if wanted, of the fits, by iteration."""
    tracks = [summary.track_chi2_ndf for summary in series.summaries]
    after = [summary.fit.chi2_ndf for summary in series.summaries] if fits else []
    _line_of_iterations(axes, tracks)
    axes.plot(range(1, len(after) + 1), after, ":", color=MUTED, marker="D", ms=4.5, mew=0)
    axes.axhline(1.0, color=MUTED, lw=1.0, ls=(0, (4, 3)))
    highest = max(1.2, *tracks, *after)
    if highest > _HIGH_CHI2:
        axes.set_yscale("log")
        axes.set_ylim(0.5 * min([1.0, *(value for value in (*tracks, *after) if value > 0.0)]), 2.0 * highest)
        axes.yaxis.set_major_formatter(lambda value, _: _tick(value))
        axes.minorticks_off()
    else:
        axes.set_ylim(0.0, 1.12 * highest)
    axes.set_ylabel("χ²/ndf")


def _pulls(series: Series) -> Plot:
    pulls = [row.pull for row in series.last.parameters if row.state == "determined" and row.pull is not None]
    with drawing(_NARROW, 0.85 * _NARROW) as figure:
        _draw_pulls(figure.subplots(), pulls)
        svg = inline(figure, "pulls")
    assert series.last.pulls
    mean, width = signed(series.last.pulls.mean, 2), signed(series.last.pulls.width, 2)
    outside = sum(abs(pull) > _PULL_RANGE for pull in pulls)
    title = f"Pulls against the truth have mean {mean} and width {width}"
    text = f"{plural(len(pulls), 'well-determined parameter')}, last iteration, and a unit Gaussian."
    beyond = f" In the outermost bins are {outside} from beyond ±{_PULL_RANGE:g}." if outside else ""
    return Plot("truth", "pulls", title, text + beyond, svg)


def _draw_pulls(axes: Any, pulls: Sequence[float]) -> None:
    step = 0.5
    edges = [-_PULL_RANGE + step * bin_ for bin_ in range(round(2 * _PULL_RANGE / step) + 1)]
    inside = [min(max(pull, -_PULL_RANGE), _PULL_RANGE) for pull in pulls]
    axes.hist(inside, edges, color=LAST, alpha=0.3, lw=0)
    axes.hist(inside, edges, color=LAST, histtype="step", lw=1.6)
    fine = [-_PULL_RANGE + 0.1 * point for point in range(round(20 * _PULL_RANGE) + 1)]
    height = len(pulls) * step / math.sqrt(2.0 * math.pi)
    axes.plot(fine, [height * math.exp(-0.5 * x * x) for x in fine], color=INK, lw=1.2)
    axes.set(
        xlabel="(found \N{MINUS SIGN} true) / error",
        ylabel=f"parameters per {step:g}",
        xlim=(-_PULL_RANGE, _PULL_RANGE),
    )


def _true_and_found(series: Series) -> Iterator[Plot]:
    for turns in (False, True):
        rows = [
            row
            for row in series.last.parameters
            if row.state != "fixed" and row.kind.turns == turns and row.label in series.true
        ]
        if rows:
            yield _scatter(series, rows)


def _scatter(series: Series, rows: Sequence[Parameter]) -> Plot:
    kind = rows[0].kind
    name = "turns" if kind.turns else "lengths"
    with drawing(_NARROW, 0.85 * _NARROW) as figure:
        _draw_scatter(figure.subplots(), series, rows, kind.unit)
        svg = inline(figure, name)
    good = [row for row in rows if row.state == "determined"]
    away = [1e3 * (series.found[row.label] - series.true[row.label]) for row in good]
    rms = math.sqrt(sum(value**2 for value in away) / len(away)) if away else 0.0
    what = "Rotations" if kind.turns else "Shifts"
    title = f"{what} agree with the truth to {number(rms)} {kind.unit} (rms)"
    if not good:
        title = f"No {what.lower()} are determined"
    weak = len(rows) - len(good)
    text = f"Sum over iterations of {plural(len(good), 'well-determined parameter')}, with errors."
    return Plot("truth", name, title, f"{text} Open: {weak} weak." if weak else text, svg)


def _draw_scatter(axes: Any, series: Series, rows: Sequence[Parameter], unit: str) -> None:
    for state, colour in (("weak", WEAK), ("determined", LAST)):
        chosen = [row for row in rows if row.state == state]
        true = [1e3 * series.true[row.label] for row in chosen]
        found = [1e3 * series.found[row.label] for row in chosen]
        _bars(axes, true, found, [1e3 * row.error for row in chosen], colour)
        face = "none" if state == "weak" else colour
        axes.plot(true, found, "o", ms=4, mec=colour, mfc=face, mew=1.0 if state == "weak" else 0.0)
    # Only well-determined ones decide the range: a weak one may lie anywhere.
    good = [row for row in rows if row.state == "determined"] or rows
    far = 1.1 * max(1e3 * abs(by[row.label]) for row in good for by in (series.true, series.found)) or 1.0
    axes.plot([-far, far], [-far, far], color=INK, lw=0.9, zorder=1)
    axes.grid(True, axis="x")
    axes.locator_params(axis="x", nbins=6)
    axes.set(xlabel=f"true ({unit})", ylabel=f"found ({unit})", xlim=(-far, far), ylim=(-far, far))


def _bars(axes: Any, x: Sequence[float], y: Sequence[float], error: Sequence[float], colour: str) -> None:
    """Error bars as one path, which takes a tenth of the room of matplotlib's own."""
    across = [place for at in x for place in (at, at, math.nan)]
    up = [end for at, half in zip(y, error, strict=True) for end in (at - half, at + half, math.nan)]
    axes.plot(across, up, color=colour, lw=0.8, alpha=0.5, zorder=1.5)


def _shifts(series: Series, kind: Kind) -> Plot:
    name = f"shifts-{kind.frame}-{kind.axis}"
    with drawing(_NARROW, 0.65 * _NARROW) as figure:
        _draw_shifts(figure.subplots(), series, kind)
        svg = inline(figure, name)
    free = [row for row in series.last.parameters if row.kind == kind and row.state != "fixed"]
    weak = sum(row.state == "weak" for row in free)
    rms = [rms_of_shifts(free_rows(summary.parameters, kind)) for summary in series.summaries]
    way = number(rms[-1]) if len(rms) == 1 else f"{number(rms[0])} → {number(rms[-1])}"
    error = number(1e3 * median(row.error for row in free)) if free else "0"
    title = f"{str(kind).capitalize()}: shifts of {way} {kind.unit} (rms)"
    text = f"{plural(len(free), 'parameter')}, median error {error} {kind.unit}"
    text += f"; {weak} weak, open." if weak else "."
    inner = linear_range(series, kind)
    scale = f" Logarithmic beyond ±{_tick(inner)}." if inner else ""
    return Plot("shifts", name, title, text + scale, svg)


def free_rows(parameters: Sequence[Parameter], kind: Kind) -> list[Parameter]:
    """Parameters of a kind that are not fixed."""
    return [row for row in parameters if row.kind == kind and row.state != "fixed"]


def rms_of_shifts(rows: Sequence[Parameter]) -> float:
    """Root mean square of shifts, um or mrad."""
    return 1e3 * math.sqrt(sum(row.shift**2 for row in rows) / len(rows)) if rows else 0.0


def _draw_shifts(axes: Any, series: Series, kind: Kind) -> None:
    for order, colour, summary in iteration_shades(series):
        rows = free_rows(summary.parameters, kind)
        spread = 0.7 / max(len(rows) - 1, 1)
        points = [(order - 0.35 + spread * place, 1e3 * row.shift, row) for place, row in enumerate(rows)]
        _bars(axes, [x for x, _, _ in points], [y for _, y, _ in points], [1e3 * row.error for row in rows], colour)
        for state in ("weak", "determined"):
            chosen = [(x, y) for x, y, row in points if row.state == state]
            open_ = {"mfc": "none", "mew": 0.9} if state == "weak" else {"mfc": colour, "mew": 0.0}
            size = 3.5 if len(rows) < 30 else 2.4
            axes.plot([x for x, _ in chosen], [y for _, y in chosen], "o", ms=size, mec=colour, **open_)
    axes.axhline(0.0, color=GRID, lw=1.0, zorder=1)
    _iteration_axis(axes, len(series))
    inner = linear_range(series, kind)
    if inner:
        _symmetric_log(axes, inner, _largest(series, kind))
    axes.set_ylabel(f"shift of {kind} ({kind.unit})")


def linear_range(series: Series, kind: Kind) -> float | None:
    """Shifts up to this size stand on a linear scale, and on a logarithmic one beyond; None where all is linear.

    It is about twice the error of the last iteration: shifts that matter there can then be told from those that do not,
    however large the shifts of the first iteration were.
    """
    errors = [1e3 * row.error for row in free_rows(series.last.parameters, kind)]
    if not errors:
        return None
    inner = _round_up(2.0 * median(errors))
    return inner if _largest(series, kind) > 5.0 * inner else None


def _largest(series: Series, kind: Kind) -> float:
    return max(1e3 * abs(row.shift) for one in series.summaries for row in free_rows(one.parameters, kind))


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10 and so on."""
    decade = 10.0 ** math.floor(math.log10(value))
    return next(step * decade for step in (1.0, 2.0, 5.0, 10.0) if step * decade >= value)


def _symmetric_log(axes: Any, inner: float, largest: float) -> None:
    axes.set_yscale("symlog", linthresh=inner, linscale=1.0)
    far = 1.7 * largest
    axes.set_ylim(-far, far)
    count = math.floor(math.log10(far / inner)) + 1
    up = [inner * 10.0**power for power in range(0, count, -(-count // 3))]
    axes.set_yticks([*(-tick for tick in reversed(up)), 0.0, *up])
    axes.yaxis.set_major_formatter(lambda value, _: _tick(value))
    axes.minorticks_off()
