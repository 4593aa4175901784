"""A stand-in for Calypso and FASER's alignment scripts, which need CERN's file systems and cannot be had in a test.

It reconstructs simulated raw files with our own reconstruction, and takes constants the way that the real one does:
from what ``WriteAlignmentConfig_Faser04.py`` was told, through the database's folders. A file ``broken-FFFFF`` in its
folder makes the reconstruction of that file fail, as often as there are letters in it: with ``x`` it says so by its
status, with ``s`` it is silent and ends with 0.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

RUN = 11705

_WRITE = """\
# Stand-in for FASER's script: keeps what it is told.
import sys

value = sys.argv[1].removeprefix("AlignDbTool.AlignmentConstants={").removesuffix("}")
open("standin_Align.pool.root", "w").write(value + "\\n" if value else "")
"""

_HEAD = """\
#!/bin/bash
# Stand-in for FASER's template: begins.
set -e"""

_TAIL = """\
# Stand-in for FASER's template: where the real one copies the constants into the database.
test -s data/sqlite200/ALLP200.db
cp *_Align.pool.root data/poolcond/
"""

_RECO = """\
# Stand-in for FASER's reconstruction: ours, of simulated raw files.
import os, subprocess, sys
from pathlib import Path

raw, words = Path(sys.argv[1]), sys.argv[2:]
assert "--alignment" in words and ("--noForward" in words) != ("--noBackward" in words), words
print("stand-in for Calypso:", *words)
broken = Path(__file__).with_name(f"broken-{raw.stem[-5:]}")
if broken.exists() and broken.read_text():
    how = broken.read_text()
    broken.write_text(how[1:])
    sys.exit("stand-in: broken, as the test wants it" if how[0] == "x" else 0)
stations = "3" if "--noIFT" in words else "4"
constants = Path(os.environ["ATLAS_POOLCOND_PATH"]) / "poolcond" / "standin_Align.pool.root"
fiducial = [sys.executable, "-m", "fiducial", "alignment", "reconstruct", str(raw), "--stations", stations]
subprocess.run([*fiducial, "--constants", str(constants), "--output", f"{raw.stem}_kfalignment.root"], check=True)
Path(f"{raw.stem}-xAOD.root").write_text("stand-in")
"""


@dataclass(frozen=True)
class Site:
    """A place with raw files, scripts, a database and a Calypso, all of them stand-ins."""

    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "scripts"

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    @property
    def calypso(self) -> Path:
        return self.folder / "calypso" / "install"

    @property
    def database(self) -> Path:
        return self.folder / "ALLP200.db"

    def options(self) -> list[str]:
        """What leads ``fiducial align`` here and not to CERN."""
        return ["--source", str(self.source), "--raw", str(self.raw), "--set", f"database={self.database}"]

    def take_data(self, files: str, events: int) -> None:
        """Write simulated raw files."""
        words = [sys.executable, "-m", "fiducial", "alignment", "simulate", str(self.raw), "--run", str(RUN)]
        subprocess.run([*words, "--files", files, "--events", str(events)], check=True, stdout=subprocess.DEVNULL)


def build(folder: Path) -> Site:
    """Lay out a site."""
    site = Site(folder)
    texts = {
        site.source / "faser_reco_alignment.py": _RECO,
        site.source / "templates" / "aligndb_template_head.sh": _HEAD,
        site.source / "templates" / "aligndb_template_tail.sh": _TAIL,
        site.source / "templates" / "WriteAlignmentConfig_Faser04.py": _WRITE,
        site.calypso.parent / "asetup.faser": "# stand-in\n",
        site.calypso / "setup.sh": f'# Stand-in for Calypso.\nexport PATH="{Path(sys.executable).parent}:$PATH"\n',
        site.database: "stand-in for the conditions database\n",
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return site
