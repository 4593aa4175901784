"""``fiducial align`` as a test types it: a small simulated run, and a process that must end as expected."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from fiducial.alignment.faser.request import Request

FIDUCIAL = str(Path(sys.executable).parent / "fiducial")
SIMULATED = ["--simulate", "-y", "2023", "-r", "011705", "-f", "450-453", "--events", "300", "--workers", "2"]
NAME = "Y2023_R011705_F450-453"


def asked(**more: Any) -> Request:
    """The same run as a request."""
    return Request(year=2023, run=11705, files=range(450, 453), **more)


def align(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return fiducial(folder, "align", *words, code=code)


def fiducial(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([FIDUCIAL, *words], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done
