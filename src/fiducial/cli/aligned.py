"""How an alignment went: its iterations as a table, the verdict, and where to look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

__all__ = ["need_alignment", "summary", "tell_iterations", "verdict"]


def need_alignment() -> None:
    """Say before any work which extra is missing, not in the log of the first job."""
    import importlib.util

    for module in ("numpy", "scipy", "numba", "uproot", "awkward", "matplotlib"):
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"an alignment needs {module}", name=module)


def summary(outcome: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What an alignment found, as ``--json`` prints it; lists have one entry an iteration."""
    report = folder / "report.html"
    pull_mean, pull_width = (_series(outcome, name) for name in ("pull_mean", "pull_width"))
    return {
        "converged": bool(outcome["converged"]) and outcome["state"] == "done",
        "iterations": outcome["iteration"],
        "jobs": outcome["counts"]["done"],
        "chi2_ndf": _series(outcome, "chi2_ndf"),
        "max_shift_over_error": _series(outcome, "max_shift_over_error"),
        "pull_mean": pull_mean[-1] if pull_mean else None,
        "pull_width": pull_width[-1] if pull_width else None,
        "residual_width_um": _series(outcome, "residual_width_um"),
        "report": str(report) if report.exists() else None,
    }


def _series(outcome: dict[str, Any], metric: str) -> list[float]:
    """A metric of the fit, over the iterations."""
    fits = [steps["millepede"] for _, steps in sorted(outcome["metrics"].items()) if "millepede" in steps]
    return [fit[metric][0] for fit in fits if metric in fit]


def tell_iterations(found: dict[str, Any], first: int = 1) -> None:
    """Print what each iteration found, one a line.

    Args:
        first: number of the first iteration's folder.
    """
    from fiducial.cli.output import print_table

    headings = ("iteration", "residual width (µm)", "chi2/ndf", "largest shift/error")
    columns = (found["residual_width_um"], found["chi2_ndf"], found["max_shift_over_error"])
    rows = [(number, *map(_short, values)) for number, values in enumerate(zip(*columns, strict=True), first)]
    print_table(headings, rows, right=headings)
    typer.echo("")


def verdict(found: dict[str, Any], outcome: dict[str, Any]) -> str:
    """Whether the tracker is aligned, after how much work."""
    from fiducial.cli.output import span

    took = span((outcome["finished"] or 0) - outcome["created"]) if outcome["finished"] else "?"
    said = "aligned" if found["converged"] else "NOT converged"
    times = f"{found['iterations']} iteration{'s' if found['iterations'] != 1 else ''}"
    return f"{said} after {times}, {found['jobs']} jobs, {took}"


def _short(value: float) -> str:
    return f"{value:#.4g}".rstrip(".")
