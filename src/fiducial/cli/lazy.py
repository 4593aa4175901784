"""Commands that cost nothing until they are called.

The help of the whole program needs only the names and one line each, so these stand in a table and a subject's
module is imported when its command runs or is completed. This keeps ``fiducial --help`` at the price of typer.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

__all__ = ["LazyGroup", "Subject", "subject_app"]


@dataclass(frozen=True)
class Subject:
    """One noun of the command line.

    Args:
        module: where its ``app`` is, made by :func:`subject_app`.
        help: its line in the program's help.
    """

    module: str
    help: str


def subject_app(**settings: Any) -> typer.Typer:
    """Make the typer app of one subject, with the settings that all of them share."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings)


class LazyGroup(TyperGroup):
    """A group whose commands are lines of a table until one is called."""

    subjects: dict[str, Subject]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, subject in self.subjects.items():
            self.add_command(TyperCommand(name=name, help=subject.help, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command to run, here or in its own module."""
        name, command, rest = super().resolve_command(ctx, args)
        subject = self.subjects.get(name or "")
        return name, command if subject is None else load(subject), rest


def load(subject: Subject) -> Any:
    """Import a subject's module and build its command."""
    return get_command(import_module(subject.module).app)
