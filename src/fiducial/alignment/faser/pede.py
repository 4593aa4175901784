"""A pede of the user's that fits in place of our own fit: found, and called with its environment.

The environment script is sourced for pede alone, in a script around it: what an experiment's software sets up for its
own Python would keep ours from starting.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from fiducial.alignment.faser.scripts import make_script
from fiducial.core.errors import NotFoundError

__all__ = ["CALL", "DEFAULT", "Pede", "PedeScripts", "find_pede", "search_path_lines"]

#: What the script was called that is sourced before pede.
DEFAULT = "millepede_env.sh"
#: The script around pede, in the campaign's folder.
CALL = "pede.sh"


@dataclass(frozen=True)
class Pede:
    """What the configuration says of pede.

    Args:
        install: its folder, or the program.
        script: sourced before it; made where there is none.
        root: ROOT's thisroot.sh, for that script.
    """

    install: Path | None = None
    script: Path | None = None
    root: Path | None = None


@dataclass(frozen=True)
class PedeScripts:
    """The scripts that a pede needs: its environment, which is never overwritten, and the call.

    Args:
        pede: what is known of it; with an installation.
        folder: the campaign's.
        fits: whether pede fits, so that there has to be one; otherwise its environment is made and no more.
    """

    pede: Pede
    folder: Path
    fits: bool

    @property
    def environment(self) -> Path:
        """What is sourced before it."""
        return self.pede.script or self.folder / DEFAULT

    @property
    def call(self) -> Path:
        """The program that calls it."""
        return self.folder / CALL

    def look(self) -> list[str]:
        """Look whether there is a pede, if it shall fit.

        Raises:
            NotFoundError: there is none.
        """
        if self.fits:
            self._program()
        return []

    def make(self) -> None:
        """Write the scripts.

        Raises:
            NotFoundError: there is no pede, and it shall fit.
            FolderError: they cannot be written.
        """
        make_script(self.environment, environment_text(self.pede))
        if self.fits:
            text = f'source {shlex.quote(str(self.environment))}\nexec {shlex.quote(str(self._program()))} "$@"\n'
            make_script(self.call, f"#!/bin/bash\n# pede with its environment. fiducial align made it.\n{text}")

    def _program(self) -> Path:
        install = self.pede.install
        program = None if install is None else find_pede(install)
        if program is None:
            where = f"in {install}" if install else "and nothing says where it is"
            hint = "paths.pede_install in config.json names its folder; without --with-pede our own fit does it"
            raise NotFoundError(f"there is no pede that can be run {where}", hint=hint)
        return program


def environment_text(pede: Pede) -> str:
    """What the environment script of a fit says."""
    source = f"source {shlex.quote(str(pede.root))}\n" if pede.root else ""
    lines = search_path_lines(pede.install) if pede.install else ""
    return f"#!/bin/bash\n# Sourced before pede. fiducial align made it, and leaves it as it is now.\n{source}{lines}"


def search_path_lines(install: Path) -> str:
    """Lines by which a shell finds pede and its libraries."""
    folder = shlex.quote(str(install if not install.is_file() else install.parent))
    return f"export PATH={folder}:$PATH\nexport LD_LIBRARY_PATH={folder}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\n"


def find_pede(install: Path) -> Path | None:
    """The program: the path itself, or ``pede`` in that folder; None where there is none that can be run."""
    places = (install, install / "pede", install / "bin" / "pede")
    return next((place for place in places if place.is_file() and os.access(place, os.X_OK)), None)
