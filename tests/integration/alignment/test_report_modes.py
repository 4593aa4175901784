"""The report page tells weak motions, draws correlations, drops and work, and has a place for old summaries."""

from __future__ import annotations

import base64
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

from fiducial.alignment.report.data import Kind, Mode, Series, read_series
from fiducial.alignment.report.dots import dot_plots
from fiducial.alignment.report.modes import (
    Motion,
    correlation_plots,
    in_words,
    motions,
    strongest,
    weak_parameters,
    weakness,
)
from fiducial.alignment.report.page import Report, write_report
from fiducial.alignment.report.plots import linear_range, plots
from fiducial.alignment.report.story import number
from fiducial.alignment.report.tables import number_tables
from fiducial.core.errors import DataError
from summaries import summary, write, write_series

NEW = ("steps", "correlations", "weak_modes")


def series_of(folder: Path, **changes: Any) -> Series:
    """One iteration, with parts of its summary replaced."""
    return read_series([write(folder, summary(1) | changes)])


def page_of(folder: Path, paths: list[Path]) -> str:
    write_report(paths, Report(folder / "report.html"))
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_has_all_parts(tmp_path: Path) -> None:
    page = page_of(tmp_path, write_series(tmp_path, 4))
    for name in ("modes", "drops", "work"):
        assert f'<section id="{name}">' in page
    for plot in ("correlations", "drops-tracks", "drops-hits", "seconds", "memory"):
        assert f'<figure id="{plot}">' in page
    assert len(re.findall(r"<li><p><b>", page)) == 5
    assert 'href="data:image/png;base64,' in page
    assert "The last iteration&#39;s solve step took 3.75 s" in page
    assert "It needed at most 320 MiB of memory" in page


def test_old_summaries_have_a_page_without_them(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / str(number), {key: value for key, value in summary(number).items() if key not in NEW})
        for number in (1, 2)
    ]
    page = page_of(tmp_path, paths)
    assert '<section id="work">' not in page
    assert '<figure id="correlations">' not in page
    assert '<section id="drops">' in page
    # Weak parameters were known before.
    assert "9 weak parameters" in page


def test_an_iteration_without_steps_leaves_a_gap(tmp_path: Path) -> None:
    first = {key: value for key, value in summary(1).items() if key not in NEW}
    series = read_series([write(tmp_path / "1", first), write(tmp_path / "2", summary(2))])
    assert {"seconds", "memory"} <= {plot.name for plot in dot_plots(series)}


def test_memory_that_is_not_known_is_not_drawn(tmp_path: Path) -> None:
    series = series_of(tmp_path, steps=[{"name": "fit", "seconds": 1.0, "peak_mib": None}])
    assert [plot.name for plot in dot_plots(series) if plot.section == "work"] == ["seconds"]


def test_reasons_that_never_happened_have_no_row(tmp_path: Path) -> None:
    (tracks, _, *_) = dot_plots(series_of(tmp_path))
    assert "2.90 % of the tracks" in tracks.title
    assert ">momentum out of range<" in tracks.svg
    assert "not determined" not in tracks.svg


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("!!!", "correlations"),
        (base64.b64encode(b"nothing packed").decode(), "correlations"),
        (base64.b64encode(zlib.compress(b"\0")).decode(), "1 numbers for"),
    ],
)
def test_damaged_correlations_are_named(content: str, what: str, tmp_path: Path) -> None:
    stored = summary(1)["correlations"]
    stored[0]["percent"] = content
    with pytest.raises(DataError, match=rf"summary\.json: correlations.*{what}|{what}"):
        series_of(tmp_path, correlations=stored)


def test_the_strongest_correlations_are_named(tmp_path: Path) -> None:
    stored = [{"step": "fit", "labels": [202, 20001, 20011], "percent": packed([-90, 20, 35])}]
    series = series_of(tmp_path, correlations=stored)
    pairs = strongest(series)
    assert [round(pair.percent) for pair in pairs] == [-90, 35, 20]
    assert {pairs[0].first, pairs[0].second} == {"202: layer 10 y", "20001: module 100 side 0 x"}
    (plot,) = correlation_plots(series)
    assert plot.title == "Correlations of up to 90 % between 3 parameters"


def test_each_step_of_fits_has_its_picture(tmp_path: Path) -> None:
    one = {"labels": [202, 20001], "percent": packed([50])}
    series = series_of(tmp_path, correlations=[{"step": "first", **one}, {"step": "second", **one}])
    assert [plot.name for plot in correlation_plots(series)] == ["correlations-first", "correlations-second"]
    page = page_of(tmp_path, [tmp_path / "summary.json"])
    assert "in step second" in page


def packed(percent: list[int]) -> str:
    return base64.b64encode(zlib.compress(bytes(value % 256 for value in percent))).decode()


def row(label: int, key: str, axis: str, side: int | None = None) -> dict[str, Any]:
    about = {"label": label, "key": key, "side": side, "axis": axis, "state": "determined"}
    return about | {"shift": 0.0, "error": 1e-3, "entries": 9, "true_shift": None, "pull": None}


ROWS = [row(10 * (10 * s + c) + 2, f"{s - 1}{c}", "y") for s in (2, 3, 4) for c in (0, 1, 2)]
ROWS += [row(203, "10", "rx"), row(223, "12", "rx"), row(20001, "100", "x", 0), row(20011, "100", "x", 1)]
LAYERS = [int(one["label"]) for one in ROWS[:9]]


