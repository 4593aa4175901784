"""What the report page says in words and numbers: verdict, tiles, warnings, tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fiducial.alignment.report.data import Parameter, Selected, Series, Summary
from fiducial.core.wording import plural

__all__ = ["Drops", "Note", "Row", "Tile", "Verdict", "drop_tables", "judge", "notes", "number", "rows"]
__all__ += ["signed", "tiles", "to_last"]

_MINUS = "\N{MINUS SIGN}"
#: Why a track was dropped before the fit, a hit, and a track by the fit, in words; other reasons are said as they are.
_TRACKS = {
    "chi2": "χ² too large",
    "momentum": "momentum out of range",
    "hits": "too few hits",
    "used_hits": "too few hits left",
    "rank": "not determined",
}
_HITS = {"failed": "no derivative", "residual": "residual too large", "tilt": "tilt weighs too much"}
_REJECTS = {
    "rank": "not determined",
    "ndf": "no degree of freedom",
    "huge": "χ² huge",
    "chi2": "χ² above the cut",
}
#: Dropped tracks become a warning above this share.
_MANY_DROPPED = 0.1
#: A pull this large is named; among 227 parameters one of 4 is expected in 70 alignments.
_LARGE_PULL = 4.0
#: More names than this nobody reads.
_NAMES = 20
#: Distance from what is expected, in units of its error, that is a warning.
_FAR = 3.0


@dataclass(frozen=True)
class Verdict:
    """Whether the alignment has converged.

    Args:
        level: "good", "warn" or "bad".
        converged: by the threshold alone.
        text: a sentence.
        detail: the numbers behind it.
    """

    level: str
    converged: bool
    text: str
    detail: str


@dataclass(frozen=True)
class Tile:
    """A key number."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Note:
    """Something that a reader should know.

    Args:
        level: "bad", "warn" or "info".
        text: a sentence.
        names: of the parameters that it is about.
    """

    level: str
    text: str
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """A parameter after the last iteration, lengths in um and angles in mrad.

    Args:
        parameter: in the last iteration.
        value: sum of shifts over all iterations.
        error: of the last iteration; None for a fixed parameter.
        shift: of the last iteration.
        true: what the value should be, where that is known.
    """

    parameter: Parameter
    value: float
    error: float | None
    shift: float
    true: float | None


@dataclass(frozen=True)
class Drops:
    """Numbers by reason (row) and iteration (column).

    Args:
        title: a sentence.
        reads: what there was, by iteration.
        reasons: (reason, numbers by iteration).
        used: what was left, by iteration.
    """

    title: str
    reads: list[int]
    reasons: list[tuple[str, list[int]]]
    used: list[int]


def number(value: float) -> str:
    """Three significant digits as a person would write them; what is tiny is only called so."""
    if 0.0 < abs(value) < 1e-3:
        return "<0.001" if value > 0.0 else f">{_MINUS}0.001"
    text = f"{value:#.3g}".rstrip(".") if abs(value) < 1e3 else f"{value:,.0f}"
    return (text if abs(value) < 1e7 else f"{value:.2e}").replace("-", _MINUS)


def signed(value: float, digits: int) -> str:
    """A number with so many digits after the point and a real minus sign."""
    # Rounding first, as "-0.00" would be a strange thing to read.
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", _MINUS)


def to_last(series: Series, value: Callable[[Summary], float]) -> str:
    """A number's way from the first iteration to the last."""
    last = number(value(series.last))
    return last if len(series) == 1 else f"{number(value(series.first))} → {last}"


def judge(series: Series, threshold: float) -> Verdict:
    """Say whether the last iteration still moved something.

    Args:
        series: of iterations.
        threshold: largest shift over its error with which an alignment has converged.
    """
    last = series.last.convergence
    after = f"after {plural(len(series), 'iteration')}"
    if not last.determined:
        detail = "The hits determine no parameter, so it cannot be said whether anything still moves."
        return Verdict("bad", False, f"Nothing was aligned {after}", detail)
    converged = last.max_shift_over_error < threshold
    detail = (
        f"In the last iteration the largest shift of a well-determined parameter is "
        f"{number(last.max_shift_over_error)} of its error{_whose(series.last)}; "
        f"{'below' if converged else 'not below'} the threshold of {threshold:g}."
    )
    if not converged:
        return Verdict("bad", False, f"Not converged {after}", detail)
    if any(note.level != "info" for note in notes(series)):
        return Verdict("warn", True, f"Converged {after}, but see the warnings", detail)
    return Verdict("good", True, f"Converged {after}", detail)


