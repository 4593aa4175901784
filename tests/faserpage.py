"""A home in which the pages for FASER's users can be typed: what is at CERN is stood in for."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import calypso
from aligning import FIDUCIAL

_ALIGN = """\
#!/bin/bash
# Stand-in for CERN: the command, told where raw files and the database are here.
here=({options})
case "$1 $2" in
    "align init") exec {fiducial} "$@" ;;
    "align check") exec {fiducial} align check "${{@:3}}" "${{here[@]}}" ;;
    align*) exec {fiducial} align "${{@:2}}" "${{here[@]}}" ;;
    *) exec {fiducial} "$@" ;;
esac
"""


def home(folder: Path) -> tuple[calypso.Site, Path]:
    """Lay out a home with Calypso and FASER's scripts in it; the site, and the folder of the command."""
    site = calypso.build(folder)
    site.take_data("450-453", 300)
    site.source.rename(folder / "faser-alignment-script")
    programs = folder / "programs"
    programs.mkdir()
    options = shlex.join(["--raw", str(site.raw), "--set", f"database={site.database}"])
    command = programs / "fiducial"
    command.write_text(_ALIGN.format(options=options, fiducial=shlex.quote(FIDUCIAL)))
    command.chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    return site, programs


def long_ago(path: Path) -> None:
    """Let a file be one that nobody has written to for a day."""
    yesterday = path.stat().st_mtime - 86400
    os.utime(path, (yesterday, yesterday))
