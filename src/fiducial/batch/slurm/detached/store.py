"""What was handed over to Slurm, on disk: each submission of a campaign, and the numbers of its arrays there."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fiducial.batch.slurm.detached.arrays import Array
from fiducial.core.errors import DataError
from fiducial.core.places import DETACHED
from fiducial.storage.replace import replace_text

__all__ = ["PLAN", "Run", "last_run", "marks_folder", "new_run", "summed_up"]

#: Where a campaign's plan lies, below its folder.
PLAN = f"{DETACHED}/plan.json"
_FORMAT = 1


@dataclass(frozen=True)
class Run:
    """One submission of all that is left of a campaign.

    Args:
        number: counts the campaign's submissions, from 1.
        tokens: by which the arrays are found in Slurm, by name.
    """

    number: int
    folder: Path
    arrays: tuple[Array, ...]
    tokens: Mapping[str, str]

    @cached_property
    def natives(self) -> dict[str, str]:
        """The numbers that Slurm has given, by the arrays' names."""
        try:
            lines = (self.folder / "submitted").read_text("ascii").split("\n")[:-1]  # the last may be torn
        except FileNotFoundError:
            return {}
        named = {token: name for name, token in self.tokens.items()}
        words = [line.split() for line in lines]
        return {named[word[0]]: word[1] for word in words if len(word) == 2 and word[0] in named}

    def note(self, name: str, native: str) -> None:
        """Keep the number that an array has in Slurm."""
        with (self.folder / "submitted").open("a", encoding="ascii") as file:
            file.write(f"\n{self.tokens[name]} {native}\n")  # the line before may be torn
        self.natives[name] = native

    def mark(self, name: str) -> None:
        """Note that something is so: ``begun``, ``released``, ``gone``."""
        (self.folder / name).touch()

    def is_marked(self, name: str) -> bool:
        """Whether that was noted."""
        return (self.folder / name).exists()

    def folder_of(self, array: Array) -> Path:
        """Where an array's script and its logs are."""
        return self.folder / array.name


def marks_folder(run: Run, prefix: str) -> Path:
    """Where jobs of a group leave marks when they begin and when they have ended."""
    return run.folder / "marks" / prefix


def new_run(here: Path, number: int, arrays: Sequence[Array]) -> Run:
    """Keep what is to be submitted, before anything of it is.

    Args:
        here: the campaign's folder.
    """
    folder = here / DETACHED / "runs" / f"{number:02d}"
    tokens = {array.name: f"fd{secrets.token_hex(7)}" for array in arrays}
    content = [{**asdict(array), "token": tokens[array.name]} for array in arrays]
    replace_text(folder / "run.json", json.dumps({"format": _FORMAT, "arrays": content}, indent=1))
    return Run(number, folder, tuple(arrays), tokens)


def last_run(here: Path) -> Run | None:
    """The newest submission of a campaign; None where there was none.

    Raises:
        DataError: what is known of it is damaged.
    """
    numbers = [int(path.parent.name) for path in (here / DETACHED / "runs").glob("*/run.json")]
    if not numbers:
        return None
    file = here / DETACHED / "runs" / f"{max(numbers):02d}" / "run.json"
    try:
        found = json.loads(file.read_text("utf-8"))["arrays"]
        tokens = {each["name"]: each.pop("token") for each in found}
        arrays = tuple(_array(each) for each in found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged: {error!r}", hint="cancel what is in the queue by scancel") from None
    return Run(max(numbers), file.parent, arrays, tokens)


def _array(found: dict[str, Any]) -> Array:
    return Array(**{**found, "after": tuple((kind, name) for kind, name in found["after"])})


def summed_up(here: Path, run: Run) -> dict[str, Any] | None:
    """The summary that the last job of a submission has written; None if it has not."""
    try:
        found = json.loads((here / "summary.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("run") == run.number else None
