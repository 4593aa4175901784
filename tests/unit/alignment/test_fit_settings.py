"""What the keywords of a steering file say about the fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fiducial.alignment.fit.reading import Reading
from fiducial.alignment.fit.settings import Search, Settings
from fiducial.alignment.steering.reader import Method, Option, Steering


def settings(text: str, method: str = "inversion") -> Settings:
    """Settings of some keywords, each a line."""
    lines = [line.split() for line in text.splitlines() if line]
    given = [Option("", word, tuple(float(number) for number in numbers)) for word, *numbers in lines]
    return Settings.of(Steering(Path("steer.txt"), method=Method("steer.txt:1", method, 3, 0.1), given=given))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"entries": 25, "entries_accepted": 10, "huge": 50, "first_cut": 0, "local_iterations": 1, "threads": 0}),
        ("entries 50\nentries 0 20", {"entries": 50, "entries_accepted": 20, "iterate_entries": 0}),
        ("entries 20 10 2.5", {"entries": 20, "entries_accepted": 10, "iterate_entries": 50}),
        ("iterateentries", {"iterate_entries": 2**31 - 1}),
        ("iterateentries 70", {"iterate_entries": 70}),
        ("regularisation 2 0.1", {"regularised": True, "regularisation": 2, "presigma": 0.1}),
        ("regularisation 2 0.1\npresigma 0.5", {"presigma": 0.5}),
        ("presigma 0.5\nregularisation 2 0.1", {"presigma": 0.1}),
        ("chisqcut", {"first_cut": 1, "second_cut": 1}),
        ("chisqcut 30 6", {"first_cut": 30, "second_cut": 6}),
        ("chisqcut 5 6", {"first_cut": 5, "second_cut": 5}),
        ("chisqcut 0.5 6", {"first_cut": -1, "second_cut": 6}),
        ("hugecut 0.5", {"huge": 1}),
        ("outlierdownweighting 1", {"local_iterations": 2}),
        ("outlierdownweighting 4\ndwfractioncut 0.75", {"local_iterations": 4, "down_weight": 0.5}),
        ("matiter 7", {"matrix_iterations": 3}),
        ("printcounts", {"column": "accepted"}),
        ("printcounts 2\nglobalcorr", {"column": "counts"}),
        ("globalcorr", {"column": "correlations"}),
        ("checkinput", {"check": 1}),
        ("checkinput 2", {"check": 2}),
        ("threads 4 2", {"threads": 4}),
        ("threads 4\nthreads 0", {"threads": 4}),
        ("printrecord 3 -1", {"records": (3, -1)}),
        ("outlierfracwarnthreshold 2.5", {"rejects_warning": 2.5}),
        ("subito\nforce\nskipemptycons\nnofeasiblestart\nresolveredundancycons\ncheckparametergroups", {
            "single_step": True, "force": True, "skip_empty": True, "feasible_start": False,
            "resolve_redundant": True, "check_groups": True,
        }),
        ("localfit 2 0\nmaxlocalcond 8", {"pulls": 2, "band": False, "condition": 8}),
        ("monitorpulls\nmonitorresiduals 2 200", {"monitoring": 2, "monitor_pulls": True, "monitor_bins": 200}),
    ],
)  # fmt: skip
def test_options(text: str, expected: dict[str, Any]) -> None:
    found = settings(text)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Reading()),
        ("maxrecord 100\nreaderroraseof\ncountrecords", Reading(100, lenient=True, by_record=True)),
        ("scaleerrors 1.5", Reading(global_scale=1.5, local_scale=1.5)),
        ("scaleerrors 1.5 2", Reading(global_scale=1.5, local_scale=2)),
    ],
)
def test_reading(text: str, expected: Reading) -> None:
    assert settings(text).reading == expected


@pytest.mark.parametrize(
    ("mode", "method", "expected"),
    [
        (2, "inversion", Search(2, 0.5, 1, 3)),
        (1, "diagonalization", Search(1, 0.5, 2, 3)),
        (0, "fullLAPACK", Search(0, 0.5, 1, 3)),
        (3, "sparseMINRES", Search(3, 0.1, 3, 4)),
        (2, "fullMINRES-QLP", Search(2, 0.1, 3, 4)),
    ],
)
def test_the_line_search_belongs_to_the_method(mode: int, method: str, expected: Search) -> None:
    assert Search.of(mode, method) == expected
    if "MINRES" not in method:
        assert settings(f"linesearch {mode}", method).search == expected


def test_the_solver_is_described() -> None:
    solver = settings("withmultipliers\nmrestol 1e-8\nbandwidth 6 1\nerrlabels 5 6\nerrlabels 7\nmresmode 2").solver
    assert (solver.method, solver.multipliers, solver.tolerance) == ("inversion", True, 1e-8)
    assert (solver.bandwidth, solver.skyline, solver.mode, solver.error_labels) == (6, True, 2, (5, 6, 7))
    assert not settings("withmultipliers\nwithelimination").solver.multipliers
    assert not settings("withmultipliers", "decomposition").solver.multipliers
