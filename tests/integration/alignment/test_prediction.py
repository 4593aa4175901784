"""Loops that are left out because F is a parabola: the fit must not differ from one that makes them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fiducial.alignment.fit import loops
from fiducial.alignment.fit.millepede import fit
from fiducial.alignment.fit.prediction import Shortcut
from fiducial.alignment.fit.result import FitResult
from pede_reference import assert_same, read_reference, unpack


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pede")
    return {name: unpack(name, root) for name in ("SL0", "wire")}


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_KEEP_BYTES", 0)


def foretold(result: FitResult) -> int:
    return sum(row.foretold for row in result.iterations)


@pytest.mark.parametrize(
    ("name", "variant"),
    [("SL0", ""), ("SL0", "_entries"), ("SL0", "_presig"), ("SL0", "_regul"), ("SL0", "_meas"), ("wire", ""),
     ("wire", "_presig"), ("wire", "_mult")],
)  # fmt: skip
@pytest.mark.usefixtures("large")
def test_the_numbers_are_those_of_pede(name: str, variant: str, folders: dict[str, Path]) -> None:
    result = fit(folders[name] / f"mp2str{variant}.txt")
    assert foretold(result) == result.loops - 2
    assert_same(result, read_reference(name, variant))


@pytest.mark.parametrize("variant", ["_chisq", "_huber", "_cauchy"])
@pytest.mark.usefixtures("large")
def test_no_loop_is_left_out_where_weights_or_cuts_change(variant: str, folders: dict[str, Path]) -> None:
    result = fit(folders["SL0"] / f"mp2str{variant}.txt")
    assert foretold(result) == 0
    assert_same(result, read_reference("SL0", variant))


def variant_of(folder: Path, name: str, lines: str) -> Path:
    path = folder / name
    path.write_text((folder / "mp2str.txt").read_text().replace("\nend", f"\n{lines}\nend"))
    return path


@pytest.mark.usefixtures("large")
def test_records_that_come_back_are_noticed(folders: dict[str, Path]) -> None:
    # So tight that the first loop rejects what fits badly before the alignment, and the second takes it back.
    steering = variant_of(folders["SL0"], "mp2str_tight.txt", "hugecut 20.0")
    result = fit(steering)
    rejected = [row.rejected for row in result.iterations]
    assert rejected[0] > rejected[-1]
    assert foretold(result) == 0


@pytest.mark.usefixtures("large")
def test_a_wrong_guess_is_made_good(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    steering = folders["SL0"] / "mp2str_presig.txt"
    expected = fit(steering)
    monkeypatch.setattr(Shortcut, "confirmed", lambda *_: False)
    again = fit(steering)
    assert (foretold(expected), foretold(again)) == (expected.loops - 2, 0)
    assert (again.loops, again.verdict, again.warnings) == (expected.loops, expected.verdict, expected.warnings)
    assert np.allclose(again.values, expected.values, rtol=1e-9, atol=1e-15)
