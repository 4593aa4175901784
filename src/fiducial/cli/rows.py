"""Rows of a check on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from fiducial.core.rows import Row

__all__ = ["counted", "tell_rows"]


def counted(rows: Sequence[Row]) -> tuple[int, int]:
    """How many fail, and how many are to be looked at."""
    return sum(row.state == "fail" for row in rows), sum(row.state == "warn" for row in rows)


def tell_rows(rows: Sequence[Row]) -> None:
    """Print each row, with what to mend, and a last line that says whether all is well."""
    failed, warned = counted(rows)
    width = max((len(row.what) for row in rows), default=0)
    for row in rows:
        typer.echo(f"{row.state:<4}  {row.what:<{width}}  {row.told}")
        if row.mend and row.state != "ok":
            typer.echo(f"{'':<4}  {'':<{width}}  -> {row.mend}")
    if failed:
        typer.echo(f"\n{failed} of {len(rows)} fail" + (f", {warned} to look at" if warned else ""))
    else:
        typer.echo(f"\nall {len(rows)} are fine" if not warned else f"\nnothing fails; {warned} to look at")
