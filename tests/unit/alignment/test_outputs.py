"""The files of a fit, each from a small result made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fiducial.alignment.fit.outputs import files, mon
from fiducial.alignment.fit.outputs.eve import Eigenvectors, eigenvector_text
from fiducial.alignment.fit.outputs.fortran import e_format, g14_5, real
from fiducial.alignment.fit.outputs.his import Curve, Histogram, drawing, histogram_text
from fiducial.alignment.fit.outputs.log import iteration_row, log_text
from fiducial.alignment.fit.outputs.res import ResultLine, read_results, result_text
from fiducial.alignment.fit.outputs.table import read_table
from fiducial.alignment.fit.result import FitResult, Iteration, Search
from fiducial.alignment.verdict import FitError, WriteError, verdict_of
from fiducial.core.errors import DataError, NotFoundError, SteeringError


def result(**changes: Any) -> FitResult:
    """Three parameters: one with few derivatives, one fixed, one fine."""
    nan = float("nan")
    made = FitResult(
        verdict=1,
        message="Ended with warnings (bad measurements)",
        loops=2,
        chi2=120.5,
        ndf=102,
        fitted=2,
        records=50,
        rejects={"rank": 0, "ndf": 0, "huge": 3, "chi2": 1},
        labels=np.array([5, 70, 1234567890]),
        values=np.array([0.25, 1.5, -3e-7]),
        starts=np.array([0.0, 1.5, 0.0]),
        errors=np.array([0.5, nan, 0.001]),
        presigmas=np.array([0.0, -1.0, 0.01]),
        counts=np.array([30, 40, 50]),
        accepted=np.array([7, 0, 44]),
        correlations=np.array([0.5, nan, nan]),
        variable=np.array([0, 2]),
        covariance=np.diag([0.25, 1e-6]),
        iterations=[Iteration(0, 1, 200.0, None, 30.0, 6, None, True), Iteration(1, 2, 120.5, 79.0, 6.0, 4)],
        warnings=["chi2/ndf is 1.205"],
        seconds={"count": 0.5},
        few=10,
    )
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "    0.0000    "),
        (0.1, "   0.10000    "),
        (0.04999995, "   0.50000E-01"),
        (-12.3456, "   -12.346    "),
        (99999.0, "    99999.    "),
        (123456.0, "   0.12346E+06"),
        (-3e-7, "  -0.30000E-06"),
        (float("nan"), "           NaN"),
    ],
)
def test_numbers_as_fortran_writes_them(number: float, text: str) -> None:
    assert g14_5(number) == text


def test_longer_numbers_as_fortran_writes_them() -> None:
    assert real(217796.86083196916).strip() == "217796.86083196916"
    assert float(real(-3.5e-9)) == -3.5e-9
    assert (e_format(2366300.0, 5), e_format(0.0, 2), e_format(-4.84e-21, 2)) == (
        "0.23663E+07",
        "0.00E+00",
        "-0.48E-20",
    )


HEAD = " Parameter   ! first 3 elements per line are significant (if used as input)"
PLAIN = [
    "         5     0.25000        0.0000       0.25000       0.50000    ",
    "        70      1.5000       -1.0000    ",
    "1234567890    -0.30000E-06   0.10000E-01  -0.30000E-06   0.10000E-02",
]


def test_the_columns_of_the_result_file() -> None:
    assert result_text(result()).splitlines() == [HEAD, *PLAIN]


@pytest.mark.parametrize(
    ("column", "tails"),
    [
        ("correlations", ["   0.500", "", "  -1.000"]),
        ("accepted", ["          -8", " " * 28 + "           0", "          44"]),
        ("counts", ["         -31", " " * 28 + "          40", "          50"]),
    ],
)
def test_the_last_column_of_the_result_file(column: str, tails: list[str]) -> None:
    lines = [line + tail for line, tail in zip(PLAIN, tails, strict=True)]
    assert result_text(result(column=column)).splitlines() == [HEAD, *lines]


def test_a_method_without_errors_has_a_column_less() -> None:
    text = result_text(result(column="accepted", errors=np.full(3, np.nan)))
    assert text.splitlines()[1] == PLAIN[0][:54] + " " * 14 + "          -8"


def test_comments_stand_before_their_parameter() -> None:
    assert result_text(result(comments={70: " the middle"})).splitlines()[2:4] == ["! the middle", PLAIN[1]]


@pytest.mark.parametrize("column", ["", "correlations", "accepted", "counts"])
@pytest.mark.parametrize("errors", [True, False])
def test_every_result_file_can_be_read(column: str, errors: bool, tmp_path: Path) -> None:
    made = result(column=column, comments={5: "here"})
    if not errors:
        made.errors[:] = np.nan
    path = tmp_path / "millepede.res"
    path.write_text(result_text(made))
    counts = {"accepted": [7, 0, 44], "counts": [30, 40, 50]}.get(column, [None] * 3)
    assert list(read_results(path).values()) == [
        ResultLine(5, 0.25, 0.0, 0.25, 0.5 if errors else None, counts[0]),
        ResultLine(70, 1.5, -1.0, None, None, counts[1]),
        ResultLine(1234567890, -3e-7, 0.01, -3e-7, 0.001 if errors else None, counts[2]),
    ]


def test_a_file_of_a_check_is_no_result(tmp_path: Path) -> None:
    path = tmp_path / "millepede.res"
    path.write_text(" *** Results of checking input only, no solution performed ***\n")
    with pytest.raises(DataError, match="only checked"):
        read_results(path)


def test_the_iteration_table_has_pedes_columns() -> None:
    head = " it fc   fcn_value dfcn_exp  slpr costh  iit st ls  step cutf rejects hhmmss FMS"
    first = iteration_row(Iteration(0, 1, 0.97165e7, None, 0.0, 0, None, True, seconds=3725.0))
    second = iteration_row(Iteration(1, 2, 0.2178e6, 0.95e7, 6.0, 817, -0.305, False, 1, 1.0))
    assert first == "  0  1 0.97165E+07                                        0.0       0  10205 FMS"
    assert second == "  1  2 0.21780E+06 0.95E+07-0.305                1 1.000  6.0     817  00000 F  "
    assert head.index(" ls") == second.index("  1 1.000")
    assert head.index("FMS") == first.index("FMS")


def test_the_log_tells_everything() -> None:
    search = Search(1, ((0.0, -2.0), (1.0, 0.5)), 1)
    text = log_text(result(searches=[search], memory={"count": 5_000_000}, facts=["Data files:"]))
    assert "Sum(Chi^2)/Sum(Ndf) =    120.50000000000000" in text
    assert "/ (                  102 -           2 )" in text
    assert "=    1.2050000000000001" in text
    assert "  3  (local fit with huge Chi2(Ndf))" in text
    assert "local matrix" not in text
    assert "warning: chi2/ndf is 1.205" in text
    assert "  1    1.000000                0.5       -0.25" in text
    assert text.rstrip().endswith("Verdict 1: Ended with warnings (bad measurements)")
    assert [line.split() for line in text.splitlines() if line.startswith(" count")] == [["count", "0.500", "5"]]


def test_eigenvectors_smallest_first() -> None:
    covariance = np.diag([1.0, 1 / 4, 1 / 9, 0.0])  # the last direction is forbidden by a constraint
    found = Eigenvectors.of(np.array([3, 7, 8, 9]), covariance, 3)
    assert np.allclose(found.values, [9, 4, 1])
    lines = eigenvector_text(found).splitlines()
    assert lines[0].split() == ["Eigenvector", "3", "with", "eigenvalue", "1.0000000000000000"]
    words = " ".join(lines[1:3]).split()
    assert [int(word) for word in words[::2]] == [3, 7, 8, 9]
    assert [abs(float(word)) for word in words[1::2]] == [1, 0, 0, 0]
    assert sum(line.startswith(" Eigenvector") for line in lines) == 3


def test_a_rank_defect_has_no_eigenvector() -> None:
    turned = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
    covariance = turned @ np.diag([3.0, 0.0]) @ turned.T
    found = Eigenvectors.of(np.array([3, 7]), covariance, 2)
    assert np.allclose(found.values, [1 / 3])
    assert np.allclose(np.abs(found.vectors), np.sqrt(0.5))


def test_of_many_eigenvectors_ten_and_six_are_shown() -> None:
    values = np.arange(30.0, 0.0, -1.0)
    shown = Eigenvectors(np.arange(30), values, np.eye(30)).shown()
    assert values[shown].tolist() == [*range(1, 11), 30, 29, 28, 27, 26, 25]


def test_median_and_width_of_a_histogram() -> None:
    values = np.array([-0.25, -0.05, 0.02, 0.04, 0.06, 0.35])
    histogram = np.bincount(mon.bin_of(values, 100), minlength=100)
    assert histogram[[46, 48, 49, 52]].tolist() == [1, 1, 3, 1]
    ((entries, median, width),) = mon.summarize_histograms(histogram[None])
    # Half of the six entries are reached a third into the three entries of the bin from 0 to 0.1.
    assert (entries, round(median, 5), round(width, 6)) == (6, 0.03333, 0.14826)


def test_what_lies_outside_is_in_the_outer_bins() -> None:
    assert mon.bin_of(np.array([-1e9, -5.0, 4.99, 1e9]), 100).tolist() == [0, 0, 98, 99]


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        (3, mon.Wanted(True, True, True, False, 100)),
        (2, mon.Wanted(True, False, True, False, 100)),
        (-1, mon.Wanted(True, False, False, True, 100)),
        (0, None),
    ],
)
def test_which_loops_are_monitored(mode: int, wanted: mon.Wanted | None) -> None:
    assert mon.Wanted.of(mode, 100, pulls=True) == wanted


def test_a_histogram_is_written_and_drawn() -> None:
    histogram = Histogram(4, "Chi^2/Ndf after local fit")
    histogram.fill(np.linspace(0.0, 2.0, 201))
    histogram.fill(np.array([np.nan, -5.0, 50.0]))
    assert (histogram.low, histogram.entries, histogram.outside) == (0.0, 201, [1, 1])
    text = histogram_text([histogram, Curve(1, "F", [(1.0, 9.0), (2.0, 4.0)])])
    words = text.split()
    content = words[words.index("bincontent") + 1 : words.index("minmax")]
    assert (len(content), sum(map(int, content))) == (120, 201)
    assert words[words.index("out-high") + 1 : words.index("bincontent")] == ["1", "201", "1"]
    mean, sigma = map(float, words[words.index("meansigma") + 1 :][:2])
    assert (round(mean, 6), round(sigma, 2)) == (1.0, 0.58)
    assert [float(word) for word in words[words.index("x-y") + 1 :][:4]] == [1.0, 9.0, 2.0, 4.0]
    assert drawing(histogram).splitlines()[0].startswith("Chi^2/Ndf after local fit: 201 inside, 1 below, 1 above")


def test_an_empty_histogram_can_be_written() -> None:
    assert "bins, limits  120" in histogram_text([Histogram(12, "nothing")])


def test_all_files_and_the_end_last(tmp_path: Path) -> None:
    written: list[str] = []
    rename = Path.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", lambda here, there: (written.append(there.name), rename(here, there)))
        eigen = Eigenvectors.of(np.array([5]), np.eye(1), 1)
        seen = mon.Monitored(False, np.array([5]), np.array([0.1]), [(1, np.ones((1, 100), np.int64))])
        made = result(eigenvectors=eigen, monitored=seen, histograms=[Histogram(4, "x")])
        made.write(tmp_path, parquet=True)
    assert set(written) == set(files.NAMES)
    assert (written[0], written[-1]) == ("millepede.end", "millepede.end")
    assert written.index("millepede.res") == len(written) - 2
    assert files.read_end(tmp_path / "millepede.end") == (1, made.message)


def test_parquet_holds_the_same_as_json(tmp_path: Path) -> None:
    made = result()
    made.write(tmp_path, parquet=True)
    columns, facts = read_table(tmp_path / "millepede.parquet")
    content = json.loads((tmp_path / "millepede.json").read_text())
    rows = content.pop("parameters")
    assert facts == content
    assert [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)] == rows
    assert rows[1] == {
        "label": 70, "value": 1.5, "error": None, "presigma": -1.0, "count": 40, "start": 1.5, "change": 0.0,
        "accepted": 0, "correlation": None, "state": "fixed",
    }  # fmt: skip
    assert (facts["verdict"], facts["chi2_per_ndf"]) == (1, 1.205)


def test_what_is_no_parquet_file_of_a_fit(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no")
    with pytest.raises(DataError, match="not a millepede"):
        read_table(tmp_path / "x")
    with pytest.raises(NotFoundError):
        read_table(tmp_path / "y")


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (FitError("x", 26), 26),
        (SteeringError("x"), 13),
        (DataError("x"), 20),
        (NotFoundError("x"), 15),
        (MemoryError(), 30),
        (ZeroDivisionError("x"), 40),
        (KeyboardInterrupt(), 40),
    ],
)
def test_an_error_has_a_code(error: BaseException, verdict: int, tmp_path: Path) -> None:
    (tmp_path / "millepede.res").write_text("old")
    files.announce(tmp_path)
    files.write_failure(tmp_path, error)
    assert verdict_of(error) == verdict
    code, message = files.read_end(tmp_path / "millepede.end")
    assert code == verdict
    assert message.startswith("Aborted: ")
    assert json.loads((tmp_path / "millepede.json").read_text())["verdict"] == verdict
    assert not (tmp_path / "millepede.res").exists()


def full(path: Path, target: Path) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_called_so_and_leaves_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.announce(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(WriteError, match=r"millepede\.\w+: cannot be written: No space left on device") as caught:
            result().write(tmp_path)
        assert caught.value.hint
        files.write_failure(tmp_path, caught.value)
    assert (tmp_path / "millepede.end").read_text().startswith("   -1   Still running or crashed")
    assert [path.name for path in tmp_path.iterdir()] == ["millepede.end"]
