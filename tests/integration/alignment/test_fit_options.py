"""What the rarer keywords of a steering file do to a fit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fiducial.alignment.fit.linear.weakmodes import weak_modes
from fiducial.alignment.fit.millepede import fit, fit_into
from fiducial.alignment.fit.result import FitError, FitResult, read_results
from fiducial.alignment.mille.writer import MilleWriter
from fiducial.core.errors import DataError, FiducialError
from line_tracks import FIX_TWO, METHOD, fit_tracks, steer, write_tracks
from pede_reference import DATA, unpack


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    """A folder with tracks.bin."""
    write_tracks(tmp_path / "tracks.bin")
    return tmp_path


def add_record(path: Path, labels: dict[int, float], *, times: int = 1, value: float = 0.1) -> None:
    """Records with one local parameter, measured directly and together with global ones."""
    with MilleWriter(path) as writer:
        for _ in range(times):
            writer.measurement(0.0, 0.01, {1: 1.0}, {})
            writer.measurement(value, 0.01, {1: 1.0}, labels)
            writer.end_record()


def test_scaled_errors(tracks: Path) -> None:
    plain, scaled = fit_tracks(tracks), fit_tracks(tracks, FIX_TWO + "scaleerrors 2\n")
    assert np.allclose(scaled.values, plain.values, atol=1e-12)
    assert np.allclose(scaled.errors[1:5], 2 * plain.errors[1:5], rtol=1e-9)
    assert scaled.chi2 == pytest.approx(plain.chi2 / 4)


def test_errors_of_measurements_without_global_derivatives_are_scaled_apart(tmp_path: Path) -> None:
    add_record(tmp_path / "tracks.bin", {10: 1.0}, times=30)
    (plain,), (scaled,) = (fit_tracks(tmp_path, text).covariance for text in ("", "scaleerrors 2 3\n"))
    assert plain[0] == pytest.approx(2e-4 / 30)
    assert scaled[0] == pytest.approx((4e-4 + 9e-4) / 30)


def warning_of_chi2(result: FitResult) -> str:
    (warning,) = [warning for warning in result.warnings if warning.startswith("chi2/ndf is ")]
    return warning


def test_a_factor_for_the_errors_is_told_where_there_is_one(tracks: Path) -> None:
    small = fit_tracks(tracks, FIX_TWO + "scaleerrors 1e20\n")
    factor = float(re.findall(r"They fit if multiplied by (\S+),", warning_of_chi2(small))[0])
    assert factor == pytest.approx(np.sqrt(small.chi2_per_ndf), rel=5e-3)
    without = fit_tracks(tracks, FIX_TWO + "maxrecord 1\nentries 1 1\nforce\n")
    assert without.ndf <= without.fitted
    assert "too few to say more" in warning_of_chi2(without)
    assert "multiplied" not in warning_of_chi2(without)


def test_only_so_many_records(tracks: Path) -> None:
    write_tracks(tracks / "more.bin", tracks=30)
    both = "more.bin\n"
    first = fit_tracks(tracks, FIX_TWO + "maxrecord 60\n" + both)
    assert (first.records, first.chi2) == (60, fit_tracks(tracks).chi2)
    assert fit_tracks(tracks, FIX_TWO + "maxrecord 70\n" + both).records == 70
    assert fit_tracks(tracks, FIX_TWO + "maxrecord 0\n" + both).records == 90


def test_entries_by_record(tmp_path: Path) -> None:
    with MilleWriter(tmp_path / "tracks.bin") as writer:
        for _ in range(15):
            for value in (0.1, 0.2, 0.3):
                writer.measurement(value, 0.01, {1: 1.0}, {10: value})
            writer.end_record()
    assert fit_tracks(tmp_path, "").counts.tolist() == [45]
    with pytest.raises(FitError, match="has 25 entries"):
        fit_tracks(tmp_path, "countrecords\n")
    assert fit_tracks(tmp_path, "countrecords\nentries 15\n").counts.tolist() == [15]


def test_entries_are_counted_again_without_measurements_of_rare_parameters(tracks: Path) -> None:
    # Label 70 has 30 entries, of which 20 come with label 80, which has too few.
    add_record(tracks / "one.bin", {70: 1.0}, times=10)
    add_record(tracks / "two.bin", {70: 1.0, 80: 1.0}, times=20)
    text = FIX_TWO + "one.bin\ntwo.bin\n"
    variable = [result.labels[result.variable].tolist() for result in (fit_tracks(tracks, text),)]
    assert variable == [[20, 30, 40, 50, 70]]
    for option in ("iterateentries\n", "entries 25 10 2\n", "iterateentries 31\n"):
        result = fit_tracks(tracks, text + option)
        assert result.labels[result.variable].tolist() == [20, 30, 40, 50]
        assert any("in measurements of parameters with enough and are kept: labels 70" in w for w in result.warnings)
    kept = fit_tracks(tracks, text + "iterateentries 30\n")
    assert 70 in kept.labels[kept.variable]


def test_weighted_constraints(tracks: Path) -> None:
    write_tracks(tracks / "more.bin", planes=3, tracks=40)  # 40 more entries for labels 10, 20 and 30
    ones = " ".join(f"{label} 1" for label in (10, 20, 30, 40, 50, 60))
    text = f"more.bin\nhugecut 1d6\nConstraint 0.2\n20 1 30 -1\nweightedcons\nConstraint 0.3\n{ones}\n"
    result = fit_tracks(tracks, text)
    assert result.values @ result.counts == pytest.approx(0.3)
    assert result.counts.tolist() == [100, 100, 100, 60, 60, 60]
    assert result.values[1] - result.values[2] == pytest.approx(0.2)


def test_multipliers_give_the_same_and_leave_out_dependent_constraints(tracks: Path) -> None:
    one, two = "Constraint 0.3\n20 1 30 1\nhugecut 1d6\n", "Constraint -0.2\n20 1 40 1\n"
    plain, multipliers = (fit_tracks(tracks, FIX_TWO + one + two + how) for how in ("", "withmultipliers\n"))
    assert np.array_equal(plain.values, multipliers.values)
    again = fit_tracks(tracks, f"{FIX_TWO}{one}{two}{one.replace('0.3', '0.5')}withmultipliers\n")
    assert any("contradicts those before it: left out" in warning for warning in again.warnings)
    assert (again.verdict, again.loops) == (3, 1)
    assert np.allclose(again.values, plain.values, atol=1e-9)
    assert fit_tracks(tracks, f"{FIX_TWO}{one}{two}{one}withmultipliers\nforce\n").loops == 3


def test_redundancy_constraints_fix_their_parameters(tracks: Path) -> None:
    redundant = "hugecut 1d6\nConstraint 0.3\n20 1 30 1\nConstraint 0.1\n20 1 30 -1\n"
    kept = fit_tracks(tracks, FIX_TWO + redundant)
    resolved = fit_tracks(tracks, f"{FIX_TWO}20 0.7 0\n{redundant}resolveredundancycons\n")
    assert (kept.values[1], kept.values[2]) == (pytest.approx(0.2), pytest.approx(0.1))
    assert (resolved.values[1], resolved.values[2]) == (0.7, 0.0)
    assert resolved.labels[resolved.variable].tolist() == [40, 50]
    assert (resolved.fitted, kept.fitted) == (2, 2)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_line_searches_by_mode(mode: int, tracks: Path) -> None:
    result = fit_tracks(tracks, f"{FIX_TWO}chisqcut 100 9\noutlierdownweighting 3\nlinesearch {mode}\n")
    searched = [row.iteration for row in result.iterations if row.slope_ratio is not None]
    expected = {0: [], 1: [result.iterations[-1].iteration], 2: [3], 3: [1, 2, 3]}[mode]
    assert sorted(set(searched)) == expected


def test_wolfe_changes_nothing_as_in_pede(tracks: Path) -> None:
    assert fit_tracks(tracks, FIX_TWO + "wolfe 0.1 0.9\n").chi2 == fit_tracks(tracks).chi2


def test_a_cut_that_is_not_made_is_said(tracks: Path) -> None:
    assert any(
        warning.startswith("maxlocalcond") for warning in fit_tracks(tracks, FIX_TWO + "maxlocalcond 8\n").warnings
    )


def test_damaged_files_may_end_early(tracks: Path) -> None:
    whole = (tracks / "tracks.bin").read_bytes()
    (tracks / "tracks.bin").write_bytes(whole[:-40])
    with pytest.raises(DataError, match="record 60"):
        fit_tracks(tracks)
    result = fit_tracks(tracks, FIX_TWO + "readerroraseof\n")
    assert (result.records, result.verdict) == (59, 4)
    assert any("record 60 at byte" in warning and "read up to there" in warning for warning in result.warnings)


def test_threads_of_the_steering(tracks: Path) -> None:
    assert np.array_equal(fit_tracks(tracks, FIX_TWO + "threads 3 2\n").values, fit_tracks(tracks).values)


def test_the_sizes_of_chi2_count_with_the_weights_of_files(tracks: Path) -> None:
    path = steer(tracks, FIX_TWO)
    path.write_text(path.read_text().replace("tracks.bin", "tracks.bin -- 4.0"))
    weighted, plain = fit(path), fit_tracks(tracks)
    assert weighted.chi2 == pytest.approx(4 * plain.chi2)
    assert weighted.chi2_per_ndf == pytest.approx(plain.chi2_per_ndf)
    assert weighted.verdict == plain.verdict


def test_the_limit_of_rejects_that_is_warned_of(tracks: Path) -> None:
    text = FIX_TWO + "chisqcut 1000 1\nscaleerrors 0.75\n"
    assert sum(fit_tracks(tracks, text).rejects.values()) > 1
    for limit, warned in ((0.1, True), (99, False)):
        result = fit_tracks(tracks, f"{text}outlierfracwarnthreshold {limit}\n")
        assert any("of the records are rejected" in warning for warning in result.warnings) is warned


# Matrices that are nearly singular.


def write_nearly_dependent(path: Path, difference: float) -> None:
    """Labels 70 and 71 have the same derivatives up to a small difference."""
    with MilleWriter(path) as writer:
        for k in range(60):
            for sign in (1, -1):
                writer.measurement(0.0, 0.01, {1: 1.0}, {})
                writer.measurement(0.1, 0.01, {1: 1.0}, {70: 1.0, 71: 1.0 + sign * difference * (1 + k % 2)})
            writer.end_record()


def test_weak_modes_are_named(tracks: Path) -> None:
    write_nearly_dependent(tracks / "pair.bin", 2.0**-16)
    result = fit_tracks(tracks, FIX_TWO + "pair.bin\n")
    (weak,) = [warning for warning in result.warnings if warning.startswith("weak mode")]
    assert re.search(r"labels 7[01], 7[01] together \(eigenvalue \d\.\de-10", weak)
    assert not any("weak mode" in warning for warning in fit_tracks(tracks).warnings)


def test_a_group_of_parameters_that_depend_on_each_other(tracks: Path) -> None:
    write_nearly_dependent(tracks / "pair.bin", 0.0)
    text = FIX_TWO + "pair.bin\npresigma 1\n"  # the presigma hides the defect from the solution
    assert fit_tracks(tracks, text).verdict < 3
    result = fit_tracks(tracks, text + "checkparametergroups\n")
    assert result.verdict == 3
    assert "rank defect of a parameter group: labels 70, 71" in result.warnings


@pytest.mark.parametrize("size", [5, 40])
def test_weak_modes_of_a_known_matrix(size: int) -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(size, size)))
    eigenvalues = np.geomspace(1e-11, 1, size)
    matrix = rotation @ np.diag(eigenvalues) @ rotation.T
    modes = weak_modes(lambda gradient: rotation @ ((rotation.T @ gradient) / eigenvalues), np.ones(size))
    assert modes[0].eigenvalue == pytest.approx(1e-11, rel=1e-2)
    assert modes[0].parameters[0] == np.argmax(np.abs(rotation[:, 0]))
    assert all(mode.eigenvalue < 1e-9 for mode in modes)
    assert np.allclose(np.diag(matrix), np.diag(matrix.T))


def test_force_goes_on_with_a_rank_defect(tracks: Path) -> None:
    once, forced = fit_tracks(tracks, ""), fit_tracks(tracks, "force\n")
    assert (once.verdict, forced.verdict) == (3, 3)
    assert once.loops == 1
    assert forced.loops > 1
    assert any("only one step was made" in warning and "see `force`" in warning for warning in once.warnings)
    # Each iteration meets it again, and it is said once.
    assert len(forced.warnings) == len(set(forced.warnings)) >= 2


# checkinput


@pytest.mark.parametrize("name", ["SL0", "wire"])
def test_input_is_checked_as_pede_does(name: str, tmp_path: Path) -> None:
    folder = unpack(name, tmp_path)
    result = fit_into(folder / "mp2str_check.txt", tmp_path)
    assert result.checked
    # The number of paired parameters, in the last column, is about pede's storage of sparse matrices.
    theirs = (DATA / name / "millepede_check.res").read_text().splitlines()
    expected = [
        re.sub(r" +\d+$", "", line) if line.startswith(" !. ") and line[5:].strip()[0].isdigit() else line
        for line in theirs
        if not line.startswith(" *:")
    ]
    heads = ("  #paired-par", "   Paired label range")
    expected = [line.replace(heads[0], "").replace(heads[1], "").rstrip() for line in expected]
    assert [line.rstrip() for line in (tmp_path / "millepede.res").read_text().splitlines()] == expected
    assert (tmp_path / "millepede.end").read_text() == "    0   Ended normally\n"


def test_a_check_goes_on_where_a_fit_ends(tracks: Path) -> None:
    text = f"{FIX_TWO}Constraint 0\n10 1\nConstraint 0\n20 1\nConstraint 1\n20 1\nresolveredundancycons\ncheckinput\n"
    result = fit_tracks(tracks, text)
    assert "variable" in result.checked
    assert "fixed-1" in result.checked
    text = text.replace("resolveredundancycons\n", "")
    warned = " ".join(fit_tracks(tracks, text).warnings)
    assert "acts on no variable parameter" in warned
    assert "contradicts" in warned
    (tracks / "tracks.bin").write_bytes((tracks / "tracks.bin").read_bytes()[:-8])
    damaged = fit_tracks(tracks, text)
    assert (damaged.records, damaged.verdict) == (59, 4)
    assert any("record 60" in warning for warning in damaged.warnings)


def test_the_result_of_a_check_says_nothing_to_a_fit(tracks: Path) -> None:
    fit_into(steer(tracks, FIX_TWO + "checkinput 2\n"), tracks)
    text = (tracks / "millepede.res").read_text()
    assert all(line[1] in "!*" for line in text.splitlines())
    with pytest.raises(FiducialError, match="only checked"):
        read_results(tracks / "millepede.res")


# printrecord


def shown(folder: Path, option: str) -> str:
    return fit_tracks(folder, f"{FIX_TWO}{option}\n").records_shown


def test_records_are_shown(tracks: Path) -> None:
    with MilleWriter(tracks / "odd.bin") as writer:
        for plane in range(6):
            writer.measurement(0.5 if plane == 3 else 0.0, 0.01, {1: 1.0, 2: float(plane)}, {10 * (plane + 1): 1.0})
        writer.end_record()
    text = shown(tracks, "printrecord 2 61\nodd.bin\nhugecut 1000000")
    assert "record 2, 2 of " in text
    assert "tracks.bin" in text
    assert "record 61, 1 of " in text
    assert len(re.findall(r"60:1$", text, re.MULTILINE)) == 2
    worst = shown(tracks, "printrecord -1 -1\nodd.bin\nhugecut 1000000")
    assert len(re.findall(r"record 61, 1 of \S+odd.bin, largest (residual/sigma|chi2/ndf) \d", worst)) == 2
    ratio = float(re.findall(r"largest chi2/ndf ([\d.]+)", worst)[0])
    chi2 = float(re.findall(r"chi2 ([\d.]+) for 4 degrees of freedom, at three standard deviations 16.25", worst)[1])
    assert chi2 / 4 == pytest.approx(ratio, rel=1e-3)
    assert "record 99: there are only 60" in shown(tracks, "printrecord 99")


def test_records_that_the_fit_leaves_out_are_shown_as_such(tracks: Path) -> None:
    """The first is fine; of the others one has no local parameter, one no freedom, and one lies too far off."""
    with MilleWriter(tracks / "odd.bin") as writer:
        for plane in range(6):
            writer.measurement(0.5, 0.01, {}, {10 * (plane + 1): 1.0})
        writer.end_record()
        for plane in range(2):
            writer.measurement(0.0, 0.01, {1: 1.0, 2: float(plane)}, {10 * (plane + 1): 1.0})
        writer.end_record()
        for plane in range(6):
            writer.measurement(50.0 * (plane == 3), 0.01, {1: 1.0, 2: float(plane)}, {10 * (plane + 1): 1.0})
        writer.end_record()

    def heads(option: str) -> list[str]:
        text = shown(tracks, f"{option}\nodd.bin\noutlierdownweighting 3")
        return re.findall(r"record .*(?:tracks|odd)\.bin(.*):$", text, re.MULTILINE)

    assert heads("printrecord 1 61") == ["", ", left out of the fit (no local parameter)"]
    assert heads("printrecord 62 63") == [
        ", left out of the fit (no degree of freedom)",
        ", left out of the fit (huge chi2)",
    ]
    assert heads("printrecord 0 63\nhugecut 1e7\nchisqcut 1e5 30") == [", left out of the fit (large chi2)"]
    assert heads("printrecord 0 63\nhugecut 1e7") == [""]


def test_shown_records_are_in_the_log(tracks: Path) -> None:
    fit_into(steer(tracks, FIX_TWO + "printrecord 1\n"), tracks)
    assert "record 1, 1 of " in (tracks / "millepede.log").read_text()


# Whatever is wrong, millepede.end says so with pede's number, and no earlier result is left.


def refuse(folder: Path, text: str) -> int:
    output = folder / "out"
    output.mkdir()
    (output / "millepede.res").write_text(" Parameter\n 10 0.5 0.0\n")
    with pytest.raises(FiducialError) as caught:
        fit_into(steer(folder, text), output)
    assert caught.value.exit_code
    assert caught.value.hint or ":" in caught.value.message
    assert not (output / "millepede.res").exists()
    return int((output / "millepede.end").read_text()[:5])


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("nonsense\n", 13),
        ("method Newton 3 1\n", 36),
        (FIX_TWO + "Constraint 0\n20 1\nConstraint 1\n20 1\n", 27),
        (FIX_TWO + "Constraint 0\n", 5),
        ("entries 1000\n", 22),
        (FIX_TWO + "hugecut 1\nscaleerrors 0.1\n", 26),
        ("Parameter\n0 0 -1\n", 13),
        ("Parameter\n2147483648 0 -1\n", 13),
        ("Parameter\n10 nan -1\n", 13),
    ],
)
def test_bad_input_ends_with_the_number_of_pede(text: str, verdict: int, tracks: Path) -> None:
    assert refuse(tracks, text) == verdict


def test_without_any_label_there_is_nothing_to_fit(tmp_path: Path) -> None:
    add_record(tmp_path / "tracks.bin", {}, times=5)
    assert refuse(tmp_path, "") == 21


def test_results_are_of_one_kind(tracks: Path) -> None:
    assert isinstance(fit_tracks(tracks, FIX_TWO + "checkinput\n"), FitResult)
    assert METHOD.startswith("method inversion")
