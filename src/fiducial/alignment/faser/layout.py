"""Where the iterations of an alignment lie: the folders that its workflow's variables name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fiducial.core.errors import UsageError
from fiducial.core.plan import campaign_scope
from fiducial.core.variables import Scope
from fiducial.engine.supervisor import Prepared

__all__ = ["CONSTANTS", "FOLDERS", "Iteration", "every_iteration", "first_of", "iteration", "must_be_apart", "scope_of"]

#: What a file of constants is called.
CONSTANTS = "inputforalign.txt"
#: Variables that name an iteration's folder, and those in it.
FOLDERS = ("iter", "reco_folder", "ntuple_folder", "fit_folder")
#: Numbers of iterations have two digits.
_NUMBERS = range(100)


@dataclass(frozen=True)
class Iteration:
    """The folders of one iteration.

    Args:
        number: as its folder has it.
        folder: of the iteration.
        reco: with the constants that it reconstructs with.
        ntuples: what the reconstruction makes.
        fit: what the fit makes.
    """

    number: int
    folder: Path
    reco: Path
    ntuples: Path
    fit: Path

    @property
    def began_with(self) -> Path:
        """The constants that it reconstructs with."""
        return self.reco / CONSTANTS

    @property
    def constants(self) -> Path:
        """The constants that its fit finds."""
        return self.folder / CONSTANTS


def scope_of(prepared: Prepared) -> Scope:
    """The variables of the campaign."""
    return campaign_scope(prepared.workflow, [{}, prepared.variables], prepared.names)


def first_of(prepared: Prepared) -> int:
    """Number of the first iteration."""
    return int(prepared.workflow.variables["first_iteration"])


def iteration(prepared: Prepared, number: int) -> Iteration:
    """The folders of the iteration with that number."""
    return _iteration(prepared, scope_of(prepared), number)


def every_iteration(prepared: Prepared) -> Iterator[Iteration]:
    """All that there can be, whether the campaign would make them or not."""
    scope = scope_of(prepared)
    return (_iteration(prepared, scope, number) for number in _NUMBERS)


def _iteration(prepared: Prepared, scope: Scope, number: int) -> Iteration:
    context = scope.context({"iteration": number - first_of(prepared) + 1})
    return Iteration(number, *(prepared.folder / str(context[name]) for name in FOLDERS))


def must_be_apart(prepared: Prepared) -> None:
    """No iteration may overwrite the files of another one, nor its own.

    Raises:
        UsageError: two would lie in one folder, or the constants at the beginning of one where those at its end do.
    """
    first, second = (iteration(prepared, number) for number in (1, 2))
    for name, one, other in zip(
        FOLDERS,
        (first.folder, first.reco, first.ntuples, first.fit),
        (second.folder, second.reco, second.ntuples, second.fit),
        strict=True,
    ):
        if one == other:
            hint = "for example iter{{ number | pad(2) }}" if name == "iter" else "it begins with {{ iter }}/"
            raise UsageError(f"{name}: all iterations would lie in {one}, and overwrite each other", hint=hint)
    if first.began_with == first.constants:
        raise UsageError(
            f"reco_folder: the constants that an iteration begins with and those that it finds would both be "
            f"{first.constants}",
            hint="reco_folder names a folder in that of the iteration, as in {{ iter }}/1reco",
        )
