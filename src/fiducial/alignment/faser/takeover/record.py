"""What was taken over, kept beside the campaign: the same command, given later, means the same campaign."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fiducial.alignment.faser.overwriting import TAKEN
from fiducial.alignment.faser.request import Request
from fiducial.core.errors import FolderError, UsageError
from fiducial.storage.replace import replace_text

__all__ = ["Takeover", "forget_ntuples", "read_record", "write_record"]

_FORMAT = 1
#: Of a workflow that nobody has said anything about.
_USUAL_ITERATIONS = 10


@dataclass(frozen=True)
class Takeover:
    """Where an alignment of older scripts is gone on from.

    Args:
        first: number of its first iteration.
        resume: number of the iteration that is ours.
        constants: that this one begins with; None for none.
        taken: ntuples of it that are not made again, by the number of the raw file.
        recipe: how it is fitted, where that is not what its constants would suggest.
    """

    first: int
    resume: int
    constants: Path | None = None
    taken: Mapping[int, str] = field(default_factory=dict)
    recipe: str | None = None

    def with_ntuples(self, taken: Mapping[int, str]) -> Takeover:
        """The same with ntuples."""
        return replace(self, taken=dict(taken))

    def with_recipe(self, recipe: str) -> Takeover:
        """The same with a recipe."""
        return replace(self, recipe=recipe)

    def of(self, request: Request) -> Request:
        """What is left of a request.

        Raises:
            UsageError: nothing is, for all iterations are done.
        """
        wanted = _USUAL_ITERATIONS if request.iterations is None else request.iterations
        done = self.resume - self.first
        if wanted <= done:
            hint = f"-i {done + 5} goes on with iteration {self.resume:02d}"
            raise UsageError(f"all {wanted} iterations are done: the constants are {self.constants}", hint=hint)
        return replace(
            request,
            iterations=wanted - done,
            first_iteration=self.resume,
            initial_constants=self.constants,
            recipe=request.recipe or (None if request.sets else self.recipe),
            taken={f"{number:05d}": path for number, path in self.taken.items()},
        )


def write_record(folder: Path, takeover: Takeover, moves: Mapping[Path, Path]) -> None:
    """Keep what is taken over, and lay its ntuples aside; whenever this is cut short, all of them are in either place.

    Args:
        moves: ntuples, and where they shall rest.

    Raises:
        FolderError: it cannot be written.
    """
    content = {"format": _FORMAT, **asdict(takeover), "constants": _text(takeover.constants)}
    try:
        replace_text(folder / ".fiducial" / TAKEN, json.dumps(content, indent=1) + "\n")
        for path, rest in moves.items():
            rest.parent.mkdir(exist_ok=True)
            path.rename(rest)
    except OSError as error:
        hint = "the folder must be one that you may write to; --folder OTHER --constants FILE begins in another"
        raise FolderError(f"cannot write into {folder}: {error.strerror}", hint=hint) from None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def forget_ntuples(takeover: Takeover, constants: Path) -> None:
    """Remove the ntuples that were laid aside, when the iteration that they were taken for is done.

    Args:
        constants: that it found.
    """
    if not constants.is_file() or not constants.stat().st_size:
        return
    for path in map(Path, takeover.taken.values()):
        with suppress(OSError):  # nobody needs them, and nobody is harmed if they stay
            path.unlink(missing_ok=True)
            path.parent.rmdir()


def read_record(folder: Path) -> Takeover | None:
    """What was taken over in a campaign's folder; None where nothing was.

    Raises:
        FolderError: that cannot be read.
    """
    file = folder / ".fiducial" / TAKEN
    try:
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
        if found.pop("format") != _FORMAT:
            raise ValueError("it is of another version of Fiducial")
        constants, taken = found.pop("constants"), found.pop("taken")
        return Takeover(
            **found,
            constants=None if constants is None else Path(constants),
            taken={int(number): path for number, path in taken.items()},
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FolderError(f"cannot read {file}: {error}", hint="it says what was taken over; see the folder") from None
