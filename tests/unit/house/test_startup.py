"""``fiducial --help`` answers at once."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest

HELP = [sys.executable, "-m", "fiducial", "--help"]
FLOOR = [sys.executable, "-c", "import typer"]
# A ratio, because machines differ and this one may be busy: help is typer, plus reading the options and printing.
RATIO = 1.4
RUNS = 5
HEAVY = {
    "alembic",
    "httpx",
    "importlib.metadata",
    "jinja2",
    "numpy",
    "pydantic",
    "rich",
    "sqlalchemy",
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def imported_by(code: str) -> set[str]:
    """List the modules that are loaded when the code ends, in a fresh interpreter."""
    script = f"import sys, atexit\natexit.register(lambda: sys.stderr.write(' '.join(sys.modules)))\n{code}"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stderr.split())


def test_help_costs_little_more_than_typer() -> None:
    pairs = [(seconds(HELP), seconds(FLOOR)) for _ in range(RUNS)]
    ours, floor = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert ours <= RATIO * floor, f"help {1000 * ours:.0f} ms, importing typer {1000 * floor:.0f} ms"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []], ids=["--help", "-h", "no arguments"])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    modules = imported_by(
        f"from fiducial.cli.main import main\ntry:\n    main({arguments})\nexcept SystemExit: pass",
    )
    assert "fiducial.cli.main" in modules
    assert modules & HEAVY == set()


def test_a_heavy_import_would_be_seen() -> None:
    assert "jinja2" in imported_by("import jinja2")