def _whose(summary: Summary) -> str:
    label = summary.convergence.label
    names = [f" ({_named(row)})" for row in summary.parameters if row.label == label]
    return names[0] if names else ""


def _named(row: Parameter) -> str:
    return f"{row.label}: {row.name}"


def tiles(series: Series) -> list[Tile]:
    """The key numbers."""
    last = series.last
    free = last.convergence
    return [
        Tile("Largest shift / error", to_last(series, lambda one: one.convergence.max_shift_over_error)),
        Tile(
            "Residual width (µm)",
            to_last(series, lambda one: one.residuals.width_um),
            f"mean {signed(last.residuals.mean_um, 2)} µm, {last.residuals.hits:,} hits",
        ),
        Tile(
            "Track χ²/ndf",
            to_last(series, lambda one: one.track_chi2_ndf),
            f"of the fit: {to_last(series, lambda one: one.fit.chi2_ndf)}",
        ),
        *_pull_tile(last),
        Tile("Parameters determined", f"{free.determined:,}", f"{len(free.weak):,} weak, {free.fixed:,} fixed"),
        Tile("Tracks used", f"{last.tracks.used:,}", f"of {last.tracks.read:,}, last iteration"),
    ]


def _pull_tile(last: Summary) -> list[Tile]:
    if last.pulls is None or not last.pulls.parameters:
        return []
    mean, width = last.pulls.mean, last.pulls.width
    of_mean, of_width = _pull_errors(last)
    return [
        Tile(
            "Pull width",
            f"{signed(width, 2)} ± {signed(of_width, 2)}",
            f"mean {signed(mean, 2)} ± {signed(of_mean, 2)}, against truth",
        )
    ]


def _pull_errors(last: Summary) -> tuple[float, float]:
    """Errors of the mean and of the width of the pulls, as if they were independent."""
    assert last.pulls
    of_mean = last.pulls.width / math.sqrt(last.pulls.parameters)
    return of_mean, of_mean / math.sqrt(2.0)


def notes(series: Series) -> list[Note]:
    """Everything that is not as it should be, the worst first, and what a reader may stumble over."""
    found = [
        *_broken_chain(series),
        *_worse(series),
        *_fit_verdicts(series),
        *_dropped_tracks(series.last),
        *_rejected(series.last),
        *_weak(series.last),
        *_pulls(series.last),
        *_large_pulls(series.last),
    ]
    order = ("bad", "warn", "info")
    return sorted(found, key=lambda note: order.index(note.level))


def _broken_chain(series: Series) -> list[Note]:
    return [
        Note(
            "bad",
            f"Iteration {later} did not begin with the constants that iteration {later - 1} made: sums over iterations "
            "do not mean much.",
        )
        for later in series.breaks
    ]


def _worse(series: Series) -> list[Note]:
    first, last = series.first.residuals.width_um, series.last.residuals.width_um
    if last <= first * 1.01:
        return []
    return [Note("bad", f"Residuals have become wider: {number(first)} µm → {number(last)} µm.")]


def _fit_verdicts(series: Series) -> list[Note]:
    *earlier, last = series.summaries
    found = []
    if last.fit.verdict:
        level = "warn" if last.fit.verdict == 1 else "bad"
        found += [Note(level, f"The last fit: {last.fit.message} (verdict {last.fit.verdict}).")]
    bad = [str(number) for number, summary in enumerate(earlier, 1) if summary.fit.verdict]
    if bad:
        words = sorted({summary.fit.message for summary in earlier if summary.fit.verdict})
        which = f"Iteration{'s' if len(bad) > 1 else ''} {', '.join(bad)}"
        found += [Note("info", f"{which}: {'; '.join(words)}. Usual as long as the constants are far off.")]
    return found


def _dropped_tracks(last: Summary) -> list[Note]:
    dropped = {reason: count for reason, count in last.tracks.dropped.items() if count}
    if not dropped:
        return []
    share = sum(dropped.values()) / max(last.tracks.read, 1)
    level = "warn" if share > _MANY_DROPPED else "info"
    return [
        Note(
            level,
            f"{sum(dropped.values()):,} of {last.tracks.read:,} tracks ({100 * share:.1f} %) were dropped before the "
            f"last fit, by reason: {_counts(dropped, _TRACKS)}.",
        )
    ]


def _counts(numbers: dict[str, int], words: dict[str, str]) -> str:
    largest = sorted(numbers.items(), key=lambda one: -one[1])
    return ", ".join(f"{words.get(reason, reason)} {count:,}" for reason, count in largest)