@pytest.mark.parametrize(
    ("labels", "components", "words"),
    [
        ([203, 223], [0.7, 0.7], "Rotation rx of layers 10 and 12 in the same sense."),
        ([203, 223], [0.7, -0.6], "Rotation rx of layers 10 and 12 against each other."),
        ([203, 223, 20001], [0.7, 0.1, 0.05], "Rotation rx of layer 10 alone."),
        ([203, 20001, 20011], [0.7, 0.4, -0.4], "Rotation rx of layer 10 alone, with x of 2 sides."),
        ([20001, 20011], [0.7, -0.7], "Shift x of modules 100/0 and 100/1 against each other."),
        (LAYERS, [0.3] * 9, "Shift y of 9 layers in the same sense."),
        (LAYERS[:3] + LAYERS[6:], [-0.4] * 3 + [0.4] * 3, "Shift y of layers 10, 11, 12, 30, 31 and 32, growing"),
        (LAYERS, [0.5] * 3 + [-0.5] * 3 + [0.5] * 3, "Shift y of 9 layers, ends against the middle (a bend)."),
        (LAYERS[:5], [0.4, -0.4, 0.4, -0.4, 0.4], "Shift y of layers 10, 11, 12, 20 and 21 in both senses."),
        ([99], [1.0], "Parameters that the table does not have."),
    ],
)
def test_motions_are_told_in_words(labels: list[int], components: list[float], words: str, tmp_path: Path) -> None:
    series = series_of(tmp_path, parameters=ROWS, correlations=[], weak_modes=[])
    mode = Mode(step="fit", eigenvalue=4.0, error=0.5, labels=labels, components=components)
    assert in_words(series.last, mode).startswith(words)


def test_a_motion_says_how_well_it_is_known_and_what_it_hides(tmp_path: Path) -> None:
    labels = [one["label"] for one in ROWS]
    modes = [{"step": "fit", "eigenvalue": 4.0, "error": 0.5, "labels": labels, "components": [0.2] * len(labels)}]
    (motion,) = motions(series_of(tmp_path, parameters=ROWS, correlations=[], weak_modes=modes))
    assert (motion.error, motion.share) == (0.5, 0.75)
    assert (len(motion.parts), motion.more) == (8, len(labels) - 8)


def test_weak_parameters_come_with_their_presigma(tmp_path: Path) -> None:
    found = weak_parameters(series_of(tmp_path))
    assert len(found) == 9
    assert (found[0].error, found[0].unit, found[0].of_presigma) == (2.0, "mrad", 0.04)


def test_late_shifts_stand_on_a_scale_of_their_errors(tmp_path: Path) -> None:
    series = read_series(write_series(tmp_path, 4))
    # Errors are 2 um and the first shifts up to 20: all is linear; with larger first shifts, only up to 5 um is.
    assert linear_range(series, Kind(frame="side", axis="x")) is None
    content = summary(1)
    for one in content["parameters"]:
        one["shift"] *= 10.0
    paths = [write(tmp_path / "far", content), *write_series(tmp_path, 4)[1:]]
    assert linear_range(read_series(paths), Kind(frame="side", axis="x")) == 5.0
    assert "Logarithmic beyond ±5." in page_of(tmp_path, paths)


def test_the_numbers_of_the_plots_are_tables_too(tmp_path: Path) -> None:
    series = read_series(write_series(tmp_path, 3))
    iterations, widths, shifts, work = number_tables(series)
    assert [row[0] for row in iterations.rows] == ["1", "2", "3"]
    for cells, one in zip(iterations.rows, series.summaries, strict=True):
        largest = one.by_label[one.convergence.label or 0]
        assert cells[1] == number(one.residuals.width_um)
        assert cells[6:8] == [number(one.convergence.max_shift_over_error), f"{largest.label}: {largest.name}"]
    assert {tuple(row[:1]) for row in widths.rows} == {(layer.layer,) for layer in series.last.residuals.layers}
    assert widths.rows[0][3] == number(series.last.residuals.layers[0].width_um)
    assert [row[0] for row in shifts.rows] == [f"{kind} ({kind.unit})" for kind in series.kinds]
    assert [row[0] for row in work.rows] == [step.name for step in series.last.steps]
    for table in (iterations, widths, shifts, work):
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_a_layer_without_hits_in_an_iteration_leaves_a_gap(tmp_path: Path) -> None:
    gone = summary(2)
    lost = gone["residuals"]["layers"].pop(0)["layer"]
    series = read_series([write(tmp_path / "1", summary(1)), write(tmp_path / "2", gone)])
    widths = number_tables(series)[1]
    (cells,) = [row for row in widths.rows if row[0] == lost]
    assert cells[2:] == ["", "", ""]


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ([0.1, 0.05], "The hits decide each of them to 99 % or more."),
        ([0.9, 0.8, 0.1], "In 2 of these 3, the presigma"),
    ],
)
def test_how_weak_the_weakest_motions_are(errors: list[float], words: str) -> None:
    found = [Motion("", error, 1.0 - error**2, [], 0, "fit") for error in errors]
    assert weakness(found).startswith(words)


def test_a_large_chi2_is_drawn_on_a_logarithmic_scale(tmp_path: Path) -> None:
    def ticks(chi2: float) -> list[str]:
        paths = [write(tmp_path / "1", summary(1) | {"track_chi2_ndf": chi2}), write(tmp_path / "2", summary(2))]
        (plot,) = [plot for plot in plots(read_series(paths), 0.3) if plot.name == "chi2"]
        return re.findall(r">(\d[\d.]*)</text>", plot.svg)

    assert {"1", "10", "100"} <= set(ticks(548.0))
    assert "100" not in ticks(2.0)
