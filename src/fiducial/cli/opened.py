"""The ledger that a command works on, and the words around it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from fiducial.ledger.database import Database

__all__ = ["busy", "dry", "opened", "user"]


@contextmanager
def opened() -> Iterator[Database]:
    """The ledger of the working folder; it must be there."""
    from fiducial import settings
    from fiducial.ledger.database import Database

    database = Database(settings.load().ledger_url, create=False)
    try:
        yield database
    finally:
        database.close()


def user() -> str:
    """Who asks, for the histories of jobs."""
    import getpass

    return getpass.getuser()


def dry(text: str) -> None:
    """End a dry run."""
    typer.echo(text)
    typer.echo("dry run: nothing was changed")


@contextmanager
def busy(what: str, *, show: bool = True) -> Iterator[Callable[[int, int], None] | None]:
    """Show on a terminal that something long is under way; yields where to tell how far it is."""
    if not (show and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} …") as status:
        yield lambda done, total: status.update(f"{what} … {100 * done // max(total, 1)} %")