def _rejected(last: Summary) -> list[Note]:
    rejected = {reason: count for reason, count in last.fit.rejects.items() if count}
    total = sum(rejected.values())
    if not total:
        return []
    level = "warn" if total > _MANY_DROPPED * max(last.tracks.used, 1) else "info"
    return [Note(level, f"The last fit rejected {plural(total, 'track')}, by reason: {_counts(rejected, _REJECTS)}.")]


def _weak(last: Summary) -> list[Note]:
    weak = [row for row in last.parameters if row.state == "weak"]
    if not weak:
        return []
    verb = "parameter is" if len(weak) == 1 else "parameters are"
    text = f"{len(weak)} {verb} weak: the presigma has a share in what they are, so that they do not count "
    return [
        Note(
            "info",
            f"{text}for convergence or pulls ({last.convergence.definition}).",
            _some([_named(row) for row in weak]),
        )
    ]


def _pulls(last: Summary) -> list[Note]:
    if last.pulls is None:
        return [Note("info", "The truth is not known, so nothing is said of pulls.")]
    if last.pulls.parameters < 2:
        return []
    of_mean, of_width = _pull_errors(last)
    found = []
    if abs(last.pulls.width - 1.0) > _FAR * of_width:
        what = "small" if last.pulls.width > 1.0 else "large"
        found += [Note("warn", f"The errors are too {what}: pulls have a width of {signed(last.pulls.width, 2)}.")]
    if abs(last.pulls.mean) > _FAR * of_mean:
        found += [Note("warn", f"The parameters are biased: pulls have a mean of {signed(last.pulls.mean, 2)}.")]
    return found


def _large_pulls(last: Summary) -> list[Note]:
    far = [row for row in last.parameters if row.state == "determined" and abs(row.pull or 0.0) > _LARGE_PULL]
    if not far:
        return []
    far.sort(key=lambda row: -abs(row.pull or 0.0))
    names = _some([f"{_named(row)} ({signed(row.pull or 0.0, 1)})" for row in far])
    return [Note("warn", f"{plural(len(far), 'pull')} beyond ±{_LARGE_PULL:g}:", names)]


def _some(names: list[str]) -> list[str]:
    """As many names as one still reads; the table has them all."""
    more = len(names) - _NAMES
    return names if more <= 1 else [*names[:_NAMES], f"and {more} more in the table"]


def rows(series: Series) -> list[Row]:
    """The table of all parameters."""
    return [_row(series, parameter) for parameter in series.last.parameters]


def _row(series: Series, parameter: Parameter) -> Row:
    true = series.true.get(parameter.label)
    return Row(
        parameter=parameter,
        value=1e3 * series.found[parameter.label],
        error=1e3 * parameter.error if parameter.state != "fixed" else None,
        shift=1e3 * parameter.shift,
        true=None if true is None else 1e3 * true,
    )


def drop_tables(series: Series) -> list[Drops]:
    """Why tracks and hits did not go into the fit."""
    tracks = [summary.tracks for summary in series.summaries]
    hits = [summary.hits for summary in series.summaries]
    rejects = [summary.fit.rejects for summary in series.summaries]
    rejected = [(f"by the fit: {name}", counts) for name, counts in _by_reason(rejects, _REJECTS) if any(counts)]
    rejected = rejected or [("by the fit", [0] * len(series))]
    left = [used.used - sum(lost.values()) for used, lost in zip(tracks, rejects, strict=True)]
    return [
        Drops(
            f"Tracks: {tracks[-1].used:,} of {tracks[-1].read:,} went into the last fit",
            [one.read for one in tracks],
            _by_reason([one.dropped for one in tracks], _TRACKS) + rejected,
            left,
        ),
        Drops(
            f"Hits: {hits[-1].used:,} of {hits[-1].read:,} went into the last fit",
            [one.read for one in hits],
            [
                *_by_reason([one.dropped for one in hits], _HITS),
                ("on dropped tracks", [_unaccounted(one) for one in hits]),
            ],
            [one.used for one in hits],
        ),
    ]


def _unaccounted(hits: Selected) -> int:
    return hits.read - hits.used - sum(hits.dropped.values())


def _by_reason(counts: Sequence[dict[str, int]], words: dict[str, str]) -> list[tuple[str, list[int]]]:
    reasons = dict.fromkeys(reason for one in counts for reason in one)
    return [(words.get(reason, reason), [one.get(reason, 0) for one in counts]) for reason in reasons]
