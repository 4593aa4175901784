"""The ``fiducial`` command: its subjects, and how errors reach a user.

A new subject is one line of ``SUBJECTS`` and one module with an ``app`` from :func:`fiducial.cli.lazy.subject_app`.
``importlib.metadata`` is imported where it is used: it costs as much as typer.
"""

from __future__ import annotations

import atexit
import gc
import re
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from fiducial.cli.lazy import LazyGroup, Subject
from fiducial.core.errors import FiducialError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "main"]

SUBJECTS: dict[str, Subject] = {
    "run": Subject("fiducial.cli.run", "Run a workflow on this machine."),
    "workflow": Subject("fiducial.cli.workflow", "Check, draw and begin workflow files."),
    "campaign": Subject("fiducial.cli.campaign", "List, show, resume, cancel, retry, archive, export campaigns."),
    "site": Subject("fiducial.cli.site", "List and try out the places where campaigns can run."),
    "job": Subject("fiducial.cli.job", "List, show, retry, kill, hold, release jobs; read their logs."),
    "follow": Subject("fiducial.cli.follow", "Follow a campaign that HTCondor's DAGMan runs."),
    "align": Subject("fiducial.cli.align", "Align FASER's tracker, with the options of its older scripts."),
    "alignment": Subject("fiducial.cli.alignment", "Simulate, reconstruct and solve: the steps of an alignment."),
    "fit": Subject("fiducial.cli.fit", "Solve a Millepede steering file."),
    "constants": Subject("fiducial.cli.constants", "Read, compare, draw and check alignment constants."),
    "mille": Subject("fiducial.cli.mille", "Show, check and convert the fit's binary files."),
    "db": Subject("fiducial.cli.db", "Look after the ledger's database."),
    "config": Subject("fiducial.cli.config", "Show and begin settings."),
    "demo": Subject("fiducial.cli.demo", "Align a simulated tracker, from raw files to constants."),
}


class Program(LazyGroup):
    """All subjects of the command line."""

    subjects = SUBJECTS


# Rich costs more to import than everything else that help needs, so help is plain text.
app = typer.Typer(
    cls=Program,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(wanted: bool) -> None:
    """Print the installed version and stop."""
    if wanted:
        from importlib import metadata

        typer.echo(f"fiducial {metadata.version('fiducial')}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """Run calibration, alignment and processing campaigns of physics experiments."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; every way out is an exit code."""
    # Imports make many objects and no garbage: looking for it would take a tenth of the start.
    gc.set_threshold(100_000, 20, 20)
    # Nor is it looked for at the exit, where it would take as long again as many a command.
    atexit.register(gc.freeze)
    arguments, debug = split_debug(sys.argv[1:] if argv is None else argv)
    try:
        app(args=arguments, prog_name="fiducial")
    except FiducialError as error:
        fail(error, error.message, error.hint, exit_code=error.exit_code, debug=debug)
    except ModuleNotFoundError as error:
        fail(error, str(error), extra_hint(error.name or ""), debug=debug)
    except MemoryError as error:
        fail(
            error,
            f"the memory is not enough: {error}".rstrip(": "),
            "ask for less, or take a machine with more",
            debug=debug,
        )
    except Exception as error:
        fail(error, f"{type(error).__name__}: {error}", debug=debug)
    sys.exit(0)


def split_debug(argv: Sequence[str]) -> tuple[list[str], bool]:
    """Take ``--debug`` out of the words before ``--``, because people add it at the end of a line that failed."""
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return kept + words[end:], len(kept) < end


def fail(error: Exception, message: str, hint: str = "", *, exit_code: int = 1, debug: bool) -> NoReturn:
    """Say on standard error what happened and what to do, then exit."""
    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, FiducialError):
        for warning in error.warnings:
            typer.echo(f"warning: {warning}", err=True)
    elif not debug:
        hint = hint or "this was not foreseen; run it again with --debug to see where it comes from"
    typer.echo(f"error: {message}", err=True)
    if hint:
        typer.echo(f"hint: {hint}", err=True)
    sys.exit(exit_code)


def extra_hint(module: str) -> str:
    """Name the extra that brings a missing module, if one of ours does."""
    from importlib import metadata

    wanted = module.partition(".")[0].replace("_", "-")
    lines = [re.match(r"([\w-]+).*extra == ['\"]([\w-]+)['\"]", line) for line in metadata.requires("fiducial") or ()]
    extras = [found[2] for found in lines if found and found[1] == wanted and found[2] != "all"]
    return f"pip install 'fiducial[{extras[0]}]'" if extras else ""
