"""How commands print: JSON for programs, tables for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import typer

from fiducial.core.jsontext import json_text

__all__ = ["age", "amount", "moment", "print_json", "print_table", "span"]


def print_json(value: Any) -> None:
    """Print a value as JSON, readable by people too; null stands for a number that is not finite."""
    typer.echo(json_text(value, indent=2, default=str, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Collection[str] = ()) -> None:
    """Print aligned columns; numbers to the right. Plain text: it can be piped, grepped and pasted.

    Args:
        headings: of the columns.
        rows: of cells.
        right: headings of columns that hold numbers as text.
    """
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *texts, strict=True)]
    numeric = [
        name in right or (bool(rows) and all(isinstance(row[i], int | float | None) for row in rows))
        for i, name in enumerate(headings)
    ]
    for line in [list(headings), *texts]:
        cells = [cell.rjust(w) if n else cell.ljust(w) for cell, w, n in zip(line, widths, numeric, strict=True)]
        typer.echo("  ".join(cells).rstrip())


def span(seconds: float | None) -> str:
    """A time span in two units at most: ``1h 05m``, ``12.3 s``."""
    if seconds is None:
        return ""
    if 0 < seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours < 48 else f"{hours // 24}d {hours % 24:02d}h"


def age(at: float | None) -> str:
    """How long ago a time was."""
    import time

    return "" if at is None else f"{span(max(0.0, time.time() - at))} ago"


def moment(at: float | None) -> str:
    """A time, in the zone of who reads it."""
    import time

    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def amount(size: float | None) -> str:
    """A number of bytes in a unit that fits."""
    if size is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
