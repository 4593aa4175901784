"""The report page of an alignment: one file of HTML that shows whether it is good.

Summaries of iterations in (see :mod:`fiducial.alignment.iteration.summary`), a page out that needs nothing else: style
and plots are inside, and it asks no other host for anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiducial.core.errors import UsageError
from fiducial.core.wording import plural
from fiducial.storage.replace import keep_apart, replace_bytes

if TYPE_CHECKING:
    from fiducial.alignment.report.data import Series

__all__ = ["Report", "write_report"]

_TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class Report:
    """What is made, and how.

    Args:
        output: the page.
        title: of the page.
        picture: one wide figure, .svg or .png; none is drawn without a path.
        threshold: largest shift over its error with which an alignment has converged.
        times: name of a step -> seconds, to be shown at the end of the page.
    """

    output: Path
    title: str = "Alignment"
    picture: Path | None = None
    threshold: float = 0.3
    times: Mapping[str, float] = field(default_factory=dict)


def write_report(summaries: Sequence[Path], report: Report) -> dict[str, Any]:
    """Write the page, and the picture if one is wanted.

    Args:
        summaries: one file for each iteration, in any order.
        report: what to write.

    Returns:
        files, verdict and key numbers of the last iteration.

    Raises:
        DataError: a file is no summary, or they do not belong together.
        NotFoundError: a file does not exist.
        UsageError: an output would overwrite an input, or has a name that does not fit.
    """
    _check_names(summaries, report)
    from fiducial.alignment.report.data import read_series

    series = read_series(summaries)
    replace_bytes(report.output, _page(series, report).encode())
    if report.picture:
        from fiducial.alignment.report.picture import picture

        replace_bytes(report.picture, picture(series, report.threshold, report.picture.suffix))
    return _outcome(series, report)


def _check_names(summaries: Sequence[Path], report: Report) -> None:
    keep_apart([report.output, report.picture], summaries)
    if report.picture:
        from fiducial.alignment.report.svg import check_picture

        check_picture(report.picture)
    if not report.threshold > 0.0:
        raise UsageError(f"a threshold of {report.threshold:g} is never reached", hint="give a positive number")


def _page(series: Series, report: Report) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from fiducial.alignment.report import modes, story
    from fiducial.alignment.report.dots import dot_plots
    from fiducial.alignment.report.plots import plots
    from fiducial.alignment.report.svg import ROLES
    from fiducial.alignment.report.tables import number_tables

    environment = Environment(
        loader=PackageLoader("fiducial.alignment"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"signed": story.signed, "plural": plural, "number": story.number}
    environment.filters |= {"component": modes.component, "known": modes.describe_error}
    return environment.get_template(_TEMPLATE).render(
        report=report,
        series=series,
        roles=ROLES,
        verdict=story.judge(series, report.threshold),
        notes=story.notes(series),
        tiles=story.tiles(series),
        plots=[*plots(series, report.threshold), *modes.correlation_plots(series), *dot_plots(series)],
        motions=modes.motions(series),
        weakness=modes.weakness,
        pairs=modes.strongest(series),
        weak=modes.weak_parameters(series),
        drops=story.drop_tables(series),
        tables=number_tables(series),
        rows=story.rows(series),
        versions=_versions(),
        made=datetime.now(UTC),
    )


def _versions() -> str:
    return f"Fiducial {metadata.version('fiducial')}, matplotlib {metadata.version('matplotlib')}"


def _outcome(series: Series, report: Report) -> dict[str, Any]:
    from fiducial.alignment.report.story import judge

    verdict = judge(series, report.threshold)
    last = series.last
    return {
        "output": str(report.output),
        **({"picture": str(report.picture)} if report.picture else {}),
        "verdict": verdict.text,
        "converged": verdict.converged,
        "iterations": len(series),
        "max_shift_over_error": last.convergence.max_shift_over_error,
        "track_chi2_ndf": last.track_chi2_ndf,
        "residual_width_um": last.residuals.width_um,
        **({"pull_mean": last.pulls.mean, "pull_width": last.pulls.width} if last.pulls else {}),
    }
