"""The script that is sourced before every reconstruction: made from Calypso's installation where there is none yet."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from fiducial.alignment.faser.pede import search_path_lines
from fiducial.alignment.faser.scripts import make_script
from fiducial.core.errors import NotFoundError

__all__ = ["DEFAULT", "Calypso", "EnvironmentScript", "environment_text", "files_of"]

#: What the script was always called.
DEFAULT = "reco_condor_env.sh"

_TEXT = """\
#!/bin/bash
# Sourced before every reconstruction. fiducial align made it, and leaves it as it is now: change what you need.
export ATLAS_LOCAL_ROOT_BASE=/cvmfs/atlas.cern.ch/repo/ATLASLocalRootBase
source "${{ATLAS_LOCAL_ROOT_BASE}}/user/atlasLocalSetup.sh"
asetup --input={asetup} Athena,24.0.41
source {setup}
"""


Calypso = Path | tuple[Path, Path]


@dataclass(frozen=True)
class EnvironmentScript:
    """An environment script: one that is there is used as it is, and never overwritten.

    Args:
        path: where it is, or shall be.
        calypso: what it is made of where there is none: the folder of an installation, or its asetup file and setup.sh.
        pede: folder of a pede that is to be found, too, where one script is for both.
    """

    path: Path
    calypso: Calypso | None = None
    pede: Path | None = None

    @property
    def note(self) -> str:
        """What a user should know of it; may be empty."""
        if self.calypso is None:
            return ""
        if not self.path.is_file():
            return f"{self.path} is made, for {files_of(self.calypso)[1]}"
        if self.path.read_text("utf-8", "replace") == self.text:
            return ""
        return f"{self.path} is there and used as it is; what was said of Calypso does not change it"

    def check(self) -> None:
        """Look whether it is there or can be made.

        Raises:
            NotFoundError: neither.
        """
        if self.path.is_file():
            return
        if self.calypso is None:
            hint = "--calypso_path /path/to/calypso/install makes one, --env_script names another"
            raise NotFoundError(f"there is no environment script '{self.path}'", hint=hint)
        for file in files_of(self.calypso):
            if not file.is_file():
                raise NotFoundError(
                    f"Calypso has no {file}", hint="--calypso_path names the folder with setup.sh in it"
                )

    def look(self) -> list[str]:
        """Look, and say nothing more than that it is there or can be made; see `check`."""
        self.check()
        return []

    @property
    def text(self) -> str:
        """What it says where it is made."""
        assert self.calypso is not None
        text = environment_text(*files_of(self.calypso))
        return text + (search_path_lines(self.pede) if self.pede else "")

    def make(self) -> None:
        """Write it, executable, unless it is there.

        Raises:
            FolderError: it cannot be written.
        """
        if self.calypso is not None:
            make_script(self.path, self.text)


def environment_text(asetup: Path, setup: Path) -> str:
    """What such a script says."""
    return _TEXT.format(asetup=shlex.quote(str(asetup)), setup=shlex.quote(str(setup)))


def files_of(calypso: Calypso) -> tuple[Path, Path]:
    """The asetup file and setup.sh; of an installation, the first asetup file of the usual places."""
    if isinstance(calypso, tuple):
        return calypso
    install = calypso.absolute()
    places = [install.parent / "asetup.faser", install.parent / "calypso" / "asetup.faser", install / "asetup.faser"]
    return next((place for place in places if place.is_file()), places[0]), install / "setup.sh"
